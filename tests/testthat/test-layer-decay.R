dense <- function(name, trainable = TRUE) {
  reticulate::import("keras")$layers$Dense(
    1L,
    use_bias = FALSE, kernel_initializer = "ones", name = name, trainable = trainable
  )
}

model_of <- function(...) {
  keras <- reticulate::import("keras")
  keras$Sequential(c(list(keras$Input(shape = list(1L))), list(...)))
}

test_that("the factor is decay^depth, nested models unrolled", {
  # contract 14.10
  skip_if_no_keras()
  base <- model_of(dense("one"), dense("two"))
  model <- model_of(base, dense("three"), dense("four"))
  optimizer <- optimizer_sgd(1)
  result <- withVisible(layer_decay(optimizer, model, 1 / 3))
  expect_identical(result, list(value = optimizer, visible = FALSE))
  rows <- variable_groups(optimizer, model)
  expect_identical(rows$learning_rate_factor, (1 / 3)^(3:0))
  expect_identical(rows$groups, as.list(1:4))
  # and so the step goes: 1 - 1/3^depth with gradients of 1
  apply_gradients(optimizer, rep(list(matrix(1)), 4), model)
  weights <- vapply(model$trainable_variables, as.double, 0)
  expect_lte(max(abs(weights - (1 - (1 / 3)^(3:0)))), 2e-6)
})

test_that("frozen layers count, and get no group; later groups win", {
  # contract 14.4, 14.10
  skip_if_no_keras()
  model <- model_of(dense("one"), dense("two", trainable = FALSE), dense("three"))
  optimizer <- optimizer_loss_scale(optimizer_sgd(1)) |>
    layer_decay(model, decay = 0.5) |>
    set_group("three", learning_rate_factor = 3)
  rows <- variable_groups(optimizer, model)
  expect_identical(rows$learning_rate_factor, c(0.25, 3))
  expect_identical(rows$groups, list(1L, 2:3))
})

test_that("it validates its inputs", {
  # contract 12, 14.10
  withr::local_options(warnPartialMatchArgs = FALSE) # R's own
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  optimizer <- optimizer_sgd()
  model <- model_of(dense("one"))
  built <- optimizer_sgd()
  built$build(model$trainable_variables)
  unbuilt <- keras$Sequential(list(dense("one")), name = "unbuilt")
  expect_snapshot(error = TRUE, {
    layer_decay()
    layer_decay("sgd", model, 0.5)
    layer_decay(optimizer)
    layer_decay(optimizer, model)
    layer_decay(optimizer, model$trainable_variables, 0.5)
    layer_decay(optimizer, "base", 0.5)
    layer_decay(optimizer, unbuilt, 0.5)
    layer_decay(optimizer, model, 0)
    layer_decay(optimizer, model, 1.1)
    layer_decay(optimizer, model, NULL)
    layer_decay(optimizer, model, NA)
    layer_decay(optimizer, model, "0.5")
    layer_decay(optimizer, model, c(0.5, 0.5))
    layer_decay(optimizer, model, dec = 0.5)
    layer_decay(built, model, 0.5)
  })
  expect_length(summary(optimizer)$state$groups, 0)
})
