#' Check an optimizer against the documentation of SGD
#'
#' `sgd_conformance()` checks whether an optimizer class, kerasgd's or another, does what the
#' documentation of [optimizer_sgd()] says. The documentation is split into numbered clauses, and
#' each clause has checks that compare the optimizer with a NumPy reference or with a closed form.
#' On the command line, `python -m kerasgd.conformance` does the same.
#'
#' Groups of variables (section 14), statistics (15) and skipped updates (16) go beyond the
#' documentation of Keras. A class that lacks the method of such a section (`set_group()`,
#' `track_statistics()`, `skip_nonfinite()`) does not claim its clauses: their status is `"not
#' claimed"`, which is not a failure.
#'
#' The checks run in a separate Python process, because the devices for some checks must be
#' configured before TensorFlow starts. They take some minutes. An interactive session shows the
#' number of completed clauses, and you can interrupt it.
#'
#' @param subject The class to check, as `"module:Class"`. `"keras.optimizers:SGD"` is Keras' own.
#' @param clause A section such as `"5"`, one clause such as `"5.2"`, or `NULL` for all.
#' @param ... Not used.
#' @param backend The backend of Keras: `"tensorflow"`, `"jax"`, `"torch"`, or `NULL` for the one
#'   that [kerasgd_sitrep()] shows.
#' @param python_for Paths of other Pythons, named by their backends, such as `c(jax =
#'   "/path/to/python")`. They are used to check whether a file from one backend can be trained on
#'   another (clause 9.2). `NULL` omits these checks.
#'
#' @return A data frame of class `sgd_conformance` with one row for each clause: `clause` (its
#'   number), `sentence` (a summary), `status` (`"holds"`, `"fails"`, `"not tested here"` or `"not
#'   claimed"`), and for the first check that failed `where`, `expected`, `actual` and `deviations`
#'   (the known deviations of Keras from its documentation that explain the failure, by their
#'   numbers in `vignette("differences")`). The attributes `subject` and `backend` record what was
#'   checked.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above, `kerasgd_environment_error` if
#' Python or Keras is missing, `kerasgd_conformance_error` if there is no such class or clause, or
#' the run failed.
#'
#' @source
#' The documentation of [`keras.optimizers.SGD`](https://keras.io/api/optimizers/sgd/).
#'
#' @export
#' @examplesIf kerasgd_available()
#' sgd_conformance(clause = "1")
#'
#' stock <- sgd_conformance("keras.optimizers:SGD", clause = "4.1")
#' stock[c("clause", "status", "expected", "actual")]
sgd_conformance <- function(subject = "kerasgd:SGD",
                            clause = NULL,
                            ...,
                            backend = NULL,
                            python_for = NULL) {
  known_arguments()
  if (!is_string(subject)) {
    abort_argument(subject, "the name of a Python class, such as \"keras.optimizers:SGD\"")
  }
  if (!is.null(clause)) clause <- check_clause(clause)
  if (!is.null(backend)) check_choice(backend, names(backends))
  if (!is.null(python_for)) check_pythons(python_for)

  facts <- environment_facts()
  if (!is.null(backend)) facts$backend <- backend
  check_environment(facts)
  results <- run_conformance(facts, subject, clause, python_for)
  new_sgd_conformance(results, subject, facts$backend)
}

check_clause <- function(x, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  force(arg) # before `x` changes
  if (rlang::is_scalar_double(x) || rlang::is_scalar_integer(x)) {
    x <- format(x)
  }
  if (!is_string(x)) {
    requirement <- "a section or clause such as \"5\" or \"5.2\", or {null}"
    abort_argument(x, requirement, arg = arg, call = call)
  }
  x
}

check_pythons <- function(x, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  named <- is.character(x) && length(x) > 0 && all(rlang::names2(x) %in% names(backends))
  if (!named || !all(file.exists(x))) {
    requirement <- "paths of Pythons, named by their backends, or {null}"
    abort_argument(x, requirement, arg = arg, call = call)
  }
}

#' Run the command and read its output
#' @noRd
run_conformance <- function(facts, subject, clause, python_for, call = rlang::caller_env()) {
  written <- tempfile(fileext = ".json")
  said <- tempfile()
  on.exit(unlink(c(written, said)))
  arguments <- c(
    "-m", "kerasgd.conformance", "--json", shQuote(written), "--subject", shQuote(subject),
    if (!is.null(clause)) c("--clause", shQuote(clause)),
    vapply(names(python_for), function(name) {
      paste("--python-for", shQuote(paste0(name, "=", python_for[[name]])))
    }, "")
  )
  command <- paste(c(shQuote(facts$python), arguments, "2>", shQuote(said)), collapse = " ")
  variables <- c(
    PYTHONPATH = system.file("python", package = "kerasgd"),
    KERAS_BACKEND = facts$backend, TF_CPP_MIN_LOG_LEVEL = "3"
  )
  show <- progress_bar(sprintf("Checking %s", subject))
  without_libraries_of_r(with_variables(variables, count_lines(command, show)))
  if (!file.exists(written)) {
    abort_conformance(readLines(said, warn = FALSE), call = call)
  }
  jsonlite::read_json(written)
}

#' Run a command that writes one line for each completed piece of work; an interrupt of R ends it
#' @noRd
count_lines <- function(command, show) {
  connection <- pipe(command, "r")
  on.exit(suppressWarnings(close(connection))) # it warns about a nonzero status
  done <- 0
  while (length(readLines(connection, 1)) > 0) {
    done <- done + 1
    show(done, NA)
  }
}

#' Run `code` with these environment variables
#' @noRd
with_variables <- function(variables, code) {
  old <- Sys.getenv(names(variables), NA, names = TRUE)
  on.exit({
    Sys.unsetenv(names(old)[is.na(old)])
    if (any(!is.na(old))) do.call(Sys.setenv, as.list(old[!is.na(old)]))
  })
  do.call(Sys.setenv, as.list(variables))
  code
}

new_sgd_conformance <- function(records, subject, backend) {
  field <- function(name) {
    vapply(records, function(record) paste(record[[name]], collapse = ", "), "")
  }
  columns <- c("clause", "sentence", "status", "where", "expected", "actual", "deviations")
  structure(
    as.data.frame(lapply(stats::setNames(columns, columns), field)),
    class = c("sgd_conformance", "data.frame"),
    subject = subject,
    backend = backend
  )
}

#' @export
format.sgd_conformance <- function(x, ...) {
  c(
    cli::rule(left = sprintf("%s on %s", attr(x, "subject"), backends[[attr(x, "backend")]])),
    unlist(lapply(seq_len(nrow(x)), function(i) format_clause(as.list(x[i, ])))),
    "",
    format_sum(x$status)
  )
}

# The statuses that neither hold nor fail, and do not count
statuses_aside <- c("not tested here", "not claimed")

format_sum <- function(status) {
  held <- sprintf(
    "%d of %d clauses hold", sum(status == "holds"), sum(!status %in% statuses_aside)
  )
  aside <- table(factor(status, statuses_aside))
  aside <- aside[aside > 0]
  if (length(aside) == 0) {
    return(held)
  }
  sprintf("%s (%s)", held, paste(aside, names(aside), collapse = ", "))
}

#' @export
print.sgd_conformance <- function(x, ...) {
  # A subset of the columns is a plain data frame
  if (!all(c("clause", "sentence", "status") %in% names(x)) || is.null(attr(x, "subject"))) {
    return(NextMethod())
  }
  cat(format(x, ...), sep = "\n")
  invisible(x)
}

format_clause <- function(record) {
  mark <- switch(record$status,
    holds = cli::col_green(cli::symbol$tick),
    fails = cli::col_red(cli::symbol$cross),
    cli::col_cyan(cli::symbol$info)
  )
  line <- paste(mark, format(record$clause, width = 5), record$sentence)
  if (record$status == "holds") {
    return(line)
  }
  if (record$status %in% statuses_aside) {
    return(c(line, sprintf("        %s: %s", record$status, record$actual)))
  }
  c(
    if (nzchar(record$deviations)) sprintf("%s (%s)", line, record$deviations) else line,
    sprintf("        %s", record$where),
    sprintf("        expected %s", record$expected),
    sprintf("        actual   %s", record$actual)
  )
}
