#' Learning-rate schedules as R objects
#'
#' A learning-rate schedule gives the learning rate of each training step. Create one with the
#' functions listed below, and pass it as the `learning_rate` of [optimizer_sgd()] or of any other
#' Keras optimizer. A schedule cannot be changed; `update()` creates another one.
#'
#' @concept learning rate schedule
#' @concept learning rate decay
#' @concept learning rate scheduler
#' @name learning_rate_schedules
#'
#' @section The rates:
#' `schedule(steps)` returns the rates at `steps`, which are whole numbers >= 0, as a numeric vector
#' in double precision. During training, rates are computed in single precision, unless Keras'
#' `floatx` is `"float64"`. If `steps` is a Python tensor or variable, the result is a tensor.
#'
#' @section Methods:
#' * `print(schedule)` and `format(schedule)` show the formula and the arguments.
#' * `as.character(schedule)` returns one line, such as `cosine_decay(0.1, decay_steps 100)`: the
#'   first argument, and all others that differ from their defaults or have none. `str()`, tibbles
#'   and titles of plots show this line.
#' * `as.list(schedule)` returns the arguments by name.
#' * `all.equal(target, current, tolerance = 1.5e-8)` is `TRUE` if both have the same class and
#'   equal arguments; otherwise it describes the differences.
#' * `as.data.frame(schedule, steps = )` has one row for each of `steps`, with the columns `step`
#'   and `learning_rate`. Without `steps`, it covers the whole schedule with at most 1001 rows.
#' * `update(schedule, alpha = 0.1, ...)` returns a copy of the schedule with these arguments
#'   changed.
#' * `plot()`, `lines()` and `ggplot2::autoplot()` plot one or several schedules: see
#'   [plot_schedules].
#'
#' @section Errors:
#' `kerasgd_argument_error` if `steps` are not whole numbers >= 0, if an argument of `update()` or
#' `as.data.frame()` is invalid, or for an assignment such as `schedule$alpha <- 0.1`;
#' `kerasgd_state_error` for a schedule from `readRDS()` or `load()`, which cannot restore a Python
#' object: recreate it. (Only `print()`, `str()` and `as.character()` still work, and show one line
#' that says so.)
#'
#' @return `format()` returns a character vector, `as.character()` a string, `as.list()` a named
#'   list, `as.data.frame()` a data frame, `update()` a schedule, and `all.equal()` either `TRUE` or
#'   a character vector.
#'
#' @family learning-rate schedules
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_cosine_decay(0.1, decay_steps = 100)
#' schedule
#' schedule(c(0, 50, 100))
#' as.data.frame(schedule, steps = c(0, 50, 100))
#' plot(schedule, steps = 0:200)
#' as.character(schedule)
#' all.equal(schedule, learning_rate_schedule_cosine_decay(0.5, decay_steps = 100))
#'
#' higher_end <- update(schedule, alpha = 0.2)
#' plot(schedule, higher_end)
#'
#' try(schedule(-1))
NULL

# Python class names cannot be used in the names of R functions.

#' @rawNamespace
#' S3method(format, kerasgd.schedules.Schedule, format_schedule)
#' S3method(print, kerasgd.schedules.Schedule, print_schedule)
#' S3method(str, kerasgd.schedules.Schedule, str_object)
#' S3method(as.list, kerasgd.schedules.Schedule, list_arguments)
#' S3method(all.equal, kerasgd.schedules.Schedule, compare_schedules)
#' S3method(stats::update, kerasgd.schedules.Schedule, update_schedule)
#' S3method("$", kerasgd.schedules.Schedule, get_from_schedule)
#' S3method("[[", kerasgd.schedules.Schedule, get_from_schedule)
#' S3method("$<-", kerasgd.schedules.Schedule, refuse_to_change)
#' S3method("[[<-", kerasgd.schedules.Schedule, refuse_to_change)
#' S3method(reticulate::r_to_py, kerasgd.schedules.Schedule, refuse_empty)
#' S3method(waldo::compare_proxy, kerasgd.schedules.Schedule, proxy_of_schedule)
NULL

format_schedule <- function(x, ...) {
  check_live(x)
  arguments <- as.list(x)
  arguments <- arguments[names(arguments) != "name"]
  formula <- paste("rate at step t:", py_get(x, "formula"))
  c(
    sprintf("<%s>", class(x)[[1]]),
    strwrap(formula, width = 88, indent = 2, exdent = 4),
    unlist(Map(format_argument, names(arguments), arguments), use.names = FALSE)
  )
}

format_argument <- function(name, value) {
  if (is_our_schedule(value)) {
    lines <- format(value)
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
  cat(if (is_live_python_object(x)) format(x) else line_for_empty(x), sep = "\n")
  invisible(x)
}

list_arguments <- function(x, ...) {
  check_live(x)
  # Python tuples arrive as lists
  lapply(py_get(x, "settings"), function(value) if (is.list(value)) unlist(value) else value)
}

compare_schedules <- function(target, current, ..., tolerance = sqrt(.Machine$double.eps)) {
  check_live(target)
  if (!identical(class(target)[[1]], class(current)[[1]])) {
    return(sprintf("class: <%s> is not <%s>", class(target)[[1]], class(current)[[1]]))
  }
  check_live(current)
  ours <- as.list(target)
  theirs <- as.list(current)
  call <- environment()
  differences <- unlist(lapply(names(ours), function(name) {
    difference <- compare_argument(ours[[name]], theirs[[name]], tolerance, call = call)
    if (!isTRUE(difference)) sprintf("`%s`: %s", name, difference)
  }))
  if (length(differences) > 0) differences else TRUE
}

compare_argument <- function(one, other, tolerance, call = rlang::caller_env()) {
  is_ours <- is_our_schedule(one)
  # Schedules from Keras and from users: R would compare two functions
  if (!is_ours && is_python_object(one) && is_python_object(other)) {
    pair <- list(one = one, other = other, tolerance = tolerance)
    are_same <- call_python("r.inspection.are_equal", pair, call = call)
    return(if (are_same) TRUE else "the two schedules differ")
  }
  all.equal(one, other, tolerance = tolerance)
}

#' The values that `waldo::compare()` compares; for Keras' own schedules, their configuration
#' @noRd
proxy_of_schedule <- function(x, path = "x") {
  check_live(x)
  list(object = values_of_schedule(x), path = sprintf("as.list(%s)", path))
}

values_of_schedule <- function(x, call = rlang::caller_env()) {
  is_ours <- is_our_schedule(x)
  arguments <- if (is_ours) {
    lapply(as.list(x), plain_value, call = call)
  } else {
    py_get(x, "get_config")()
  }
  c(list(class = class(x)[[1]]), arguments)
}

update_schedule <- function(object, ...) {
  check_live(object)
  changes <- given_arguments()[-1]
  known <- names(as.list(object))
  check_argument_names(setdiff(names(changes), known), known)
  callable_in_r(call_python(
    "r.methods.updated_schedule", list(schedule = object, changes = changes),
    received = changes
  ))
}

get_from_schedule <- function(x, name) {
  rlang::local_error_call(call("$", quote(schedule), as.name(name)))
  check_live(x)
  frame <- environment()
  tryCatch(NextMethod(), error = function(error) {
    ask_again(x, name, "The schedule", names(as.list(x)), call = frame)
  })
}

refuse_to_change <- function(x, name, value) {
  rlang::local_error_call(
    call("<-", call("$", quote(schedule), as.name(name)), substitute(value))
  )
  check_live(x)
  known <- names(as.list(x))
  if (name %in% known) abort_fixed_schedule(name)
  abort_unknown_attribute(
    "The schedule", name, meant_argument(name, known)$name,
    hint = "A learning-rate schedule cannot be changed."
  )
}

rates_to_see <- function(x, steps, call = rlang::caller_env()) {
  check_live(x, call = call)
  steps <- steps %||% steps_to_see(x)
  rates <- rates_at(x, steps, call = call)
  data.frame(step = as.vector(unlist(steps)), learning_rate = rates)
}

#' Steps that cover the whole schedule and a little more
#' @noRd
steps_to_see <- function(x) {
  # Keras' own schedules do not have a length
  span <- if (is_our_schedule(x)) py_get(x, "span") else 1000
  steps_between(0, ceiling(1.1 * span))
}

steps_between <- function(first, last) {
  unique(round(seq(first, last, length.out = min(last - first + 1, 1001))))
}
