# y = w x with x = 1, from w = 0: the gradient of (w - y)^2 is 2 (w - y)
fit_and_log <- function(optimizer, targets, callbacks, epochs = 1) {
  model <- one_weight_model(optimizer)
  x <- matrix(rep(1, length(targets)))
  history <- model$fit(
    x, matrix(targets),
    batch_size = 1L, epochs = as.integer(epochs), shuffle = FALSE, verbose = 0L,
    callbacks = callbacks
  )
  history$history
}

test_that("the history has a summary of each epoch", {
  # contract 15.4
  skip_if_no_keras()
  watch <- callback_statistics()
  optimizer <- optimizer_sgd(0.25, global_clipnorm = 3) |> track_statistics()
  logs <- fit_and_log(optimizer, c(4, 4, 1, 2), list(watch), epochs = 2)
  epochs <- split(statistics(watch), statistics(watch)$epoch)
  of_epochs <- function(summary) vapply(epochs, summary, 0, USE.NAMES = FALSE)
  logged <- function(name) as.numeric(unlist(logs[[name]]))

  expect_equal(logged("learning_rate"), c(0.25, 0.25))
  expect_equal(logged("gradient_norm"), of_epochs(function(rows) mean(rows$gradient_norm)))
  expect_equal(logged("update_ratio"), of_epochs(function(rows) mean(rows$update_ratio)))
  expect_equal(logged("clipped"), of_epochs(function(rows) mean(rows$clip_coefficient < 1)))
  expect_equal(logged("nonfinite"), c(0, 0))
  expect_equal(logged("clipped")[[1]], 0.5)
  expect_false("loss_scale" %in% names(logs))
})

test_that("updates that are not finite are counted and excluded from the means", {
  # contract 15.4
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.25) |> track_statistics() |> skip_nonfinite()
  logs <- fit_and_log(optimizer, c(4, NaN), list(callback_statistics()))
  expect_equal(unlist(logs[c("nonfinite", "gradient_norm")]), c(nonfinite = 1, gradient_norm = 8))
})

test_that("without measured updates fit() fails, with a message in R's terms", {
  # contract 15.4
  skip_if_no_keras()
  refused <- function(optimizer) {
    error <- expect_error(fit_and_log(optimizer, 1, list(callback_statistics())))
    sub("(?s).*(The callback[^\n]*).*", "\\1", conditionMessage(error), perl = TRUE)
  }
  expect_snapshot(cat(refused(optimizer_sgd())))
  expect_equal(refused(reticulate::import("keras")$optimizers$SGD()), refused(optimizer_sgd()))
})

test_that("the callback can be printed and plotted", {
  skip_if_no_keras()
  skip_if_not_installed("ggplot2")
  withr::local_pdf(NULL)
  watch <- callback_statistics()
  expect_snapshot({
    watch
    print(list(restored_by_r(watch)))
  })
  expect_snapshot(error = TRUE, {
    plot(watch)
    ggplot2::autoplot(watch)
    plot(restored_by_r(watch))
  })
  fit_and_log(track_statistics(optimizer_sgd()), c(4, 2), list(watch))
  expect_output(print(watch), "2 measured updates")
  expect_identical(withVisible(plot(watch)), list(value = watch, visible = FALSE))
  drawn <- ggplot2::ggplot_build(ggplot2::autoplot(watch))
  expect_equal(drawn$data, ggplot2::ggplot_build(ggplot2::autoplot(statistics(watch)))$data)
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  optimizer_sgd()
  model <- one_weight_model(optimizer_sgd())
  expect_snapshot(error = TRUE, {
    callback_statistics(optimizer_sgd())
    callback_statistics(every = 10)
    statistics(callback_statistics)
    model$fit(matrix(1), matrix(1), callbacks = list(callback_statistics))
  })
})
