#' Stop `fit()` where gradients are not finite
#'
#' A callback for `fit()`, for an optimizer that skips updates whose gradient has a `NaN` or an
#' infinity (see [skip_nonfinite()]). After `max_in_a_row` skipped updates in a row it stops the
#' training with an error that says where the fault is.
#'
#' The error names the epoch and the batch, the loss of that batch (unless an earlier loss of the
#' epoch was not finite), and the variables whose gradients were not finite, with the number of
#' `NaN` and of infinite elements. The weights are those before the first of these updates.
#'
#' With `steps_per_execution = n` the callback looks after every n-th batch.
#'
#' @param max_in_a_row A whole number >= 1: after so many skipped updates in a row training stops.
#' @param ... Not used.
#'
#' @return A Keras callback, for the argument `callbacks` of `fit()`.
#'
#' @section Errors:
#' `kerasgd_argument_error` if `max_in_a_row` is anything else. If the optimizer does not skip,
#' `fit()` stops at its beginning with an error that names `skip_nonfinite()`.
#'
#' The error that stops the training comes through `fit()`, and so through reticulate, as a text.
#'
#' @source Keras' documentation of [callbacks](https://keras.io/api/callbacks/).
#'
#' @seealso [skip_nonfinite()]
#' @concept callback
#' @concept NaN
#' @concept not finite
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' layer <- keras$layers$Dense(1L)
#' model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
#' model$compile(optimizer = optimizer_sgd() |> skip_nonfinite(), loss = "mse")
#'
#' x <- matrix(cars$speed / 10)
#' y <- matrix(cars$dist / 10)
#' y[40] <- NaN
#' stop_at_once <- callback_stop_on_nonfinite()
#' try(
#'   model$fit(
#'     x, y,
#'     batch_size = 10L, shuffle = FALSE, callbacks = list(stop_at_once), verbose = 0L
#'   )
#' )
callback_stop_on_nonfinite <- function(max_in_a_row = 1, ...) {
  known_arguments()
  call_python("callbacks.StopOnNonfinite", list(max_in_a_row = max_in_a_row))
}
class(callback_stop_on_nonfinite) <- c("kerasgd_constructor", "function")
