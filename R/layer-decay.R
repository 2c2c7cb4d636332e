#' Learning rates that fall from the last layer to the first
#'
#' In fine-tuning a new head has everything to learn, while the first layers of a pretrained model
#' know general features that should hardly move. `layer_decay()` makes a group of each layer, whose
#' rate is lower the earlier the layer is. It is called before the optimizer is built, that is
#' before its first step.
#'
#' Let \eqn{\eta}{eta} be the learning rate of the optimizer, and \eqn{d} the depth of a layer: 0
#' for the last layer that has weights, and one more for each earlier one. With the `decay`
#' \eqn{\gamma}{gamma} the rate of the layer's variables is
#' \deqn{\eta_d = \gamma^d \eta.}{eta_d = gamma^d * eta.}
#' Usual values of \eqn{\gamma}{gamma} lie between 0.65 and 0.95.
#'
#' @details
#' Layers come in the order of `model$layers`: in a functional model those farthest from the output
#' come first, in a subclass of `keras.Model` those that it makes first. The layers of a model
#' inside the model count one by one. Any other layer counts as one, however many layers it is made
#' of: a `Bidirectional`, say, or a block of a transformer.
#'
#' Frozen layers count, so that factors stay the same when they are unfrozen; what is frozen now
#' gets no group. The groups are in the order of the layers, after those that the optimizer has.
#' Groups that are set after this win over it.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()]. It is
#'   changed.
#' @param model A Keras model that has its variables.
#' @param decay The factor from one layer to the one before it: a number above 0, and at most 1.
#' @param ... Not used.
#'
#' @return The optimizer, invisibly, so that calls can be chained.
#'
#' @section Errors:
#' `kerasgd_argument_error` for an argument that is not as described above; `kerasgd_state_error` if
#' the optimizer is built already, or the model has no variables yet.
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
#' # Above 1 the first layers would learn fastest
#' try(layer_decay(optimizer_sgd(), model, decay = 2))
layer_decay <- function(optimizer, model, decay, ...) {
  given <- known_arguments()
  check_optimizer(given)
  check_given(given, "model", "a model")
  check_given(given, "decay", "a number above 0, and at most 1")
  call_python("layer_decay", given)
  invisible(optimizer)
}
