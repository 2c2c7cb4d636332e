# The state of the Python installation, and the problems that keep kerasgd from working

backends <- c(tensorflow = "TensorFlow", jax = "JAX", torch = "PyTorch")

# The oldest supported versions (pyproject.toml repeats those of Python and Keras)
oldest <- list(
  python = "3.11", keras = "3.10",
  reticulate_for_numpy_2 = "1.38", reticulate_that_wants_pip = "1.29"
)

keras_requirement <- paste0("keras>=", oldest$keras, ",<4")

advice_to_install <- "Install everything with `install_kerasgd()`, then try again."

#' The versions of R, reticulate, Python, Keras, its backend and NumPy
#'
#' A separate process reports them: this session neither starts Python nor imports Keras.
#' @noRd
environment_facts <- function() {
  facts <- c(
    list(
      r = as.character(getRversion()),
      reticulate = as.character(utils::packageVersion("reticulate")),
      # no name is a prefix of another one: `$` completes names
      version = as.character(utils::packageVersion("kerasgd"))
    ),
    find_python()
  )
  installed <- if (!is.null(facts$python)) ask_python(facts$python)
  facts[names(installed)] <- installed
  facts$backend <- expected_backend(installed)
  facts$chosen <- nzchar(Sys.getenv("KERAS_BACKEND"))
  facts
}

#' Ask a Python about its packages: a named list of strings, empty if this Python cannot run
#' @noRd
ask_python <- function(python) {
  script <- system.file("environment-facts.py", package = "kerasgd")
  lines <- tryCatch(
    without_libraries_of_r(suppressWarnings(
      system2(python, shQuote(script), stdout = TRUE, stderr = FALSE)
    )),
    error = function(error) character()
  )
  fields <- strsplit(grep("\t", lines, value = TRUE), "\t", fixed = TRUE)
  stats::setNames(lapply(fields, `[[`, 2), vapply(fields, `[[`, "", 1))
}

#' Run `code`, which starts Python, with the library path that was set before R started
#'
#' R puts the system's libraries first. A Python from elsewhere (pyenv) would then load the system's
#' libpython, which has another version and lacks modules (such as `ssl`) that were built for its
#' own.
#' @noRd
without_libraries_of_r <- function(code) {
  path <- Sys.getenv("LD_LIBRARY_PATH")
  of_r <- libraries_of_r()
  if (nzchar(of_r) && startsWith(path, of_r)) {
    Sys.setenv(LD_LIBRARY_PATH = sub("^:", "", substring(path, nchar(of_r) + 1)))
    on.exit(Sys.setenv(LD_LIBRARY_PATH = path))
  }
  code
}

#' The path that R's start script puts before the user's `LD_LIBRARY_PATH`; "" without such a script
#' @noRd
libraries_of_r <- function() {
  script <- file.path(R.home("etc"), "ldpaths")
  if (!file.exists(script)) {
    return("")
  }
  print_them <- ". \"$0\"; printf %s \"$R_LD_LIBRARY_PATH\""
  paste(system2("sh", c("-c", shQuote(print_them), shQuote(script)), stdout = TRUE), collapse = "")
}

#' The backend that Keras has loaded or will load: the configured one, unless only others are
#' installed
#' @noRd
expected_backend <- function(installed, loaded = loaded_backend()) {
  if (!is.null(loaded)) {
    return(loaded)
  }
  configured <- installed$configured_backend
  there <- intersect(names(backends), names(installed))
  chosen <- nzchar(Sys.getenv("KERAS_BACKEND"))
  if (chosen || configured %in% there || length(there) == 0) configured else there[[1]]
}

check_environment <- function(facts, call = rlang::caller_env()) {
  # An environment that reticulate has yet to create is checked afterwards
  problems <- if (!facts$managed) environment_problems(facts)
  if (length(problems) > 0) {
    first <- problems[[1]]
    abort_environment(first$problem, first$advice, facts = facts, call = call)
  }
}

#' The problems that keep the package from working here, the gravest first
#'
#' @return A list with a `problem` and its `advice` for each; empty if there is none.
#' @noRd
environment_problems <- function(facts) {
  if (is.null(facts$python_version)) {
    return(list(problem_without_python(facts)))
  }
  problems <- list(
    problem_of_python(facts),
    problem_of_library(facts),
    problem_of_keras(facts),
    problem_of_backend(facts),
    problem_of_numpy(facts)
  )
  Filter(Negate(is.null), problems)
}

problem <- function(problem, advice, started = FALSE) {
  # R can start only one Python in a session: another Python or NumPy needs a new session
  list(problem = problem, advice = c(advice, if (started) "Restart R afterwards."))
}

problem_without_python <- function(facts) {
  what <- if (is.null(facts$python)) {
    paste0("Python was not found", if (!is.null(facts$source)) paste0(": ", facts$source), ".")
  } else {
    sprintf("Python does not run (%s).", facts$python)
  }
  problem(what, advice_to_install)
}

problem_of_python <- function(facts) {
  if (older(facts$python_version, oldest$python)) {
    problem(
      sprintf(
        "Python must be %s or newer, not %s (%s).",
        oldest$python, facts$python_version, facts$python
      ),
      advice_to_install, facts$started
    )
  }
}

problem_of_library <- function(facts) {
  if (!facts$started && identical(facts$shared_library, "FALSE")) {
    problem(
      sprintf("R cannot load this Python, because it has no shared library (%s).", facts$python),
      c(
        "On Debian and Ubuntu, install the package libpython3-dev.",
        "With pyenv, install a Python with `PYTHON_CONFIGURE_OPTS=--enable-shared`."
      )
    )
  }
}

problem_of_keras <- function(facts) {
  if (is.null(facts$keras)) {
    problem(
      sprintf("Keras is not installed for the Python in use (%s).", facts$python),
      advice_to_install, facts$started
    )
  } else if (older(facts$keras, oldest$keras)) {
    problem(
      sprintf("Keras must be %s or newer, not %s (%s).", oldest$keras, facts$keras, facts$python),
      advice_to_install, facts$started
    )
  }
}

problem_of_backend <- function(facts) {
  backend <- facts$backend
  if (!is.null(backend) && !backend %in% names(backends)) {
    return(problem_of_unknown_backend(facts))
  }
  if (!is.null(facts$keras) && backend %in% names(backends) && is.null(facts[[backend]])) {
    problem(
      sprintf(
        "Keras is set to use %s, which is not installed for the Python in use (%s).",
        backends[[backend]], facts$python
      ),
      sprintf("Install it with `install_kerasgd(\"%s\")`.", backend), facts$started
    )
  }
}

problem_of_unknown_backend <- function(facts) {
  where <- if (facts$chosen) "`KERAS_BACKEND`" else "Keras' file `keras.json`"
  nearest <- nearest_name(facts$backend, names(backends))
  problem(
    sprintf(
      "%s names the backend \"%s\"; kerasgd works with \"tensorflow\", \"jax\" and \"torch\".",
      where, facts$backend
    ),
    c(
      if (length(nearest) > 0) sprintf("Did you mean \"%s\"?", nearest[[1]]),
      "Choose a backend with `Sys.setenv(KERAS_BACKEND = )` before Python starts."
    ),
    facts$started
  )
}

problem_of_numpy <- function(facts) {
  if (is.null(facts$numpy) || !reticulate_is_old(facts$reticulate) || older(facts$numpy, "2")) {
    return(NULL)
  }
  problem(
    sprintf(
      "reticulate %s does not work with NumPy %s: arrays do not convert.",
      facts$reticulate, facts$numpy
    ),
    c(
      sprintf("Update reticulate to %s or newer.", oldest$reticulate_for_numpy_2),
      "Or create an environment with an older NumPy: `install_kerasgd()`."
    ),
    facts$started
  )
}

reticulate_is_old <- function(version) older(version, oldest$reticulate_for_numpy_2)

#' Is `version` older than `than`? An unknown version is not.
#' @noRd
older <- function(version, than) {
  number <- numeric_version(sub("^([0-9]+([.][0-9]+)*).*$", "\\1", version), strict = FALSE)
  !is.na(number) && number < than
}
