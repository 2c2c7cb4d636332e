# Python changes these when it starts; a new process gets the original values.
environment_at_start <- Sys.getenv(
  c("PATH", "PYTHONPATH", "VIRTUAL_ENV", "R_SESSION_INITIALIZED"), NA,
  names = TRUE
)

# Runs `code` in a new R process that loads the package as this one does, and returns
# its output. `env` are environment variables; NA unsets one.
run_r <- function(code, env = character()) {
  script <- withr::local_tempfile(
    lines = c(load_package_code(), deparse(substitute(code))),
    fileext = ".R"
  )
  withr::local_envvar(environment_at_start)
  withr::local_envvar(env)
  # not in the sources, because reticulate reads the pyproject.toml of the current folder
  withr::local_dir(tempdir())
  output <- withr::local_tempfile()
  status <- system2(
    file.path(R.home("bin"), "Rscript"), c("--no-init-file", shQuote(script)),
    stdout = output, stderr = output
  )
  lines <- readLines(output, warn = FALSE)
  if (status != 0) {
    stop("The R process failed:\n", paste(lines, collapse = "\n"))
  }
  lines
}

load_package_code <- function() {
  path <- find.package("kerasgd")
  libraries <- sprintf(".libPaths(%s)", paste(deparse(.libPaths()), collapse = ""))
  if (is_loaded_from_source()) {
    c(libraries, sprintf("suppressMessages(pkgload::load_all(%s, quiet = TRUE))", deparse(path)))
  } else {
    c(libraries, sprintf("library(kerasgd, lib.loc = %s)", deparse(dirname(path))))
  }
}

# After pkgload::load_all(), the package's folder R contains source files.
is_loaded_from_source <- function() {
  length(Sys.glob(file.path(find.package("kerasgd"), "R", "*.R"))) > 0
}

# A Python with NumPy 2 or later: the selected one, or that of .venv-jax in the sources
numpy_2_python <- function() {
  sources <- normalizePath(test_path("..", "..")) # run_r() works in another folder
  Sys.getenv("KERASGD_NUMPY_2_PYTHON", file.path(sources, ".venv-jax", "bin", "python"))
}
