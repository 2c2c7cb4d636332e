# A file of vignettes/: in the sources, or (in an R CMD check) where the vignettes are installed
vignette_file <- function(name) {
  files <- c(
    test_path("..", "..", "vignettes", name),
    system.file("doc", name, package = "kerasgd")
  )
  found <- files[file.exists(files)]
  if (length(found) == 0) skip(paste("There is no", name, "here."))
  found[[1]]
}

# Run the code of a vignette; returns the environment with its objects
run_vignette <- function(name) {
  code <- withr::local_tempfile(fileext = ".R")
  session <- new.env(parent = globalenv())
  session$available <- TRUE
  file <- normalizePath(vignette_file(name))
  withr::local_dir(dirname(file)) # the folder of the tables that it reads
  knitr::purl(file, code, quiet = TRUE, documentation = 0, envir = session)
  withr::local_output_sink(withr::local_tempfile())
  sys.source(code, session)
  session
}

test_that("the training loops end at the weights of fit() and closed forms, on this backend", {
  skip_on_cran()
  skip_if_not_installed("knitr")
  skip_if_no_keras()
  loop <- run_vignette("custom-training.Rmd")
  weights <- loop$weights_of

  least_squares <- coef(lm(mpg ~ scale(wt) + scale(hp) + scale(qsec), mtcars))
  expect_close(as.double(loop$w), unname(least_squares))
  expect_close(weights(loop$model), loop$ridge)

  # contract 13.1
  expect_equal(weights(loop$by_hand), weights(loop$by_fit), tolerance = 1e-5)
  # contract 7.1
  expect_equal(weights(loop$accumulated), weights(loop$whole), tolerance = 1e-5)
  # contract 5.4
  expect_equal(weights(loop$averaged), weights(loop$averaged_by_fit), tolerance = 1e-5)
  expect_gt(max(abs(weights(loop$averaged) - loop$last)), 0.01)
})

test_that("the plots of training match the text", {
  skip_on_cran()
  skip_if_not_installed("knitr")
  skip_if_no_keras()
  backend <- reticulate::import("keras")$backend$backend()
  skip_if(backend != "tensorflow", "the page shows the numbers of TensorFlow")
  withr::local_pdf(NULL)
  seen <- run_vignette("watching-a-training.Rmd")
  last <- function(losses) tail(unlist(losses), 1)

  expect_lt(mean(seen$healthy$clip_coefficient < 1), 0.1)
  settled <- tail(seen$healthy$update_ratio, 100)
  expect_true(all(settled > healthy_ratio[[1]] & settled < healthy_ratio[[2]]))

  expect_gt(mean(head(seen$high$update_ratio, 10) > large_ratio), 0.5)
  expect_gt(max(seen$high$gradient_norm), 1000 * seen$high$gradient_norm[[1]])
  expect_gt(last(seen$high_loss), 10 * last(seen$history$loss))

  expect_gt(mean(seen$clipped$clip_coefficient < 1), 0.9)
  expect_gt(last(seen$clipped_loss), 3 * last(seen$history$loss))
  expect_setequal(
    names(standing_out(seen$of_variables)), sprintf("iris/hidden_%d/kernel", 1:5)
  )

  # contract 16.1, 16.2
  expect_true(all(is.nan(seen$default_loss)))
  expect_equal(statistics(seen$watch)$nonfinite > 0, statistics(seen$watch)$update_norm == 0)
  expect_equal(summary(seen$model$optimizer)$state$skipping$skipped, 30)
  expect_gt(mean(seen$predicted == seen$y), 0.9)
  expect_match(seen$message, "not finite in 1 update, the last one at epoch 1, batch [0-9]+, ")
})

test_that("interrupted training ends at the weights of uninterrupted training", {
  skip_on_cran()
  skip_if_not_installed("knitr")
  skip_if_no_keras()
  withr::local_pdf(NULL)
  seen <- run_vignette("kerasgd.Rmd")
  # contract 19.1
  expect_equal(seen$resumed$epochs, 13:20)
  expect_identical(seen$resumed$weights, seen$uninterrupted$weights)
  # contract 9.1
  expect_identical(seen$by_hand, seen$at_once)
})

test_that("the output that is shown for keras3 was recorded from the code that is shown", {
  page <- readLines(vignette_file("kerasgd.Rmd"))
  recorded <- readLines(vignette_file("keras3-output.md"))
  code_between_fences <- function(lines, start) {
    code <- lines[seq(start + 1, length.out = match("```", lines[-seq_len(start)]) - 1)]
    grep("^#>", code, value = TRUE, invert = TRUE)
  }
  chunks <- grep("^```\\{r keras3-", page)
  labels <- sub("^```\\{r ([a-z0-9-]+).*", "\\1", page[chunks])
  sections <- grep("^## ", recorded)
  expect_gt(length(chunks), 0)
  expect_identical(paste("##", labels), recorded[sections])
  fences <- grep("^```r$", recorded)
  shown <- lapply(chunks, code_between_fences, lines = page)
  expect_identical(lapply(fences, code_between_fences, lines = recorded), shown)
  # each record is shown
  calls <- grep("^recorded_output\\(", page, value = TRUE)
  expect_identical(calls, sprintf("recorded_output(\"%s\")", labels))
})

test_that("fine-tuning freezes exactly, and both ways to unfreeze give the same training", {
  skip_on_cran()
  skip_if_not_installed("knitr")
  skip_if_no_keras()
  tuned <- run_vignette("fine-tuning.Rmd")
  # contract 14.3
  expect_identical(tuned$frozen$get_layer("base")$get_weights(), tuned$pretrained)
  # contract 14.7
  expect_equal(tuned$weights_of(tuned$by_hand), tuned$weights_of(tuned$by_schedule))
  # the claims of its last section
  expect_gt(tuned$accuracies[["base frozen"]], tuned$accuracies[["full rate"]])
  expect_gt(tuned$accuracies[["base frozen"]], tuned$accuracies[["without pretraining"]])
})

test_that("the recorded results have every clause, and kerasgd holds them all", {
  skip_if_no_keras()
  recorded <- read.csv(vignette_file("conformance.csv"), colClasses = "character")
  optimizer_sgd() # loads the Python package
  clauses <- reticulate::import("kerasgd.conformance.clauses")$CLAUSES
  for (run in split(recorded, recorded[c("backend", "subject")])) {
    expect_equal(stats::setNames(run$sentence, run$clause), unlist(clauses))
  }
  expect_setequal(recorded$backend, names(backends))
  ours <- recorded[recorded$subject == "kerasgd:SGD", ]
  expect_equal(unique(ours$status[ours$status != "not tested here"]), "holds")
})

test_that("the suggested rate trains, and rates far from it do not", {
  # contract 17.3
  skip_on_cran()
  skip_if_not_installed("knitr")
  skip_if_no_keras()
  backend <- reticulate::import("keras")$backend$backend()
  skip_if(backend != "tensorflow", "the page shows the numbers of TensorFlow")
  withr::local_pdf(NULL)
  found <- run_vignette("choosing-a-learning-rate.Rmd")
  expect_lt(found$losses[["suggested"]], found$losses[["too_low"]] / 3)
  expect_lt(found$losses[["suggested"]], found$losses[["too_high"]] / 3)
  expect_lt(found$scheduled, found$losses[["too_low"]] / 3)
})

test_that("recorded suggestions cover all problems and backends, and their rates train", {
  # contract 17.3
  recorded <- utils::read.csv(vignette_file("learning-rates.csv"))
  expected <- expand.grid(
    backend = c("tensorflow", "jax", "torch"), problem = c("mtcars", "iris", "ChickWeight"),
    steps = c(100, 300)
  )
  expect_setequal(do.call(paste, recorded[names(expected)]), do.call(paste, expected))
  expect_true(all(recorded$loss_steepest < recorded$loss_untrained))
  expect_true(all(recorded$loss_minimum < recorded$loss_untrained))
})

test_that("the page on speed shows each recorded update, to two digits", {
  skip_if_not_installed("knitr")
  page <- vignette_file(file.path("articles", "speed.Rmd"))
  results <- file.path(dirname(page), "..", "..", "benchmarks", "results")
  withr::local_pdf(NULL)
  speed <- run_vignette(file.path("articles", "speed.Rmd"))
  shown <- speed$by_configuration(speed$ours, speed$times_as_fast(speed$ours))
  cells <- do.call(rbind, lapply(strsplit(shown[-2], "|", fixed = TRUE), trimws))

  for (backend in names(backends)) {
    file <- file.path(results, sprintf("measure-%s.json", backend))
    for (row in jsonlite::fromJSON(file, simplifyVector = FALSE)$rows) {
      if (row$contender != "kerasgd") next
      mode <- if (backend == "torch") "torch" else row$case[[1]]
      variables <- speed$label(row$case[[2]], speed$workloads)
      line <- cells[, 2] == speed$label(mode, speed$modes) & cells[, 3] == variables
      cell <- cells[line, cells[1, ] == speed$label(row$case[[3]], speed$configurations)]
      if (row$verdict == "no difference") {
        expect_equal(cell, "no difference")
      } else {
        expect_equal(as.numeric(cell), signif(row$ratio, 2), tolerance = 0.01)
      }
    }
  }
})
