# One constructor a condition class. The sentences are R's: the marks in Python's templates become
# R's words, and what was received is described from the R value that the user gave.

abort_kerasgd <- function(message, class = NULL, ..., origin, parent = NULL) {
  rlang::abort(
    message,
    class = c(class, "kerasgd_error"),
    ...,
    call = origin$call,
    .frame = origin$frame,
    parent = parent
  )
}

#' @param fault What is wrong inside a value that cannot be described as a whole.
#' @noRd
abort_argument <- function(argument, requirement, received, hint = NULL, origin,
                           description = describe(received), fault = NULL) {
  requirement <- in_r_words(requirement)
  hint <- in_r_words(hint)
  wrong <- if (is.null(fault)) paste0(", not ", description) else paste0("; ", fault)
  problem <- sprintf("`%s` must be %s%s", argument, requirement, wrong)
  abort_kerasgd(
    c(with_full_stop(problem), i = hint),
    class = "kerasgd_argument_error",
    argument = argument, requirement = requirement, received = received, hint = hint,
    origin = origin
  )
}

abort_unknown_argument <- function(argument, received = NULL, suggestion = NULL, hint = NULL,
                                   origin) {
  hint <- in_r_words(hint)
  abort_kerasgd(
    c(
      sprintf("`%s` is not an argument of `%s()`.", argument, rlang::as_label(origin$call[[1]])),
      i = if (!is.null(suggestion)) sprintf("Did you mean `%s`?", suggestion),
      i = hint
    ),
    class = c("kerasgd_unknown_argument_error", "kerasgd_argument_error"),
    argument = argument, requirement = "left out", received = received, hint = hint,
    suggestion = suggestion,
    origin = origin
  )
}

#' @param what What has no such attribute, as in "The optimizer".
#' @param hint What to do where there is nothing to suggest.
#' @noRd
abort_unknown_attribute <- function(what, name, suggestion, hint = NULL, origin) {
  advice <- if (is.null(suggestion)) hint else sprintf("Did you mean `%s`?", suggestion)
  abort_kerasgd(
    c(sprintf("%s has no `%s`.", what, name), i = advice),
    class = c("kerasgd_unknown_argument_error", "kerasgd_argument_error"),
    argument = name, requirement = "left out", received = NULL, hint = hint,
    suggestion = suggestion,
    origin = origin
  )
}

abort_fixed_argument <- function(argument, origin) {
  abort_kerasgd(
    c(
      sprintf("`%s` of an optimizer cannot be changed; `learning_rate` can.", argument),
      i = sprintf("`update(optimizer, %s = )` makes an optimizer that has another one.", argument)
    ),
    class = "kerasgd_argument_error",
    argument = argument, requirement = "left as it is", received = NULL, hint = NULL,
    origin = origin
  )
}

abort_fixed_schedule <- function(argument, origin) {
  abort_kerasgd(
    c(
      "A learning-rate schedule cannot be changed.",
      i = sprintf("`update(schedule, %s = )` makes one that has another `%1$s`.", argument)
    ),
    class = "kerasgd_argument_error",
    argument = argument, requirement = "left as it is", received = NULL, hint = NULL,
    origin = origin
  )
}

abort_repeated_argument <- function(argument, origin) {
  abort_kerasgd(
    sprintf("`%s` must be given once, not more often.", argument),
    class = "kerasgd_argument_error",
    argument = argument, requirement = "given once", received = NULL, hint = NULL,
    origin = origin
  )
}

abort_missing_argument <- function(argument, requirement, origin) {
  abort_kerasgd(
    sprintf("`%s` must be given: %s.", argument, requirement),
    class = "kerasgd_argument_error",
    argument = argument, requirement = requirement, received = NULL, hint = NULL,
    origin = origin
  )
}

abort_unnamed_argument <- function(received, after, origin) {
  requirement <- "named arguments"
  hint <- sprintf("Write `argument = value` for whatever comes after `%s`.", after)
  abort_kerasgd(
    c(
      sprintf("`...` must be %s, not %s without a name.", requirement, describe(received)),
      i = hint
    ),
    class = "kerasgd_argument_error",
    argument = "...", requirement = requirement, received = received, hint = hint,
    origin = origin
  )
}

abort_forgotten_call <- function(constructor, origin) {
  name <- attr(constructor, "name")
  abort_kerasgd(
    sprintf("`%s` is a function: call it, %s.", name, forgotten_call(constructor)),
    class = "kerasgd_argument_error",
    argument = NULL, requirement = "the value of a call", received = constructor, hint = NULL,
    origin = origin
  )
}

abort_environment <- function(problem, advice, facts, origin, parent = NULL) {
  abort_kerasgd(
    c(problem, stats::setNames(advice, rep("i", length(advice)))),
    class = "kerasgd_environment_error",
    facts = facts, origin = origin, parent = parent
  )
}

#' An error of Python that is not about an argument
#'
#' Its first sentence is ours; all of it is the parent, and the traceback a field. An exception
#' without words is known by its type. State errors are all in our own words, which are said once.
#' @noRd
abort_python <- function(error, exception, origin) {
  if (error$kind == "state") {
    return(abort_state(error, exception, origin))
  }
  words <- if (nzchar(trimws(error$message))) error$message
  original <- structure(
    class = c("kerasgd_python_exception", "error", "condition"),
    list(message = paste(c(error$type, words), collapse = ": "), call = NULL)
  )
  abort_kerasgd(
    first_sentence(words %||% error$type),
    class = "kerasgd_python_error",
    type = error$type, traceback = error$traceback, exception = exception,
    origin = origin, parent = original
  )
}

abort_state <- function(error, exception, origin) {
  problem <- first_sentence(error$message)
  advice <- trimws(substring(trimws(error$message), nchar(problem) + 1))
  abort_kerasgd(
    c(problem, i = if (nzchar(advice)) advice),
    class = c("kerasgd_state_error", "kerasgd_python_error"),
    type = error$type, traceback = error$traceback, exception = exception,
    origin = origin
  )
}

#' Of a Python object that R's own functions saved only the class is left
#' @noRd
abort_earlier_session <- function(x, origin) {
  words <- if (inherits(x, "kerasgd.LossScaleOptimizer")) {
    words_for_empty("This optimizer", "optimizer_loss_scale()", keep_optimizer)
  } else if (is_optimizer(x)) {
    words_for_empty("This optimizer", "optimizer_sgd()", keep_optimizer)
  } else if (is_schedule(x)) {
    words_for_empty("This learning-rate schedule", "learning_rate_schedule_*()")
  } else {
    words_for_empty("This Python object")
  }
  abort_kerasgd(words, class = "kerasgd_state_error", origin = origin)
}

#' What `print()` and `str()` say of such an object, also in a list of others
#' @noRd
line_for_empty <- function(x) {
  maker <- if (inherits(x, "kerasgd.LossScaleOptimizer")) {
    "optimizer_loss_scale()"
  } else if (is_optimizer(x)) {
    "optimizer_sgd()"
  } else {
    "learning_rate_schedule_*()"
  }
  sprintf(
    "<%s> empty: `saveRDS()` and `save()` cannot store it; make it again with `%s`",
    class(x)[[1]], maker
  )
}

keep_optimizer <- "Next time, keep it with `save_optimizer()`, and read it with `load_optimizer()`."

words_for_empty <- function(what, maker = NULL, advice = NULL) {
  c(
    paste(
      what, "is empty: `saveRDS()` and `save()` cannot store Python objects."
    ),
    i = if (!is.null(maker)) sprintf("Recreate it with `%s`.", maker),
    i = advice
  )
}

warn_kerasgd <- function(message, origin) {
  rlang::warn(message, class = "kerasgd_warning", call = origin$call)
}

#' Signal in R what Python reported (`error` of `kerasgd.bridge.Outcome`)
#'
#' @param arguments The R values of the call, by the names that the user gave them.
#' @noRd
signal_python_error <- function(error, exception, arguments, origin) {
  name <- error$argument
  # Of what was given by position, and of what lies inside an argument, Python has the words
  known <- !is.null(name) && name %in% names(arguments)
  switch(error$kind,
    argument = abort_argument(
      name, error$requirement, arguments[[name]], error$hint, origin,
      description = if (known) describe(arguments[[name]]) else error$received,
      fault = fault_of_element(error, arguments[[name]])
    ),
    unknown_argument = abort_unknown_argument(
      name, arguments[[name]], error$suggestion, error$hint, origin
    ),
    abort_python(error, exception, origin)
  )
}

#' Which element of a vector or list Python refused, and why; `NULL` if it was none of these
#' @noRd
fault_of_element <- function(error, values) {
  if (is.null(error$element)) {
    return(NULL)
  }
  known <- is.atomic(values) || is.list(values)
  value <- function(field) {
    index <- as.integer(error[[field]]) + 1L
    if (known && index <= length(values)) {
      describe_element(values[[index]])
    } else {
      error[[paste0(field, "_received")]]
    }
  }
  number <- function(field) as.integer(error[[field]]) + 1L
  if (is.null(error$larger_than)) {
    return(sprintf("element %d is %s", number("element"), value("element")))
  }
  sprintf(
    "element %d (%s) is not larger than element %d (%s)",
    number("element"), value("element"), number("larger_than"), value("larger_than")
  )
}

in_r_words <- function(template) {
  if (is.null(template) || identical(template, "")) {
    return(NULL)
  }
  for (mark in names(r_words)) {
    template <- gsub(mark, r_words[[mark]], template, fixed = TRUE)
  }
  template
}

# Python has them too, for what it raises when it was not called by us, as in `fit()`
r_words <- list(
  "{null}" = "`NULL`", "{true}" = "`TRUE`", "{false}" = "`FALSE`",
  "{sgd}" = "`optimizer_sgd()`", "{rate_callback}" = "`callback_learning_rate_function()`",
  "{update}" = "`update(optimizer, ...)`", "{from_keras}" = "`from_keras_optimizer()`",
  "{function_schedule}" = "`learning_rate_schedule_function()`", "{ceiling}" = "`ceiling()`"
)

#' Unless what the sentence quotes brings one or goes over many lines
#' @noRd
with_full_stop <- function(sentence) {
  if (grepl("[.!?]$|\n", sentence)) sentence else paste0(sentence, ".")
}

first_sentence <- function(text) {
  first_line <- strsplit(trimws(text), "\n", fixed = TRUE)[[1]][1]
  sub("(?<=[^.][.!?])\\s+[A-Z].*$", "", first_line, perl = TRUE)
}
