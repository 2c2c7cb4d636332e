#' A loss scale that follows the gradients
#'
#' In half precision small gradients become zero. `optimizer_loss_scale()` wraps an optimizer so
#' that the loss is multiplied by a scale as large as the gradients allow, and the gradients are
#' divided by it before the step.
#'
#' @section The scale:
#' Let \eqn{s} be the scale, which begins as `initial_scale`.
#'
#' * If all gradients of a step are finite, the inner optimizer does its step with \eqn{g / s}.
#'   After `dynamic_growth_steps` of such steps in a row the scale doubles:
#'   \eqn{s \leftarrow 2 s}{s <- 2 * s}.
#' * Otherwise the step is skipped and not counted, and the scale halves:
#'   \eqn{s \leftarrow s / 2}{s <- s / 2}.
#'
#' The scale stays between \eqn{2^{-126}}{2^-126} and \eqn{2^{126}}{2^126}. On several devices the
#' gradients are looked at after they have been summed, so that one device's infinity skips the step
#' on all.
#'
#' `compile()` under the policy `mixed_float16` leaves this optimizer as it is; around an optimizer
#' without loss scale it puts Keras' own wrapper.
#'
#' @param inner_optimizer An optimizer made by [optimizer_sgd()]. If it has a `loss_scale_factor`,
#'   that is dropped with a warning: the scale takes its place.
#' @param initial_scale The first scale: a number from \eqn{2^{-126}}{2^-126} to
#'   \eqn{2^{126}}{2^126}.
#' @param dynamic_growth_steps After how many finite steps in a row the scale doubles: a whole
#'   number >= 1.
#' @param name The name: one non-empty string without `/`, or `NULL` for `"loss_scale_optimizer"`.
#' @param ... Not used. Settings such as `momentum` belong to the inner optimizer.
#'
#' @return The optimizer, a Python object of class `kerasgd.LossScaleOptimizer` and
#'   `keras.optimizers.LossScaleOptimizer`, for the `optimizer` argument of `compile()`.
#'
#' @section Errors:
#' `kerasgd_argument_error` for an argument that is not as described above; see [optimizer_sgd()].
#'
#' @source
#' Micikevicius, P. et al. (2018). Mixed precision training. *International Conference on Learning
#' Representations*. Section 3.2.
#'
#' @seealso [optimizer_sgd()], whose `loss_scale_factor` is a fixed scale.
#' @concept mixed precision
#' @concept half precision
#' @concept loss scaling
#' @concept float16
#' @export
#' @examplesIf kerasgd_available()
#' optimizer <- optimizer_loss_scale(optimizer_sgd(learning_rate = 0.05), initial_scale = 1024)
#' optimizer$initial_scale
#'
#' # Settings of the step belong to the inner optimizer
#' try(optimizer_loss_scale(optimizer_sgd(), momentum = 0.9))
optimizer_loss_scale <- function(inner_optimizer,
                                 initial_scale = 32768,
                                 dynamic_growth_steps = 2000,
                                 name = NULL,
                                 ...) {
  given <- given_arguments()
  check_given(given, "inner_optimizer", "an optimizer made by `optimizer_sgd()`")
  call_python("LossScaleOptimizer", given)
}
class(optimizer_loss_scale) <- c("kerasgd_constructor", "function")
