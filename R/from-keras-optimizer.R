#' Take over an optimizer of Keras with its state
#'
#' `from_keras_optimizer()` makes an optimizer of kerasgd that continues where Keras' own SGD is: a
#' model that was trained with Keras' optimizer, in this session or out of a file, is trained on
#' with this package's.
#'
#' @section What is taken over:
#' All settings, and the state: the count of steps, the learning rate or schedule, for each weight
#' its velocity and its average, an open window of gradient accumulation as Keras has it, and the
#' scale of a loss-scale optimizer. The state waits until the new optimizer is built, which is at
#' its first step. The optimizer of Keras stays as it is.
#'
#' A file does not say which of Keras' optimizers wrote its state, and the arrays of several look
#' alike. So `load_model_weights()` and `load_weights()` leave such state out, with a warning; load
#' the model with the optimizer that saved it, and take that over.
#'
#' @param optimizer Keras' SGD, or Keras' loss-scale optimizer around one, such as
#'   `model$optimizer`.
#' @param ... Not used.
#'
#' @return The optimizer, as of [optimizer_sgd()] or [optimizer_loss_scale()].
#'
#' @section Errors:
#' `kerasgd_argument_error` if `optimizer` is of another class (Adam's state means something else),
#' or has a setting that Keras accepts and [optimizer_sgd()] refuses.
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
  check_given(given, "optimizer", "an optimizer of Keras, such as `model$optimizer`")
  call_python("from_keras", given)
}
