# Only R knows which arguments the user gave, and under which names, so the names are checked here.
# Python checks the values that it receives (python/kerasgd/arguments.py); the checks at the end of
# this file are for all other values.

#' The arguments that the user gave in the call, as a named list
#'
#' Arguments that were not given are left out, so that Python's defaults apply. Names are checked
#' before any value is evaluated.
#'
#' @param call As everywhere in this package and in rlang: the environment of the function that the
#'   user called. Errors name its call.
#' @noRd
given_arguments <- function(call = rlang::caller_env()) {
  signature <- names(formals(rlang::frame_fn(call)))
  known <- setdiff(signature, "...")
  check_argument_names(typed_names(call), known, call = call)

  is_given <- function(name) !eval(as.call(list(quote(missing), as.name(name))), call)
  given <- Filter(is_given, known)
  extra <- with_users_call(eval(quote(list(...)), call), call)
  check_all_named(extra, after = signature[match("...", signature) - 1], call = call)
  c(with_users_call(mget(given, envir = call), call), extra)
}

#' Like `given_arguments()`, for a function that does not use `...`
#' @noRd
known_arguments <- function(call = rlang::caller_env()) {
  given <- given_arguments(call)
  extra <- setdiff(names(given), names(formals(rlang::frame_fn(call))))
  if (length(extra) > 0) {
    abort_unknown_argument(extra[[1]], given[[extra[[1]]]], call = call)
  }
  given
}

#' Evaluate the user's arguments; an error in them names the user's call, not a function of this
#' package
#' @noRd
with_users_call <- function(code, call) {
  withCallingHandlers(code, error = function(error) {
    if (rlang::is_call(conditionCall(error), c("mget", "eval"))) {
      error$call <- users_call(call)
      stop(error)
    }
  })
}

#' The argument names as typed; "" for unnamed arguments
#'
#' Inside the function, R has already completed partial names, so the names are read from the call.
#' `match.call()` with a function of `...` alone keeps these names, and replaces a `...` in the call
#' by the contents of the caller's dots.
#' @noRd
typed_names <- function(call) {
  caller <- rlang::eval_bare(quote(parent.frame()), call)
  names(match.call(function(...) NULL, rlang::frame_call(call), envir = caller))[-1]
}

check_argument_names <- function(typed, known, call = rlang::caller_env()) {
  typed <- typed[nzchar(typed)]
  for (name in setdiff(typed, known)) {
    meant <- meant_argument(name, known)
    if (!is.null(meant)) {
      abort_unknown_argument(name, suggestion = meant$name, hint = meant$hint, call = call)
    }
  }
  if (anyDuplicated(typed)) {
    abort_repeated_argument(typed[[anyDuplicated(typed)]], call = call)
  }
}

check_all_named <- function(extra, after, call = rlang::caller_env()) {
  unnamed <- which(rlang::names2(extra) == "")
  if (length(unnamed) > 0) {
    abort_unnamed_argument(extra[[unnamed[[1]]]], after, call = call)
  }
}

#' Refuse a call without an argument that has no default
#' @noRd
check_given <- function(given, arg, requirement, call = rlang::caller_env()) {
  if (!arg %in% names(given)) {
    abort_missing_argument(arg, requirement, call = call)
  }
}

#' Find the argument that a wrong name stands for
#'
#' The search tries known wrong names, then abbreviated names, then names that are one typing error
#' away. It returns `NULL` for any other name: Keras may know it (contract 12.6).
#'
#' Python has its own search (`kerasgd.arguments.suggest()`), for Python users and for names that
#' pass this one. R cannot call it: a misspelt name is an error before Python starts, and also where
#' Python is not installed. Both searches read the same file of known wrong names.
#' @noRd
meant_argument <- function(name, known) {
  hints <- argument_hints()
  rows <- which(hints$misspelt == tolower(name) & hints$meant %in% known)
  if (length(rows) > 0) {
    return(list(name = hints$meant[[rows[[1]]]], hint = hints$hint[[rows[[1]]]]))
  }
  cut_short <- known[startsWith(known, name)]
  if (length(cut_short) > 0) {
    return(list(name = cut_short[[1]], hint = "Argument names must be written in full."))
  }
  nearest <- nearest_name(name, known)
  if (length(nearest) > 0) list(name = nearest[[1]], hint = NULL)
}

argument_hints <- function() {
  file <- system.file("python", "kerasgd", "argument-hints.csv", package = "kerasgd")
  utils::read.csv(file, colClasses = "character", na.strings = character())
}

#' The known names closest to a name, within an edit distance of a third of their length
#'
#' Case and separators are ignored.
#' @noRd
nearest_name <- function(name, known) {
  if (length(known) == 0) {
    return(character())
  }
  plain <- function(x) gsub("[._-]", "", tolower(x))
  distance <- drop(utils::adist(plain(name), plain(known)))
  close_enough <- distance <= nchar(known) / 3
  known[close_enough & distance == min(distance)]
}

# Checks of arguments that are not passed to Python ------------------------------------------------

check_choice <- function(x, choices, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (!is_string(x) || !x %in% choices) {
    accepted <- paste0("\"", choices, "\"")
    last <- length(accepted)
    requirement <- paste(paste(accepted[-last], collapse = ", "), "or", accepted[last])
    abort_argument(x, requirement, arg = arg, call = call)
  }
}

check_string <- function(x, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (!is_string(x)) {
    abort_argument(x, "one non-empty string", arg = arg, call = call)
  }
}

check_file <- function(x, requirement = "the path of an existing file", arg = rlang::caller_arg(x),
                       call = rlang::caller_env()) {
  if (!is_string(x) || !utils::file_test("-f", x)) {
    abort_argument(x, requirement, arg = arg, call = call)
  }
}

is_string <- function(x) rlang::is_string(x) && nzchar(x)
