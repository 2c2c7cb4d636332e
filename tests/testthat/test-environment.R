# The result of environment_facts() for a working installation
fitting <- list(
  version = "0.1.0", r = "4.2.2", reticulate = "1.28",
  python = "/env/bin/python", source = "RETICULATE_PYTHON", started = FALSE, managed = FALSE,
  python_version = "3.11.2", numpy = "1.26.4", keras = "3.15.1", tensorflow = "2.21.0",
  configured_backend = "tensorflow", backend = "tensorflow", chosen = FALSE
)

but <- function(...) utils::modifyList(fitting, list(...))

problems_of <- function(facts) vapply(environment_problems(facts), `[[`, "", "problem")

test_that("a supported environment has no problems", {
  expect_equal(environment_problems(fitting), list())
  expect_equal(environment_problems(but(numpy = "2.4.6", reticulate = "1.38")), list())
  expect_equal(environment_problems(but(numpy = "2.4.6", reticulate = "1.41.0.1")), list())
  expect_equal(environment_problems(but(keras = "3.16.0.dev20260101")), list())
  expect_equal(environment_problems(but(keras = "unknown")), list())
  expect_equal(environment_problems(but(backend = "jax", jax = "0.10.2")), list())
})

test_that("a backend that kerasgd does not work with is a problem", {
  expect_snapshot({
    environment_problems(but(backend = "tensrflow", chosen = TRUE))
    environment_problems(but(backend = "openvino"))
  })
})

test_that("each problem states the fault and the remedy", {
  expect_snapshot({
    environment_problems(but(python = NULL, python_version = NULL, source = NULL))
    environment_problems(but(python = NULL, python_version = NULL, source = "No such file"))
    environment_problems(but(python_version = NULL))
    environment_problems(but(python_version = "3.9.2"))
    environment_problems(but(keras = NULL))
    environment_problems(but(keras = "2.15.0"))
    environment_problems(but(tensorflow = NULL))
    environment_problems(but(backend = "torch"))
    environment_problems(but(numpy = "2.4.6"))
    environment_problems(but(numpy = "2.4.6", reticulate = "1.37.9", started = TRUE))
  })
})

test_that("all problems are found, the gravest first", {
  found <- problems_of(but(python_version = "3.10.1", keras = "3.0.5", numpy = "2.0.0"))
  expect_length(found, 3)
  expect_match(found[[1]], "Python must be 3.11 or newer, not 3.10.1", fixed = TRUE)
})

test_that("versions are compared as versions", {
  expect_true(older("1.9", "1.38"))
  expect_false(older("1.38", "1.38"))
  expect_false(older("1.38.1", "1.38"))
  expect_true(older("2.0.0rc1", "2.0.1"))
  expect_false(older("unknown", "3"))
})

test_that("the backend is the configured one, unless only another is installed", {
  withr::local_envvar(KERAS_BACKEND = NA)
  expected <- function(configured, ..., loaded = NULL) {
    expected_backend(list(configured_backend = configured, ...), loaded)
  }
  expect_equal(expected("tensorflow", tensorflow = "2"), "tensorflow")
  expect_equal(expected("tensorflow", jax = "0"), "jax")
  expect_equal(expected("tensorflow"), "tensorflow")
  expect_equal(expected("jax", jax = "0", torch = "2"), "jax")
  expect_equal(expected("jax", jax = "0", torch = "2", loaded = "torch"), "torch")
  withr::local_envvar(KERAS_BACKEND = "torch")
  expect_equal(expected("torch", jax = "0"), "torch")
})

test_that("the facts about this Python are true", {
  skip_if_no_keras()
  facts <- environment_facts()
  versions <- run_r({
    import <- function(module) reticulate::import(module)$`__version__`
    cat(import("keras"), import("numpy"), reticulate::import("platform")$python_version())
  })
  found <- strsplit(tail(versions, 1), " ")[[1]]
  expect_equal(c(facts$keras, facts$numpy), found[1:2])
})

test_that("missing Python and missing Keras are classed errors at the first use", {
  catch <- quote({
    error <- tryCatch(optimizer_sgd(), error = identity)
    cat(class(error)[[1]], "\n")
    cat(deparse(conditionCall(error)), "\n")
    cat(conditionMessage(error), "\n")
    cat("started:", reticulate::py_available(initialize = FALSE))
  })
  missing_python <- eval(bquote(run_r(.(catch), c(RETICULATE_PYTHON = "/no/such/python"))))
  expect_equal(trimws(missing_python[1:2]), c("kerasgd_environment_error", "optimizer_sgd()"))
  expect_match(missing_python[[3]], "^Python was not found: .*/no/such/python.* does not exist\\.")
  expect_match(missing_python[[4]], "install_kerasgd()", fixed = TRUE)

  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  venv <- withr::local_tempdir()
  system2(python, c("-m", "venv", "--without-pip", shQuote(venv)))
  empty <- file.path(venv, "bin", "python")
  skip_if_not(file.exists(empty), "python3 cannot create environments")
  missing_keras <- eval(bquote(run_r(.(catch), c(RETICULATE_PYTHON = empty))))
  expect_equal(trimws(missing_keras[1:2]), c("kerasgd_environment_error", "optimizer_sgd()"))
  expect_match(missing_keras[[3]], "(Keras is not installed|Python must be)")
  expect_equal(missing_keras[[5]], "started: FALSE")
})

test_that("the oldest versions are those of the Python package", {
  pyproject <- testthat::test_path("..", "..", "pyproject.toml")
  skip_if_not(file.exists(pyproject), "the package sources are not available")
  lines <- readLines(pyproject)
  expect_match(lines, sprintf("\"%s\"", keras_requirement), fixed = TRUE, all = FALSE)
  python <- sprintf("requires-python = \">=%s\"", oldest$python)
  expect_match(lines, python, fixed = TRUE, all = FALSE)
})
