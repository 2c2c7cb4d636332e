#' kerasgd: stochastic gradient descent for Keras that does what its documentation says
#'
#' [optimizer_sgd()] creates an SGD optimizer for Keras models. It is a `keras.optimizers.SGD`, so
#' it works in `compile()` and `fit()`. Models may come from reticulate or from the keras3 package;
#' keras3 is not required.
#'
#' @section Python:
#' The optimizer is Python code that is part of this package. The first call that needs it starts
#' Python; `library(kerasgd)` does not. reticulate chooses the Python: the one that
#' `RETICULATE_PYTHON` or [reticulate::use_virtualenv()] selects, or else the virtual environment
#' `r-kerasgd` that [install_kerasgd()] creates. [kerasgd_sitrep()] shows the result.
#'
#' @section Errors:
#' Errors of this package have the class `kerasgd_error` and one of these classes:
#' * `kerasgd_argument_error`: an argument is invalid; fields `argument`, `requirement`, `received`
#'   (the value itself) and `hint`. An unknown argument name also has the class
#'   `kerasgd_unknown_argument_error` and the field `suggestion`.
#' * `kerasgd_environment_error`: Python, Keras or its backend is missing or has an unsupported
#'   version; field `facts`, as returned by [kerasgd_sitrep()].
#' * `kerasgd_state_error`: the call does not fit the state of the optimizer, the model or the file
#'   (for example, it must come before the first step), or the object comes from `readRDS()` or
#'   `load()`, which cannot restore it.
#' * `kerasgd_python_error`: any other Python error; fields `type` (the Python class), `traceback`
#'   and `exception`. The parent condition has the complete message.
#' * `kerasgd_conformance_error`: [sgd_conformance()] could not run.
#'
#' Errors inside `fit()` pass through reticulate and lose these classes; see [optimizer_sgd()].
#'
#' Warnings have the class `kerasgd_warning`.
#'
#' @keywords internal
"_PACKAGE"

# reticulate takes most of a second to load (with Matrix and its methods), so `library(kerasgd)`
# does not load it. A hook prepares reticulate once it is loaded.
.onLoad <- function(libname, pkgname) {
  check_python_part(system.file("python", package = pkgname, lib.loc = libname))
  register_for_jax()
  register_for_keras_wrapper()
  if (isNamespaceLoaded("reticulate")) {
    prepare_reticulate()
  } else {
    setHook(packageEvent("reticulate", "onLoad"), function(...) prepare_reticulate())
  }
}

#' Refuse to install or load without the Python part
#'
#' R loads a package at the end of its installation, so the installation fails with this message.
#'
#' @param path The folder that should contain the Python package kerasgd.
#' @noRd
check_python_part <- function(path) {
  if (!file.exists(file.path(path, "kerasgd", "__init__.py"))) {
    stop(
      "kerasgd has no Python part.\n",
      "`inst/python` in its sources is a symbolic link to `../python`, which unzip and Git on ",
      "Windows may turn into a text file. Replace it with a copy: start R in the folder of the ",
      "sources, run\n",
      "  unlink(\"inst/python\"); file.copy(\"python\", \"inst\", recursive = TRUE)\n",
      "and install again. (`git clone -c core.symlinks=true` creates the link where Windows ",
      "permits it.)",
      call. = FALSE
    )
  }
}

prepare_reticulate <- function() {
  prefer_our_environment()
  declare_python_requirements()
  # Other code may start Python and import Keras before the first call of this package
  setHook("reticulate.onPyInit", function(...) {
    choose_backend_at_start()
    follow_keras()
  })
  if (reticulate::py_available()) {
    follow_keras()
  }
}

`%||%` <- function(x, y) if (is.null(x)) y else x

utils::globalVariables(".data") # of ggplot2
