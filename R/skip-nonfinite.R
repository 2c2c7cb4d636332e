#' Skip updates whose gradient is not finite
#'
#' A single `NaN` in the data makes the loss and its gradients `NaN`, and the next update makes all
#' weights `NaN`. `skip_nonfinite()` makes the optimizer skip such an update.
#'
#' Let \eqn{g} be the gradient of an update, over all variables and before the clip (with
#' accumulation, the mean over the window). If any element of it is `NaN` or infinite, weights
#' \eqn{w}, velocities \eqn{v} and averages \eqn{a} do not change:
#' \eqn{(w, v, a) \leftarrow (w, v, a)}{(w, v, a) <- (w, v, a)}. The step counts, so a
#' learning-rate schedule advances, but the update does not. The accumulation window is cleared. On
#' several devices, either all devices skip the update or none.
#'
#' `optimizer$skipped` is the number of skipped updates, and `optimizer$skipped_in_a_row` the number
#' of skipped updates since the last completed one. `summary(optimizer)` shows both.
#'
#' Without this call, nothing is hidden: the weights become `NaN`. A skipped update is lost, so many
#' of them can hide a fault in the data or the model. [callback_stop_on_nonfinite()] stops training
#' and locates the fault.
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
