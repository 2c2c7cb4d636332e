#' Install Keras and a backend for R
#'
#' `install_kerasgd()` creates a virtual environment with Keras and one of its backends, or installs
#' them into an existing one, and shows the output of pip. kerasgd uses the environment `r-kerasgd`
#' the next time that Python starts (unless another Python is selected; see [kerasgd_sitrep()]).
#'
#' @section CPU or GPU:
#' The builds for an NVIDIA GPU take gigabytes, and exist only for Linux (on Windows, use WSL). On
#' Linux, `install_kerasgd()` installs:
#'
#' | backend | CPU (`gpu = FALSE`) | NVIDIA GPU (`gpu = TRUE`) |
#' |---|---|---|
#' | TensorFlow | `tensorflow-cpu` | `tensorflow[and-cuda]` |
#' | JAX | `jax` | `jax[cuda12]` |
#' | PyTorch | `torch` from PyTorch's index of CPU builds | `torch` from pip's own index |
#'
#' On other systems, it installs `tensorflow`, `jax` or `torch` from pip's index, without CUDA. To
#' use another build, install it into the environment yourself, following the instructions of the
#' backend; kerasgd uses the packages that it finds there.
#'
#' @section NumPy:
#' reticulate before 1.38 does not work with NumPy 2. For such a reticulate, `install_kerasgd()`
#' installs an older NumPy (`numpy<2`), and for the backend JAX the newest JAX that supports it.
#'
#' @param backend The backend of Keras: `"tensorflow"` (the default), `"jax"` or `"torch"`
#'   (PyTorch).
#' @param envname The environment, one string: its name among reticulate's environments, or a path
#'   (with a `/`).
#' @param ... Not used.
#' @param python The Python for a new environment: a path, or `NULL` for the first suitable Python
#'   (3.11 or newer) on the search path.
#' @param gpu The build to install: `FALSE` for the CPU, `TRUE` for an NVIDIA GPU (on Linux), or
#'   `NA` to choose the build for the GPU if there is one. To change the build, create another
#'   environment (`envname`).
#'
#' @return The path of the environment, invisibly.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above, `kerasgd_environment_error` if
#' there is no suitable Python or the installation fails.
#'
#' @seealso [kerasgd_sitrep()] to see what is installed.
#' @export
#' @examples
#' \dontrun{
#' install_kerasgd()
#' install_kerasgd("jax", envname = "r-kerasgd-jax", gpu = FALSE)
#' }
install_kerasgd <- function(backend = c("tensorflow", "jax", "torch"),
                            envname = "r-kerasgd",
                            ...,
                            python = NULL,
                            gpu = NA) {
  known_arguments()
  if (missing(backend)) backend <- names(backends)[[1]]
  check_choice(backend, names(backends))
  check_string(envname)
  if (!is.null(python)) {
    check_file(python, "the path of an existing file, or {null}")
  }
  check_gpu(gpu)

  if (reticulate::virtualenv_exists(envname)) {
    say_what_is_kept(envname, python)
  } else {
    make_environment(envname, python)
  }
  for (installation in installations(backend, gpu = wants_gpu(gpu))) {
    fill_environment(envname, installation)
  }
  say_what_next(envname, backend)
  invisible(environment_path(envname))
}

environment_path <- function(envname) {
  dirname(dirname(reticulate::virtualenv_python(envname)))
}

say_what_is_kept <- function(envname, python) {
  if (!is.null(python)) {
    cli::cli_alert_info("{.path {envname}} already exists and keeps its Python.")
  }
}

make_environment <- function(envname, python, call = rlang::caller_env()) {
  if (is.null(python)) {
    python <- starter_python(call = call)
  } else {
    check_starter(python, call = call)
  }
  # The executable itself: reticulate 1.41 cannot handle pyenv's wrapper script
  python <- ask_python(python)$executable
  cli::cli_alert_info("Creating the virtual environment {.path {envname}} with {.file {python}}")
  tryCatch(
    without_libraries_of_r(
      reticulate::virtualenv_create(envname, python = python, packages = FALSE)
    ),
    error = function(error) {
      abort_environment(
        sprintf("The virtual environment \"%s\" could not be created.", envname),
        said_by_reticulate(error),
        facts = NULL, call = call
      )
    }
  )
}

fill_environment <- function(envname, installation, call = rlang::caller_env()) {
  cli::cli_alert_info("Installing {.val {installation$packages}}")
  tryCatch(
    without_libraries_of_r(reticulate::virtualenv_install(
      envname,
      packages = installation$packages, pip_options = installation$options
    )),
    error = function(error) {
      abort_environment(
        sprintf("pip could not install into the environment \"%s\".", envname),
        c(
          said_by_reticulate(error),
          "See the output of pip above; a new environment (another `envname`) may help."
        ),
        facts = NULL, call = call
      )
    }
  )
}

#' Part of the message, because only R's console and few other front ends show a parent
#' @noRd
said_by_reticulate <- function(error) paste("reticulate said:", conditionMessage(error))

#' The packages that pip installs for a backend, one call after the other
#'
#' @return A list with `packages` and `options` for each call.
#' @noRd
installations <- function(backend, gpu, system = this_system()) {
  with_backend <- c(
    keras_requirement,
    backend_requirement(backend, gpu, system),
    if (reticulate_is_old(utils::packageVersion("reticulate"))) "numpy<2"
  )
  if (backend == "torch" && system == "Linux" && !gpu) {
    # In its own call, because that index has no Keras. Together with pip's own index, the newer of
    # the two builds would win, which can be the one for CUDA.
    list(
      list(packages = "torch", options = paste("--index-url", torch_index_for_cpu)),
      list(packages = setdiff(with_backend, "torch"), options = character())
    )
  } else {
    list(list(packages = with_backend, options = character()))
  }
}

torch_index_for_cpu <- "https://download.pytorch.org/whl/cpu"

#' The distribution of a backend: the same as keras3's, because two builds of TensorFlow conflict
#' @noRd
backend_requirement <- function(backend, gpu, system = this_system()) {
  switch(backend,
    tensorflow = if (gpu) {
      "tensorflow[and-cuda]"
    } else if (system == "Linux") {
      "tensorflow-cpu"
    } else {
      "tensorflow"
    },
    jax = if (gpu) "jax[cuda12]" else "jax",
    torch = "torch"
  )
}

this_system <- function() Sys.info()[["sysname"]]

check_gpu <- function(gpu, system = this_system(), call = rlang::caller_env()) {
  if (!is.logical(gpu) || length(gpu) != 1) {
    requirement <- "{true}, {false}, or `NA` to check for an NVIDIA device"
    abort_argument(gpu, requirement, call = call)
  }
  if (isTRUE(gpu) && system != "Linux") {
    abort_argument(
      gpu, sprintf("{false} or `NA` on %s", system),
      "The builds for an NVIDIA GPU are installed on Linux only; on Windows, use WSL.",
      call = call
    )
  }
}

wants_gpu <- function(gpu) {
  if (!is.na(gpu)) {
    return(gpu)
  }
  found <- has_nvidia_device()
  if (found) {
    cli::cli_alert_info("Found an NVIDIA device; {.code gpu = FALSE} installs the CPU build.")
  } else if (this_system() == "Linux") {
    cli::cli_alert_info("Found no NVIDIA device; {.code gpu = TRUE} installs the GPU build anyway.")
  }
  found
}

#' Detect a device in the same way as keras3: the driver's program knows devices that `lspci` does
#' not list (in WSL)
#' @noRd
has_nvidia_device <- function(system = this_system()) {
  lines_of <- function(program, ...) {
    tryCatch(
      suppressWarnings(system2(program, c(...), stdout = TRUE, stderr = FALSE)),
      error = function(error) character()
    )
  }
  system == "Linux" && (
    any(grepl("^GPU [0-9]+:", lines_of("nvidia-smi", "-L"))) ||
      any(grepl("nvidia", lines_of("lspci"), ignore.case = TRUE))
  )
}

#' The first Python on the search path that can create a usable environment
#' @noRd
starter_python <- function(call = rlang::caller_env()) {
  candidates <- unique(Sys.which(
    c("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python")
  ))
  candidates <- candidates[nzchar(candidates)]
  problems <- lapply(candidates, starter_problems)
  fitting <- candidates[lengths(problems) == 0]
  if (length(fitting) > 0) {
    return(fitting[[1]])
  }
  abort_environment(
    sprintf("The search path has no Python %s or newer that R can use.", oldest$python),
    c(problems_in_words(unlist(problems, recursive = FALSE)), advice_to_find_a_starter),
    facts = NULL, call = call
  )
}

check_starter <- function(python, call = rlang::caller_env()) {
  problems <- problems_in_words(starter_problems(python))
  if (length(problems) > 0) {
    abort_environment(
      problems[[1]], c(problems[-1], advice_to_find_a_starter),
      facts = NULL, call = call
    )
  }
}

advice_to_find_a_starter <- paste(
  "Install one (on Debian and Ubuntu: python3, python3-pip, python3-venv and libpython3-dev),",
  "or pass its path as `python`."
)

#' The problems that keep a Python from creating an environment for R, as in
#' `environment_problems()`
#' @noRd
starter_problems <- function(python) {
  facts <- c(list(python = python, started = FALSE), ask_python(python))
  if (is.null(facts$python_version)) {
    return(list(problem_without_python(facts)))
  }
  problems <- list(
    problem_of_python(facts), problem_of_library(facts),
    problem_of_venv(facts), problem_of_pip(facts)
  )
  Filter(Negate(is.null), problems)
}

problem_of_venv <- function(facts) {
  if (identical(facts$venv, "FALSE")) {
    problem(
      sprintf("This Python cannot create virtual environments (%s).", facts$python),
      "On Debian and Ubuntu, install the package python3-venv."
    )
  }
}

problem_of_pip <- function(facts, reticulate = utils::packageVersion("reticulate")) {
  wants_pip <- !older(format(reticulate), oldest$reticulate_that_wants_pip)
  if (wants_pip && identical(facts$pip, "FALSE")) {
    problem(
      sprintf(
        "reticulate %s creates environments only with a Python that has pip (%s has none).",
        reticulate, facts$python
      ),
      "On Debian and Ubuntu, install the package python3-pip."
    )
  }
}

problems_in_words <- function(problems) vapply(problems, `[[`, "", "problem")

say_what_next <- function(envname, backend) {
  python <- reticulate::virtualenv_python(envname)
  installed <- ask_python(python)
  cli::cli_alert_success(paste(
    "Keras {installed$keras} with {backends[[backend]]} {installed[[backend]]} is installed in",
    "{.path {environment_path(envname)}}"
  ))
  if (!is.null(running_python()) && !identical(running_python(), python)) {
    cli::cli_alert_info("This session uses another Python ({.file {running_python()}}): restart R.")
  }
  use <- how_to_use(envname, python)
  if (!is.null(use)) {
    cli::cli_alert_info("To use it, start a session with {.code {use}}.")
  }
  if (!identical(expected_backend(installed), backend)) {
    use <- sprintf("Sys.setenv(KERAS_BACKEND = \"%s\")", backend)
    cli::cli_alert_info("Keras would use another backend: run {.code {use}} first.")
  }
}

#' The code that makes reticulate use an environment; `NULL` if it does so by itself
#'
#' `RETICULATE_PYTHON` takes precedence over `use_virtualenv()`.
#' @noRd
how_to_use <- function(envname, python) {
  chosen <- Sys.getenv("RETICULATE_PYTHON")
  if (nzchar(chosen) && chosen != python) {
    sprintf("Sys.setenv(RETICULATE_PYTHON = \"%s\")", python)
  } else if (!nzchar(chosen) && envname != our_environment) {
    sprintf("reticulate::use_virtualenv(\"%s\")", envname)
  }
}
