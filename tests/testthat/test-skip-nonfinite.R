steps_by_hand <- function(optimizer, gradients, variable) {
  for (gradient in gradients) apply_gradients(optimizer, list(gradient), list(variable))
}

variable <- function(value) reticulate::import("keras")$Variable(value)

test_that("an update whose gradient is not finite changes nothing and is counted", {
  # contract 16.1
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.5, momentum = 0.5)
  result <- withVisible(skip_nonfinite(optimizer))
  expect_identical(result, list(value = optimizer, visible = FALSE))

  weights <- variable(c(4, 8))
  # rule 1.2 with the two updates that are done: velocity -1, then -0.5 - 1
  steps_by_hand(optimizer, list(c(2, 2), c(NaN, 1), c(1, -Inf), c(2, 2)), weights)
  expect_equal(as.double(weights), c(4, 8) - 1 - 1.5)
  expect_equal(c(optimizer$skipped, optimizer$skipped_in_a_row), c(2, 0))
  expect_equal(as.double(optimizer$iterations), 4)
  expect_equal(summary(optimizer)$state$updates, 2)
})

test_that("without skip_nonfinite() nothing is hidden", {
  # contract 4.5, 16.1
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.5)
  weight <- variable(1)
  steps_by_hand(optimizer, list(NaN, 1), weight)
  expect_identical(as.double(weight), NaN)
  expect_equal(optimizer$skipped, 0)
})

test_that("the same in fit(), with the accumulation window cleared", {
  # contract 7, 16.1
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.25, gradient_accumulation_steps = 2) |> skip_nonfinite()
  model <- one_weight_model(optimizer)
  fit <- function(y) {
    model$fit(matrix(rep(1, length(y))), matrix(y), batch_size = 1L, shuffle = FALSE, verbose = 0L)
    as.numeric(model$get_weights()[[1]])
  }
  expect_close(fit(c(4, NaN, 4, 4)), 2) # from 0 by 0.25 * 2 * 4, once
  expect_equal(c(optimizer$skipped, optimizer$skipped_in_a_row), c(1, 0))
  expect_close(fit(c(NaN, 4, 4, NaN)), 2)
  expect_equal(c(optimizer$skipped, optimizer$skipped_in_a_row), c(3, 2))
})

test_that("it validates its inputs", {
  # contract 12, 16.1
  skip_if_no_keras()
  built <- optimizer_sgd()
  steps_by_hand(built, 1, variable(1))
  skipping <- skip_nonfinite(optimizer_sgd())
  expect_snapshot(error = TRUE, {
    skip_nonfinite()
    skip_nonfinite(1)
    skip_nonfinite(optimizer_sgd)
    skip_nonfinite(optimizer_sgd(), TRUE)
    skip_nonfinite(optimizer_sgd(), max_in_a_row = 3)
    skip_nonfinite(built)
    built$skip_nonfinite()
    skip_nonfinite(optimizer_loss_scale(optimizer_sgd()))
    optimizer_loss_scale(skipping)
    skipping$skiped
    skipping$skipped <- 0
  })
  expect_null(summary(built)$state$skipping)
})
