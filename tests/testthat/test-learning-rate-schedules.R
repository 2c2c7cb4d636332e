# 0, all boundaries, the steps around them, and far beyond the last one
steps <- c(0:60, 100, 1e6)
third <- 1 / 3
seven_eighths <- 7 / 8

half_cosine <- function(fraction) (1 + cos(pi * fraction)) / 2

expect_rates <- function(schedule, expected) {
  testthat::expect_equal(schedule(steps), expected, tolerance = 1e-12)
}

# contract 2.2, 12
test_that("cosine decay matches the closed form", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_cosine_decay(third, 49, alpha = seven_eighths),
    third * ((1 - seven_eighths) * half_cosine(pmin(steps, 49) / 49) + seven_eighths)
  )
  expect_rates(
    learning_rate_schedule_cosine_decay(0.05, 7, warmup_target = third, warmup_steps = 6),
    ifelse(
      steps < 6,
      0.05 + (third - 0.05) * steps / 6,
      third * half_cosine(pmin(pmax(steps - 6, 0), 7) / 7)
    )
  )
})

test_that("cosine decay validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_cosine_decay()
    learning_rate_schedule_cosine_decay(0.1)
    learning_rate_schedule_cosine_decay(-0.1, 10)
    learning_rate_schedule_cosine_decay(NULL, 10)
    learning_rate_schedule_cosine_decay(0.1, 2.5)
    learning_rate_schedule_cosine_decay(0.1, NA)
    learning_rate_schedule_cosine_decay(0.1, 10, alpha = 1.5)
    learning_rate_schedule_cosine_decay(0.1, 10, name = "")
    learning_rate_schedule_cosine_decay(0.1, 10, warmup_target = "0.1")
    learning_rate_schedule_cosine_decay(0.1, 10, warmup_steps = TRUE)
    learning_rate_schedule_cosine_decay(0.1, decay_stepz = 10)
    learning_rate_schedule_cosine_decay(0.1, 10, t_mul = 2)
  })
})

test_that("cosine decay with restarts matches the closed form", {
  skip_if_no_keras()
  # periods of 5, 10, 20, ... steps begin at 5 (2^i - 1); what is left at t = 10^6 is about floats
  period <- floor(log2(steps[1:62] / 5 + 1) + 1e-9)
  fraction <- (steps[1:62] - 5 * (2^period - 1)) / (5 * 2^period)
  schedule <- learning_rate_schedule_cosine_decay_restarts(
    third, 5,
    m_mul = seven_eighths, alpha = 0.1
  )
  expect_equal(
    schedule(steps[1:62]),
    third * (0.9 * seven_eighths^period * half_cosine(fraction) + 0.1),
    tolerance = 1e-12
  )
  expect_rates(
    learning_rate_schedule_cosine_decay_restarts(third, 7, t_mul = 1),
    third * half_cosine(steps %% 7 / 7)
  )
})

test_that("cosine decay with restarts validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_cosine_decay_restarts(0.1)
    learning_rate_schedule_cosine_decay_restarts(0.1, 0)
    learning_rate_schedule_cosine_decay_restarts(0.1, 10, t_mul = 0.5)
    learning_rate_schedule_cosine_decay_restarts(0.1, 10, m_mul = -1)
    learning_rate_schedule_cosine_decay_restarts(0.1, 10, alpha = NaN)
  })
})

test_that("exponential decay matches the closed form", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_exponential_decay(third, 7, seven_eighths),
    third * seven_eighths^(steps / 7)
  )
  expect_rates(
    learning_rate_schedule_exponential_decay(third, 49, seven_eighths, staircase = TRUE),
    third * seven_eighths^(steps %/% 49)
  )
})

test_that("exponential decay validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_exponential_decay(0.1, 10)
    learning_rate_schedule_exponential_decay(0.1, 10, Inf)
    learning_rate_schedule_exponential_decay(0.1, 10, c(0.5, 0.6))
    learning_rate_schedule_exponential_decay(0.1, 10, 0.5, staircase = 1)
  })
})

test_that("inverse time decay matches the closed form", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_inverse_time_decay(third, 7, seven_eighths),
    third / (1 + seven_eighths * steps / 7)
  )
  expect_rates(
    learning_rate_schedule_inverse_time_decay(third, 49, seven_eighths, staircase = TRUE),
    third / (1 + seven_eighths * (steps %/% 49))
  )
})

test_that("inverse time decay validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_inverse_time_decay(decay_steps = 10, decay_rate = 1)
    learning_rate_schedule_inverse_time_decay(1 + 2i, 10, 1)
    learning_rate_schedule_inverse_time_decay(0.1, 10, -1)
    learning_rate_schedule_inverse_time_decay(0.1, 10, 1, staircase = NA)
  })
})

test_that("piecewise constant decay matches the closed form, also with a single boundary", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_piecewise_constant_decay(c(3, 49), c(third, 0.1, 0)),
    ifelse(steps <= 3, third, ifelse(steps <= 49, 0.1, 0))
  )
  expect_rates(
    learning_rate_schedule_piecewise_constant_decay(5, c(third, 0.1)),
    ifelse(steps <= 5, third, 0.1)
  )
})

test_that("piecewise constant decay validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_piecewise_constant_decay(5)
    learning_rate_schedule_piecewise_constant_decay(5, 0.1)
    learning_rate_schedule_piecewise_constant_decay(c(5, 5), c(0.1, 0.2, 0.3))
    learning_rate_schedule_piecewise_constant_decay(integer(), 0.1)
    learning_rate_schedule_piecewise_constant_decay(c(1, NA), c(0.1, 0.2, 0.3))
    learning_rate_schedule_piecewise_constant_decay(1.5, c(0.1, 0.2))
    learning_rate_schedule_piecewise_constant_decay(5, c(0.1, -0.2))
    learning_rate_schedule_piecewise_constant_decay(5, "0.1")
  })
})

test_that("polynomial decay matches the closed form", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_polynomial_decay(third, 49, power = 0.5),
    1e-4 + (third - 1e-4) * sqrt(1 - pmin(steps, 49) / 49)
  )
  length <- 7 * pmax(1, ceiling(steps / 7))
  expect_rates(
    learning_rate_schedule_polynomial_decay(third, 7, 0.01, power = 1.5, cycle = TRUE),
    0.01 + (third - 0.01) * (1 - steps / length)^1.5
  )
})

test_that("polynomial decay validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_polynomial_decay(0.1)
    learning_rate_schedule_polynomial_decay(0.1, 10, end_learning_rate = -1)
    learning_rate_schedule_polynomial_decay(0.1, 10, power = list())
    learning_rate_schedule_polynomial_decay(0.1, 10, cycle = "yes")
  })
})

test_that("a warm-up comes before any schedule or number", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_linear_warmup(third, 7, 0.01),
    ifelse(steps < 7, 0.01 + (third - 0.01) * steps / 7, third)
  )
  falling <- learning_rate_schedule_exponential_decay(third, 7, seven_eighths)
  expected <- ifelse(steps < 3, third * steps / 3, third * seven_eighths^((steps - 3) / 7))
  expect_rates(learning_rate_schedule_linear_warmup(falling, 3), expected)

  # one of Keras, which computes in single precision
  of_keras <- reticulate::import("keras")$optimizers$schedules$ExponentialDecay(
    third, 7L, seven_eighths
  )
  expect_equal(
    learning_rate_schedule_linear_warmup(of_keras, 3)(steps), expected,
    tolerance = 1e-6
  )
})

test_that("a warm-up validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_linear_warmup()
    learning_rate_schedule_linear_warmup(0.1)
    learning_rate_schedule_linear_warmup(learning_rate_schedule_cosine_decay, 10)
    learning_rate_schedule_linear_warmup(function() 0.1, 10)
    learning_rate_schedule_linear_warmup(-1, 10)
    learning_rate_schedule_linear_warmup(0.1, -1)
  })
})

test_that("warm-up, stable, decay is three straight lines", {
  skip_if_no_keras()
  expect_rates(
    learning_rate_schedule_warmup_stable_decay(third, 7, 9, 13, 0.01, 0.001),
    approx(c(0, 7, 16, 29, 1e7), c(0.01, third, third, 0.001, 0.001), steps)$y
  )
  expect_rates(
    learning_rate_schedule_warmup_stable_decay(third, 0, 0, 13),
    approx(c(0, 13, 1e7), c(third, 0, 0), steps)$y
  )
})

test_that("warm-up, stable, decay validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_warmup_stable_decay(0.1, 10, 10)
    learning_rate_schedule_warmup_stable_decay(NA_real_, 10, 10, 10)
    learning_rate_schedule_warmup_stable_decay(0.1, 10, 1.5, 10)
    learning_rate_schedule_warmup_stable_decay(0.1, 10, 10, 0)
  })
})

test_that("one cycle is two half cosines", {
  skip_if_no_keras()
  low <- third / 10
  end <- third / 1000
  expect_rates(
    learning_rate_schedule_one_cycle(third, 28, 0.25, 10, 1000),
    ifelse(
      steps < 7,
      third - (third - low) * half_cosine(steps / 7),
      end + (third - end) * half_cosine(pmin(pmax(steps - 7, 0) / 21, 1))
    )
  )
})

test_that("one cycle validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_one_cycle(0.1)
    learning_rate_schedule_one_cycle(0.1, 10, warmup_fraction = 0)
    learning_rate_schedule_one_cycle(0.1, 10, initial_divisor = 0.5)
    learning_rate_schedule_one_cycle(0.1, 10, end_divisor = FALSE)
  })
})

test_that("a function becomes a table, whether it is vectorised or not", {
  skip_if_no_keras()
  expected <- third / (1 + pmin(steps, 19))
  expect_rates(learning_rate_schedule_function(function(step) third / (1 + step), 20), expected)
  one_at_a_time <- function(step) if (step == 0) third else third / (1 + step)
  expect_rates(learning_rate_schedule_function(one_at_a_time, 20), expected)
  # 46341^2 exceeds R's integers
  squares <- learning_rate_schedule_function(function(step) step * step, 46342)
  expect_equal(squares(46341), 46341^2)
})

test_that("the function is called only when the schedule is created", {
  skip_if_no_keras()
  called_with <- c()
  schedule <- learning_rate_schedule_function(steps = 3, fn = function(step) {
    called_with <<- c(called_with, step)
    0.1
  })
  schedule(0:5)
  fit_one_weight(optimizer_sgd(schedule), 1, 1, steps = 4)
  expect_identical(called_with, c(0, 1, 2))
})

test_that("a function of the step is checked", {
  skip_if_no_keras()
  # On a busy machine, a progress bar would appear among the errors
  withr::local_options(cli.progress_show_after = 3600)
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_function(steps = 10)
    learning_rate_schedule_function(sqrt)
    learning_rate_schedule_function(0.1, 10)
    learning_rate_schedule_function(sqrt, 0)
    learning_rate_schedule_function(function(step) 1 - step, 10)
    learning_rate_schedule_function(function(step) if (step < 4) step else NA, 10)
    learning_rate_schedule_function(function(step) c(step, step), 10)
    learning_rate_schedule_function(function(step) "a", 10)
    learning_rate_schedule_function(function(step) stop("no file"), 10)
    learning_rate_schedule_function(function() 0.1, 10)
    learning_rate_schedule_function(function(step) 0.1 - step / 1000, 200)
    learning_rate_schedule_function(function(step) if (step < 1500) 1L else TRUE, 2000)
    learning_rate_schedule_function(optimizer_sgd, 10)
    learning_rate_schedule_function(sqrt, 10, name = "")
  })
})

test_that("a function may return any value that Python accepts as a rate", {
  skip_if_no_keras()
  optimizer_sgd()
  np <- reticulate::import("numpy", convert = FALSE)
  schedule <- learning_rate_schedule_function(function(step) {
    if (step < 1) 2L else if (step < 2) np$float64(0.25) else third
  }, 3)
  expect_identical(schedule(0:2), c(2, 0.25, third))
})

test_that("many calls of a function update the progress bar several times", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_function(function(step) 1 / (1 + step), 2500)
  expect_identical(schedule(c(0, 999, 1000, 1001, 2499, 2500)), 1 / c(1, 1000:1002, 2500, 2500))
})

test_that("a warm-up without a target gives a warning", {
  skip_if_no_keras()
  expect_snapshot(schedule <- learning_rate_schedule_cosine_decay(0.1, 10, warmup_steps = 4))
  expect_identical(schedule(0), 0.1)
  expect_no_warning(
    learning_rate_schedule_cosine_decay(0.1, 10, warmup_target = 1, warmup_steps = 4)
  )
})

test_that("messages about several values name the element", {
  # contract 12
  skip_if_no_keras()
  piecewise <- learning_rate_schedule_piecewise_constant_decay
  expect_snapshot(error = TRUE, {
    piecewise(c(10, 15), c(0.1, -0.2, 0.3))
    piecewise(c(10, 15), c(0.1, NA, 0.3))
    piecewise(c(10, 15), list(0.1, "a", NULL))
    piecewise(c(10, 5), c(0.1, 0.2, 0.3))
    piecewise(c(10, 15.5), c(0.1, 0.2, 0.3))
    learning_rate_schedule_one_cycle(0.1, 20 * 150 / 32)
  })
  error <- tryCatch(piecewise(1, c(0.1, -0.2)), error = identity)
  expect_identical(error$received, c(0.1, -0.2))
})

# contract 2.2: the gradient of w in (w - 1)^2 is 2 (w - 1)
test_that("fit() uses the rate of each step", {
  skip_if_no_keras()
  expect_trained <- function(schedule) {
    w <- 0
    for (rate in schedule(0:5)) w <- w - rate * 2 * (w - 1)
    expect_close(fit_one_weight(optimizer_sgd(schedule), 1, 1, steps = 6)$weight, w)
  }
  expect_trained(learning_rate_schedule_cosine_decay(third, 7))
  expect_trained(learning_rate_schedule_piecewise_constant_decay(2, c(third, 0.1)))
  expect_trained(learning_rate_schedule_function(function(step) third / (1 + step), 4))
  expect_trained(learning_rate_schedule_linear_warmup(
    learning_rate_schedule_one_cycle(third, 3), 2
  ))
})

test_that("a schedule is saved with its model", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_function(function(step) third / (1 + step), 4)
  file <- withr::local_tempfile(fileext = ".keras")
  model <- one_weight_model(optimizer_sgd(learning_rate_schedule_linear_warmup(schedule, 2)))
  model$save(file)
  loaded <- reticulate::import("keras")$saving$load_model(file)
  expect_true(all.equal(
    as.list(loaded$optimizer)$learning_rate,
    learning_rate_schedule_linear_warmup(schedule, 2)
  ))
})

# contract 9.1: as ?optimizer_sgd tells
test_that("a new session loads a model", {
  skip_if_no_keras()
  file <- withr::local_tempfile(fileext = ".keras")
  one_weight_model(optimizer_sgd(learning_rate_schedule_cosine_decay(third, 4)))$save(file)
  output <- eval(bquote(run_r({
    loaded <- reticulate::import("keras")$saving$load_model(.(file))
    cat("\n", sprintf("%a", as.list(loaded$optimizer)$learning_rate(0)), sep = "")
  })))
  expect_identical(tail(output, 1), sprintf("%a", third))
})

# contract 12.6
test_that("an unknown argument is reported before a missing one", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    learning_rate_schedule_cosine_decay(0.1, steps = 10)
    learning_rate_schedule_cosine_decay(lr = 0.1, 10)
    learning_rate_schedule_one_cycle(max_lr = 0.1, total_steps = 10)
    learning_rate_schedule_cosine_decay(0.1, T_max = 10)
  })
})

# contract 12: documentation in R, decision in Python
test_that("names, order and defaults of the arguments are those of Python", {
  skip_if_no_keras()
  python <- reticulate::import("kerasgd")$schedules
  inspect <- reticulate::import("inspect")
  expect_same_signature <- function(fn, class) {
    ours <- formals(fn)
    theirs <- inspect$signature(Reduce(`[[`, strsplit(class, ".", fixed = TRUE)[[1]], python))
    parameters <- reticulate::iterate(theirs$parameters$values())
    names <- vapply(parameters, function(parameter) parameter$name, "")
    expect_identical(setdiff(names(ours), "..."), setdiff(names, "kwargs"))
    for (parameter in parameters[names != "kwargs"]) {
      ours_is_required <- identical(ours[[parameter$name]], rlang::missing_arg())
      expect_identical(ours_is_required, inherits(parameter$default, "python.builtin.type"))
      if (!ours_is_required) expect_equal(eval(ours[[parameter$name]]), parameter$default)
    }
  }
  expect_same_signature(learning_rate_schedule_cosine_decay, "CosineDecay")
  expect_same_signature(learning_rate_schedule_cosine_decay_restarts, "CosineDecayRestarts")
  expect_same_signature(learning_rate_schedule_exponential_decay, "ExponentialDecay")
  expect_same_signature(learning_rate_schedule_inverse_time_decay, "InverseTimeDecay")
  expect_same_signature(learning_rate_schedule_piecewise_constant_decay, "PiecewiseConstantDecay")
  expect_same_signature(learning_rate_schedule_polynomial_decay, "PolynomialDecay")
  expect_same_signature(learning_rate_schedule_linear_warmup, "LinearWarmup")
  expect_same_signature(learning_rate_schedule_warmup_stable_decay, "WarmupStableDecay")
  expect_same_signature(learning_rate_schedule_one_cycle, "OneCycle")
  expect_same_signature(learning_rate_schedule_function, "Table.of_function")
})
