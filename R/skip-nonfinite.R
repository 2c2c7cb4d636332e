#' Skip updates whose gradient is not finite
#'
#' One `NaN` in the data makes the loss `NaN`, its gradients too, and with the next update all
#' weights. `skip_nonfinite()` makes the optimizer leave out such an update.
#'
#' Let \eqn{g} be the gradient of an update, over all variables and before the clip (with
#' accumulation the mean over the window). If an element of it is `NaN` or infinite, weights
#' \eqn{w}, velocities \eqn{v} and averages \eqn{a} stay as they are:
#' \eqn{(w, v, a) \leftarrow (w, v, a)}{(w, v, a) <- (w, v, a)}. The step is counted, so that a
#' learning-rate schedule goes on; the update is not. The window of the accumulation is cleared. On
#' several devices all of them skip, or none.
#'
#' `optimizer$skipped` is the number of updates that were skipped, and `optimizer$skipped_in_a_row`
#' that since the last one that was done. `summary(optimizer)` shows both.
#'
#' Without this call nothing is hidden: the weights become `NaN`. An update that is skipped is lost,
#' so that many of them hide a fault in the data or the model: [callback_stop_on_nonfinite()] stops
#' the training and says where it is.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()], before its first step.
#' @param ... Not used.
#'
#' @return The optimizer, invisibly, so that calls chain with `|>`.
#'
#' @section Errors:
#' `kerasgd_argument_error` for an argument that is not as described above; `kerasgd_state_error` if
#' the optimizer is built already, and for [optimizer_loss_scale()], which skips such steps anyway.
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
#' # What is refused
#' try(skip_nonfinite(optimizer))
skip_nonfinite <- function(optimizer, ...) {
  given <- known_arguments()
  check_optimizer(given)
  call_python_function(reticulate::py_get_attr(optimizer, "skip_nonfinite"), list())
  invisible(optimizer)
}
