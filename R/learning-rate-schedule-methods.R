#' Learning-rate schedules as R objects
#'
#' A learning-rate schedule says which learning rate is used at which step of the training. The
#' functions listed below make one; it is given as `learning_rate` to [optimizer_sgd()] or to any
#' other optimizer of Keras. It cannot be changed.
#'
#' @name learning_rate_schedules
#'
#' @section The rates:
#' `schedule(steps)` gives the rates at `steps`, which are whole numbers >= 0, as a numeric vector,
#' in double precision. During training the rates are computed in single precision, unless Keras'
#' `floatx` is `"float64"`. A Python tensor or variable in place of the numbers gives a tensor.
#'
#' @section Methods:
#' * `print(schedule)` and `format(schedule)` show formula and arguments.
#' * `as.list(schedule)` gives the arguments by name.
#' * `all.equal(target, current, tolerance = 1.5e-8)` is `TRUE` if both have the same class and
#'   equal arguments, and else says in which of them they differ.
#' * `as.data.frame(schedule, steps = )` has a row for each of `steps`, with columns `step` and
#'   `learning_rate`.
#' * `plot(schedule, steps, ...)` draws the rates; further arguments are those of
#'   [graphics::plot.default()]. With the package ggplot2, `ggplot2::autoplot(schedule, steps = )`
#'   does.
#'
#' Without `steps` they are chosen so that the whole of the schedule can be seen, at most 1001.
#'
#' @section Errors:
#' `kerasgd_argument_error` if `steps` are not whole numbers >= 0; `kerasgd_state_error` for a
#' schedule that was read by `readRDS()` or `load()`, which keep nothing of a Python object: make it
#' again.
#'
#' @return `format()` returns a character vector, `as.list()` a named list, `as.data.frame()` a data
#'   frame, `autoplot()` a plot of ggplot2, and `all.equal()` either `TRUE` or a character vector.
#'
#' @family learning-rate schedules
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_cosine_decay(0.1, decay_steps = 100)
#' schedule
#' schedule(c(0, 50, 100))
#' as.data.frame(schedule, steps = c(0, 50, 100))
#' plot(schedule, steps = 0:200)
#' all.equal(schedule, learning_rate_schedule_cosine_decay(0.5, decay_steps = 100))
#'
#' try(schedule(-1))
NULL

# Python's class names are no names for R functions.

#' @rawNamespace
#' S3method(format, kerasgd.schedules.Schedule, format_schedule)
#' S3method(print, kerasgd.schedules.Schedule, print_schedule)
#' S3method(str, kerasgd.schedules.Schedule, str_schedule)
#' S3method(as.list, kerasgd.schedules.Schedule, list_arguments)
#' S3method(all.equal, kerasgd.schedules.Schedule, compare_schedules)
#' S3method(as.data.frame, kerasgd.schedules.Schedule, tabulate_schedule)
#' S3method(plot, kerasgd.schedules.Schedule, plot_schedule)
#' S3method(ggplot2::autoplot, kerasgd.schedules.Schedule, autoplot_schedule)
#' S3method(reticulate::r_to_py, kerasgd.schedules.Schedule, refuse_empty)
NULL

format_schedule <- function(x, ...) {
  check_live(x, origin_of_call("format"))
  arguments <- list_arguments(x)
  arguments <- arguments[names(arguments) != "name"]
  formula <- paste("rate at step t:", py_get(x, "formula"))
  c(
    sprintf("<%s>", class(x)[[1]]),
    strwrap(formula, width = 88, indent = 2, exdent = 4),
    unlist(Map(format_argument, names(arguments), arguments), use.names = FALSE)
  )
}

format_argument <- function(name, value) {
  if (inherits(value, "kerasgd.schedules.Schedule")) {
    lines <- format_schedule(value)
    return(c(sprintf("  %s = %s", name, lines[[1]]), paste0("  ", lines[-1])))
  }
  shown <- if (is.numeric(value)) {
    paste(vapply(utils::head(value, 6), format_setting, ""), collapse = ", ")
  } else {
    format_setting(value)
  }
  more <- if (is.numeric(value) && length(value) > 6) sprintf(", ... (%d)", length(value))
  paste0("  ", name, " = ", shown, more)
}

print_schedule <- function(x, ...) {
  check_live(x, origin_of_call("print"))
  cat(format_schedule(x), sep = "\n")
  invisible(x)
}

str_schedule <- function(object, ...) {
  check_live(object, origin_of_call("str"))
  cat(format_schedule(object), sep = "\n")
}

list_arguments <- function(x, ...) {
  check_live(x, origin_of_call("as.list"))
  # Python's tuples come as lists
  lapply(py_get(x, "settings"), function(value) if (is.list(value)) unlist(value) else value)
}

compare_schedules <- function(target, current, ..., tolerance = sqrt(.Machine$double.eps)) {
  origin <- origin_of_call("all.equal")
  check_live(target, origin)
  if (!identical(class(target)[[1]], class(current)[[1]])) {
    return(sprintf("class: <%s> is not <%s>", class(target)[[1]], class(current)[[1]]))
  }
  check_live(current, origin)
  ours <- list_arguments(target)
  theirs <- list_arguments(current)
  differences <- unlist(lapply(names(ours), function(name) {
    difference <- compare_argument(ours[[name]], theirs[[name]], tolerance, origin)
    if (!isTRUE(difference)) sprintf("`%s`: %s", name, difference)
  }))
  if (length(differences) > 0) differences else TRUE
}

compare_argument <- function(one, other, tolerance, origin) {
  if (inherits(one, "kerasgd.schedules.Schedule")) {
    return(compare_schedules(one, other, tolerance = tolerance))
  }
  # Keras' own and the user's: R sees two functions
  if (is_python_object(one) && is_python_object(other)) {
    pair <- list(one = one, other = other, tolerance = tolerance)
    are_same <- call_python("inspection.same", pair, origin)
    return(if (are_same) TRUE else "two schedules that differ")
  }
  all.equal(one, other, tolerance = tolerance)
}

tabulate_schedule <- function(x, row.names = NULL, # nolint: object_name_linter. The generic's.
                              optional = FALSE, ..., steps = NULL) {
  origin <- origin_of_call("as.data.frame")
  if (is.null(steps) && !is.null(row.names)) {
    abort_argument(
      "row.names", "given together with `steps`", row.names,
      hint = "The second argument is `row.names`: write `steps = `.", origin = origin
    )
  }
  data.frame(rates_to_see(x, steps, origin), row.names = row.names)
}

rates_to_see <- function(x, steps, origin) {
  check_live(x, origin)
  steps <- steps %||% steps_to_see(x)
  data.frame(step = steps, learning_rate = rates_at(x, steps, origin))
}

#' Steps that show all of a schedule, and a little more
#' @noRd
steps_to_see <- function(x) {
  last <- ceiling(1.1 * py_get(x, "span"))
  unique(round(seq(0, last, length.out = min(last + 1, 1001))))
}

plot_schedule <- function(x, y = NULL, ..., steps = y) {
  rates <- rates_to_see(x, steps, origin_of_call("plot"))
  defaults <- list(
    type = "l", lwd = 2, ylim = c(0, max(rates$learning_rate)),
    xlab = "Step", ylab = "Learning rate", main = short_name(x)
  )
  do.call(plot, c(
    list(rates$step, rates$learning_rate), utils::modifyList(defaults, list(...))
  ))
  invisible(x)
}

autoplot_schedule <- function(object, ..., steps = NULL) {
  ggplot2::ggplot(
    rates_to_see(object, steps, origin_of_call("autoplot")),
    ggplot2::aes(.data$step, .data$learning_rate)
  ) +
    ggplot2::geom_line() +
    ggplot2::expand_limits(y = 0) +
    ggplot2::labs(x = "Step", y = "Learning rate", title = short_name(object))
}

utils::globalVariables(".data")

short_name <- function(x) sub("^.*[.]", "", class(x)[[1]])
