# Awkward data: no number in it is a sum of few powers of two
x <- c(1 / 3, 7 / 8, -1.1, 0.3)
y <- c(0.1, -2 / 7, 1.3, 0.7)

train <- function(model, epochs) {
  model$fit(
    matrix(x), matrix(y),
    epochs = epochs, batch_size = 2L, shuffle = FALSE, verbose = 0L
  )
  as.double(model$trainable_variables[[1]])
}

expect_resumed <- function(optimizer) {
  model <- one_weight_model(optimizer)
  train(model, 3L)
  file <- withr::local_tempfile()
  save_optimizer(optimizer, file)
  weights <- model$get_weights()
  uninterrupted <- train(model, 4L)

  resumed <- load_optimizer(file)
  new <- one_weight_model(resumed)
  new$set_weights(weights)
  expect_identical(train(new, 4L), uninterrupted)
  expect_true(all.equal(resumed, optimizer, tolerance = 0))
}

test_that("resumed training equals uninterrupted training, bit for bit", {
  # contract 7.5, 9.1
  skip_if_no_keras()
  optimizer_sgd()
  decay <- reticulate::import("keras")$optimizers$schedules$CosineDecay(0.1, decay_steps = 10L)
  expect_resumed(optimizer_sgd(0.1, momentum = 0.9, nesterov = TRUE, weight_decay = 0.01))
  expect_resumed(optimizer_sgd(decay, momentum = 0.5))
  # six steps end in the middle of a window
  expect_resumed(optimizer_sgd(0.1, momentum = 0.5, gradient_accumulation_steps = 4))
  expect_resumed(optimizer_sgd(0.1, use_ema = TRUE, ema_momentum = 2 / 3))
  expect_resumed(optimizer_loss_scale(optimizer_sgd(0.1, momentum = 0.5)))
})

test_that("an optimizer can be loaded in another session", {
  # contract 9.1, 9.5
  skip_if_no_keras()
  optimizer <- optimizer_sgd(1 / 3, momentum = 0.7, gradient_accumulation_steps = 3)
  model <- one_weight_model(optimizer)
  train(model, 4L)
  file <- withr::local_tempfile()
  save_optimizer(optimizer, file)
  output <- eval(bquote(run_r({
    optimizer <- load_optimizer(.(file))
    optimizer$build(list(reticulate::import("keras")$Variable(matrix(0))))
    momentums <- reticulate::py_get_attr(optimizer, "momentums")
    velocity <- as.double(reticulate::py_get_item(momentums, 0L))
    rate <- as.list(optimizer)$learning_rate
    cat("\n", sprintf("%a %a %g", velocity, rate, summary(optimizer)$state$steps), sep = "")
  })))
  momentums <- reticulate::py_get_attr(optimizer, "momentums")
  velocity <- as.double(reticulate::py_get_item(momentums, 0L))
  expect_identical(tail(output, 1), sprintf("%a %a 8", velocity, 1 / 3))
})

test_that("settings, counts and rate are restored before the variables", {
  # contract 2.6, 9.3
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1, clipnorm = 1 / 3, name = "mine")
  exclude_from_weight_decay(optimizer, "variable")
  optimizer$learning_rate <- 0.3
  steps_from(optimizer, list(1, 1), start = 0)
  file <- withr::local_tempfile()
  result <- withVisible(save_optimizer(optimizer, file))
  expect_identical(result, list(value = file, visible = FALSE))
  loaded <- load_optimizer(file)
  expect_identical(as.list(loaded), as.list(optimizer))
  expect_identical(as.list(loaded)$learning_rate, 0.3)
  expect_identical(summary(loaded)$state$steps, 2)
  expect_identical(as.character(summary(loaded)$state$patterns), "variable")
})

test_that("state that waits for its variables is compared too", {
  # contract 9.4
  skip_if_no_keras()
  optimizer <- optimizer_loss_scale(
    optimizer_sgd(0.1, momentum = 0.5, use_ema = TRUE, gradient_accumulation_steps = 2),
    initial_scale = 4
  )
  steps_from(optimizer, list(c(1, 2), c(3, 4), c(5, 6)), start = c(0, 0))
  file <- withr::local_tempfile()
  save_optimizer(optimizer, file)
  expect_true(all.equal(load_optimizer(file), optimizer))
  expect_true(all.equal(optimizer, load_optimizer(file)))
  expect_equal(load_optimizer(file), optimizer)

  steps_from_here <- load_optimizer(file)
  steps_from(steps_from_here, list(c(1, 2)), start = c(0, 0))
  expect_match(all.equal(load_optimizer(file), steps_from_here), "state `iterations`", all = FALSE)
})

test_that("state that does not fit is refused, and nothing changes", {
  # contract 9.4, 12.7
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1, momentum = 0.5)
  steps_from(optimizer, list(c(1, 2)), start = c(0, 0))
  file <- withr::local_tempfile()
  save_optimizer(optimizer, file)

  keras <- reticulate::import("keras")
  three <- keras$Variable(c(1, 2, 3), name = "three")
  loaded <- load_optimizer(file)
  without_number <- function(lines) sub("variable_[0-9]+", "variable", lines)
  expect_snapshot(error = TRUE, transform = without_number, {
    load_optimizer(file, list(three))
    load_optimizer(file, list(three, three))
    loaded$apply(list(keras$ops$ones(list(3L))), list(three))
  })
  expect_identical(as.double(three), c(1, 2, 3))
  expect_false(loaded$built)
})

test_that("with strict = FALSE fitting state is restored, and one warning names the rest", {
  # contract 9.4b
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  kept <- keras$Variable(c(0, 0), name = "kept")
  gone <- keras$Variable(0, name = "gone")
  optimizer <- optimizer_sgd(0.5, momentum = 0.5)
  optimizer$apply(list(keras$ops$ones(2L), keras$ops$ones(list())), list(kept, gone))
  file <- withr::local_tempfile()
  save_optimizer(optimizer, file)

  expect_error(load_optimizer(file, list(kept)), class = "kerasgd_state_error")
  expect_snapshot(loaded <- load_optimizer(file, list(kept), strict = FALSE))
  expect_identical(as.numeric(loaded$iterations), 1)
  # -0.5 by the first step, and half of its velocity
  loaded$apply(list(keras$ops$zeros(2L)), list(kept))
  expect_identical(as.double(kept), c(-0.75, -0.75))
  expect_output(print(summary(loaded)), "state left out: the velocity of 1 variable")
  expect_snapshot(error = TRUE, load_optimizer(file, list(kept), strict = NA))
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  optimizer <- optimizer_sgd(function() 0.1)
  withr::local_dir(withr::local_tempdir())
  writeLines("text", "text")
  expect_snapshot(error = TRUE, {
    save_optimizer()
    save_optimizer("sgd", "file")
    save_optimizer(optimizer_sgd())
    save_optimizer(optimizer_sgd(), 1)
    save_optimizer(optimizer_sgd(), "no/such/folder")
    save_optimizer(optimizer_sgd(), ".")
    save_optimizer(optimizer, "file")
    load_optimizer()
    load_optimizer("no such file")
    load_optimizer(NA)
    load_optimizer("text", "model")
    load_optimizer("text", optimizer)
  })
  expect_error(
    load_optimizer("text"), "is not a file written by `save_optimizer()`",
    fixed = TRUE, class = "kerasgd_state_error"
  )
  # contract 12.7
  expect_identical(list.files(), "text")
})
