test_that("attaching the package starts no Python", {
  expect_equal(run_r(cat(reticulate::py_available(initialize = FALSE))), "FALSE")
})

test_that("attaching the package does not wait for reticulate", {
  skip_if(is_loaded_from_source(), "pkgload loads all imports")
  expect_equal(run_r(cat(isNamespaceLoaded("reticulate"))), "FALSE")
})

test_that("reticulate is told of our environment, whichever is loaded first", {
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  venvs <- withr::local_tempdir()
  ours <- file.path(venvs, "r-kerasgd")
  system2(python, c("-m", "venv", "--without-pip", shQuote(ours)))
  skip_if_not(dir.exists(ours), "python3 makes no environments")

  env <- c(WORKON_HOME = venvs, RETICULATE_PYTHON = NA, RETICULATE_PYTHON_ENV = NA)
  # what a plain start of Python takes, without a word of ours
  expect_equal(
    run_r(cat(basename(dirname(dirname(reticulate::py_config()$python)))), env),
    "r-kerasgd"
  )
  expect_equal(
    run_r(cat(kerasgd:::find_python()$source), env),
    "the virtual environment 'r-kerasgd'"
  )
})

test_that("the Python package is shipped, and not as a broken link", {
  file <- system.file("python", "kerasgd", "__init__.py", package = "kerasgd")
  expect_true(nzchar(file))
  expect_gt(file.size(file), 0)
})
