#' Set learning rate, momentum or weight decay for groups of variables
#'
#' `set_group()` puts variables into a group with its own settings. Call it before the optimizer is
#' built, that is, before its first step. For example, a pretrained base can learn at a tenth of the
#' rate of a new head, or not at all, and biases can be excluded from weight decay.
#' `set_learning_rate_factor()` changes the learning rate of a group later, even during training.
#'
#' @section The step:
#' Let \eqn{\eta}{eta} be the learning rate of the optimizer at this step, and \eqn{f},
#' \eqn{\mu}{mu} and \eqn{\lambda}{lambda} the learning-rate factor, the momentum and the weight
#' decay of the group. A variable \eqn{w} of the group with the gradient \eqn{g} has the learning
#' rate \eqn{\eta_f = f \eta}{eta_f = f * eta}, and its update is
#' \deqn{w \leftarrow w - \eta_f \lambda w,}{w <- w - eta_f * lambda * w,}
#' \deqn{v \leftarrow \mu v - \eta_f g, \qquad w \leftarrow w + v.}{
#' v <- mu * v - eta_f * g,  w <- w + v.}
#'
#' * All changes of the optimizer's learning rate act on all groups alike: a schedule, a function,
#'   `optimizer$learning_rate <- 0.01`, and callbacks such as `ReduceLROnPlateau`.
#' * A factor of 0 freezes the variable and its velocity: weight decay, constraints and the
#'   overwriting with averages do not act on it either.
#' * A variable can be in several groups. Each setting comes from the last group that sets it, and
#'   otherwise from the optimizer. [exclude_from_weight_decay()] takes precedence over groups.
#' * Clipping comes first and ignores groups: `global_clipnorm` limits the norm over all variables.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#'   `set_group()` changes it.
#' @param select The variables of the group:
#'   * a layer or a model, which stands for its trainable variables;
#'   * Python regular expressions, as a character vector. A variable is in the group if one of them
#'     matches a part of its path, which is `"dense/bias"` for the bias of the layer `dense`;
#'   * a list of variables, or one variable;
#'   * a function of a variable that returns `TRUE` or `FALSE`. It is called once for each variable,
#'     when the optimizer is built. It can use `variable$path`, `variable$name` and
#'     `length(variable$shape)`, the number of dimensions. It may return `FALSE` for all of them.
#' @param ... Not used. Settings must be named, and at least one is required.
#' @param learning_rate_factor The factor \eqn{f} of the learning rate: a finite number >= 0, or a
#'   [learning-rate schedule][learning_rate_schedules] that returns the factor of each step.
#' @param momentum The momentum of the group: a finite number >= 0.
#' @param weight_decay The weight decay of the group: a finite number >= 0, or `NULL` for none.
#' @param group The number of a group, from 1 in the order of the calls of `set_group()`, or the
#'   regular expression that selected it.
#' @param factor The new factor: a finite number >= 0, or a learning-rate schedule. A number that
#'   replaces a number takes effect at once, even during `fit()`. Any other change is accepted only
#'   as long as no training step is compiled.
#'
#' @details In a callback that sets a factor, access the optimizer as `callback$model$optimizer`. On
#' JAX, any other access is an error, because `fit()` would lose the new factor.
#'
#' @return The optimizer, invisibly, so that calls can be chained.
#'
#' @section Errors:
#' * `kerasgd_argument_error`: an argument is not as described above, or there is no such group. The
#'   variables of `select` are known only at the first step. At that step, it is an error if a
#'   regular expression matches no path, if a layer or list contains no variable of the model, or if
#'   a function fails or returns anything but `TRUE` or `FALSE`; the optimizer is then not built.
#' * `kerasgd_unknown_argument_error`: a group cannot have this setting. For example, clipping
#'   applies to all groups together.
#' * `kerasgd_state_error`: `set_group()` for an optimizer that is already built;
#'   `set_learning_rate_factor()` for a group that was created without a factor, or for a new factor
#'   that would have no effect.
#'
#' @source
#' Howard, J. and Ruder, S. (2018). Universal language model fine-tuning for text classification.
#' *Annual Meeting of the Association for Computational Linguistics*. Section 3.2 has rates for each
#' layer (discriminative fine-tuning), section 3.3 gradual unfreezing.
#'
#' @seealso [variable_groups()] shows the resulting settings of each variable; [layer_decay()]
#' creates a group for each layer; `vignette("fine-tuning")`.
#' @concept parameter groups
#' @concept layer-wise learning rates
#' @concept discriminative fine-tuning
#' @concept gradual unfreezing
#' @concept transfer learning
#' @concept freeze layers
#' @name set_group
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' base <- keras$Variable(1, name = "base")
#' head <- keras$Variable(1, name = "head")
#'
#' # The base learns at a tenth of the rate
#' optimizer <- optimizer_sgd(learning_rate = 0.5) |>
#'   set_group("base", learning_rate_factor = 0.1)
#' variable_groups(optimizer, list(base, head))
#'
#' apply_gradients(optimizer, list(1, 1), list(base, head))
#' c(base = as.double(base), head = as.double(head))
#'
#' # Freeze the base from now on
#' set_learning_rate_factor(optimizer, "base", 0)
#' apply_gradients(optimizer, list(1, 1), list(base, head))
#' c(base = as.double(base), head = as.double(head))
#'
#' # A function that selects vectors and scalars
#' is_vector <- function(variable) length(variable$shape) < 2
#' optimizer <- optimizer_sgd(weight_decay = 0.01) |>
#'   set_group(is_vector, weight_decay = NULL, momentum = 0.9)
#' summary(optimizer)
#'
#' # A clip applies to all groups together, so a group cannot set it
#' try(set_group(optimizer, "base", clipnorm = 1))
NULL

#' @rdname set_group
#' @export
set_group <- function(optimizer, select, ..., learning_rate_factor, momentum, weight_decay) {
  given <- given_arguments()
  check_optimizer(given)
  check_given(
    given, "select",
    "a layer or model, regular expressions, a list of variables, or a function of a variable"
  )
  given["select"] <- list(without_names(select)) # `NULL` stays an element
  call_python("r.methods.set_group", given)
  invisible(optimizer)
}

#' @rdname set_group
#' @export
set_learning_rate_factor <- function(optimizer, group, factor, ...) {
  given <- known_arguments()
  check_trained_by_ours(given)
  check_given(given, "group", "the number of a group, or the pattern that selects it")
  check_given(given, "factor", "a finite number >= 0, or a learning-rate schedule")
  call_python(
    "r.methods.set_learning_rate_factor",
    list(optimizer = inner_optimizer(optimizer), group = group, factor = factor)
  )
  invisible(optimizer)
}

#' Refuse anything but an optimizer of kerasgd, or Keras' own wrapper around one
#'
#' Under mixed_float16, `model$optimizer` is that wrapper.
#' @noRd
check_trained_by_ours <- function(given, call = rlang::caller_env()) {
  is_wrapper <- inherits(given$optimizer, keras_wrapper) && wraps_ours(given$optimizer)
  if (!is_wrapper) check_optimizer(given, call = call)
}

# Groups in `print()` and `summary()` -------------------------------------------------------------

format_group_count <- function(groups) {
  if (length(groups) > 0) {
    sprintf("groups of variables: %d (`summary()` lists them)", length(groups))
  }
}

format_groups <- function(groups) {
  if (length(groups) > 0) {
    numbered <- sprintf("  %d. %s", seq_along(groups), vapply(groups, format_group, ""))
    c("groups of variables:", numbered)
  }
}

format_group <- function(group) {
  settings <- vapply(group$settings, format_setting, "")
  sprintf(
    "%s: %s", format_selection(group), paste(names(settings), "=", settings, collapse = ", ")
  )
}

#' Describe how a group was selected, and its number of variables if known
#' @noRd
format_selection <- function(group) {
  patterns <- encodeString(as.character(group$patterns), quote = "\"")
  layers <- sprintf("layer `%s`", as.character(group$layers))
  variables <- as.character(group$variables)
  described <- if (length(patterns) > 0) {
    paste(patterns, collapse = ", ")
  } else if (length(layers) > 0) {
    layers
  } else if (!is.null(group[["function"]])) {
    "a function"
  } else if (length(variables) > 1) {
    sprintf("`%s` and %d more", variables[[1]], length(variables) - 1L)
  } else {
    sprintf("`%s`", variables)
  }
  if (length(patterns) == 0 || is.null(group$size)) {
    return(described)
  }
  sprintf("%s (%s)", described, counted(group$size, "variable"))
}

# Groups in `all.equal()` and `expect_equal()` ----------------------------------------------------

compare_groups <- function(target, current, tolerance, call = rlang::caller_env()) {
  ours <- optimizer_description(target, call = call)$groups
  theirs <- optimizer_description(current, call = call)$groups
  if (length(ours) != length(theirs)) {
    return(sprintf("number of groups: %d is not %d", length(ours), length(theirs)))
  }
  unlist(lapply(seq_along(ours), function(i) {
    differences <- compare_group(ours[[i]], theirs[[i]], tolerance)
    if (length(differences) > 0) sprintf("group %d, %s", i, differences)
  }))
}

compare_group <- function(one, other, tolerance) {
  is_same <- identical(
    selection_of_group(one), selection_of_group(other),
    ignore.bytecode = TRUE, ignore.srcref = TRUE
  )
  names <- union(names(one$settings), names(other$settings))
  c(
    if (!is_same) tell_selections_apart(format_selection(one), format_selection(other)),
    unlist(lapply(names, function(name) {
      compare_group_setting(name, one$settings[[name]], other$settings[[name]], tolerance)
    }))
  )
}

tell_selections_apart <- function(one, other) {
  if (one == other) {
    return(sprintf("selected by: two different values, both %s", one))
  }
  sprintf("selected by: %s is not %s", one, other)
}

#' How a group was selected; a layer stands for its variables once it has some
#' @noRd
selection_of_group <- function(group) {
  variables <- as.character(group$variables)
  list(
    patterns = as.character(group$patterns),
    layers = if (length(variables) == 0) as.character(group$layers),
    fn = revealed_function(group[["function"]]),
    variables = variables
  )
}

compare_group_setting <- function(name, one, other, tolerance) {
  if (is.null(one) || is.null(other)) {
    sprintf("`%s`: set in only one of the two", name)
  } else if (!isTRUE(all.equal(one, other, tolerance = tolerance))) {
    sprintf("`%s`: %s", name, tell_apart(one, other, tolerance))
  }
}

#' A group as `waldo::compare()` sees it
#' @noRd
values_of_group <- function(group, call = rlang::caller_env()) {
  c(selection_of_group(group), lapply(group$settings, plain_value, call = call))
}
