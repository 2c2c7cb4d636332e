variable <- function(name, value = 1) {
  reticulate::import("keras")$Variable(value, name = name)
}

# With gradients of 0, a weight of 1 becomes 1 - rate * decay = 0.75, unless it is excluded
step_without_gradient <- function(optimizer, variables) {
  zero <- reticulate::import("keras")$ops$zeros(list())
  optimizer$apply(lapply(variables, function(v) zero), variables)
  vapply(variables, as.double, 0)
}

decaying <- function() optimizer_sgd(learning_rate = 0.5, weight_decay = 0.5)

test_that("patterns and variables are excluded from decay", {
  # contract 3.1, 3.2
  skip_if_no_keras()
  optimizer <- decaying()
  result <- withVisible(exclude_from_weight_decay(optimizer, "^b"))
  expect_identical(result, list(value = optimizer, visible = FALSE))
  variables <- lapply(c("kernel", "bias", "crib"), variable)
  expect_identical(step_without_gradient(optimizer, variables), c(0.75, 1, 0.75))

  optimizer <- decaying()
  variables <- lapply(c("kernel", "bias", "gamma"), variable)
  exclude_from_weight_decay(optimizer, c("bias", "gamma"))
  expect_identical(step_without_gradient(optimizer, variables), c(0.75, 1, 1))

  for (given in list(function(v) v, function(v) list(v))) {
    optimizer <- decaying()
    variables <- lapply(c("kernel", "bias"), variable)
    exclude_from_weight_decay(optimizer, var_list = given(variables[[1]]))
    expect_identical(step_without_gradient(optimizer, variables), c(1, 0.75))
  }
})

test_that("layers and variables of low rank are excluded from decay", {
  # contract 14.1, 14.11
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  layer <- keras$layers$Dense(1L, kernel_initializer = "ones", bias_initializer = "ones")
  layer$build(list(NULL, 1L))
  variables <- function() {
    layer$set_weights(list(matrix(1), array(1)))
    list(layer$kernel, layer$bias, variable("other"))
  }
  after <- function(...) {
    optimizer <- exclude_from_weight_decay(decaying(), ...)
    variables <- variables()
    zeros <- lapply(variables, function(v) keras$ops$zeros_like(v))
    optimizer$apply(zeros, variables)
    vapply(variables, as.double, 0)
  }
  expect_identical(after(var_list = layer), c(1, 1, 0.75))
  expect_identical(after(rank_below = 2), c(0.75, 1, 1))
  expect_identical(after(rank_below = 1L), c(0.75, 0.75, 1))
  expect_identical(after("kernel", rank_below = 1), c(1, 0.75, 1))
  expect_identical(after("kernel", rank_below = NULL), c(1, 0.75, 0.75))

  by_rank <- exclude_from_weight_decay(decaying(), rank_below = 2)
  by_layer <- exclude_from_weight_decay(decaying(), var_list = layer)
  expect_identical(
    tail(format(summary(by_rank)), 1), "  excluded from weight decay: fewer than 2 dimensions"
  )
  expect_length(summary(by_layer)$state$excluded, 2)
  expect_identical(all.equal(by_rank, by_layer), "weight decay exclusions differ")
  expect_true(all.equal(by_rank, update(by_rank)))
})

test_that("a second call replaces the first", {
  # contract 3.2
  skip_if_no_keras()
  optimizer <- decaying()
  exclude_from_weight_decay(optimizer, "kernel")
  exclude_from_weight_decay(optimizer, "bias")
  variables <- lapply(c("kernel", "bias"), variable)
  expect_identical(step_without_gradient(optimizer, variables), c(0.75, 1))
})

test_that("exclusions reach the inner optimizer, also in fit()", {
  # contract 6.3
  skip_if_no_keras()
  optimizer <- optimizer_loss_scale(decaying())
  exclude_from_weight_decay(optimizer, "kernel")
  with_exclusion <- fit_one_weight(optimizer, x = 1, y = 1, steps = 3)$weight
  # w <- w - 0.5 * 2 * (w - 1) is at 1 after one step; with decay it would come to rest below
  expect_close(with_exclusion, 1)
})

test_that("selecting no variable is an error at build, and nothing is built", {
  # contract 14.6
  skip_if_no_keras()
  variables <- lapply(c("a/kernel", "a/bias", "b/kernel", "b/bias"), function(name) {
    variable(gsub("/", "_", name))
  })
  misspelt <- exclude_from_weight_decay(decaying(), c("bias", "bais"))
  elsewhere <- exclude_from_weight_decay(decaying(), var_list = variable("other"))
  gradients <- rep(list(1), 4)
  expect_snapshot(error = TRUE, {
    misspelt$build(variables)
    apply_gradients(misspelt, gradients, variables)
    apply_gradients(elsewhere, gradients[1:2], variables[1:2])
  })
  expect_false(misspelt$built)
  expect_false(elsewhere$built)
  # in fit() the error passes through reticulate
  expect_error(fit_one_weight(misspelt, 1, 1, steps = 1), "not \"bias\".*`.*kernel`")
  # after a correction, it works
  exclude_from_weight_decay(misspelt, "bias")
  misspelt$build(variables)
  expect_identical(
    as.character(summary(misspelt)$state$excluded), c("a_bias", "b_bias")
  )
  expect_snapshot(tail(format(summary(misspelt)), 4))
})

test_that("summary() does not list hundreds of variables", {
  skip_if_no_keras()
  optimizer <- exclude_from_weight_decay(decaying(), ".*")
  optimizer$build(lapply(sprintf("w%d", 1:30), variable))
  lines <- format(summary(optimizer))
  expect_identical(tail(lines, 2), c("    w10", "    ... and 20 more"))
  expect_length(summary(optimizer)$state$excluded, 30)
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  withr::local_options(warnPartialMatchArgs = FALSE) # R's own
  optimizer <- decaying()
  built <- decaying()
  built$build(list(variable("kernel")))
  expect_snapshot(error = TRUE, {
    exclude_from_weight_decay()
    exclude_from_weight_decay("sgd", "bias")
    exclude_from_weight_decay(optimizer, 1)
    exclude_from_weight_decay(optimizer, NA)
    exclude_from_weight_decay(optimizer, c("a", NA))
    exclude_from_weight_decay(optimizer, "(bias")
    exclude_from_weight_decay(optimizer, "")
    exclude_from_weight_decay(optimizer, c("a", ""))
    exclude_from_weight_decay(optimizer, var_list = "bias")
    exclude_from_weight_decay(optimizer, var_list = list(1))
    exclude_from_weight_decay(optimizer, var_nmes = "bias")
    exclude_from_weight_decay(optimizer, rank_below = 0)
    exclude_from_weight_decay(optimizer, rank_below = NA)
    exclude_from_weight_decay(optimizer, rank_below = 1.5)
    exclude_from_weight_decay(optimizer, rank_below = "2")
    exclude_from_weight_decay(optimizer, rank = 2)
    exclude_from_weight_decay(built, "bias")
  })
  expect_identical(as.character(summary(optimizer)$state$patterns), character())
})
