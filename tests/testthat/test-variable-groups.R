variable <- function(name, value = 1) {
  reticulate::import("keras")$Variable(value, name = name)
}

three <- function() {
  list(
    variable("a_kernel", matrix(0, 2, 3)), variable("a_bias", rep(0, 3)), variable("b_scale", 1)
  )
}

test_that("there is one row for each variable, before and after build", {
  # contract 14.9
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.5, momentum = 0.9, weight_decay = 0.1) |>
    set_group("^a", learning_rate_factor = 0.5) |>
    set_group("bias", weight_decay = NULL, momentum = 0)
  exclude_from_weight_decay(optimizer, "scale")
  variables <- three()
  rows <- variable_groups(optimizer, variables)
  expect_false(optimizer$built)
  expected <- data.frame(
    path = c("a_kernel", "a_bias", "b_scale"), shape = c("2 x 3", "3", "scalar"),
    parameters = c(6, 3, 1), learning_rate_factor = c(0.5, 0.5, 1),
    learning_rate = c(0.25, 0.25, 0.5), momentum = c(0.9, 0, 0.9), weight_decay = c(0.1, 0, 0)
  )
  expected$groups <- list(1L, 1:2, integer())
  expect_s3_class(rows, c("kerasgd_variable_groups", "data.frame"), exact = TRUE)
  expect_identical(as.list(rows), as.list(expected))
  optimizer$build(variables)
  expect_identical(variable_groups(optimizer, variables), rows)

  optimizer$learning_rate <- 0.1
  set_learning_rate_factor(optimizer, 1, 0.25)
  expect_equal(variable_groups(optimizer, variables)$learning_rate, c(0.025, 0.025, 0.1))
})

test_that("a model, a layer and one variable stand for their variables", {
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  layer <- keras$layers$Dense(2L, name = "layer")
  model <- keras$Sequential(list(keras$Input(shape = list(3L)), layer))
  paths <- vapply(model$trainable_variables, function(v) v$path, "")
  for (whole in list(model, layer, model$trainable_variables)) {
    expect_identical(variable_groups(optimizer_sgd(), whole)$path, paths)
  }
  expect_identical(variable_groups(optimizer_sgd(), layer$bias)$path, paths[[2]])
  expect_identical(variable_groups(optimizer_loss_scale(optimizer_sgd()), model)$path, paths)
})

test_that("schedules of rates and factors show the next step's", {
  # contract 14.9
  skip_if_no_keras()
  halving <- learning_rate_schedule_exponential_decay(1, decay_steps = 1, decay_rate = 0.5)
  optimizer <- optimizer_sgd(halving) |> set_group("a", learning_rate_factor = halving)
  variables <- list(variable("a"), variable("b"))
  expect_identical(variable_groups(optimizer, variables)$learning_rate, c(1, 1))
  apply_gradients(optimizer, list(0, 0), variables)
  expect_identical(variable_groups(optimizer, variables)$learning_rate, c(0.25, 0.5))
})

test_that("print() fits the width and keeps the ends of paths", {
  skip_if_no_keras()
  long <- variable(paste(rep("long_name", 9), collapse = "_"), array(0, c(3, 3, 512, 512)))
  variables <- c(three(), long)
  optimizer <- optimizer_sgd(1 / 3, momentum = 0.9) |>
    set_group("^a", learning_rate_factor = 1e-4) |>
    set_group(".*", weight_decay = 5e-4)
  rows <- variable_groups(optimizer, variables)
  expect_snapshot({
    rows
    rows[2, ]
    rows[c("path", "momentum")]
    rows[0, c("path", "groups")]
  })
  expect_lte(max(nchar(format(rows))), 80)
  expect_output(result <- withVisible(print(rows[1, ])), "a_kernel")
  expect_identical(result, list(value = rows[1, ], visible = FALSE))
})

test_that("it validates its inputs", {
  # contract 12, 14.6, 14.9
  withr::local_options(warnPartialMatchArgs = FALSE) # R's own
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  optimizer <- optimizer_sgd()
  built <- optimizer_sgd()
  built$build(list(variable("a")))
  misspelt <- optimizer_sgd() |> set_group("bais", momentum = 0.5)
  unbuilt <- keras$Sequential(list(keras$layers$Dense(1L)), name = "unbuilt")
  expect_snapshot(error = TRUE, {
    variable_groups()
    variable_groups("sgd", three())
    variable_groups(optimizer)
    variable_groups(optimizer, NULL)
    variable_groups(optimizer, 1)
    variable_groups(optimizer, list(1))
    variable_groups(optimizer, unbuilt)
    variable_groups(optimizer, mod = three())
    variable_groups(built, three())
    variable_groups(misspelt, three())
  })
})

test_that("a Keras optimizer is refused by name", {
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  expect_error(
    variable_groups(keras$optimizers$SGD(), list()), "must be an optimizer made by",
    class = "kerasgd_argument_error"
  )
})
