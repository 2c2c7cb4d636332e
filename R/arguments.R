# What R can see of a call without Python: which arguments were given, and under which names.
# What their *values* may be is decided in one place, in Python (python/kerasgd/arguments.py).

#' Where a condition comes from: the user's call, its frame (the backtrace ends there), its caller,
#' and the arguments of the function called
#'
#' Where the function came under another name (`FUN` in `lapply()`) or as itself (`do.call(f,
#' ...)`), its own name takes the place, so that the error says which function refused.
#' @noRd
origin_of_call <- function(name) {
  call <- sys.call(sys.parent())
  if (!is_named(call[[1]], name)) {
    call[[1]] <- as.name(name)
  }
  list(
    call = call, frame = parent.frame(), caller = parent.frame(2L),
    signature = formals(sys.function(sys.parent()))
  )
}

is_named <- function(head, name) {
  identical(head, as.name(name)) ||
    rlang::is_call(head, c("::", ":::")) && identical(head[[3]], as.name(name))
}

#' The arguments that the user gave in the call, as a named list
#'
#' An argument that was not given is left out, so that the default in Python holds. Names are
#' checked before any value is looked at.
#' @noRd
given_arguments <- function(origin) {
  frame <- origin$frame
  known <- names(origin$signature)
  check_argument_names(typed_names(origin), setdiff(known, "..."), origin)

  is_given <- function(name) !eval(call("missing", as.name(name)), frame)
  given <- Filter(is_given, setdiff(known, "..."))
  extra <- with_users_call(eval(quote(list(...)), frame), origin)
  check_all_named(extra, after = known[match("...", known) - 1], origin)
  c(with_users_call(mget(given, envir = frame), origin), extra)
}

#' As `given_arguments()`, for a function that has no use for `...`
#' @noRd
known_arguments <- function(origin) {
  given <- given_arguments(origin)
  extra <- setdiff(names(given), names(origin$signature))
  if (length(extra) > 0) {
    abort_unknown_argument(extra[[1]], given[[extra[[1]]]], origin = origin)
  }
  given
}

#' Evaluate what the user wrote for arguments; an error in it is one of the user's call, not of ours
#' @noRd
with_users_call <- function(code, origin) {
  withCallingHandlers(code, error = function(error) {
    if (rlang::is_call(conditionCall(error), c("mget", "eval"))) {
      error$call <- origin$call
      stop(error)
    }
  })
}

#' The argument names as typed, "" where there was none
#'
#' Inside the function R has already completed partial names, so they are read off the call. Matched
#' against a function of `...` alone, the call keeps its names, and a `...` in it is replaced by
#' what the caller's dots hold.
#' @noRd
typed_names <- function(origin) {
  names(match.call(function(...) NULL, origin$call, envir = origin$caller))[-1]
}

check_argument_names <- function(typed, known, origin) {
  typed <- typed[nzchar(typed)]
  for (name in setdiff(typed, known)) {
    meant <- meant_argument(name, known)
    if (!is.null(meant)) {
      abort_unknown_argument(name, suggestion = meant$name, hint = meant$hint, origin = origin)
    }
  }
  if (anyDuplicated(typed)) {
    abort_repeated_argument(typed[[anyDuplicated(typed)]], origin)
  }
}

check_all_named <- function(extra, after, origin) {
  unnamed <- which(rlang::names2(extra) == "")
  if (length(unnamed) > 0) {
    abort_unnamed_argument(extra[[unnamed[[1]]]], after, origin)
  }
}

#' Refuse a call without an argument that has no default
#' @noRd
check_given <- function(given, argument, requirement, origin) {
  if (!argument %in% names(given)) {
    abort_missing_argument(argument, requirement, origin)
  }
}

#' Which argument a wrong name stands for, if any
#'
#' The names that users are known to try come first; then a name that was cut short; then one that
#' is a typing error away. `NULL` for a name like no other: Keras may know it (contract 12.6).
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

#' The known names at most a third of their letters away, whatever the case and the separators
#' @noRd
nearest_name <- function(name, known) {
  plain <- function(x) gsub("[._-]", "", tolower(x))
  distance <- drop(utils::adist(plain(name), plain(known)))
  close_enough <- distance <= nchar(known) / 3
  known[close_enough & distance == min(distance)]
}

# Checks of arguments that Python does not know ----------------------------------------------------

check_choice <- function(x, choices, argument, origin) {
  if (!is_string(x) || !x %in% choices) {
    accepted <- paste0("\"", choices, "\"")
    last <- length(accepted)
    requirement <- paste(paste(accepted[-last], collapse = ", "), "or", accepted[last])
    abort_argument(argument, requirement, x, origin = origin)
  }
}

check_string <- function(x, argument, origin) {
  if (!is_string(x)) {
    abort_argument(argument, "one non-empty string", x, origin = origin)
  }
}

check_file <- function(x, argument, origin, requirement = "the path of an existing file") {
  if (!is_string(x) || !utils::file_test("-f", x)) {
    abort_argument(argument, requirement, x, origin = origin)
  }
}

is_string <- function(x) rlang::is_string(x) && nzchar(x)
