# Runs the R tests on the installed package and writes one row a test to build/results/r.csv.
# Usage: Rscript tools/test-r.R [FILTER]   (FILTER: as in testthat::test_dir(), e.g. optimizer-sgd)

filter <- commandArgs(trailingOnly = TRUE)
# Here nothing is left out for the sake of CRAN's machines.
Sys.setenv(NOT_CRAN = "true")

results <- testthat::test_dir(
  "tests/testthat",
  filter = if (length(filter) > 0) filter[[1]],
  package = "kerasgd",
  load_package = "installed",
  stop_on_failure = FALSE
)

results <- as.data.frame(results)
dir.create("build/results", recursive = TRUE, showWarnings = FALSE)
write.csv(
  results[c("file", "test", "failed", "skipped", "error")],
  "build/results/r.csv",
  row.names = FALSE
)
failed <- nrow(results) == 0 || any(results$failed > 0 | results$error)
quit(save = "no", status = as.integer(failed))
