# Runs the R tests on the installed package.
# Usage: Rscript tools/test-r.R [FILTER]   (FILTER: as in testthat::test_dir(), e.g. optimizer-sgd)

filter <- commandArgs(trailingOnly = TRUE)
# Here nothing is left out for the sake of CRAN's machines.
Sys.setenv(NOT_CRAN = "true")

testthat::test_dir(
  "tests/testthat",
  filter = if (length(filter) > 0) filter[[1]],
  package = "kerasgd",
  load_package = "installed",
  # One line a file, also where the output is no terminal, and every failure.
  reporter = testthat::ProgressReporter$new(
    max_failures = Inf, update_interval = Inf, show_praise = FALSE
  )
)
