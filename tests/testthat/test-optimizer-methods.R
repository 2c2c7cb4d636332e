# An optimizer that readRDS() restored
schedule_of_keras <- function(...) {
  optimizer_sgd() # starts Python
  reticulate::import("keras")$optimizers$schedules$ExponentialDecay(...)
}

test_that("print() shows the settings that differ from the defaults, and the progress", {
  # contract 2.6, 7.2
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1, momentum = 0.9, gradient_accumulation_steps = 2L)
  scaled <- optimizer_loss_scale(optimizer_sgd(name = "inner"), initial_scale = 4)
  rate <- function() stop("a look must not call this")
  by_schedule <- optimizer_sgd(schedule_of_keras(1, decay_steps = 1L, decay_rate = 0.5))
  expect_snapshot({
    optimizer_sgd()
    optimizer
    scaled
    by_schedule
    optimizer_sgd(learning_rate = rate, nesterov = TRUE)
  })
  expect_identical(capture.output(optimizer), format(optimizer))
})

test_that("print() counts steps, updates and the rate of a schedule", {
  # contract 2.2, 7.2
  skip_if_no_keras()
  halving <- schedule_of_keras(1, decay_steps = 1L, decay_rate = 0.5)
  optimizer <- optimizer_sgd(halving, gradient_accumulation_steps = 2L)
  steps_from(optimizer, list(1, 1, 1), start = 0)
  expect_equal(tail(format(optimizer), 2), c(
    "  steps so far: 3 (updates: 1)", "  learning rate now: 0.125"
  ))
})

test_that("summary() shows all settings and the state", {
  # contract 3.2, 5
  skip_if_no_keras()
  optimizer <- optimizer_sgd(
    0.1,
    momentum = 0.9, weight_decay = 0.01, use_ema = TRUE, gradient_accumulation_steps = 4
  )
  optimizer$exclude_from_weight_decay(var_names = list("variable", "vari"))
  expect_snapshot({
    summary(optimizer)
    summary(optimizer_loss_scale(optimizer_sgd()))
  })

  steps_from(optimizer, list(c(1, 2, 3)), start = c(0, 0, 0))
  state <- summary(optimizer)$state
  expect_identical(state$steps, 1)
  expect_identical(state$updates, 0)
  expect_identical(state$variables, 1)
  expect_identical(state$weights, 3)
  # velocity, average and accumulator of three float32 weights
  expect_identical(state$bytes, 3 * 3 * 4)
  expect_snapshot(
    summary(optimizer),
    transform = function(lines) sub("variable_[0-9]+", "variable", lines)
  )
})

test_that("summary() shows the progress of the loss scale", {
  # contract 6.3
  skip_if_no_keras()
  optimizer <- optimizer_loss_scale(optimizer_sgd(), initial_scale = 8, dynamic_growth_steps = 3)
  last_line <- function() tail(format(summary(optimizer)), 1)
  expect_equal(last_line(), "  loss scale now: 8, doubles after 3 more finite steps in a row")
  steps_from(optimizer, list(1, Inf, 1), start = 0)
  expect_equal(last_line(), "  loss scale now: 4, doubles after 2 more finite steps in a row")
  expect_identical(summary(optimizer)$state$scale, 4)
  expect_identical(summary(optimizer)$state$steps, 2)
})

test_that("as.list() returns the settings as arguments of optimizer_sgd()", {
  # contract 9.3
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1, clipnorm = 2, ema_overwrite_frequency = 5, name = "mine")
  settings <- as.list(optimizer)
  expect_setequal(names(settings), setdiff(names(formals(optimizer_sgd)), "..."))
  expect_identical(settings$learning_rate, 0.1)
  expect_identical(settings$ema_overwrite_frequency, 5L)
  expect_null(settings$clipvalue)
  expect_true(all.equal(do.call(optimizer_sgd, settings), optimizer))

  schedule <- schedule_of_keras(0.1, decay_steps = 3L, decay_rate = 0.5)
  expect_s3_class(
    as.list(optimizer_sgd(schedule))$learning_rate,
    "keras.src.optimizers.schedules.learning_rate_schedule.ExponentialDecay"
  )
})

test_that("all.equal() compares settings", {
  skip_if_no_keras()
  expect_true(all.equal(optimizer_sgd(0.1), optimizer_sgd(0.1)))
  expect_true(all.equal(optimizer_sgd(0.1), optimizer_sgd(0.1 + 1e-12)))
  expect_type(all.equal(optimizer_sgd(0.1), optimizer_sgd(0.1 + 1e-12), tolerance = 0), "character")
  decay <- function(steps) {
    optimizer_sgd(schedule_of_keras(0.1, decay_steps = steps, decay_rate = 1))
  }
  expect_true(all.equal(decay(3L), decay(3L)))
  cosine <- function(steps) optimizer_sgd(learning_rate_schedule_cosine_decay(0.1, steps))
  rate <- function() 0.1
  expect_true(all.equal(optimizer_sgd(rate), optimizer_sgd(rate)))
  expect_identical(as.list(optimizer_sgd(rate))$learning_rate, rate)
  expect_identical(as.list(update(optimizer_sgd(rate), momentum = 0.5))$learning_rate, rate)
  expect_match(all.equal(optimizer_sgd(rate), optimizer_sgd(function() 0.2)), "`learning_rate`")
  excluding <- optimizer_sgd()
  excluding$exclude_from_weight_decay(var_names = "bias")
  scaled <- optimizer_loss_scale(optimizer_sgd())
  expect_snapshot({
    all.equal(optimizer_sgd(0.1), optimizer_sgd(0.5))
    all.equal(optimizer_sgd(clipnorm = 1), optimizer_sgd(nesterov = TRUE))
    all.equal(decay(3L), decay(4L))
    all.equal(cosine(3), cosine(4))
    all.equal(cosine(3), decay(3L))
    all.equal(optimizer_sgd(), excluding)
    all.equal(optimizer_sgd(), scaled)
    all.equal(optimizer_sgd(), 0.01)
    all.equal(scaled, update(scaled, initial_scale = 2, learning_rate = 0.1))
  })
})

test_that("all.equal() compares state", {
  skip_if_no_keras()
  stepped <- function(gradient, steps = 1) {
    optimizer <- optimizer_sgd(0.1, momentum = 0.5)
    steps_from(optimizer, rep(list(gradient), steps), start = c(0, 0))
    optimizer
  }
  expect_true(all.equal(stepped(c(1, 2)), stepped(c(1, 2))))
  # velocities -0.1 and -0.2 against -0.1 and -0.3: one differs, by half of itself
  expect_snapshot({
    all.equal(stepped(c(1, 2)), stepped(c(1, 3)))
    all.equal(stepped(c(1, 2)), stepped(c(1, 2), steps = 2))
    all.equal(stepped(c(1, 2)), optimizer_sgd(0.1, momentum = 0.5))
  })
})

test_that("waldo and testthat compare values", {
  skip_if_no_keras()
  rate <- function() 0.1
  cosine <- function(steps) learning_rate_schedule_cosine_decay(0.1, steps)
  expect_equal(optimizer_sgd(0.1), optimizer_sgd(0.1))
  expect_equal(optimizer_sgd(rate), optimizer_sgd(rate))
  expect_equal(optimizer_sgd(cosine(3)), optimizer_sgd(cosine(3)))
  expect_equal(optimizer_loss_scale(optimizer_sgd(0.1)), optimizer_loss_scale(optimizer_sgd(0.1)))
  expect_equal(optimizer_sgd(0.1), optimizer_sgd(0.1 + 1e-12))

  stepped <- function(gradient) {
    optimizer <- optimizer_sgd(0.5, momentum = 0.5)
    steps_from(optimizer, list(gradient), start = matrix(0, 1, 2))
    optimizer
  }
  expect_equal(stepped(c(1, 2)), stepped(c(1, 2)))
  expect_snapshot({
    waldo::compare(optimizer_sgd(0.1), optimizer_sgd(0.5, momentum = 0.5))
    waldo::compare(optimizer_sgd(cosine(3)), optimizer_sgd(cosine(4)))
    waldo::compare(optimizer_sgd(0.1), optimizer_loss_scale(optimizer_sgd(0.1)), max_diffs = 1)
    waldo::compare(stepped(c(1, 2)), stepped(c(1, 3)))
  })
})

test_that("a float32 rate is shown with float32 digits", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1)
  # the value that ReduceLROnPlateau sets
  optimizer$learning_rate <- as_float32(0.003125)
  expect_equal(tail(format(optimizer), 3), c(
    "  learning_rate = 0.003125", "  steps so far: 0", "  learning rate now: 0.003125"
  ))
  optimizer$learning_rate <- as_float32(0.1) * 0.1
  expect_equal(format(optimizer)[[2]], "  learning_rate = 0.01")
  expect_equal(format_rate(0.1), "0.1")
  expect_equal(format_rate(as_float32(0.7)), "0.7")
  expect_equal(format_rate(1e-60), "1e-60")
  for (rate in 10^stats::runif(50, -6, 2)) {
    expect_identical(as_float32(as.double(format_rate(rate))), as_float32(rate))
  }
})

test_that("update() makes a new optimizer, with the same checks", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1, momentum = 0.5, weight_decay = 0.1)
  optimizer$exclude_from_weight_decay(var_names = "variable")
  steps_from(optimizer, list(1), start = 0)

  faster <- update(optimizer, learning_rate = 1, name = "faster")
  expected <- utils::modifyList(as.list(optimizer), list(learning_rate = 1, name = "faster"))
  expect_identical(as.list(faster), expected)
  expect_identical(summary(faster)$state$steps, 0)
  expect_identical(as.character(summary(faster)$state$patterns), "variable")
  expect_identical(as.double(optimizer$learning_rate), as.double(optimizer_sgd(0.1)$learning_rate))

  scaled <- update(optimizer_loss_scale(optimizer), initial_scale = 8, momentum = 0.25)
  expect_identical(scaled$initial_scale, 8)
  expect_identical(scaled$inner_optimizer$momentum, 0.25)
  expect_identical(optimizer$momentum, 0.5)

  expect_snapshot(error = TRUE, {
    update(optimizer, momentum = "a")
    update(optimizer, clipnorm = 1, clipvalue = 1)
    update(optimizer, learn = 0.1)
    update(optimizer, lr = 0.1)
    update(optimizer, 0.1)
    update(optimizer, amsgrad = TRUE)
    update(scaled, initial_scale = 0)
  })
})

test_that("`$learning_rate <-` checks and replaces the rate", {
  # contract 2.1, 2.7
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1)
  steps_from(optimizer, list(1), start = 0)
  optimizer$learning_rate <- 0.5
  expect_identical(as.double(optimizer$learning_rate), 0.5)
  expect_identical(optimizer$get_config()$learning_rate, 0.5)
  optimizer$learning_rate <- function() 0.25
  expect_identical(optimizer$learning_rate, 0.25)

  scaled <- optimizer_loss_scale(optimizer)
  scaled$learning_rate <- 2L
  expect_identical(as.double(optimizer$learning_rate), 2)

  expect_snapshot(error = TRUE, {
    optimizer$learning_rate <- -1
    optimizer$learning_rate <- NA
    optimizer$learning_rate <- c(0.1, 0.2)
    optimizer$learning_rate <- function(step) 0.1
    scaled$learning_rate <- "fast"
  })
  # contract 12.7
  expect_identical(as.double(optimizer$learning_rate), 2)
})

test_that("unknown attributes are neither set nor read", {
  # contract 13.3
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  expect_snapshot(error = TRUE, {
    optimizer$foo <- 1
    optimizer_loss_scale(optimizer)[["foo"]] <- 1
    optimizer$learning_rte
    optimizer[["aply"]]
  })
  expect_false(reticulate::py_has_attr(optimizer, "foo"))
  expect_error(optimizer[["nonsense"]], "nonsense", class = "kerasgd_argument_error")
  expect_error(optimizer$iterations <- 1, "iterations", class = "kerasgd_python_error")

  optimizer$learning_rate <- function() stop("no rate today")
  expect_error(optimizer$learning_rate, "no rate today", class = "kerasgd_argument_error")
})

test_that("a user's subclass may have its own attributes", {
  # contract 13.3
  skip_if_no_keras()
  subclass <- reticulate::py_eval("lambda base: type('Mine', (base,), {})")
  optimizer <- subclass(reticulate::import("kerasgd")$SGD)()
  optimizer$note <- "mine"
  expect_identical(optimizer$note, "mine")
  expect_identical(optimizer[["note"]], "mine")
})

test_that("arguments that determine the state cannot be set", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  expect_snapshot(error = TRUE, {
    optimizer$momentum <- 0.5
    optimizer[["clipnorm"]] <- -1
    optimizer_loss_scale(optimizer)$use_ema <- TRUE
    optimizer_loss_scale(optimizer)$initial_scale <- 2
  })
  optimizer[["learning_rate"]] <- 0.5
  expect_identical(as.list(optimizer)[c("learning_rate", "momentum")], list(
    learning_rate = 0.5, momentum = 0
  ))
})

test_that("a misspelt setting is an error", {
  # contract 12.6
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  expect_snapshot(error = TRUE, {
    optimizer$lr <- 0.5
    optimizer$nonsense <- 1
    optimizer$nonsense
  })
  expect_error(optimizer$momentums_ <- 0.5, "`momentum`", class = "kerasgd_unknown_argument_error")
  expect_false(reticulate::py_has_attr(optimizer, "lr"))
})

test_that("what the state shows cannot be set", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  for (name in c("groups", "iterations", "skipped", "skipped_in_a_row", "statistics")) {
    error <- expect_error(optimizer[[name]] <- 1, sprintf("^`%s` cannot be set: ", name))
    expect_s3_class(error, "kerasgd_state_error")
  }
})

test_that("something else in place of an optimizer is refused with advice", {
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  expect_snapshot(error = TRUE, transform = without_keras_module, {
    track_statistics(optimizer_sgd)
    track_statistics(keras$optimizers$SGD())
    track_statistics(keras$optimizers$Adam())
  })
})

test_that("Python numbers arrive exactly", {
  skip_if_no_keras()
  optimizer_sgd()
  keras <- reticulate::import("keras")
  variable <- function(x, dtype) {
    value <- keras$ops$convert_to_tensor(x, dtype = dtype)
    keras$Variable(value, dtype = dtype, trainable = FALSE)
  }
  m <- matrix(c(1.5, -2, 3, 1 / 3, 0, 8), 2)
  rows <- list(list(1.5, 3, 0), list(-2, 1 / 3, 8))
  expect_identical(as.double(variable(rows, "float64")), as.vector(m))
  expect_identical(as.numeric(variable(list(1, 2.5), "bfloat16")), c(1, 2.5))
  expect_identical(as.numeric(variable(3, "float32")), 3)

  optimizer <- optimizer_sgd(gradient_accumulation_steps = 2)
  steps_from(optimizer, list(1, 1, 1), start = 0)
  expect_identical(as.numeric(optimizer$iterations), 1)
  expect_identical(as.integer(optimizer$iterations), 1L)

  skip_if(loaded_backend() == "jax", "JAX counts in 32 bits")
  big <- reticulate::py_eval("2**40 + 1", convert = FALSE)
  expect_identical(as.numeric(variable(big, "int64")), 2^40 + 1)
})

test_that("a model's optimizer has the methods too", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1)
  model <- one_weight_model(optimizer)
  expect_identical(format(model$optimizer), format(optimizer))
  expect_identical(as.double(update(model$optimizer, learning_rate = 0.5)$learning_rate), 0.5)
  model$optimizer$learning_rate <- 0.25
  expect_identical(as.double(optimizer$learning_rate), 0.25)
})

test_that("errors of Python methods are conditions of this package", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  ones <- reticulate::import("keras")$ops$ones
  weight <- reticulate::import("keras")$Variable(1, name = "w")
  expect_snapshot(error = TRUE, {
    optimizer$apply(list(ones(list(3L))), list(weight))
    optimizer$apply(list(NULL), list(weight))
    optimizer$exclude_from_weight_decay(var_names = 3)
    optimizer$finalize_variable_values(1, 2)
  })
  optimizer$build(list(weight))
  error <- tryCatch(optimizer$exclude_from_weight_decay(var_names = "a"), error = identity)
  expect_s3_class(error, c("kerasgd_state_error", "kerasgd_error"))
  expect_identical(
    conditionCall(error), quote(optimizer$exclude_from_weight_decay(var_names = "a"))
  )
  # it stays a Python object
  expect_s3_class(reticulate::r_to_py(optimizer$apply), "python.builtin.method")
})

test_that("names are completed after `$`, without reading their values", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(function() stop("a look must not call this"))
  complete <- function(pattern) utils::.DollarNames(optimizer, pattern)
  expect_identical(complete("^learn"), "learning_rate")
  expect_identical(complete("^apply"), c("apply", "apply_gradients"))
  expect_identical(complete("^_"), character())
  expect_identical(utils::.DollarNames(restored_by_r(optimizer), ""), character())
})

test_that("Keras' wrapper of our optimizer has the same methods", {
  # contract 6.2
  skip_if_no_keras()
  optimizer_sgd()
  keras <- reticulate::import("keras")
  keras$mixed_precision$set_global_policy("mixed_float16")
  withr::defer(keras$mixed_precision$set_global_policy("float32"))
  wrapper <- one_weight_model(optimizer_sgd(0.1, momentum = 0.5))$optimizer
  expect_identical(class(wrapper)[[1]], keras_wrapper)
  expect_snapshot({
    wrapper
    summary(wrapper)
  })
  expect_identical(as.character(wrapper), "loss_scale(SGD(0.1, momentum 0.5))")
  expect_identical(capture.output(str(wrapper)), " loss_scale(SGD(0.1, momentum 0.5))")
  expect_identical(
    as.data.frame(wrapper)[c(1, 5), "value"], c("32768", "0.5")
  )
  expect_named(
    as.list(wrapper), c("inner_optimizer", "initial_scale", "dynamic_growth_steps", "name")
  )
  expect_true(all.equal(wrapper, wrapper))

  wrapper$learning_rate <- 0.25
  expect_identical(as.double(wrapper$learning_rate), 0.25)
  expect_snapshot(error = TRUE, {
    wrapper$learning_rate <- -1
    wrapper$learning_rate <- function(step) 0.1
    wrapper$momentum <- 0.5
    wrapper$foo <- 1
  })
  slower <- update(wrapper, learning_rate = 0.125, initial_scale = 2)
  expect_s3_class(slower, "kerasgd.LossScaleOptimizer")
  expect_identical(as.list(slower$inner_optimizer)[c("learning_rate", "momentum")], list(
    learning_rate = 0.125, momentum = 0.5
  ))

  # wrappers of other optimizers go to the next method
  of_adam <- one_weight_model(keras$optimizers$Adam(0.1))$optimizer
  expect_match(capture.output(print(of_adam)), "object at 0x")
  expect_match(as.character(of_adam), "object at 0x")
  expect_error(as.data.frame(of_adam), "cannot coerce class")
  of_adam$learning_rate <- 0.25
  expect_identical(as.double(of_adam$learning_rate), 0.25)
})

test_that("`$learning_rate <-` warns of a number that float32 rounds to 0", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  expect_warning(optimizer$learning_rate <- 1e-60, "rounds to 0", class = "kerasgd_warning")
  expect_silent(optimizer$learning_rate <- 1e-31)
  expect_equal(as.double(optimizer$learning_rate), 1e-31)
})

test_that("an optimizer that readRDS() restored reports it at any use", {
  # contract 9.5
  skip_if_no_keras()
  optimizer <- restored_by_r(optimizer_sgd())
  living <- optimizer_sgd()
  expect_snapshot(error = TRUE, {
    optimizer$apply(list())
    optimizer$learning_rate <- 1
  })
  expect_empty <- function(code) expect_error(code, "is empty", class = "kerasgd_state_error")
  expect_empty(format(optimizer))
  expect_empty(waldo::compare(optimizer, living))
  expect_empty(summary(optimizer))
  expect_empty(as.list(optimizer))
  expect_empty(update(optimizer, momentum = 0.5))
  expect_empty(all.equal(optimizer, living))
  expect_empty(all.equal(living, optimizer))
  expect_empty(optimizer$iterations)
  expect_empty(restored_by_r(optimizer_loss_scale(living))$dynamic_scale)
  expect_empty(as.double(restored_by_r(living$learning_rate)))
})

test_that("a list that contains an optimizer from readRDS() can be printed", {
  # contract 9.5
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  things <- list(number = 1, optimizer = optimizer, scaled = optimizer_loss_scale(optimizer))
  expect_snapshot({
    print(restored_by_r(things))
    str(restored_by_r(things))
    restored_by_r(summary(things$scaled))
  })
})

test_that("a model does not accept an optimizer that readRDS() restored", {
  # contract 9.5
  skip_if_no_keras()
  skip_if_reticulate_refuses_empty_objects()
  expect_snapshot(error = TRUE, {
    one_weight_model(restored_by_r(optimizer_sgd()))
    one_weight_model(restored_by_r(optimizer_loss_scale(optimizer_sgd())))
  })
})

# Replaced rates, and one optimizer for one model --------------------------------------------------

test_that("a number replaces a schedule in a compiled fit()", {
  # contract 2.7
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.125, 1, 0.5)
  model <- one_weight_model(optimizer_sgd(schedule))
  fit <- function() {
    model$fit(matrix(1), matrix(1), verbose = 0L)
    as.numeric(model$get_weights()[[1]])
  }
  expect_identical(fit(), 0.25)
  optimizer <- model$optimizer
  optimizer$learning_rate <- 0
  expect_identical(fit(), 0.25)
  expect_output(print(optimizer), "learning_rate = 0\n")
  changed <- update(optimizer, learning_rate = 0.125, keep_state = TRUE)
  model$compile(optimizer = changed, loss = "mse")
  expect_identical(fit(), 0.25 + 0.125 * 2 * 0.75)
  expect_identical(as.numeric(changed$iterations), 3)
})

test_that("a rate that a compiled step could not follow is refused", {
  # contract 2.7
  skip_if_no_keras()
  optimizer_sgd()
  skip_if(loaded_backend() == "torch", "nothing is compiled, so it takes effect")
  model <- one_weight_model(optimizer_sgd(0.125))
  model$fit(matrix(1), matrix(1), verbose = 0L)
  optimizer <- model$optimizer
  expect_snapshot(error = TRUE, {
    optimizer$learning_rate <- learning_rate_schedule_exponential_decay(0.125, 1, 0.5)
    optimizer$learning_rate <- function() 0.5
  })
  expect_identical(as.double(optimizer$learning_rate), 0.125)
})

test_that("update() keeps the state on request", {
  # contract 2.7, 9.4b
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.5, momentum = 0.5)
  steps_from(optimizer, list(1), start = 0)
  expect_identical(summary(update(optimizer))$state$steps, 0)
  kept <- update(optimizer, nesterov = TRUE, keep_state = TRUE)
  expect_identical(summary(kept)$state$steps, 1)
  # velocity 0.5 * -0.5 - 0.5, with Nesterov's rule
  expect_close(steps_from(kept, list(1), start = 0), 0.5 * -0.75 - 0.5)
  expect_snapshot(error = TRUE, update(optimizer, keep_state = "yes"))
  expect_warning(update(optimizer, momentum = 0, keep_state = TRUE), "velocity of 1 variable")
})

test_that("a second model is refused at its first step, and update() creates its optimizer", {
  # contract 13.4
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.25)
  one <- matrix(1)
  one_weight_model(optimizer)$fit(one, one, verbose = 0L)
  expect_error(
    one_weight_model(optimizer)$fit(one, one, verbose = 0L),
    "`update(optimizer, ...)` creates one with the same settings",
    fixed = TRUE
  )
  expect_identical(fit_one_weight(update(optimizer), 1, 1, steps = 1)$weight, 0.5)
})
