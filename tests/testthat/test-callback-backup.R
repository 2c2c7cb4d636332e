# Trains epochs of three batches; an accumulation window of two steps may span epochs
train <- function(backup_dir, ..., kill_in = NULL) {
  keras <- reticulate::import("keras")
  optimizer <- optimizer_sgd(
    0.1,
    momentum = 0.9, use_ema = TRUE, ema_momentum = 2 / 3, gradient_accumulation_steps = 2
  )
  callbacks <- list(callback_backup(backup_dir, ...))
  if (!is.null(kill_in)) {
    stop_in <- function(epoch, logs) if (epoch == kill_in) stop("the power is gone")
    callbacks <- c(callbacks, keras$callbacks$LambdaCallback(on_epoch_begin = stop_in))
  }
  model <- one_weight_model(optimizer)
  x <- matrix(c(1 / 3, 7 / 8, -1.1))
  history <- model$fit(
    x, 3 * x,
    batch_size = 1L, epochs = 4L, shuffle = FALSE, callbacks = callbacks, verbose = 0L
  )
  list(epochs = unlist(history$epoch), weight = as.numeric(model$get_weights()[[1]]))
}

test_that("training resumes at the interrupted epoch, bit for bit", {
  # contract 19.1
  skip_if_no_keras()
  folder <- withr::local_tempdir()
  uninterrupted <- train(file.path(folder, "whole"))
  expect_equal(uninterrupted$epochs, 0:3)
  for (epoch in 1:3) {
    backup <- file.path(folder, epoch)
    expect_error(train(backup, kill_in = epoch), "the power is gone")
    resumed <- train(backup)
    expect_equal(resumed$epochs, epoch:3)
    expect_identical(resumed$weight, uninterrupted$weight)
  }
  expect_equal(list.files(folder), character())
})

test_that("the last backup can be kept, and paths are expanded as in R", {
  # contract 19.1
  skip_if_no_keras()
  withr::local_dir(withr::local_tempdir())
  train("here", delete_checkpoint = FALSE)
  expect_equal(list.files("here"), "backup-4")
  expect_equal(
    normalizePath(callback_backup("~/backup")$backup_dir, mustWork = FALSE),
    normalizePath("~/backup", mustWork = FALSE)
  )
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    callback_backup()
    callback_backup(1)
    callback_backup(NA)
    callback_backup("")
    callback_backup(c("a", "b"))
    callback_backup("backup", delete_checkpoint = 1)
    callback_backup("backup", FALSE, 5)
    callback_backup("backup", save_freq = 10)
  })
})
