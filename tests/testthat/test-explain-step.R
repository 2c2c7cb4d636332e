# y = w x with x = 1, from w = 0 (or `start`): the gradient of (w - y)^2 is 2 (w - y)
explain_one_weight <- function(optimizer, y = 1, start = 0, ...) {
  model <- one_weight_model(optimizer)
  model$set_weights(list(matrix(start)))
  explain_step(model, rep(1, length(y)), y, ...)
}

test_that("the stages match the closed form", {
  # contract 18.1, 18.3
  skip_if_no_keras()
  optimizer <- optimizer_sgd(
    0.5, momentum = 0.9, weight_decay = 0.1, clipnorm = 1.5, use_ema = TRUE, ema_momentum = 0.75
  )
  step <- explain_one_weight(optimizer, y = -4, start = 2, check = TRUE)
  expect_s3_class(step, c("kerasgd_step", "data.frame"), exact = TRUE)
  # gradient 12, clipped to 1.5; decay 0.5 * 0.1 * 2; velocity -0.5 * 1.5
  expected <- c(
    gradient_norm = 12, unscaled_norm = 12, mean_norm = 12, clip_coefficient = 0.125,
    clipped_norm = 1.5, decay_norm = 0.1, velocity_norm_before = 0, velocity_norm = 0.75,
    change_norm = 0.85, constraint_norm = 0, average_distance = 0
  )
  expect_equal(unlist(as.list(step)[names(expected)]), expected, tolerance = 1e-6)
  expect_match(step$path, "kernel$")
  expect_identical(step$shape, "1 x 1")
  expect_identical(step$overwritten, FALSE)
  expect_true(step$holds)
  expect_lte(step$largest_difference, step$bound)
  # the largest weight after the step is 1.15
  expect_equal(step$bound, 2e-6 * 1.15, tolerance = 1e-6)
  unchecked <- explain_one_weight(optimizer_sgd())
  expect_false(any(c("largest_difference", "bound", "holds") %in% names(unchecked)))
})

test_that("sample weights and loss scales are in the gradient", {
  # contract 18.1
  skip_if_no_keras()
  weighted <- explain_one_weight(optimizer_sgd(), y = c(1, 1), sample_weight = c(3, 0))
  expect_equal(weighted$gradient_norm, 3, tolerance = 1e-6)
  scaled <- explain_one_weight(optimizer_loss_scale(optimizer_sgd(0.5), initial_scale = 8))
  expect_equal(scaled$gradient_norm, 16, tolerance = 1e-6)
  expect_equal(scaled$unscaled_norm, 2, tolerance = 1e-6)
  expect_equal(scaled$change_norm, 1, tolerance = 1e-6)
})

test_that("nothing is changed", {
  # contract 18.1
  skip_if_no_keras()
  model <- one_weight_model(optimizer_sgd(0.1, momentum = 0.9))
  model$fit(matrix(1), matrix(1), verbose = 0L)
  state <- function() {
    lapply(c(model$trainable_variables, model$optimizer$variables), as.double)
  }
  before <- state()
  first <- explain_step(model, 1, 1, check = TRUE)
  expect_identical(state(), before)
  expect_identical(explain_step(model, 1, 1, check = TRUE), first)
  # the velocity of the first step is 0.2, and so is the weight
  expect_equal(first$velocity_norm_before, 0.2, tolerance = 1e-6)
  expect_equal(first$velocity_norm, 0.9 * 0.2 + 0.1 * 1.6, tolerance = 1e-6)
})

test_that("steps that are not updates report it, and have NA after their last stage", {
  # contract 18.3
  skip_if_no_keras()
  after <- c("clip_coefficient", "velocity_norm", "change_norm", "overwritten")
  inside <- explain_one_weight(optimizer_sgd(gradient_accumulation_steps = 3))
  expect_true(all(is.na(unlist(as.list(inside)[c("mean_norm", after)]))))
  expect_equal(inside$gradient_norm, 2, tolerance = 1e-6)
  expect_match(format(inside)[[1]], "1 of 3 in its window")
  expect_true(any(grepl("Inside an accumulation window", format(inside))))

  skipped <- explain_one_weight(optimizer_sgd() |> skip_nonfinite(), y = NaN)
  expect_true(is.nan(skipped$mean_norm))
  expect_true(all(is.na(unlist(as.list(skipped)[after]))))
  expect_true(any(grepl("Skipped: the gradient is not finite", format(skipped))))

  of_scale <- explain_one_weight(optimizer_loss_scale(optimizer_sgd()), y = NaN)
  expect_true(is.na(of_scale$mean_norm) && !is.nan(of_scale$mean_norm))
  expect_true(any(grepl("Skipped: the gradient is not finite", format(of_scale))))
  # by default nothing is hidden
  expect_true(is.nan(explain_one_weight(optimizer_sgd(), y = NaN)$change_norm))
})

test_that("the check shows where Keras departs on this model", {
  # contract 18.2
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  stock <- keras$optimizers$SGD(0.5, momentum = 0.9)
  step <- explain_one_weight(stock, check = TRUE)
  expect_true(step$holds)
  expect_match(format(step)[[1]], "the next step of keras.optimizers.SGD")

  # The norm of the gradient, 2e20, overflows in Keras, which then clips to 0; from 0 by 0.5 * 1
  departing <- keras$optimizers$SGD(0.5, clipnorm = 1)
  step <- explain_one_weight(departing, y = 1e20, check = TRUE)
  expect_false(step$holds)
  expect_equal(step$change_norm, 0.5, tolerance = 1e-6)
  expect_equal(step$largest_difference, 0.5, tolerance = 1e-6)
  last <- paste(tail(format(step), 2), collapse = " ")
  expect_match(last, "step of Keras departs from the documentation for 1 of 1 variable,")
})

variables <- function(paths, ..., outcome = "done", position = 1L, window = 1L, is_ours = TRUE) {
  n <- length(paths)
  rows <- utils::modifyList(
    list(
      path = paths, shape = rep(list(c(3, 4)), n), gradient_norm = rep(2, n),
      unscaled_norm = rep(2, n), mean_norm = rep(2, n), clip_coefficient = rep(1, n),
      clipped_norm = rep(2, n), decay_norm = rep(0, n),
      velocity_norm_before = rep(list(NULL), n), velocity_norm = rep(list(NULL), n),
      change_norm = rep(0.2, n), constraint_norm = rep(0, n),
      average_distance = rep(list(NULL), n), overwritten = rep(FALSE, n)
    ),
    list(...)
  )
  new_step(list(
    rows = lapply(rows, as.list), optimizer = if (is_ours) "SGD" else "keras.optimizers.SGD",
    is_ours = is_ours, learning_rate = 0.1, position = position, window = window,
    outcome = outcome
  ))
}

test_that("print() reads as a table of stages", {
  two <- sprintf("model/%s", c("dense/kernel", "dense/bias"))
  half <- list(
    mean_norm = list(NULL, NULL), clip_coefficient = list(NULL, NULL),
    clipped_norm = list(NULL, NULL), decay_norm = list(NULL, NULL),
    change_norm = list(NULL, NULL), constraint_norm = list(NULL, NULL),
    overwritten = list(NULL, NULL)
  )
  expect_snapshot({
    variables("scale")
    variables(
      two,
      clip_coefficient = c(1 / 3, 1), clipped_norm = c(2 / 3, 2), decay_norm = c(1e-7, 0),
      velocity_norm_before = c(0, 1e12), velocity_norm = c(7 / 8, 1e12),
      largest_difference = c(1e-8, 0), bound = c(1e-6, 0), holds = c(TRUE, TRUE)
    )
    do.call(variables, c(list(two, outcome = "in_window", window = 4L, position = 2L), half))
    do.call(variables, c(list(two, outcome = "skipped", gradient_norm = c(NaN, 1)), half))
    variables(
      two,
      gradient_norm = list(NULL, 2), average_distance = c(0.1, 0.2), overwritten = c(TRUE, FALSE),
      largest_difference = c(0.25, 1e-9), bound = c(1e-6, 1e-6), holds = c(FALSE, TRUE),
      is_ours = FALSE
    )
  })
})

test_that("many variables with long names stay within 80 columns", {
  layer <- sprintf("a_long_name_of_a_model/block_%d/convolution", 1:9)
  many <- variables(c(outer(c("/kernel", "/bias"), layer, function(end, of) paste0(of, end))))
  expect_snapshot(many)
  expect_true(any(grepl("and 8 more variables: `print(x, n = Inf)`", format(many), fixed = TRUE)))
  all <- format(many, n = Inf)
  expect_false(any(grepl("more variable", all)))
  expect_lte(max(nchar(all)), 80)
  expect_lte(max(nchar(format(many, width = 40))), 40)
  blocks <- sum(grepl("^change of weights", all))
  expect_length(grep("^gradient ", all), blocks)
  expect_equal(sum(lengths(regmatches(all, gregexpr("kernel|bias", all)))), 18)
})

test_that("a subset of the rows prints as a table, a subset of the columns as a data frame", {
  step <- variables(c("a/kernel", "b/bias"))
  expect_snapshot({
    step[2, ]
    step[c("path", "change_norm")]
    step[0, c("path", "change_norm")]
  })
  expect_output(expect_identical(withVisible(print(step)), list(value = step, visible = FALSE)))
})

test_that("it validates its inputs", {
  # contract 12, 18.1
  withr::local_options(warnPartialMatchArgs = FALSE) # R's own
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  model <- one_weight_model(optimizer_sgd())
  adam <- one_weight_model(keras$optimizers$Adam())
  uncompiled <- keras$Sequential(list(keras$Input(shape = list(1L)), keras$layers$Dense(1L)))
  own <- reticulate::py_run_string(paste(
    "import keras", "class Own(keras.Model):",
    "  def train_step(self, *arguments): pass",
    sep = "\n"
  ), local = TRUE)$Own()
  own$compile(optimizer = optimizer_sgd(), loss = "mse")
  batches <- reticulate::py_eval("iter([([[1.0]], [1.0])])", convert = FALSE)
  expect_snapshot(error = TRUE, {
    explain_step()
    explain_step(model)
    explain_step("model", 1, 1)
    explain_step(uncompiled, 1, 1)
    explain_step(adam, 1, 1)
    explain_step(own, 1, 1)
    explain_step(model, NULL, 1)
    explain_step(model, mtcars, 1)
    explain_step(model, batches)
    explain_step(model, 1, factor("a"))
    explain_step(model, 1, 1, check = NA)
    explain_step(model, 1, 1, check = 1)
    explain_step(model, 1, 1, chec = TRUE)
    explain_step(model, 1:3, 1:2)
    explain_step(model, matrix(1, 3), 1:3, sample_weight = 1)
  })
  expect_error(explain_step(adam, 1, 1), class = "kerasgd_state_error")
})
