#' kerasgd: stochastic gradient descent for Keras, true to its documentation
#'
#' [optimizer_sgd()] makes the optimizer. It is a `keras.optimizers.SGD`, so `compile()` and `fit()`
#' take it, in Keras models made through reticulate as well as in those of the keras3 package, which
#' is not needed.
#'
#' @section Python:
#' The optimizer itself is Python code that the package brings along. The first call that needs it
#' starts Python; `library(kerasgd)` does not. Which Python is started is reticulate's choice:
#' what `RETICULATE_PYTHON` or [reticulate::use_virtualenv()] names, else the virtual environment
#' `r-kerasgd` that [install_kerasgd()] makes. [kerasgd_sitrep()] shows what was found.
#'
#' @section Errors:
#' The errors of this package's functions have the class `kerasgd_error`. So that a program can tell
#' them apart, each also has one of these classes:
#' * `kerasgd_argument_error`: an argument is refused; fields `argument`, `requirement`, `received`
#'   (the value itself) and `hint`. A name that is no argument has the class
#'   `kerasgd_unknown_argument_error` as well, and the field `suggestion`.
#' * `kerasgd_environment_error`: Python, Keras or its backend is missing or does not fit; field
#'   `facts`, as [kerasgd_sitrep()] returns them.
#' * `kerasgd_state_error`: what was asked does not go with the state of the optimizer or the file;
#'   or the object comes from `saveRDS()` or `save()`, which cannot store it.
#' * `kerasgd_python_error`: any other error of Python; fields `type` (the Python class),
#'   `traceback` and `exception`, and the whole message as the parent.
#' * `kerasgd_conformance_error`: [sgd_conformance()] could not run.
#'
#' Errors inside `fit()` come through reticulate without these classes, see [optimizer_sgd()].
#'
#' Warnings have the class `kerasgd_warning`.
#'
#' @keywords internal
"_PACKAGE"

# reticulate takes most of a second to load (with Matrix and its methods), so `library(kerasgd)`
# does not load it: a hook prepares it as soon as it is loaded.
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

#' Refuse to be installed or loaded without the Python part
#'
#' R loads a package at the end of its installation, so that it fails with this message.
#'
#' @param path Where the Python package kerasgd should lie.
#' @noRd
check_python_part <- function(path) {
  if (!file.exists(file.path(path, "kerasgd", "__init__.py"))) {
    stop(
      "kerasgd has no Python part.\n",
      "`inst/python` in its sources is a symbolic link to `../python`, of which unzip and Git on ",
      "Windows may make a text file. Put a copy in its place: start R in the folder of the ",
      "sources, run\n",
      "  unlink(\"inst/python\"); file.copy(\"python\", \"inst\", recursive = TRUE)\n",
      "and install again. (`git clone -c core.symlinks=true` makes the link, where Windows ",
      "permits it.)",
      call. = FALSE
    )
  }
}

prepare_reticulate <- function() {
  prefer_our_environment()
  declare_python_requirements()
  # Others may start Python and import Keras before our first call
  setHook("reticulate.onPyInit", function(...) {
    choose_backend_at_start()
    follow_keras()
  })
  if (reticulate::py_available()) {
    follow_keras()
  }
}

`%||%` <- function(x, y) if (is.null(x)) y else x
