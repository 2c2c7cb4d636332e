#' Report the Python and Keras installation
#'
#' `kerasgd_sitrep()` shows the versions of R, reticulate, Python, Keras, its backend and NumPy,
#' which Python is used and why, whether the versions work together, and if not, how to fix it.
#' `kerasgd_available()` checks whether [optimizer_sgd()] can work here. Neither starts Python.
#'
#' @section Choice of Python:
#' reticulate chooses the Python. Most users only need [install_kerasgd()]: its environment
#' `r-kerasgd` is found unless another Python is selected by the environment variable
#' `RETICULATE_PYTHON`, by a function such as [reticulate::use_virtualenv()], or by another package
#' that has already started Python. If keras3 is loaded and its environment `r-keras` exists, that
#' environment takes precedence. R can use only one Python in a session.
#'
#' If reticulate 1.41 or newer finds no environment, it creates one with the packages that kerasgd
#' requires, when Python is first used. On Linux this installs PyTorch with CUDA, unless the
#' environment variable `UV_INDEX` names PyTorch's index of CPU builds.
#'
#' @section Choice of backend:
#' Keras uses the backend in the environment variable `KERAS_BACKEND` or in its file `keras.json`,
#' and otherwise TensorFlow. If that backend is not installed but another one is, kerasgd selects
#' the installed one.
#'
#' @return `kerasgd_sitrep()` returns, invisibly, a list of class `kerasgd_sitrep` with a print
#'   method: `version` (of kerasgd), `r`, `reticulate`, `python` (the path), `python_version`,
#'   `source` (the reason for this Python), `started`, `keras`, `tensorflow`, `jax`, `torch`,
#'   `numpy` (versions, each only if installed), `backend`, `fits` (whether the versions work
#'   together), and `problems`, a list with a `problem` and its `advice` for each.
#'   `kerasgd_available()` returns `TRUE` or `FALSE`.
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
  # An environment that reticulate has yet to create cannot be checked
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
    x$python_version %||% "does not run", state, x$python, x$source
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
      "Nothing is installed yet: reticulate installs the packages at first use.",
      "To create a permanent environment, run `install_kerasgd()`."
    )
    return(paste(cli::col_cyan(cli::symbol$info), advice))
  }
  if (x$fits) {
    return(paste(cli::col_green(cli::symbol$tick), "These versions work together."))
  }
  unlist(lapply(x$problems, format_problem))
}

format_problem <- function(problem) {
  c(
    paste(cli::col_red(cli::symbol$cross), problem$problem),
    paste(cli::col_cyan(cli::symbol$info), problem$advice)
  )
}
