# Python from R: calling it, finding and starting it, converting values. (setup.R creates
# environments; other files read attributes of Python objects directly.)

session <- new.env(parent = emptyenv())

# Calling -----------------------------------------------------------------------------------------

#' Call a function of the Python package kerasgd
#'
#' @param name The name of the function in Python, as in `callbacks.LearningRateFunction`.
#' @param arguments A named list of R values.
#' @param received The R values that errors describe, under the names of the user's arguments.
#' @noRd
call_python <- function(name, arguments, received = arguments, call = rlang::caller_env()) {
  force(arguments) # R's own checks run before Python starts
  fn <- python_function(name, call = call)
  call_python_function(fn, lapply(arguments, as_python), received, call = call)
}

#' A function of the Python package kerasgd, looked up once because that takes long
#' @noRd
python_function <- function(name, call = rlang::caller_env()) {
  kerasgd <- python_package(call = call)
  if (is.null(session$functions[[name]])) {
    path <- strsplit(name, ".", fixed = TRUE)[[1]]
    session$functions[[name]] <- Reduce(reticulate::py_get_attr, path, kerasgd)
  }
  session$functions[[name]]
}

#' Call any Python function or method, with arguments as reticulate converts them
#'
#' No exception passes through reticulate: `kerasgd.r.bridge` returns errors and warnings as data.
#' @noRd
call_python_function <- function(fn, arguments, received = arguments, call = rlang::caller_env()) {
  python_package(call = call) # before `arguments` are evaluated: `as_python()` needs it
  outcome <- do.call(session$bridge_call, c(list(fn), arguments), quote = TRUE)
  value_of_outcome(outcome, received, call = call)
}

#' Set an attribute of a Python object
#' @noRd
set_attribute <- function(x, name, value, received, call = rlang::caller_env()) {
  python_package(call = call)
  outcome <- session$bridge_set(x, name, as_python(value))
  value_of_outcome(outcome, received, call = call)
}

#' The value of a call of `kerasgd.r.bridge`, after its warnings; its error is signalled
#' @noRd
value_of_outcome <- function(outcome, received, call = rlang::caller_env()) {
  if (!inherits(outcome, "kerasgd.r.bridge.Outcome")) {
    return(outcome)
  }
  for (warning in outcome$warnings) {
    warn_kerasgd(warning, call = call)
  }
  if (!is.null(outcome$error)) {
    signal_python_error(outcome$error, outcome$exception, received, call = call)
  }
  outcome$value
}

#' The Python package kerasgd; the first use starts Python
#' @noRd
python_package <- function(call = rlang::caller_env()) {
  if (is.null(session$kerasgd)) {
    start_python(call = call)
    session$kerasgd <- import_package(call = call)
    session$functions <- list()
    session$bridge_call <- session$kerasgd$r$bridge$call # looked up once: it takes a while
    session$bridge_set <- session$kerasgd$r$bridge$set_attribute
  }
  session$kerasgd
}

#' Register our classes as soon as Keras is imported, by whatever code
#'
#' `load_model()` finds only registered classes.
#' @noRd
follow_keras <- function() {
  startup <- system.file("startup", package = "kerasgd")
  module <- reticulate::import_from_path("kerasgd_with_keras", startup, delay_load = FALSE)
  module$follow(system.file("python", package = "kerasgd"))
}

import_package <- function(call = rlang::caller_env()) {
  path <- system.file("python", package = "kerasgd")
  tryCatch(
    {
      # modules become attributes of the package once they are imported
      modules <- c("bridge", "inspection", "methods", "statistics", "tools", "transfer")
      for (module in paste0("r.", modules)) {
        reticulate::import_from_path(
          paste0("kerasgd.", module),
          path = path, delay_load = FALSE
        )
      }
      kerasgd <- reticulate::import_from_path("kerasgd", path = path, delay_load = FALSE)
      kerasgd$errors$speak(r_words)
      kerasgd
    },
    error = function(error) {
      facts <- environment_facts()
      abort_environment(
        sprintf("Python could not load Keras (%s).", facts$python),
        "See `kerasgd_sitrep()`.",
        facts = facts, parent = error, call = call
      )
    }
  )
}

# Finding and starting Python ---------------------------------------------------------------------

#' Make reticulate look for our environment, unless another is named
#'
#' A delayed import does not start Python. If Python is running, the import would not be delayed.
#' @noRd
prefer_our_environment <- function() {
  if (!reticulate::py_available(initialize = FALSE)) {
    reticulate::import("keras", delay_load = list(environment = our_environment))
  }
}

our_environment <- "r-kerasgd"

#' Declare the packages that reticulate should install if it creates an environment itself (from
#' 1.41 on)
#'
#' Only before Python starts: afterwards, reticulate would install at once, or warn. A backend is
#' declared only if nothing else chooses one: keras3 does, and an existing environment has its own,
#' which reticulate (from 1.44 on) would compare with ours.
#' @noRd
declare_python_requirements <- function() {
  if (!reticulate_makes_environments() || reticulate::py_available(initialize = FALSE)) {
    return(invisible())
  }
  py_require <- getExportedValue("reticulate", "py_require")
  py_require(keras_requirement, python_version = paste0(">=", oldest$python))
  backend <- Sys.getenv("KERAS_BACKEND", "tensorflow")
  if (!isNamespaceLoaded("keras3") && !is_environment_named() && backend %in% names(backends)) {
    py_require(backend_requirement(backend, gpu = has_nvidia_device()))
  }
}

reticulate_makes_environments <- function() {
  "py_require" %in% getNamespaceExports("reticulate")
}

#' Did the user select a Python, or does our environment exist? (This starts no search.)
#' @noRd
is_environment_named <- function() {
  named <- Sys.getenv(c("RETICULATE_PYTHON", "RETICULATE_PYTHON_ENV", "VIRTUAL_ENV"))
  any(nzchar(named) & named != "managed") || reticulate::virtualenv_exists(our_environment)
}

#' Start Python, if it has all required packages
#'
#' A separate process checks first, because R can start only one Python in a session.
#' @noRd
start_python <- function(call = rlang::caller_env()) {
  facts <- environment_facts()
  check_environment(facts, call = call)
  choose_backend(facts)
  tryCatch(
    reticulate::py_config(),
    error = function(error) {
      abort_environment(
        "Python could not be started.", advice_to_install,
        facts = facts, parent = error, call = call
      )
    }
  )
  # A different Python runs: another package chose it, or reticulate has just created it
  if (!identical(facts$python, running_python())) {
    facts <- environment_facts()
    check_environment(facts, call = call)
    choose_backend(facts)
  }
}

running_python <- function() {
  if (reticulate::py_available(initialize = FALSE)) reticulate::py_config()$python
}

#' The Python that is running, or that reticulate would start now, and the reason for this choice
#'
#' @return A list of `python` (a path, or `NULL` for none), `source` (the reason in words),
#'   `started`, and `managed`: whether reticulate will create its own environment instead.
#' @noRd
find_python <- function() {
  of_reticulate <- "an environment that reticulate creates at first use"
  started <- reticulate::py_available(initialize = FALSE)
  config <- if (started) reticulate::py_config() else discover_python()
  managed <- !started && is_managed(config)
  list(
    python = if (!managed) config$python,
    source = if (managed) of_reticulate else source_of(config),
    started = started,
    managed = managed
  )
}

discover_python <- function() {
  # The search must not offer to install Miniconda, nor create an environment
  quietly <- c(RETICULATE_MINICONDA_ENABLED = "FALSE", RETICULATE_USE_MANAGED_VENV = "false")
  quietly <- quietly[is.na(Sys.getenv(names(quietly), NA))]
  if (length(quietly) > 0) {
    do.call(Sys.setenv, as.list(quietly))
    on.exit(Sys.unsetenv(names(quietly)))
  }
  # reticulate runs Pythons inside try(), which prints their failures
  old <- options(show.error.messages = FALSE)
  on.exit(options(old), add = TRUE)
  found <- tryCatch(
    suppressWarnings(
      # Without arguments, newer versions search in the same way as when they start Python: first
      # keras3's environment, then ours, from the delayed imports. Older versions must be given
      # ours.
      if (reticulate_makes_environments()) {
        reticulate::py_discover_config()
      } else {
        reticulate::py_discover_config("keras", our_environment)
      }
    ),
    error = function(error) list(forced = sub("[.]$", "", first_sentence(conditionMessage(error))))
  )
  if (is.list(found)) found
}

#' Does reticulate (from 1.41 on) create an environment, because the user named no Python?
#' @noRd
is_managed <- function(config) {
  wanted <- tolower(Sys.getenv("RETICULATE_USE_MANAGED_VENV"))
  named <- !is.null(config$forced) || !is.null(environment_name(config$python))
  reticulate_makes_environments() &&
    !wanted %in% c("false", "0", "no") &&
    (!named || identical(Sys.getenv("RETICULATE_PYTHON"), "managed"))
}

source_of <- function(config) {
  environment <- environment_name(config$python)
  if (is.null(config)) {
    NULL
  } else if (!is.null(environment)) {
    sprintf("the virtual environment '%s'", environment)
  } else if (is.null(config$forced)) {
    "the search path"
  } else {
    config$forced
  }
}

#' The name of the virtual environment of a Python, if it is one of reticulate's
#' @noRd
environment_name <- function(python) {
  if (is.null(python)) {
    return(NULL)
  }
  folder <- dirname(dirname(python))
  home <- normalizePath(reticulate::virtualenv_root(), mustWork = FALSE)
  if (normalizePath(dirname(folder), mustWork = FALSE) == home) basename(folder)
}

#' The backend that Keras uses in this session, once it has been loaded
#' @noRd
loaded_backend <- function() {
  if (!reticulate::py_available(initialize = FALSE)) {
    return(NULL)
  }
  loaded <- "keras" %in% names(reticulate::import("sys")$modules)
  if (loaded) reticulate::import("keras")$backend$backend()
}

#' Make Keras use an installed backend, if its default backend is not installed
#'
#' Keras uses TensorFlow by default, even in an environment for JAX or PyTorch. A choice made with
#' `KERAS_BACKEND` is kept.
#' @noRd
choose_backend <- function(facts) {
  if (is.null(facts$backend) || facts$chosen || !is.null(loaded_backend())) {
    return(invisible())
  }
  Sys.setenv(KERAS_BACKEND = facts$backend)
  if (facts$started) {
    reticulate::import("os")$environ$update(list(KERAS_BACKEND = facts$backend))
  }
}

choose_backend_at_start <- function() {
  if (!nzchar(Sys.getenv("KERAS_BACKEND"))) {
    choose_backend(environment_facts())
  }
}

# Converting --------------------------------------------------------------------------------------

#' Convert an R value for Python
#'
#' Values that Python can represent arrive exactly. Values that would arrive as something else (`NA`
#' as `True`), or not at all, become `kerasgd.errors.Described`. Argument rules refuse it with the
#' description that R gives here.
#' @noRd
as_python <- function(x) {
  if (is.null(x) || is_live_python_object(x)) {
    x
  } else if (is_python_object(x)) {
    unrepresentable(x, "`saveRDS()` and `save()` cannot store Python objects; recreate it.")
  } else if (is_constructor(x)) {
    unrepresentable(x, sprintf("Call it: %s.", forgotten_call(x)))
  } else if (is.function(x)) {
    foreign_function(x)
  } else if (is.object(x) || isS4(x)) {
    unrepresentable(x)
  } else if (is.atomic(x)) {
    vector_as_python(x)
  } else if (is.list(x)) {
    list_as_python(x)
  } else {
    unrepresentable(x)
  }
}

#' Remove the names that the user gave to a list of variables
#'
#' Python would receive a list with names as a dict.
#' @noRd
without_names <- function(x) {
  if (rlang::is_bare_list(x)) unname(x) else x
}

vector_as_python <- function(x) {
  if (is.complex(x) || is.raw(x)) {
    return(unrepresentable(x))
  }
  if (is_any_na(x)) {
    # convert elements one by one, so that a rule can name the element that it refuses
    return(if (length(x) == 1) unrepresentable(x) else list_as_python(as.list(as.vector(x))))
  }
  plain <- as.vector(x)
  names(plain) <- NULL
  if (is.character(plain)) {
    plain <- enc2utf8(plain)
  }
  if (length(plain) == 1) plain else reticulate::r_to_py(as.list(plain))
}

#' Does `x` contain `NA`? `NaN` does not count, because Python has it too
#' @noRd
is_any_na <- function(x) any(is.na(x) & !is.nan(x))

list_as_python <- function(x) {
  elements <- lapply(unname(x), as_python)
  if (is.null(names(x))) {
    reticulate::r_to_py(elements)
  } else if (all(nzchar(names(x))) && !anyDuplicated(names(x))) {
    reticulate::py_dict(names(x), elements)
  } else {
    unrepresentable(x)
  }
}

#' Convert a function, with its required arguments and a description of its last result
#'
#' To Python, every R function looks like `(*args, **kwargs)`. Results of the function are converted
#' by `as_python()` too, so that `NA` does not arrive as a number. Python can return only a wrapper
#' of the function, so the session returns the function itself (see `revealed_function()`).
#' @noRd
foreign_function <- function(fn) {
  result <- NULL
  session$kerasgd$functions$ForeignFunction(
    function(...) as_python(result <<- fn(...)),
    as.list(required_formals(fn)),
    function() describe(result),
    function() {
      session$revealed <- fn
      NULL
    }
  )
}

#' The R function inside a `kerasgd.functions.ForeignFunction`; any other value unchanged
#' @noRd
revealed_function <- function(x) {
  if (!inherits(x, "kerasgd.functions.ForeignFunction")) {
    return(x)
  }
  on.exit(session$revealed <- NULL)
  py_get(x, "reveal")()
  session$revealed
}

required_formals <- function(fn) {
  signature <- args(fn) # `NULL` for `[` and similar primitives
  formals <- if (!is.null(signature)) as.list(formals(signature))
  has_no_default <- vapply(formals, identical, NA, rlang::missing_arg())
  setdiff(names(formals)[has_no_default], "...")
}

unrepresentable <- function(x, hint = NULL) {
  session$kerasgd$errors$Described(describe(x), hint)
}

#' The exact numbers of a Keras variable or a tensor
#' @noRd
doubles_from_python <- function(x, call = rlang::caller_env()) {
  bytes <- call_python("r.transfer.as_doubles", list(values = x), call = call)
  readBin(bytes, "double", n = length(bytes) / 8, endian = "little")
}

#' The exact numbers of an R array as bytes, and its shape, for `kerasgd.r.transfer`
#' @noRd
array_for_python <- function(x) {
  list(
    data = reticulate::r_to_py(writeBin(as.double(x), raw(), endian = "little")),
    shape = as.list(as.double(dim(x) %||% length(x)))
  )
}

is_python_object <- function(x) inherits(x, "python.builtin.object")

#' `readRDS()` restores only a null pointer of a Python object
#' @noRd
is_live_python_object <- function(x) {
  is_python_object(x) && !reticulate::py_is_null_xptr(x)
}
