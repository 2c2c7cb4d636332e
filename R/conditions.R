# Constructors, one for each condition class. They translate Python's message templates into R's
# terms, and describe received values as R shows them. `call` is the environment of the function
# that the user called, as in rlang.

abort_kerasgd <- function(message, class = NULL, ..., call = rlang::caller_env(), parent = NULL) {
  rlang::abort(
    message,
    class = c(class, "kerasgd_error"),
    ...,
    call = users_call(call),
    .frame = if (is.environment(call)) call else rlang::caller_env(), # the backtrace ends there
    parent = parent
  )
}

warn_kerasgd <- function(message, call = rlang::caller_env()) {
  rlang::warn(message, class = "kerasgd_warning", call = users_call(call))
}

#' The call that a condition shows
#'
#' If a function runs under another name (`FUN` in `lapply()`) or as a function object (`do.call(f,
#' ...)`), the call shows the function's own name, so that the user sees which function failed.
#' Methods of `$` set their call with `rlang::local_error_call()`, because R's own call shows the
#' object as `*tmp*`.
#'
#' @param call The environment of the function that was called, or a call.
#' @noRd
users_call <- function(call) {
  if (!is.environment(call) || rlang::env_has(call, ".__error_call__.")) {
    return(rlang::error_call(call))
  }
  written <- rlang::frame_call(call)
  fn <- rlang::frame_fn(call)
  is_ours <- identical(topenv(environment(fn)), topenv())
  name <- exported_name(fn) %||% if (is_ours) call$.Generic
  if (!is.null(name) && !is_named(written[[1]], name)) {
    written[[1]] <- as.name(name)
  }
  written
}

is_named <- function(head, name) {
  identical(head, as.name(name)) ||
    rlang::is_call(head, c("::", ":::")) && identical(head[[3]], as.name(name))
}

#' The name under which this package exports a function; `NULL` if it does not
#' @noRd
exported_name <- function(fn) {
  package <- topenv()
  Find(function(name) identical(get(name, package), fn), getNamespaceExports(package))
}

#' @param x The value that was received for the argument `arg`.
#' @param fault The fault inside a value, in place of a description of the whole value.
#' @noRd
abort_argument <- function(x, requirement, hint = NULL, fault = NULL, description = describe(x),
                           arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  requirement <- in_r_words(requirement)
  hint <- in_r_words(hint)
  wrong <- if (is.null(fault)) paste0(", not ", description) else paste0("; ", fault)
  problem <- sprintf("`%s` must be %s%s", arg, requirement, wrong)
  abort_kerasgd(
    c(with_full_stop(problem), i = hint),
    class = "kerasgd_argument_error",
    argument = arg, requirement = requirement, received = x, hint = hint,
    call = call
  )
}

abort_unknown_argument <- function(arg, received = NULL, suggestion = NULL, hint = NULL,
                                   call = rlang::caller_env()) {
  hint <- in_r_words(hint)
  abort_kerasgd(
    c(
      sprintf("`%s` is not an argument of `%s()`.", arg, rlang::as_label(users_call(call)[[1]])),
      i = if (!is.null(suggestion)) sprintf("Did you mean `%s`?", suggestion),
      i = hint
    ),
    class = c("kerasgd_unknown_argument_error", "kerasgd_argument_error"),
    argument = arg, requirement = "left out", received = received, hint = hint,
    suggestion = suggestion,
    call = call
  )
}

#' @param what The subject that has no such attribute, as in "The optimizer".
#' @param hint Advice for the case that there is no suggestion.
#' @noRd
abort_unknown_attribute <- function(what, name, suggestion, hint = NULL,
                                    call = rlang::caller_env()) {
  advice <- if (is.null(suggestion)) hint else sprintf("Did you mean `%s`?", suggestion)
  abort_kerasgd(
    c(sprintf("%s has no `%s`.", what, name), i = advice),
    class = c("kerasgd_unknown_argument_error", "kerasgd_argument_error"),
    argument = name, requirement = "left out", received = NULL, hint = hint,
    suggestion = suggestion,
    call = call
  )
}

abort_fixed_argument <- function(arg, call = rlang::caller_env()) {
  abort_kerasgd(
    c(
      sprintf("`%s` of an optimizer cannot be changed; `learning_rate` can.", arg),
      i = sprintf("Create an optimizer with another `%s`: `update(optimizer, %1$s = )`.", arg)
    ),
    class = "kerasgd_argument_error",
    argument = arg, requirement = "left as it is", received = NULL, hint = NULL,
    call = call
  )
}

abort_fixed_schedule <- function(arg, call = rlang::caller_env()) {
  abort_kerasgd(
    c(
      "A learning-rate schedule cannot be changed.",
      i = sprintf("Create a schedule with another `%s`: `update(schedule, %1$s = )`.", arg)
    ),
    class = "kerasgd_argument_error",
    argument = arg, requirement = "left as it is", received = NULL, hint = NULL,
    call = call
  )
}

abort_repeated_argument <- function(arg, call = rlang::caller_env()) {
  abort_kerasgd(
    sprintf("`%s` must be given only once.", arg),
    class = "kerasgd_argument_error",
    argument = arg, requirement = "given once", received = NULL, hint = NULL,
    call = call
  )
}

abort_missing_argument <- function(arg, requirement, call = rlang::caller_env()) {
  abort_kerasgd(
    sprintf("`%s` must be given: %s.", arg, requirement),
    class = "kerasgd_argument_error",
    argument = arg, requirement = requirement, received = NULL, hint = NULL,
    call = call
  )
}

abort_incomplete_call <- function(error, call = rlang::caller_env()) {
  abort_kerasgd(
    first_sentence(error$message),
    class = "kerasgd_argument_error",
    argument = error$argument, requirement = error$requirement, received = NULL, hint = NULL,
    call = call
  )
}

abort_unnamed_argument <- function(received, after, call = rlang::caller_env()) {
  if (length(after) == 0) {
    abort_superfluous_argument(received, call = call)
  }
  requirement <- "named arguments"
  hint <- sprintf("Write `argument = value` for each argument after `%s`.", after)
  abort_kerasgd(
    c(
      sprintf("`...` must be %s, not %s without a name.", requirement, describe(received)),
      i = hint
    ),
    class = "kerasgd_argument_error",
    argument = "...", requirement = requirement, received = received, hint = hint,
    call = call
  )
}

#' Refuse an argument of a function that has none
#' @noRd
abort_superfluous_argument <- function(received, call = rlang::caller_env()) {
  fn <- rlang::as_label(users_call(call)[[1]])
  abort_kerasgd(
    sprintf("`%s()` has no arguments, but received %s.", fn, describe(received)),
    class = "kerasgd_argument_error",
    argument = "...", requirement = "left out", received = received, hint = NULL,
    call = call
  )
}

abort_forgotten_call <- function(constructor, call = rlang::caller_env()) {
  name <- exported_name(constructor)
  abort_kerasgd(
    sprintf("`%s` is a function, and must be called: %s.", name, forgotten_call(constructor)),
    class = "kerasgd_argument_error",
    argument = NULL, requirement = "the value of a call", received = constructor, hint = NULL,
    call = call
  )
}

abort_environment <- function(problem, advice, facts, parent = NULL, call = rlang::caller_env()) {
  abort_kerasgd(
    c(problem, stats::setNames(advice, rep("i", length(advice)))),
    class = "kerasgd_environment_error",
    facts = facts, parent = parent, call = call
  )
}

#' @param lines The output of the run; the error is in the last line.
#' @noRd
abort_conformance <- function(lines, call = rlang::caller_env()) {
  last <- utils::tail(c("Python printed nothing.", lines), 1)
  abort_kerasgd(
    c("The conformance checks could not run.", i = sub("^.*: error: ", "", last)),
    class = "kerasgd_conformance_error",
    output = lines, call = call
  )
}

#' A Python error that is not about an argument
#'
#' The message is its first sentence; the whole text is the parent condition, and the traceback is a
#' field. An exception without text shows its type. State errors come from kerasgd itself, so they
#' have no parent.
#' @noRd
abort_python <- function(error, exception, call = rlang::caller_env()) {
  if (error$kind == "state") {
    return(abort_state(error, exception, call = call))
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
    parent = original, call = call
  )
}

abort_state <- function(error, exception, call = rlang::caller_env()) {
  problem <- first_sentence(error$message)
  advice <- trimws(substring(trimws(error$message), nchar(problem) + 1))
  abort_kerasgd(
    c(problem, i = if (nzchar(advice)) advice),
    class = c("kerasgd_state_error", "kerasgd_python_error"),
    type = error$type, traceback = error$traceback, exception = exception,
    call = call
  )
}

#' Training stopped because gradients were not finite; `variables` is a data frame
#' @noRd
abort_nonfinite_gradient <- function(error, exception, call = rlang::caller_env()) {
  found <- call_python("r.bridge.nonfinite_gradients", list(exception = exception), call = call)
  problem <- first_sentence(error$message)
  abort_kerasgd(
    c(problem, i = trimws(substring(error$message, nchar(problem) + 1))),
    class = c("kerasgd_nonfinite_gradient_error", "kerasgd_state_error", "kerasgd_python_error"),
    epoch = found$epoch, batch = found$batch, loss = found$loss,
    variables = data.frame(
      path = as.character(found$path),
      nan = as.double(found$nan), infinite = as.double(found$infinite)
    ),
    type = error$type, traceback = error$traceback, exception = exception,
    call = call
  )
}

#' Refuse an object that `saveRDS()` or `save()` stored: only its class is left
#' @noRd
abort_earlier_session <- function(x, call = rlang::caller_env()) {
  what <- if (is_optimizer(x)) {
    "optimizer"
  } else if (is_schedule(x)) {
    "learning-rate schedule"
  } else {
    "Python object"
  }
  maker <- maker_of(x)
  abort_kerasgd(
    c(
      sprintf("This %s is empty: `saveRDS()` and `save()` cannot store Python objects.", what),
      i = if (!is.null(maker)) sprintf("Recreate it with `%s`.", maker),
      i = if (is_optimizer(x)) {
        "Next time, save it with `save_optimizer()` and load it with `load_optimizer()`."
      }
    ),
    class = "kerasgd_state_error", call = call
  )
}

#' The line that `print()` and `str()` show for such an object
#' @noRd
line_for_empty <- function(x) {
  sprintf(
    "<%s> empty: `saveRDS()` and `save()` cannot store it; recreate it with `%s`",
    class(x)[[1]], maker_of(x)
  )
}

#' The function that creates such an object; `NULL` for other Python objects
#' @noRd
maker_of <- function(x) {
  if (inherits(x, "kerasgd.LossScaleOptimizer")) {
    "optimizer_loss_scale()"
  } else if (is_optimizer(x)) {
    "optimizer_sgd()"
  } else if (is_schedule(x)) {
    "learning_rate_schedule_*()"
  } else if (inherits(x, "kerasgd.callbacks.Statistics")) {
    "callback_statistics()"
  }
}

#' Signal an error that Python reported (`error` of `kerasgd.r.bridge.Outcome`)
#'
#' @param arguments The R values of the call, under the names that the user gave them.
#' @noRd
signal_python_error <- function(error, exception, arguments, call = rlang::caller_env()) {
  name <- error$argument
  received <- if (!is.null(name)) arguments[[name]]
  switch(error$kind,
    argument = abort_argument(
      received, error$requirement, error$hint,
      fault = fault_of_element(error, received),
      # Python describes values without a name, and values inside an argument
      description = if (name %in% names(arguments)) describe(received) else error$received,
      arg = name, call = call
    ),
    unknown_argument = abort_unknown_argument(
      name, received, error$suggestion, error$hint,
      call = call
    ),
    incomplete_call = abort_incomplete_call(error, call = call),
    nonfinite_gradient = abort_nonfinite_gradient(error, exception, call = call),
    abort_python(error, exception, call = call)
  )
}

#' The element of a vector or list that Python refused, and the reason; `NULL` for other values
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

# Python uses them too (`errors.speak()`), for errors inside `fit()`
r_words <- list(
  "{null}" = "`NULL`", "{true}" = "`TRUE`", "{false}" = "`FALSE`",
  "{sgd}" = "`optimizer_sgd()`", "{rate_callback}" = "`callback_learning_rate_function()`",
  "{update}" = "`update(optimizer, ...)`", "{from_keras}" = "`from_keras_optimizer()`",
  "{function_schedule}" = "`learning_rate_schedule_function()`", "{ceiling}" = "`ceiling()`",
  "{statistics_callback}" = "`callback_statistics()`",
  "{stop_callback}" = "`callback_stop_on_nonfinite()`",
  "{list_of_callbacks}" = "`callbacks = list(callback)`",
  "{track_statistics}" = "`track_statistics(optimizer)`",
  "{skip_nonfinite}" = "`skip_nonfinite(optimizer)`",
  "{first}" = "1"
)

#' Add a full stop, unless the sentence ends with a quotation that has one or spans several lines
#' @noRd
with_full_stop <- function(sentence) {
  if (grepl("[.!?]$|\n", sentence)) sentence else paste0(sentence, ".")
}

first_sentence <- function(text) {
  first_line <- strsplit(trimws(text), "\n", fixed = TRUE)[[1]][1]
  sub("(?<=[^.][.!?])\\s+[A-Z].*$", "", first_line, perl = TRUE)
}
