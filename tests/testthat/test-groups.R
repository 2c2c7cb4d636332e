variable <- function(name, value = 1) {
  reticulate::import("keras")$Variable(value, name = name)
}

# The weights, initially all 1, after a step with each of `gradients` for all of them
weights_after <- function(optimizer, variables, gradients) {
  ops <- reticulate::import("keras")$ops
  for (gradient in gradients) {
    grads <- lapply(variables, function(v) ops$full_like(v, gradient))
    apply_gradients(optimizer, grads, variables)
  }
  vapply(variables, as.double, 0)
}

# With a factor of 0.5 at a rate of 0.5 a gradient of 1 moves the weight to 0.75 instead of 0.5
selected <- function(select, variables) {
  optimizer <- set_group(optimizer_sgd(0.5), select, learning_rate_factor = 0.5)
  weights_after(optimizer, variables, 1) == 0.75
}

test_that("variables are selected by patterns, layers, lists and functions", {
  # contract 14.1
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  named <- function() lapply(c("kernel", "bias", "gamma"), variable)

  expect_identical(selected("bias", named()), c(FALSE, TRUE, FALSE))
  expect_identical(selected(c("^k", "mm"), named()), c(TRUE, FALSE, TRUE))
  expect_identical(selected(list("bias"), named()), c(FALSE, TRUE, FALSE))
  variables <- named()
  expect_identical(selected(variables[2:3], variables), c(FALSE, TRUE, TRUE))
  variables <- named()
  expect_identical(selected(list(first = variables[[1]]), variables), c(TRUE, FALSE, FALSE))
  variables <- named()
  expect_identical(selected(variables[[2]], variables), c(FALSE, TRUE, FALSE))
  expect_identical(
    selected(function(variable) grepl("a$", variable$path), named()), c(FALSE, FALSE, TRUE)
  )
  expect_identical(
    selected(function(v) TRUE, named()), c(TRUE, TRUE, TRUE)
  )

  layer <- keras$layers$Dense(1L, use_bias = FALSE, kernel_initializer = "ones")
  model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
  for (whole in list(layer, model)) {
    other <- variable("other")
    layer$set_weights(list(matrix(1)))
    expect_identical(selected(whole, list(layer$kernel, other)), c(TRUE, FALSE))
  }
})

test_that("a function is called once for each variable, at build", {
  # contract 14.1
  skip_if_no_keras()
  seen <- character()
  selects <- function(variable) {
    seen <<- c(seen, variable$name)
    length(variable$shape) < 2
  }
  optimizer <- set_group(optimizer_sgd(), selects, momentum = 0.5)
  expect_identical(seen, character())
  keras <- reticulate::import("keras")
  variables <- list(variable("scalar"), keras$Variable(matrix(c(1, 2, 3, 4), 2), name = "matrix"))
  optimizer$build(variables)
  expect_identical(seen, c("scalar", "matrix"))
  expect_identical(lengths(variable_groups(optimizer, variables)$groups), c(1L, 0L))
  expect_length(seen, 2)
})

test_that("each group has its own rate, momentum and weight decay, and the last group wins", {
  # contract 14.2 to 14.4
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.5, momentum = 0.5, weight_decay = 0.5) |>
    set_group("^b", learning_rate_factor = 0.5) |>
    set_group("^ba", momentum = 0, weight_decay = NULL) |>
    set_group("c", weight_decay = 0, learning_rate_factor = 7) |>
    set_group("c", learning_rate_factor = 2)
  variables <- lapply(c("a", "b", "ba", "c"), variable)
  # w <- w - rate * decay * w; v <- momentum * v - rate * g; w <- w + v, twice with g = 1
  two_steps <- function(rate, momentum, decay) {
    first <- 1 - rate * decay - rate
    first - rate * decay * first - momentum * rate - rate
  }
  expect_close(
    weights_after(optimizer, variables, c(1, 1)),
    c(
      two_steps(0.5, 0.5, 0.5), two_steps(0.25, 0.5, 0.5), two_steps(0.25, 0, 0),
      two_steps(1, 0.5, 0)
    )
  )

  excluded <- optimizer_sgd(0.5) |> set_group("a", weight_decay = 0.5)
  exclude_from_weight_decay(excluded, "ba")
  expect_identical(weights_after(excluded, lapply(c("a", "ba"), variable), 0), c(0.75, 1))
})

test_that("calls can be chained: they return the optimizer, invisibly", {
  skip_if_no_keras()
  for (optimizer in list(optimizer_sgd(), optimizer_loss_scale(optimizer_sgd()))) {
    result <- withVisible(set_group(optimizer, "a", learning_rate_factor = 1))
    expect_identical(result, list(value = optimizer, visible = FALSE))
    result <- withVisible(set_learning_rate_factor(optimizer, 1, 2))
    expect_identical(result, list(value = optimizer, visible = FALSE))
  }
})

test_that("factors act in fit(), and new factors act in the compiled step", {
  # contract 14.3, 14.7
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.25) |> set_group("kernel", learning_rate_factor = 0.5)
  model <- one_weight_model(optimizer)
  weight_after <- function(steps) {
    model$fit(
      matrix(1), matrix(1),
      epochs = as.integer(steps), batch_size = 1L, shuffle = FALSE, verbose = 0L
    )
    as.numeric(model$get_weights()[[1]])
  }
  # w <- w - rate * factor * 2 * (w - 1): the distance to 1 shrinks by 1 - 2 * rate * factor
  expect_close(weight_after(2), 1 - 0.75^2)
  set_learning_rate_factor(model$optimizer, "kernel", 1)
  expect_close(weight_after(1), 1 - 0.75^2 * 0.5)
  set_learning_rate_factor(model$optimizer, 1, 0)
  frozen <- model$get_weights()[[1]]
  weight_after(3)
  expect_identical(model$get_weights()[[1]], frozen)
  set_learning_rate_factor(optimizer, 1, 0.5)
  expect_close(weight_after(1), 1 - 0.75^2 * 0.5 * 0.75)
})

test_that("a callback in R sets a factor through its model", {
  # contract 14.7
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  model <- one_weight_model(optimizer_sgd(0.25) |> set_group("kernel", learning_rate_factor = 0))
  unfreeze <- keras$callbacks$LambdaCallback(
    on_epoch_begin = function(epoch, logs) {
      if (epoch == 2) set_learning_rate_factor(unfreeze$model$optimizer, 1, 1)
    }
  )
  model$fit(
    matrix(1), matrix(1),
    epochs = 3L, batch_size = 1L, verbose = 0L, callbacks = list(unfreeze)
  )
  expect_close(as.numeric(model$get_weights()[[1]]), 0.5)
})

test_that("a schedule gives the factor of each step", {
  # contract 14.2
  skip_if_no_keras()
  factors <- learning_rate_schedule_piecewise_constant_decay(c(0, 1), c(0, 0.5, 1))
  optimizer <- optimizer_sgd(0.5) |> set_group("a", learning_rate_factor = factors)
  variables <- list(variable("a"))
  expect_identical(weights_after(optimizer, variables, 1), 1)
  expect_identical(weights_after(optimizer, variables, 1), 0.75)
  expect_identical(weights_after(optimizer, variables, 1), 0.25)
})

test_that("Keras' wrapper under mixed_float16 passes a factor on", {
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  optimizer <- optimizer_sgd() |> set_group("a", learning_rate_factor = 1)
  wrapper <- keras$optimizers$LossScaleOptimizer(optimizer)
  set_learning_rate_factor(wrapper, "a", 0.5)
  expect_identical(variable_groups(wrapper, variable("a"))$learning_rate_factor, 0.5)
  of_keras <- keras$optimizers$LossScaleOptimizer(keras$optimizers$SGD())
  expect_error(set_learning_rate_factor(of_keras, 1, 1), class = "kerasgd_argument_error")
})

test_that("selecting no variable, and a function that fails, are errors at build", {
  # contract 14.6
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  variables <- lapply(c("a_kernel", "a_bias", "b_kernel", "b_bias"), variable)
  build <- function(select) {
    optimizer <- set_group(optimizer_sgd(), select, momentum = 0.5)
    tryCatch(optimizer$build(variables), finally = expect_false(optimizer$built))
  }
  dense <- keras$layers$Dense(1L, name = "unused")
  expect_snapshot(error = TRUE, {
    build(c("bias", "bais"))
    build(dense)
    build(list(variable("other")))
    build(function(variable) stop("no such thing"))
    build(function(one, other) one$name == other)
    build(function(variable) NA)
    build(function(variable) 1)
    build(function(variable) c(TRUE, FALSE))
    build(function(variable) NULL)
  })
  # in fit() the error passes through reticulate
  misspelt <- set_group(optimizer_sgd(), "bais", momentum = 0.5)
  expect_error(fit_one_weight(misspelt, 1, 1, steps = 1), "not \"bais\".*kernel`")
})

test_that("summary() lists groups, and print() counts them", {
  # contract 14.8
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  base <- keras$layers$Dense(1L, name = "base")
  cosine <- learning_rate_schedule_cosine_decay(1, decay_steps = 10)
  variables <- lapply(c("kernel", "bias", "gamma"), variable)
  optimizer <- optimizer_sgd(weight_decay = 0.1) |>
    set_group(c("bias", "gamma"), weight_decay = NULL, momentum = 0.9) |>
    set_group(function(variable) TRUE, learning_rate_factor = cosine) |>
    set_group(variables[1:2], learning_rate_factor = 0.1)
  of_layer <- set_group(optimizer_sgd(), base, momentum = 0.5)
  expect_snapshot({
    optimizer
    tail(format(summary(optimizer)), 4)
    tail(format(summary(of_layer)), 2)
    optimizer$build(variables)
    tail(format(summary(optimizer)), 4)
  })
  expect_match(format(optimizer_loss_scale(optimizer)), "groups of variables: 3", all = FALSE)
  groups <- summary(optimizer)$state$groups
  expect_identical(groups[[1]]$settings, list(momentum = 0.9, weight_decay = 0))
  expect_identical(groups[[1]]$size, 2)
})

test_that("all.equal() and expect_equal() compare groups", {
  # contract 14.8
  skip_if_no_keras()
  selects <- function(variable) TRUE
  made <- function(pattern = "a", factor = 0.1, momentum = 0.5, fn = selects) {
    optimizer_sgd() |>
      set_group(pattern, learning_rate_factor = factor) |>
      set_group(fn, momentum = momentum)
  }
  expect_true(all.equal(made(), made()))
  expect_equal(made(), made())
  expect_true(all.equal(made(factor = 0.1), made(factor = 0.1 + 1e-12)))
  cosine <- function(steps) learning_rate_schedule_cosine_decay(1, decay_steps = steps)
  expect_true(all.equal(made(factor = cosine(5)), made(factor = cosine(5))))
  expect_snapshot({
    all.equal(made(), optimizer_sgd())
    all.equal(made(), made("b", factor = 0.2, fn = function(variable) FALSE))
    all.equal(made(factor = cosine(5)), made(factor = cosine(6)))
    all.equal(made(), made() |> set_group("a", momentum = 1))
    all.equal(
      optimizer_sgd() |> set_group("a", learning_rate_factor = 1, weight_decay = 0.5),
      optimizer_sgd() |> set_group("a", momentum = 1, weight_decay = 0.1)
    )
    all.equal(optimizer_loss_scale(made()), optimizer_loss_scale(made(factor = 0.2)))
  })
  expect_failure(expect_equal(made(), made(factor = 0.2)))
  expect_failure(expect_equal(made(), made("b")))
  expect_failure(expect_equal(made(), made(fn = function(variable) FALSE)))
})

test_that("a layer equals its variables, before and after build", {
  # contract 14.8
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  layer <- keras$layers$Dense(1L)
  layer$build(list(NULL, 1L))
  by_layer <- optimizer_sgd() |> set_group(layer, learning_rate_factor = 0.1)
  by_list <- optimizer_sgd() |> set_group(layer$trainable_variables, learning_rate_factor = 0.1)
  expect_true(all.equal(by_layer, by_list))
  built <- update(by_layer)
  built$build(layer$trainable_variables)
  expect_true(all.equal(built, by_layer))
})

test_that("update() and files keep groups with the current factor", {
  # contract 14.8
  skip_if_no_keras()
  optimizer <- optimizer_sgd(momentum = 0.9) |>
    set_group("a", learning_rate_factor = 0.1) |>
    set_group(function(variable) TRUE, weight_decay = 0.5)
  updated <- update(optimizer, learning_rate = 0.5)
  expect_true(all.equal(updated, update(updated)))
  variables <- list(variable("a"), variable("b"))
  optimizer$build(variables)
  set_learning_rate_factor(optimizer, 1, 0.3)
  copy <- update(optimizer, keep_state = TRUE)
  copy$build(variables)
  expect_true(all.equal(copy, optimizer))

  file <- withr::local_tempfile()
  save_optimizer(optimizer, file)
  loaded <- load_optimizer(file, variables)
  expect_equal(loaded, optimizer)
  expect_identical(variable_groups(loaded, variables), variable_groups(optimizer, variables))
  expect_identical(variable_groups(loaded, variables)$learning_rate_factor, c(0.3, 1))
})

test_that("messages count groups from 1", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd() |>
    set_group("a", momentum = 0.5) |>
    set_group("a", learning_rate_factor = 0.1)
  variables <- list(variable("a"))
  optimizer$build(variables)
  store <- reticulate::py_eval("{}", convert = FALSE)
  optimizer$save_own_variables(store)
  without <- optimizer_sgd(momentum = 0.5)
  without$build(variables)
  expect_warning(
    call_python_function(reticulate::py_get_attr(without, "load_own_variables"), list(store)),
    "`learning_rate_factor` of group 2,",
    class = "kerasgd_warning"
  )
})

test_that("set_group() validates its inputs", {
  # contract 12, 14.2
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  built <- optimizer_sgd()
  built$build(list(variable("a")))
  expect_snapshot(error = TRUE, {
    set_group()
    set_group("sgd", "a", momentum = 1)
    set_group(restored_by_r(optimizer), "a", momentum = 1)
    set_group(optimizer)
    set_group(optimizer, "a")
    set_group(optimizer, "a", 0.1)
    set_group(optimizer, NULL, momentum = 1)
    set_group(optimizer, NA, momentum = 1)
    set_group(optimizer, 1, momentum = 1)
    set_group(optimizer, TRUE, momentum = 1)
    set_group(optimizer, "", momentum = 1)
    set_group(optimizer, "(a", momentum = 1)
    set_group(optimizer, c("a", NA), momentum = 1)
    set_group(optimizer, c("a", "(b"), momentum = 1)
    set_group(optimizer, character(), momentum = 1)
    set_group(optimizer, list(), momentum = 1)
    set_group(optimizer, list(variable("a"), 1), momentum = 1)
    set_group(optimizer, ~TRUE, momentum = 1)
    set_group(optimizer, optimizer_sgd, momentum = 1)
    set_group(built, "a", momentum = 1)
    built$set_group("a", momentum = 1)
  })
  expect_length(summary(optimizer)$state$groups, 0)
})

test_that("group settings are validated, and other settings are refused with the reason", {
  # contract 12, 14.2
  skip_if_no_keras()
  withr::local_options(warnPartialMatchArgs = FALSE) # R's own
  optimizer <- optimizer_sgd()
  expect_snapshot(error = TRUE, {
    set_group(optimizer, "a", learning_rate_factor = NULL)
    set_group(optimizer, "a", learning_rate_factor = NA)
    set_group(optimizer, "a", learning_rate_factor = NaN)
    set_group(optimizer, "a", learning_rate_factor = Inf)
    set_group(optimizer, "a", learning_rate_factor = -1)
    set_group(optimizer, "a", learning_rate_factor = TRUE)
    set_group(optimizer, "a", learning_rate_factor = "1")
    set_group(optimizer, "a", learning_rate_factor = c(1, 2))
    set_group(optimizer, "a", learning_rate_factor = list())
    set_group(optimizer, "a", learning_rate_factor = 1 + 2i)
    set_group(optimizer, "a", learning_rate_factor = function(step) 1)
    set_group(optimizer, "a", learning_rate_factor = learning_rate_schedule_cosine_decay)
    set_group(optimizer, "a", momentum = NULL)
    set_group(optimizer, "a", momentum = -1)
    set_group(optimizer, "a", weight_decay = NA)
    set_group(optimizer, "a", weight_decay = -1)
  })
  expect_snapshot(error = TRUE, {
    set_group(optimizer, "a", learning_rate = 0.1)
    set_group(optimizer, "a", lr = 0.1)
    set_group(optimizer, "a", clipnorm = 1)
    set_group(optimizer, "a", nesterov = TRUE)
    set_group(optimizer, "a", use_ema = TRUE)
    set_group(optimizer, "a", gradient_accumulation_steps = 2)
    set_group(optimizer, "a", name = "base")
    set_group(optimizer, "a", dropout = 1)
    set_group(optimizer, "a", mom = 0.9)
    set_group(optimizer, "a", momentun = 0.9)
    set_group(optimizer, sel = "a", momentum = 0.9)
    set_group(optimizer, "a", momentum = 0.9, momentum = 0.8)
  })
  expect_warning(set_group(optimizer, "a", momentum = 1.5), "above 1", class = "kerasgd_warning")
})

test_that("set_learning_rate_factor() validates its inputs", {
  # contract 12, 14.7
  skip_if_no_keras()
  optimizer <- optimizer_sgd() |>
    set_group("a", learning_rate_factor = 0.1) |>
    set_group("b", momentum = 0.5) |>
    set_group("b", momentum = 0.6)
  expect_snapshot(error = TRUE, {
    set_learning_rate_factor()
    set_learning_rate_factor("sgd", 1, 1)
    set_learning_rate_factor(optimizer)
    set_learning_rate_factor(optimizer, 1)
    set_learning_rate_factor(optimizer_sgd(), 1, 1)
    set_learning_rate_factor(optimizer_sgd() |> set_group("a", momentum = 1), 2, 1)
    set_learning_rate_factor(optimizer, 0, 1)
    set_learning_rate_factor(optimizer, 4L, 1)
    set_learning_rate_factor(optimizer, 1.5, 1)
    set_learning_rate_factor(optimizer, NA, 1)
    set_learning_rate_factor(optimizer, TRUE, 1)
    set_learning_rate_factor(optimizer, NULL, 1)
    set_learning_rate_factor(optimizer, c(1, 2), 1)
    set_learning_rate_factor(optimizer, "c", 1)
    set_learning_rate_factor(optimizer, "b", 1)
    set_learning_rate_factor(optimizer, 1, NULL)
    set_learning_rate_factor(optimizer, 1, NA)
    set_learning_rate_factor(optimizer, 1, -1)
    set_learning_rate_factor(optimizer, 1, "1")
    set_learning_rate_factor(optimizer, grp = 1, factor = 1)
  })
  optimizer$build(list(variable("a"), variable("b")))
  expect_snapshot(error = TRUE, {
    set_learning_rate_factor(optimizer, 2, 1)
  })
  expect_identical(summary(optimizer)$state$groups[[1]]$settings$learning_rate_factor, 0.1)
})
