test_that("it validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, transform = without_keras_module, {
    optimizer_loss_scale()
    optimizer_loss_scale(NULL)
    optimizer_loss_scale("sgd")
    optimizer_loss_scale(optimizer_sgd)
    optimizer_loss_scale(reticulate::import("keras")$optimizers$Adam())
    optimizer_loss_scale(reticulate::import("keras")$optimizers$Adam)
    optimizer_loss_scale(optimizer_loss_scale(optimizer_sgd()))
    optimizer_loss_scale(structure(list(), class = "keras3_optimizer"))
    optimizer_loss_scale(optimizer_sgd(), initial_scale = 0)
    optimizer_loss_scale(optimizer_sgd(), initial_scale = NA)
    optimizer_loss_scale(optimizer_sgd(), initial_scale = c(1, 2))
    optimizer_loss_scale(optimizer_sgd(), dynamic_growth_steps = 2.5)
    optimizer_loss_scale(optimizer_sgd(), dynamic_growth_steps = TRUE)
    optimizer_loss_scale(optimizer_sgd(), name = "a/b")
    optimizer_loss_scale(optimizer_sgd(), momentum = 0.9)
  })
})

test_that("a fixed factor is dropped with one warning", {
  skip_if_no_keras()
  inner <- optimizer_sgd(loss_scale_factor = 8)
  warnings <- capture_warnings(optimizer_loss_scale(inner))
  expect_length(warnings, 1)
  expect_match(warnings, "`loss_scale_factor = 8` no longer applies", fixed = TRUE)
  expect_null(inner$loss_scale_factor)
})

# contract 6.3: the gradient of w in the mean of (w x - y)^2 is mean(2 x (w x - y))
test_that("training is that of the unscaled loss", {
  skip_if_no_keras()
  x <- c(1, 2)
  y <- c(3, 4)
  w <- 0
  for (i in 1:3) w <- w - 0.1 * mean(2 * x * (w * x - y))

  optimizer <- optimizer_loss_scale(optimizer_sgd(learning_rate = 0.1), initial_scale = 1024L)
  expect_equal(fit_one_weight(optimizer, x, y, steps = 3)$weight, w, tolerance = 1e-6)
  expect_s3_class(optimizer, "kerasgd.LossScaleOptimizer")
})

# contract 6.3
test_that("a step that is not finite is skipped and halves the scale", {
  skip_if_no_keras()
  optimizer <- optimizer_loss_scale(optimizer_sgd(learning_rate = 1), initial_scale = 8)
  result <- fit_one_weight(optimizer, x = 1, y = 1e38, steps = 1)
  expect_equal(result$weight, 0)
  expect_equal(as.numeric(optimizer$dynamic_scale$numpy()), 4)
  expect_equal(as.numeric(optimizer$iterations$numpy()), 0)
})
