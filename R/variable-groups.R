#' Show the settings of each variable
#'
#' `variable_groups()` shows the learning rate, the momentum and the weight decay of each trainable
#' variable, and the groups that it is in. Use it before training to check your groups, for example
#' that a regular expression does not select too much.
#'
#' The learning rate of a variable is \eqn{\eta_f = f \eta}{eta_f = f * eta}, with the learning rate
#' \eqn{\eta}{eta} of the optimizer and the `learning_rate_factor` \eqn{f} of its group, both for
#' the next step; see [set_group()] for the update. `variable_groups()` changes nothing and does not
#' build the optimizer. If a group is selected by a function, it calls that function once for each
#' variable; before the first step, it also calls a learning rate that is a function.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()], also
#'   `model$optimizer`.
#' @param model A Keras model or a layer, which stands for its trainable variables, or a list of
#'   variables. If the optimizer is not built yet, these must be all variables that it will train.
#' @param ... Not used.
#'
#' @return A data frame of class `kerasgd_variable_groups` with one row for each variable:
#'   * `path`: such as `"dense/bias"`; the regular expressions of [set_group()] are matched to it;
#'   * `shape`: such as `"784 x 128"`, or `"scalar"`;
#'   * `parameters`: the number of elements;
#'   * `learning_rate_factor`, `learning_rate`, `momentum` and `weight_decay`: the settings for the
#'     next step;
#'   * `groups`: the numbers of its groups, from 1 in the order of the calls of [set_group()], as a
#'     list of integer vectors.
#'
#'   `print()` abbreviates long paths, and shows `parameters` only as a total.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above, or if a group or an exclusion
#' from weight decay selects no variable; `kerasgd_state_error` if the model has no variables yet,
#' or the optimizer was built with other variables.
#'
#' @seealso [set_group()], [layer_decay()], [exclude_from_weight_decay()]
#' @concept parameter groups
#' @concept layer-wise learning rates
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' base <- keras$layers$Dense(8L, name = "base")
#' head <- keras$layers$Dense(1L, name = "head")
#' model <- keras$Sequential(list(keras$Input(shape = list(3L)), base, head))
#'
#' optimizer <- optimizer_sgd(learning_rate = 0.1, momentum = 0.9, weight_decay = 0.01) |>
#'   set_group(base, learning_rate_factor = 0.1) |>
#'   set_group("bias", weight_decay = NULL)
#' rows <- variable_groups(optimizer, model)
#' rows
#'
#' # The result is a data frame
#' sum(rows$parameters[rows$learning_rate < 0.1])
#'
#' # A pattern that selects nothing is an error before the first step
#' misspelt <- optimizer_sgd() |> set_group("bais", weight_decay = NULL)
#' try(variable_groups(misspelt, model))
variable_groups <- function(optimizer, model, ...) {
  given <- known_arguments()
  check_trained_by_ours(given)
  check_given(given, "model", "a model, a layer, or a list of variables")
  records <- call_python(
    "r.methods.variable_groups",
    list(optimizer = inner_optimizer(optimizer), model = without_names(model)),
    received = given
  )
  column <- function(name) vapply(records, function(record) as.double(record[[name]]), 0)
  shapes <- lapply(records, function(record) as.double(unlist(record$shape)))
  rows <- data.frame(
    path = vapply(records, function(record) record$path, ""),
    shape = vapply(shapes, format_shape, ""),
    parameters = vapply(shapes, prod, 0),
    learning_rate_factor = column("learning_rate_factor"),
    learning_rate = column("learning_rate"),
    momentum = column("momentum"),
    weight_decay = column("weight_decay")
  )
  rows$groups <- lapply(records, function(record) as.integer(unlist(record$groups)) + 1L)
  structure(rows, class = c("kerasgd_variable_groups", "data.frame"))
}

format_shape <- function(shape) {
  if (length(shape) == 0) {
    return("scalar")
  }
  paste(format(shape, scientific = FALSE, trim = TRUE), collapse = " x ")
}

#' @export
format.kerasgd_variable_groups <- function(x, ..., width = getOption("width")) {
  right <- function(name, values) format(c(name, values), justify = "right")
  groups <- format(c("groups", vapply(x$groups, toString, "")))
  others <- paste(
    right("shape", x$shape),
    right("factor", format_rates(x$learning_rate_factor)),
    right("rate", format_rates(x$learning_rate)),
    right("momentum", format_rates(x$momentum)),
    right("decay", format_rates(x$weight_decay)),
    groups,
    sep = "  "
  )
  room <- max(width - nchar(others[[1]]) - 2L, 12L)
  rows <- paste(format(c("path", shortened_path(x$path, room))), others, sep = "  ")
  c(
    sub(" +$", "", rows),
    paste(counted(sum(x$parameters), "parameter"), "in", counted(nrow(x), "variable"))
  )
}


#' Format each number with four significant digits
#' @noRd
format_rates <- function(x) vapply(x, format, "", digits = 4)

#' Abbreviate long paths at their beginning
#' @noRd
shortened_path <- function(path, width) {
  is_long <- nchar(path) > width
  end <- substring(path, nchar(path) - width + 4L)
  ifelse(is_long, paste0("...", end), path)
}

#' @export
print.kerasgd_variable_groups <- function(x, ...) {
  has_all <- all(columns_of_groups %in% names(x))
  if (!has_all || nrow(x) == 0) {
    return(NextMethod())
  }
  cat(format(x, ...), sep = "\n")
  invisible(x)
}

columns_of_groups <- c(
  "path", "shape", "parameters", "learning_rate_factor", "learning_rate", "momentum",
  "weight_decay", "groups"
)
