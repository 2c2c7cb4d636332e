#' What kerasgd finds of Python and Keras
#'
#' `kerasgd_sitrep()` shows R, reticulate, the Python that runs or would be started and why it is
#' this one, Keras, its backend, NumPy, and whether they fit together; if they do not, what to do.
#' `kerasgd_available()` says whether [optimizer_sgd()] can work here. Neither starts Python.
#'
#' @section Which Python:
#' The choice is reticulate's. Most people need no more than [install_kerasgd()], whose environment
#' `r-kerasgd` is found unless another Python is asked for: by the environment variable
#' `RETICULATE_PYTHON`, by [reticulate::use_virtualenv()] and the like, or by a package that
#' started Python before. Where keras3 is loaded, its environment `r-keras` comes first if there is
#' one. R can use one Python in a session.
#'
#' From version 1.41 on, reticulate makes an environment itself when it finds none. kerasgd tells it
#' what is needed, and it does so at the first use. On Linux this brings PyTorch with CUDA, unless
#' the environment variable `UV_INDEX` names PyTorch's index of CPU builds.
#'
#' @section Which backend:
#' Keras uses the backend that the environment variable `KERAS_BACKEND` or its file `keras.json`
#' names, else TensorFlow. Where that one is not installed and another is, kerasgd
#' has Keras use the other.
#'
#' @return `kerasgd_sitrep()` returns, invisibly, a list of class `kerasgd_sitrep` with a print
#'   method: `version` (of kerasgd), `r`, `reticulate`, `python` (the path), `python_version`,
#'   `source` (why this one), `started`, `keras`, `tensorflow`, `jax`, `torch`, `numpy` (versions,
#'   each only if installed), `backend`, `fits` (`TRUE` or `FALSE`), and `problems`, a list of
#'   `problem` and `advice` each. `kerasgd_available()` returns `TRUE` or `FALSE`.
#' @export
#' @examples
#' kerasgd_sitrep()
#'
#' kerasgd_available()
kerasgd_sitrep <- function() {
  report <- judge(environment_facts())
  print(report)
  invisible(report)
}

#' @rdname kerasgd_sitrep
#' @export
kerasgd_available <- function() {
  judge(environment_facts())$fits
}

judge <- function(facts) {
  # An environment that reticulate has yet to make cannot be judged
  facts$problems <- if (!facts$managed) environment_problems(facts)
  facts$fits <- !facts$managed && length(facts$problems) == 0
  structure(facts, class = "kerasgd_sitrep")
}

#' @export
format.kerasgd_sitrep <- function(x, ...) {
  c(
    cli::rule(left = paste("kerasgd", x$version)),
    format_found(x),
    "",
    format_verdict(x)
  )
}

#' @export
print.kerasgd_sitrep <- function(x, ...) {
  cat(format(x, ...), sep = "\n")
  invisible(x)
}

format_found <- function(x) {
  found <- c(
    R = x$r,
    reticulate = x$reticulate,
    Python = format_python(x),
    Keras = x$keras %||% "not found",
    Backend = format_backend(x),
    NumPy = x$numpy %||% "not found"
  )
  paste(format(names(found)), found)
}

format_python <- function(x) {
  if (x$managed) {
    return(x$source)
  }
  if (is.null(x$python)) {
    reason <- if (!is.null(x$source)) sprintf("(%s)", x$source)
    return(paste(c("not found", reason), collapse = " "))
  }
  state <- if (x$started) "running" else "not started yet"
  sprintf(
    "%s, %s: %s (from %s)",
    x$python_version %||% "cannot be run", state, x$python, x$source
  )
}

format_backend <- function(x) {
  if (is.null(x$backend)) {
    return("not found")
  }
  name <- if (x$backend %in% names(backends)) backends[[x$backend]] else x$backend
  paste(name, x[[x$backend]] %||% "(not found)")
}

format_verdict <- function(x) {
  if (x$managed) {
    advice <- c(
      "Nothing is installed yet: that happens at the first use.",
      "An environment that stays is made by `install_kerasgd()`."
    )
    return(paste(cli::col_cyan(cli::symbol$info), advice))
  }
  if (x$fits) {
    return(paste(cli::col_green(cli::symbol$tick), "These fit together."))
  }
  unlist(lapply(x$problems, format_problem))
}

format_problem <- function(problem) {
  c(
    paste(cli::col_red(cli::symbol$cross), problem$problem),
    paste(cli::col_cyan(cli::symbol$info), problem$advice)
  )
}
