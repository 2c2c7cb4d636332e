#' Set the learning rate before each batch with a function
#'
#' A callback for `fit()` that calls a function before each batch and sets the learning rate to the
#' result. It works on every backend. On JAX, it is the only way to use a function in `fit()`:
#' compiled training steps cannot call one there, so `fit()` does not accept a function as the
#' `learning_rate` of [optimizer_sgd()].
#'
#' With `steps_per_execution = n`, the function is called once for every n batches. The optimizer's
#' own `learning_rate` must be a number.
#'
#' @param learning_rate A function without arguments that returns a finite number >= 0.
#' @param ... Not used.
#'
#' @return A Keras callback, for the argument `callbacks` of `fit()`.
#'
#' @section Errors:
#' `kerasgd_argument_error` if `learning_rate` is not a function, or requires arguments. If the
#' function fails during training, or returns anything but a finite number >= 0, `fit()` stops with
#' an error that names `learning_rate`.
#'
#' @source Keras' documentation of [callbacks](https://keras.io/api/callbacks/).
#'
#' @seealso [optimizer_sgd()]
#' @concept learning rate schedule
#' @concept callback
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' layer <- keras$layers$Dense(1L)
#' model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
#' model$compile(optimizer = optimizer_sgd(), loss = "mse")
#'
#' # 1/2, 1/4, 1/8, ...
#' rate <- 1
#' halving <- callback_learning_rate_function(function() rate <<- rate / 2)
#'
#' x <- matrix(cars$speed / 10)
#' y <- matrix(cars$dist / 10)
#' history <- model$fit(x, y, batch_size = 10L, callbacks = list(halving), verbose = 0L)
#' rate
callback_learning_rate_function <- function(learning_rate, ...) {
  given <- given_arguments()
  check_given(given, "learning_rate", "a function without arguments")
  call_python("callbacks.LearningRateFunction", given)
}
class(callback_learning_rate_function) <- c("kerasgd_constructor", "function")
