# y = w x with x = 1, from w = 0, a row a batch; a target of NaN makes the gradient NaN
fit_with <- function(optimizer, targets, ..., epochs = 1) {
  model <- one_weight_model(optimizer)
  x <- matrix(rep(1, length(targets)))
  outcome <- tryCatch(
    model$fit(
      x, matrix(targets),
      batch_size = 1L, epochs = as.integer(epochs), shuffle = FALSE, verbose = 0L,
      callbacks = list(callback_stop_on_nonfinite(...))
    ),
    error = conditionMessage
  )
  list(outcome = outcome, weight = as.numeric(model$get_weights()[[1]]))
}

skipping <- function() optimizer_sgd(0.25) |> skip_nonfinite()

test_that("fit() stops when the gradient is not finite, and reports where", {
  # contract 16.2
  skip_if_no_keras()
  stopped <- fit_with(skipping(), c(4, NaN, 4))
  expect_match(
    stopped$outcome,
    "not finite in 1 update, the last one at epoch 1, batch 2, with a loss of nan: `.*kernel` \\(1 "
  )
  expect_close(stopped$weight, 2) # the step by 0.25 * 2 * 4
})

test_that("it stops only after max_in_a_row consecutive updates", {
  # contract 16.2
  skip_if_no_keras()
  expect_s3_class(
    fit_with(skipping(), c(NaN, 4, NaN, 4), max_in_a_row = 2)$outcome, "python.builtin.object"
  )
  stopped <- fit_with(skipping(), c(4, NaN, NaN, NaN), max_in_a_row = 3)
  expect_match(stopped$outcome, "in 3 updates in a row, the last one at epoch 1, batch 4[,:] ")
  # counting continues in the next epoch
  stopped <- fit_with(skipping(), c(NaN, 4, NaN), max_in_a_row = 2, epochs = 2)
  expect_match(stopped$outcome, "in 2 updates in a row, the last one at epoch 2, batch 1[,:] ")
})

test_that("without skipping fit() fails, with a message in R's terms", {
  # contract 16.2
  skip_if_no_keras()
  refusal <- fit_with(optimizer_sgd(), 1)$outcome
  expect_snapshot(cat(sub("(?s).*(The callback[^\n]*).*", "\\1", refusal, perl = TRUE)))
})

test_that("this package's functions signal a condition with the data", {
  # contract 16.2
  skip_if_no_keras()
  optimizer <- skipping()
  model <- one_weight_model(optimizer)
  fit <- function(...) call_python_function(model$fit, list(...))
  arguments <- list(
    matrix(c(1, 1)), matrix(c(4, NaN)),
    batch_size = 1L, shuffle = FALSE, verbose = 0L, callbacks = list(callback_stop_on_nonfinite())
  )
  error <- expect_error(do.call(fit, arguments), class = "kerasgd_nonfinite_gradient_error")
  expect_s3_class(error, c("kerasgd_state_error", "kerasgd_python_error", "kerasgd_error"))
  expect_equal(c(error$epoch, error$batch, error$loss), c(1, 2, NaN))
  expect_equal(error$variables$nan, 1)
  expect_equal(error$variables$infinite, 0)
  expect_match(error$variables$path, "kernel")
  expect_match(conditionMessage(error), "^Gradients were not finite in 1 update.*\ni The weights")
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  optimizer_sgd()
  model <- one_weight_model(skipping())
  expect_snapshot(error = TRUE, {
    callback_stop_on_nonfinite(0)
    callback_stop_on_nonfinite(1.5)
    callback_stop_on_nonfinite(NULL)
    callback_stop_on_nonfinite(NA)
    callback_stop_on_nonfinite(Inf)
    callback_stop_on_nonfinite(TRUE)
    callback_stop_on_nonfinite("1")
    callback_stop_on_nonfinite(c(1, 2))
    callback_stop_on_nonfinite(1, 2)
    callback_stop_on_nonfinite(max = 2)
    model$fit(matrix(1), matrix(1), callbacks = list(callback_stop_on_nonfinite))
  })
})
