test_that("it validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    callback_learning_rate_function()
    callback_learning_rate_function(0.1)
    callback_learning_rate_function(NULL)
    callback_learning_rate_function(function(step) step)
    callback_learning_rate_function(function() 0.1, 2)
    callback_learning_rate_function(lr = function() 0.1)
  })
})

fit_with <- function(callback, batches = 4) {
  model <- one_weight_model(optimizer_sgd())
  x <- matrix(rep(1, batches))
  model$fit(x, x, batch_size = 1L, shuffle = FALSE, verbose = 0L, callbacks = list(callback))
  as.numeric(model$get_weights()[[1]])
}

# contract 2.3: the gradient of w in (w - 1)^2 is 2 (w - 1)
test_that("the function is called before each batch, and its value is used", {
  skip_if_no_keras()
  rates <- c(0.5, 0.25, 0.125, 0.0625)
  w <- 0
  for (rate in rates) w <- w - rate * 2 * (w - 1)

  calls <- 0
  callback <- callback_learning_rate_function(function() {
    calls <<- calls + 1
    rates[[calls]]
  })
  expect_equal(fit_with(callback), w, tolerance = 1e-6)
  expect_equal(calls, 4)
})

# contract 9.3: what keras3's callback_model_checkpoint() does at the end of an epoch
test_that("the error for a function that cannot be saved names R's schedule and callback", {
  skip_if_no_keras()
  skip_if(loaded_backend() == "jax", "JAX cannot call a function")
  checkpoint <- reticulate::import("keras")$callbacks$ModelCheckpoint
  file <- withr::local_tempfile(fileext = ".keras")
  fit <- function(optimizer, ...) {
    model <- one_weight_model(optimizer)
    model$fit(matrix(1), matrix(1), verbose = 0L, callbacks = list(..., checkpoint(file)))
  }
  rate <- function() 0.1
  error <- expect_error(fit(optimizer_sgd(rate)), "cannot be saved")
  expect_match(conditionMessage(error), "`learning_rate_schedule_function()`", fixed = TRUE)
  expect_match(conditionMessage(error), "`callback_learning_rate_function()`", fixed = TRUE)
  expect_no_match(conditionMessage(error), "keras.saving")

  fit(optimizer_sgd(), callback_learning_rate_function(rate))
  expect_true(file.exists(file))
})

# contract 2.4
test_that("a function that fails or returns no rate stops training with an error about it", {
  skip_if_no_keras()
  stopped <- function(fn) {
    conditionMessage(expect_error(fit_with(callback_learning_rate_function(fn))))
  }
  expect_match(stopped(function() stop("no file")), "`learning_rate` must be .*no file")
  expect_match(stopped(function() -1), "`learning_rate` must be .*-1")
  expect_match(stopped(function() NA_real_), "`learning_rate` must be .*NA")
  expect_match(stopped(function() c(1, 2)), "`learning_rate` must be")
})
