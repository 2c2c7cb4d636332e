#' Dynamic loss scaling
#'
#' In half precision, small gradients are rounded to zero. `optimizer_loss_scale()` wraps an
#' optimizer to prevent this: it multiplies the loss by a scale, divides the gradients by the same
#' scale before the step, and keeps the scale as large as possible without infinite gradients.
#'
#' @section The scale:
#' Let \eqn{s} be the scale, which starts at `initial_scale`, and \eqn{g} the gradients of the loss
#' multiplied by \eqn{s}.
#'
#' * If all gradients are finite, the inner optimizer takes its step with \eqn{g / s}. After
#'   `dynamic_growth_steps` such steps in a row, the scale doubles: \eqn{s \leftarrow 2 s}{s <- 2 *
#'   s}.
#' * Otherwise the step is skipped and not counted, and the scale is halved:
#'   \eqn{s \leftarrow s / 2}{s <- s / 2}.
#'
#' The scale stays between \eqn{2^{-126}}{2^-126} and \eqn{2^{126}}{2^126}. On several devices, the
#' gradients are checked after they are summed, so an infinity on one device skips the step on all
#' devices.
#'
#' Under the policy `mixed_float16`, `compile()` does not change this optimizer; it adds Keras' own
#' wrapper only to an optimizer without a loss scale.
#'
#' @param inner_optimizer An optimizer made by [optimizer_sgd()]. If it has a `loss_scale_factor`,
#'   the dynamic scale replaces it, with a warning.
#' @param initial_scale The initial scale: a number from \eqn{2^{-126}}{2^-126} to
#'   \eqn{2^{126}}{2^126}.
#' @param dynamic_growth_steps The number of consecutive steps with finite gradients after which the
#'   scale doubles: a whole number >= 1.
#' @param name The name: one non-empty string without `/`, or `NULL` for `"loss_scale_optimizer"`.
#' @param ... Not used. Settings such as `momentum` belong to the inner optimizer.
#'
#' @return The optimizer, a Python object of class `kerasgd.LossScaleOptimizer` and
#'   `keras.optimizers.LossScaleOptimizer`, for the `optimizer` argument of `compile()`.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; see [optimizer_sgd()].
#'
#' @source
#' Micikevicius, P. et al. (2018). Mixed precision training. *International Conference on Learning
#' Representations*. Section 3.2.
#'
#' @seealso [optimizer_sgd()], whose argument `loss_scale_factor` is a fixed scale.
#' @concept mixed precision
#' @concept half precision
#' @concept loss scaling
#' @concept float16
#' @export
#' @examplesIf kerasgd_available()
#' optimizer <- optimizer_loss_scale(optimizer_sgd(learning_rate = 0.05), initial_scale = 1024)
#' optimizer$initial_scale
#'
#' # Settings such as `momentum` belong to the inner optimizer
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
