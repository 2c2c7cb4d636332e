#' Lower the learning rate from the last layer to the first
#'
#' `layer_decay()` gives earlier layers lower learning rates: it creates one group for each layer
#' (see [set_group()]). It is meant for fine-tuning, where a new head has everything to learn, while
#' the first layers of a pretrained model hold general features that should hardly change. Call it
#' before the optimizer is built, that is, before its first step.
#'
#' Let \eqn{\eta}{eta} be the learning rate of the optimizer, and \eqn{d} the depth of a layer: 0
#' for the last layer that has weights, and one more for each earlier layer. With
#' \eqn{\gamma}{gamma} for `decay`, the learning rate of the layer's variables is
#' \deqn{\eta_d = \gamma^d \eta.}{eta_d = gamma^d * eta.}
#' Common values of `decay` are 0.65 to 0.95.
#'
#' @details Layers are counted in the order of `model$layers`. In a functional model, the layers
#' farthest from the output come first; in a subclass of `keras.Model`, layers come in the order of
#' their creation. The layers of a nested model count one by one. Any other layer counts as one
#' layer, even if it contains others, as a `Bidirectional` layer or a transformer block does.
#' Weights that a model has outside its layers count as one layer before them. A layer that is used
#' several times counts where it is first used.
#'
#' Frozen layers count too, so the factors stay the same when you unfreeze a layer later, but a
#' layer that is frozen now gets no group. The groups follow the order of the layers, after any
#' existing groups of the optimizer. Groups that are set later take precedence.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#'   `layer_decay()` changes it.
#' @param model A Keras model whose variables exist, for example because it has an input shape.
#' @param decay The learning rate of a layer divided by that of the next layer: a number above 0 and
#'   at most 1.
#' @param ... Not used.
#'
#' @return The optimizer, invisibly, so that calls can be chained.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; `kerasgd_state_error` if the
#' optimizer is already built, or the model has no variables yet.
#'
#' @source
#' Bao, H., Dong, L., Piao, S. and Wei, F. (2022). BEiT: BERT pre-training of image transformers.
#' *International Conference on Learning Representations*.
#'
#' Howard, J. and Ruder, S. (2018). Universal language model fine-tuning for text classification.
#' *Annual Meeting of the Association for Computational Linguistics*. Section 3.2.
#'
#' @seealso [set_group()], [variable_groups()], `vignette("fine-tuning")`
#' @concept layer-wise learning-rate decay
#' @concept discriminative fine-tuning
#' @concept transfer learning
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' layer <- function(name) keras$layers$Dense(4L, use_bias = FALSE, name = name)
#' layers <- lapply(c("stem", "block", "head"), layer)
#' model <- keras$Sequential(c(list(keras$Input(shape = list(3L))), layers))
#'
#' optimizer <- optimizer_sgd(learning_rate = 0.1) |> layer_decay(model, decay = 0.5)
#' variable_groups(optimizer, model)
#'
#' # Above 1, the first layers would learn fastest
#' try(layer_decay(optimizer_sgd(), model, decay = 2))
layer_decay <- function(optimizer, model, decay, ...) {
  given <- known_arguments()
  check_optimizer(given)
  check_given(given, "model", "a Keras model")
  check_given(given, "decay", "a number > 0 and <= 1")
  call_python("layer_decay", given)
  invisible(optimizer)
}
