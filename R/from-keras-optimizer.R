#' Convert a Keras optimizer together with its state
#'
#' `from_keras_optimizer()` creates a kerasgd optimizer with the settings and the state of a Keras
#' SGD optimizer. Use it to continue the training of a model that was trained with Keras' optimizer,
#' in this session or in an earlier one.
#'
#' @section Converted settings and state:
#' The new optimizer takes over all settings and the whole state: the number of steps, the learning
#' rate or schedule, the velocity and the moving average of each weight, the gradients accumulated
#' for the next update, and the scale of a loss-scale optimizer. It restores the state at its first
#' step, when it is built. The Keras optimizer does not change.
#'
#' A weights file does not record which Keras optimizer saved its state, and several optimizers
#' store arrays of the same shapes. So when you load such a file into a model with a kerasgd
#' optimizer (`load_model_weights()` in keras3, or `model$load_weights()`), the state is left out,
#' with a warning. Instead, load the file into a model with the Keras optimizer that saved it, and
#' convert that optimizer.
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
