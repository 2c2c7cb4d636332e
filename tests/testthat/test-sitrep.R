report <- function(...) {
  facts <- utils::modifyList(
    list(
      version = "0.1.0", r = "4.2.2", reticulate = "1.28",
      python = "/env/bin/python", source = "RETICULATE_PYTHON", started = FALSE, managed = FALSE,
      python_version = "3.11.2", numpy = "1.26.4", keras = "3.15.1", tensorflow = "2.21.0",
      configured_backend = "tensorflow", backend = "tensorflow", chosen = FALSE
    ),
    list(...)
  )
  judge(facts)
}

test_that("the report shows the installation, whether it works, and the next step", {
  expect_snapshot({
    report()
    report(started = TRUE, source = "the virtual environment 'r-kerasgd'")
    report(numpy = "2.4.6")
    report(keras = NULL, tensorflow = NULL, numpy = NULL)
    report(python = NULL, python_version = NULL, source = NULL, keras = NULL, backend = NULL)
    report(python = NULL, managed = TRUE, source = "an environment that reticulate makes")
  })
})

test_that("the report is printed, and returned invisibly as data", {
  shown <- capture.output(returned <- withVisible(kerasgd_sitrep()))
  expect_false(returned$visible)
  expect_s3_class(returned$value, "kerasgd_sitrep")
  expect_equal(shown, format(returned$value))
  expect_equal(returned$value$reticulate, as.character(packageVersion("reticulate")))
  expect_equal(returned$value$fits, kerasgd_available())
})

test_that("the report neither starts nor needs Python", {
  output <- run_r(
    {
      kerasgd_sitrep()
      cat(kerasgd_available(), reticulate::py_available(initialize = FALSE))
    },
    c(RETICULATE_PYTHON = "/no/such/python")
  )
  expect_match(output, "install_kerasgd()", fixed = TRUE, all = FALSE)
  expect_equal(tail(output, 1), "FALSE FALSE")
})

test_that("a misspelt backend is a problem", {
  skip_if_no_keras()
  output <- run_r(
    {
      kerasgd_sitrep()
      cat(kerasgd_available())
    },
    c(KERAS_BACKEND = "tensrflow")
  )
  expect_match(output, "names the backend \"tensrflow\"", fixed = TRUE, all = FALSE)
  expect_match(output, "Did you mean \"tensorflow\"?", fixed = TRUE, all = FALSE)
  expect_no_match(output, "These versions work together")
  expect_equal(tail(output, 1), "FALSE")
})

test_that("a working installation is reported", {
  skip_if_no_keras()
  output <- run_r({
    kerasgd_sitrep()
    cat(kerasgd_available(), reticulate::py_available(initialize = FALSE))
  })
  expect_match(output, "These versions work together", all = FALSE)
  expect_equal(tail(output, 1), "TRUE FALSE")
})

test_that("the reported environment is the one that starts", {
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  venvs <- withr::local_tempdir()
  for (name in c("r-keras", "r-kerasgd")) {
    system2(python, c("-m", "venv", "--without-pip", shQuote(file.path(venvs, name))))
  }
  skip_if_not(dir.exists(file.path(venvs, "r-keras")), "python3 cannot create environments")
  output <- run_r(
    {
      # in the same way as keras3 requests its own
      keras <- reticulate::import(
        "keras",
        delay_load = list(priority = 10, environment = "r-keras")
      )
      foreseen <- kerasgd:::find_python()
      started <- reticulate::py_config()$python
      cat(foreseen$source, identical(foreseen$python, started), sep = "\n")
    },
    c(WORKON_HOME = venvs, RETICULATE_PYTHON = NA, RETICULATE_PYTHON_ENV = NA, VIRTUAL_ENV = NA)
  )
  expect_equal(tail(output, 2), c("the virtual environment 'r-keras'", "TRUE"))
})
