# The scripts that the vignette "Training on several devices" shows, each in its own processes. They
# compare the weights with those of the same training in plain R.

run_script <- function(...) {
  skip_if(is_loaded_from_source(), "the scripts load the installed package")
  withr::local_dir(system.file("several-devices", package = "kerasgd"))
  withr::local_envvar(environment_at_start)
  withr::local_envvar(R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep))
  suppressWarnings( # a script that fails is an error anyway
    said <- system2(file.path(R.home("bin"), "Rscript"), c(...), stdout = TRUE, stderr = TRUE)
  )
  if (!is.null(attr(said, "status"))) {
    stop("The script failed:\n", paste(said, collapse = "\n"))
  }
  told <- grep("largest difference from plain R: ", said, value = TRUE, fixed = TRUE)
  as.numeric(sub(".*: ", "", trimws(told)))
}

skip_unless_on <- function(backend) {
  skip_if_no_keras()
  skip_if(environment_facts()$backend != backend, paste("a script for", backend))
}

test_that("TensorFlow trains on two devices", { # contract 10.1
  skip_unless_on("tensorflow")
  expect_lt(run_script("tensorflow-replicas.R"), 2e-6)
})

test_that("TensorFlow trains on two workers", { # contract 10.2
  skip_unless_on("tensorflow")
  skip_if_not_installed("processx")
  expect_equal(run_script("start-workers.R", "tensorflow-workers.R", 2), c(0, 0), tolerance = 2e-6)
})

test_that("JAX trains on four devices", { # contract 10.2
  skip_unless_on("jax")
  expect_lt(run_script("jax-devices.R"), 2e-6)
})

test_that("JAX trains on two workers", { # contract 10.2
  skip_unless_on("jax")
  skip_if_not_installed("processx")
  expect_equal(run_script("start-workers.R", "jax-workers.R", 2), c(0, 0), tolerance = 2e-6)
})

test_that("PyTorch trains on two workers", { # contract 10.2
  skip_unless_on("torch")
  skip_if_not_installed("processx")
  expect_equal(run_script("start-workers.R", "torch-workers.R", 2), c(0, 0), tolerance = 2e-6)
})

test_that("a worker that fails stops the others", {
  skip_if_no_keras()
  skip_if_not_installed("processx")
  script <- withr::local_tempfile(
    lines = c("if (Sys.getenv('RANK') == '0') stop('no more') else Sys.sleep(100)"),
    fileext = ".R"
  )
  expect_error(run_script("start-workers.R", shQuote(script), 2), "worker 0: .*no more")
})
