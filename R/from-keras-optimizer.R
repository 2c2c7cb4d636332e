#' Convert a Keras optimizer together with its state
#'
#' `from_keras_optimizer()` creates an optimizer of kerasgd that continues from the state of a Keras
#' SGD optimizer. Use it to continue training a model that was trained with Keras' optimizer, in
#' this session or loaded from a file.
#'
#' @section Converted settings and state:
#' All settings and the state: the number of steps, the learning rate or schedule, the velocity and
#' the moving average of each weight, an open gradient accumulation window as Keras stores it, and
#' the scale of a loss-scale optimizer. The state is applied when the new optimizer is built, at its
#' first step. The Keras optimizer does not change.
#'
#' A file does not record which Keras optimizer wrote its state, and several optimizers store arrays
#' of the same shapes. So `load_model_weights()` and `load_weights()` leave such state out, with a
#' warning. Instead, load the model with the optimizer that saved it, and convert that optimizer.
#'
#' @param optimizer A Keras SGD optimizer, or a Keras loss-scale optimizer around one, such as
#'   `model$optimizer`.
#' @param ... Not used.
#'
#' @return The optimizer, as returned by [optimizer_sgd()] or [optimizer_loss_scale()].
#'
#' @section Errors:
#' `kerasgd_argument_error` if `optimizer` is of another class (the state of Adam, for example, has
#' another meaning), or has a setting that Keras accepts and [optimizer_sgd()] does not.
#'
#' @seealso [optimizer_sgd()], [save_optimizer()]
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' weight <- keras$Variable(1)
#' theirs <- keras$optimizers$SGD(learning_rate = 0.5, momentum = 0.5)
#' theirs$apply(list(keras$ops$ones(list())), list(weight))
#'
#' ours <- from_keras_optimizer(theirs)
#' ours
#' ours$apply(list(keras$ops$ones(list())), list(weight))
#' weight$numpy() # 1 - 0.5 - (0.25 + 0.5)
#'
#' # In a script: compile(model, optimizer = from_keras_optimizer(model$optimizer), ...)
from_keras_optimizer <- function(optimizer, ...) {
  given <- known_arguments()
  check_given(given, "optimizer", "a Keras optimizer, such as `model$optimizer`")
  call_python("from_keras", given)
}
