refused <- function(expr) {
  withr::local_options(warnPartialMatchArgs = FALSE)
  tryCatch(expr, kerasgd_error = identity)
}

test_that("install_kerasgd() validates its inputs", {
  expect_snapshot(error = TRUE, {
    install_kerasgd("theano")
    install_kerasgd(c("jax", "torch"))
    install_kerasgd(NULL)
    install_kerasgd(NA)
    install_kerasgd(envname = "")
    install_kerasgd(envname = NA_character_)
    install_kerasgd(envname = NULL)
    install_kerasgd(envname = c("a", "b"))
    install_kerasgd(python = "/no/such/python")
    install_kerasgd(python = "/")
    install_kerasgd(python = 3.11)
    install_kerasgd(python = NA)
    install_kerasgd(env = "a")
    install_kerasgd(gpu = TRUE)
    install_kerasgd("jax", "a", "/usr/bin/python3")
  })
})

test_that("a refusal is a classed error of the user's call, and makes nothing", {
  withr::local_envvar(WORKON_HOME = withr::local_tempdir())
  error <- refused(install_kerasgd("theano"))
  expect_s3_class(
    error, c("kerasgd_argument_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_equal(error$argument, "backend")
  expect_equal(error$received, "theano")
  expect_equal(error$call, quote(install_kerasgd("theano")))
  expect_equal(dir(Sys.getenv("WORKON_HOME")), character())
})

test_that("what pip is asked for fits the backend and reticulate", {
  numpy <- if (packageVersion("reticulate") < "1.38") "numpy<2"
  tensorflow <- if (Sys.info()[["sysname"]] == "Darwin") "tensorflow" else "tensorflow-cpu"
  expect_equal(requirements("tensorflow"), c("keras>=3.10,<4", tensorflow, numpy))
  expect_equal(requirements("jax"), c("keras>=3.10,<4", "jax", numpy))
  expect_equal(requirements("torch"), c("keras>=3.10,<4", "torch==2.13.0", numpy))
})

test_that("the supported versions are those of the Python project", {
  pyproject <- test_path("..", "..", "pyproject.toml")
  skip_if_not(file.exists(pyproject), "the package is tested away from its sources")
  lines <- readLines(pyproject)
  expect_true(any(grepl(sprintf("\"%s\"", keras_requirement), lines, fixed = TRUE)))
  expect_true(any(grepl(sprintf("requires-python = \">=%s\"", oldest$python), lines, fixed = TRUE)))
})

test_that("a program that is no Python is refused before anything is made", {
  skip_on_os("windows")
  home <- withr::local_tempdir()
  withr::local_envvar(WORKON_HOME = home)
  program <- withr::local_tempfile(lines = c("#!/bin/sh", "exit 1"))
  Sys.chmod(program, "755")
  error <- refused(install_kerasgd(python = program))
  expect_s3_class(error, "kerasgd_environment_error")
  expect_equal(
    strsplit(conditionMessage(error), "\n")[[1]][[1]],
    sprintf("Python could not be run (%s).", program)
  )
  expect_equal(dir(home), character())
})

test_that("a Python too old, without venv or without a library is refused", {
  skip_on_os("windows")
  problem_of <- function(...) {
    facts <- c(...)
    program <- withr::local_tempfile(lines = c(
      "#!/bin/sh",
      sprintf("printf '%%s\\t%%s\\n' %s %s", names(facts), facts)
    ))
    Sys.chmod(program, "755")
    gsub(program, "<python>", problems_in_words(starter_problems(program)), fixed = TRUE)
  }
  good <- c(python_version = "3.11.2", shared_library = "TRUE", venv = "TRUE")
  expect_equal(problem_of(good), character())
  expect_snapshot({
    problem_of(replace(good, "python_version", "3.9.1"))
    problem_of(replace(good, "venv", "FALSE"))
    problem_of(replace(good, "shared_library", "FALSE"))
  })
})

test_that("where no Python is found, it says what to install", {
  withr::local_envvar(PATH = withr::local_tempdir())
  error <- refused(install_kerasgd(envname = file.path(tempdir(), "never-made")))
  expect_s3_class(error, "kerasgd_environment_error")
  expect_snapshot(cat(conditionMessage(error)))
})

test_that("a failure of pip is an error that says where to look", {
  skip_on_cran() # reticulate installs nothing while R checks packages
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  skip_if(length(starter_problems(python)) > 0, "python3 makes no environments")
  # pip finds no packages, and asks no network
  output <- run_r(
    {
      envname <- file.path(tempdir(), "r-test")
      error <- tryCatch(install_kerasgd(envname = envname), error = identity)
      message <- strsplit(conditionMessage(error), "\n")[[1]][[1]]
      cat("", class(error)[[1]], deparse(conditionCall(error)), dir.exists(envname), sep = "\n")
      cat(gsub(envname, "<envname>", message, fixed = TRUE))
    },
    c(PIP_NO_INDEX = "1", PIP_FIND_LINKS = "", PIP_CONFIG_FILE = nullfile())
  )
  expect_equal(tail(output, 4), c(
    "kerasgd_environment_error",
    "install_kerasgd(envname = envname)",
    "TRUE",
    "pip could not install into the environment \"<envname>\"."
  ))
})

test_that("it says how to have an environment used", {
  withr::local_envvar(RETICULATE_PYTHON = NA)
  expect_null(how_to_use("r-kerasgd", "/env/bin/python"))
  expect_equal(how_to_use("other", "/env/bin/python"), "reticulate::use_virtualenv(\"other\")")
  # the variable counts for more than use_virtualenv()
  withr::local_envvar(RETICULATE_PYTHON = "/env/bin/python")
  expect_null(how_to_use("r-kerasgd", "/env/bin/python"))
  expect_equal(
    how_to_use("r-kerasgd", "/elsewhere/bin/python"),
    "Sys.setenv(RETICULATE_PYTHON = \"/elsewhere/bin/python\")"
  )
})
