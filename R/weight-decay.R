#' Exclude variables from weight decay
#'
#' `exclude_from_weight_decay()` selects variables that weight decay leaves unchanged, often biases
#' and the scales of normalisation layers. Call it before the optimizer is built, that is, before
#' its first step.
#'
#' All other variables decay, \eqn{w \leftarrow w - \eta \lambda w}{w <- w - eta * lambda * w},
#' before the update rule is applied, with the learning rate \eqn{\eta} and the `weight_decay`
#' \eqn{\lambda} of [optimizer_sgd()].
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param var_names Python regular expressions, as a character vector or a list. A variable is
#'   excluded if one of them matches a part of its path, which is `"dense/bias"` for the bias of the
#'   layer `dense`. `".*"` excludes all variables.
#' @param var_list The variables to exclude: a variable or a list of variables, or a layer or a
#'   model, which stands for its trainable variables.
#' @param rank_below Exclude variables with fewer dimensions than this: a whole number >= 1, or
#'   `NULL`. With 2, these are vectors and scalars: biases, and the scales and offsets of
#'   normalisation layers.
#' @param ... Not used.
#'
#' @details A second call replaces the first. Exclusions take precedence over the `weight_decay` of
#' [set_group()]. Once the optimizer is built, `summary(optimizer)` lists the excluded variables.
#' `optimizer$exclude_from_weight_decay(var_list, var_names)` is the method that Keras documents.
#'
#' @return The optimizer, invisibly.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above, or if a string is not a valid
#' regular expression; `kerasgd_state_error` if the optimizer is already built. At the first step,
#' it is an error if a regular expression matches no path, or if a list or layer contains no
#' variable of the model. The error quotes some of the paths, and the optimizer is not built.
#'
#' @source
#' Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. *International
#' Conference on Learning Representations*.
#'
#' @seealso [optimizer_sgd()]; [set_group()] for a separate weight decay; [variable_groups()] to see
#' which variables decay.
#' @concept weight decay
#' @concept regularization
#' @concept bias
#' @export
#' @examplesIf kerasgd_available()
#' optimizer <- optimizer_sgd(learning_rate = 0.1, weight_decay = 0.01)
#' exclude_from_weight_decay(optimizer, c("bias", "gamma"))
#' summary(optimizer)
#'
#' # All vectors and scalars, whatever their names
#' exclude_from_weight_decay(optimizer, rank_below = 2)
#'
#' # An invalid regular expression is an error
#' try(exclude_from_weight_decay(optimizer, "(bias"))
exclude_from_weight_decay <- function(optimizer,
                                      var_names = NULL,
                                      var_list = NULL,
                                      rank_below = NULL,
                                      ...) {
  given <- known_arguments()
  check_optimizer(given)
  call_python(
    "r.methods.exclude_from_weight_decay",
    list(
      optimizer = optimizer, var_names = without_names(var_names),
      var_list = without_names(var_list), rank_below = rank_below
    )
  )
  invisible(optimizer)
}
