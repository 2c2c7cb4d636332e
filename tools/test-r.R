# Runs the R tests on the installed package.
# Usage: Rscript tools/test-r.R [FILTER]   (FILTER: as in testthat::test_dir(), e.g. optimizer-sgd)

filter <- commandArgs(trailingOnly = TRUE)
# Run the tests that are skipped on CRAN, too.
Sys.setenv(NOT_CRAN = "true")

testthat::test_dir(
  "tests/testthat",
  filter = if (length(filter) > 0) filter[[1]],
  package = "kerasgd",
  load_package = "installed",
  # One line per file, even if the output is not a terminal, and every failure.
  reporter = testthat::ProgressReporter$new(
    max_failures = Inf, update_interval = Inf, show_praise = FALSE
  )
)
