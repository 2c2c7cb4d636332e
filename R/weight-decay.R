#' Leave variables out of weight decay
#'
#' Biases and the scales of normalising layers are often left out of weight decay. This is said
#' before the optimizer is built, that is before its first step.
#'
#' A variable that is left out moves by the rule alone. For the others
#' \eqn{w \leftarrow w - \eta \lambda w}{w <- w - eta * lambda * w} comes before the rule, with the
#' learning rate \eqn{\eta} and the `weight_decay` \eqn{\lambda} of [optimizer_sgd()].
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param var_names Regular expressions (of Python), as a character vector or a list. A variable is
#'   left out if one of them is found in its path, which is `"dense/bias"` for the bias of the layer
#'   `dense`. `".*"` leaves all variables out.
#' @param var_list A list of variables to be left out, or one variable; or a layer or a model, whose
#'   trainable variables are left out.
#' @param rank_below Variables with fewer dimensions than this are left out: a whole number >= 1, or
#'   `NULL`. With 2 these are vectors and scalars: biases, and the scales and offsets of
#'   normalisation.
#' @param ... Not used.
#'
#' @details A second call replaces the first. It wins over the `weight_decay` of [set_group()]. Once
#' the optimizer is built, `summary(optimizer)` lists the variables that are left out.
#' `optimizer$exclude_from_weight_decay(var_list, var_names)` is the same method as Keras documents
#' it.
#'
#' @return The optimizer, invisibly.
#'
#' @section Errors:
#' `kerasgd_argument_error` for an argument that is not as described above, also for a text that is
#' no regular expression; `kerasgd_state_error` if the optimizer is built already. A regular
#' expression that is found in no path, and a list or layer without any variable of the model, are
#' errors at the first step, which quote some of the paths. Nothing is built then.
#'
#' @source
#' Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. *International
#' Conference on Learning Representations*.
#'
#' @seealso [optimizer_sgd()]; [set_group()], for a weight decay of its own; [variable_groups()],
#'   which shows what is decayed.
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
#' # What is no regular expression is refused
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
