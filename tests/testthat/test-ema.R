# Two steps from 0 with gradient 1: the weight is -0.1, then -0.2
averaging <- function(variable, use_ema = TRUE, wrap = identity) {
  optimizer <- wrap(optimizer_sgd(learning_rate = 0.1, use_ema = use_ema, ema_momentum = 0.75))
  optimizer$build(list(variable))
  scale <- as.double(optimizer$scale_loss(1))
  gradient <- reticulate::import("keras")$ops$convert_to_tensor(scale)
  for (i in 1:2) optimizer$apply(list(gradient), list(variable))
  optimizer
}

average <- 0.75 * -0.1 + 0.25 * -0.2

weight <- function() reticulate::import("keras")$Variable(0, name = "w")

test_that("weights and averages are swapped, and swapped back exactly", {
  # contract 5.1, 5.6
  skip_if_no_keras()
  for (wrap in list(identity, optimizer_loss_scale)) {
    w <- weight()
    optimizer <- averaging(w, wrap = wrap)
    before <- as.double(w)
    result <- withVisible(swap_ema_weights(optimizer, list(w)))
    expect_identical(result, list(value = optimizer, visible = FALSE))
    expect_close(as.double(w), average)
    swap_ema_weights(optimizer)
    expect_identical(as.double(w), before)
  }
})

test_that("averages are written into the weights", {
  # contract 5.4
  skip_if_no_keras()
  for (variables in list(function(w) list(w), function(w) w, function(w) NULL)) {
    w <- weight()
    optimizer <- averaging(w)
    result <- withVisible(finalize_variable_values(optimizer, variables(w)))
    expect_identical(result, list(value = optimizer, visible = FALSE))
    expect_close(as.double(w), average)
  }
})

test_that("a model stands for its trainable variables", {
  # contract 5.4
  skip_if_no_keras()
  optimizer <- optimizer_sgd(learning_rate = 0.1, use_ema = TRUE, ema_momentum = 0.75)
  model <- one_weight_model(optimizer)
  w <- model$trainable_variables[[1]]
  one <- reticulate::import("keras")$ops$ones(list(1L, 1L))
  for (i in 1:2) optimizer$apply(list(one), list(w))
  swap_ema_weights(optimizer, model)
  expect_close(as.double(w), average)
  swap_ema_weights(optimizer, model)
  expect_close(as.double(w), -0.2)
  finalize_variable_values(optimizer, model)
  expect_close(as.double(w), average)
})

test_that("without averages nothing changes", {
  # contract 5.4
  skip_if_no_keras()
  w <- weight()
  optimizer <- averaging(w, use_ema = FALSE)
  swap_ema_weights(optimizer, list(w))
  finalize_variable_values(optimizer, list(w))
  expect_close(as.double(w), -0.2)

  unbuilt <- optimizer_sgd(use_ema = TRUE)
  swap_ema_weights(unbuilt, list(w))
  finalize_variable_values(unbuilt, list(w))
  expect_close(as.double(w), -0.2)
})

test_that("variables without an average are named", {
  # contract 5.4
  skip_if_no_keras()
  w <- weight()
  other <- reticulate::import("keras")$Variable(7, name = "other")
  optimizer <- averaging(w)
  expect_snapshot(finalize_variable_values(optimizer, list(w, other)))
  expect_close(as.double(w), average)
  expect_identical(as.double(other), 7)
  expect_snapshot(error = TRUE, {
    finalize_variable_values(optimizer, list(other))
    swap_ema_weights(optimizer, list(other))
  })
})

test_that("swapped weights are not trained", {
  # contract 12.7
  skip_if_no_keras()
  w <- weight()
  optimizer <- averaging(w)
  swap_ema_weights(optimizer)
  gradient <- reticulate::import("keras")$ops$ones(list())
  expect_snapshot(error = TRUE, {
    optimizer$apply(list(gradient), list(w))
    finalize_variable_values(optimizer, list(w))
  })
  expect_match(format(optimizer), "swapped", all = FALSE)
  expect_close(as.double(w), average)
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  optimizer <- optimizer_sgd(use_ema = TRUE)
  expect_snapshot(error = TRUE, {
    swap_ema_weights()
    swap_ema_weights("sgd")
    swap_ema_weights(optimizer, 1)
    finalize_variable_values()
    finalize_variable_values(NULL)
    finalize_variable_values(optimizer, "model")
    finalize_variable_values(optimizer, list(1, 2))
    finalize_variable_values(optimizer, modle = NULL)
  })
})
