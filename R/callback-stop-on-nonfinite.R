#' Stop `fit()` when gradients are not finite
#'
#' A callback for `fit()` that stops training after `max_in_a_row` consecutive updates whose
#' gradient has a `NaN` or an infinity. Its error names the batch and the variables. The optimizer
#' must skip such updates: see [skip_nonfinite()].
#'
#' The error names the epoch and the batch, the loss of that batch (unless an earlier loss of the
#' epoch was not finite), and the variables whose gradients were not finite, with the number of
#' `NaN` and of infinite elements. The weights are still those from before the first of these
#' updates.
#'
#' With `steps_per_execution = n`, the callback checks after every n-th batch.
#'
#' @param max_in_a_row A whole number >= 1: the number of consecutive skipped updates after which
#'   training stops.
#' @param ... Not used.
#'
#' @return A Keras callback, for the argument `callbacks` of `fit()`.
#'
#' @section Errors:
#' `kerasgd_argument_error` if `max_in_a_row` is not a whole number >= 1. If the optimizer does not
#' skip updates, `fit()` stops at once with an error that names `skip_nonfinite()`. An optimizer
#' with a dynamic loss scale is an error too: it skips such steps in order to adjust the scale.
#'
#' Pass the callback in a list: `callbacks = list(callback)`. On JAX and PyTorch, Keras runs a
#' callback that is not in a list in parallel with the training steps; `fit()` then stops with an
#' error.
#'
#' The error that stops training passes through reticulate and loses the classes of this package;
#' see [optimizer_sgd()].
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
