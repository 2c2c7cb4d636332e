#' Skip updates whose gradient is not finite
#'
#' `skip_nonfinite()` makes an optimizer skip each update whose gradient has a `NaN` or an infinity.
#' Otherwise, a single `NaN` in the data makes the loss, the gradients and then all weights `NaN`.
#'
#' Let \eqn{g} be the gradient of an update, over all variables and before clipping (with
#' accumulation, the mean over the window). If any element of it is `NaN` or infinite, weights
#' \eqn{w}, velocities \eqn{v} and averages \eqn{a} do not change. The step is counted, so a
#' learning-rate schedule advances. The update is not counted: `ema_overwrite_frequency`, for
#' example, counts only updates that are not skipped. A new accumulation window begins. On several
#' devices, either all devices skip the update or none does.
#'
#' `optimizer$skipped` is the number of skipped updates, and `optimizer$skipped_in_a_row` the number
#' since the last update that was not skipped. `summary(optimizer)` shows both.
#'
#' Skipping can hide a fault in the data or the model, which would otherwise show as `NaN` weights.
#' [callback_stop_on_nonfinite()] stops training after several skipped updates in a row and locates
#' the fault.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()], before its first step.
#' @param ... Not used.
#'
#' @return The optimizer, invisibly, so that calls can be chained with `|>`.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; `kerasgd_state_error` if the
#' optimizer is already built, or is an [optimizer_loss_scale()], which skips such steps itself.
#'
#' @source
#' Micikevicius, P. et al. (2018). Mixed precision training. *International Conference on Learning
#' Representations*. Section 3.2, for skipping an update.
#'
#' @seealso [callback_stop_on_nonfinite()], [track_statistics()]
#' @concept NaN
#' @concept not finite
#' @concept infinite
#' @export
#' @examplesIf kerasgd_available()
#' optimizer <- optimizer_sgd(learning_rate = 0.5) |> skip_nonfinite()
#' weight <- reticulate::import("keras")$Variable(1)
#' for (gradient in c(1, NaN, Inf)) {
#'   apply_gradients(optimizer, list(gradient), list(weight))
#' }
#' as.double(weight)
#' optimizer$skipped
#' optimizer
#'
#' # After the first step, this is an error
#' try(skip_nonfinite(optimizer))
skip_nonfinite <- function(optimizer, ...) {
  given <- known_arguments()
  if (!inherits(given$optimizer, "kerasgd.LossScaleOptimizer")) {
    check_optimizer(given, "an optimizer made by `optimizer_sgd()`")
  }
  call_python_function(reticulate::py_get_attr(optimizer, "skip_nonfinite"), list())
  invisible(optimizer)
}
