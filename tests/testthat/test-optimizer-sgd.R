# One weight w in y = w x, from w = 0: the loss mean((w x - y)^2) has its minimum at `target`, and
# the gradient curvature * (w - target).
x <- c(0.5, 1, -1.5, 2)
target <- 1 / 3
y <- target * x
curvature <- 2 * mean(x^2)
rate <- 0.05

fit <- function(..., steps = 7) {
  fit_one_weight(optimizer_sgd(learning_rate = rate, ...), x, y, steps = steps)
}

test_that("the signatures in R and Python are the same", {
  # contract, head: names, order and defaults; in Python `name` and all after it are keyword-only
  skip_if_no_keras()
  signature <- reticulate::import("inspect")$signature(optimizer_sgd()$`__class__`)
  parameters <- reticulate::iterate(signature$parameters$values())
  names <- vapply(parameters, function(parameter) parameter$name, "")
  kind <- reticulate::py_eval("lambda parameter: parameter.kind.name")
  kinds <- vapply(parameters, kind, "")

  in_r <- as.list(formals(optimizer_sgd))
  dots <- match("...", names(in_r))
  expect_equal(setdiff(names(in_r), "..."), setdiff(names, "kwargs"))
  expect_equal(kinds[names == "kwargs"], "VAR_KEYWORD")
  expect_equal(names[kinds == "KEYWORD_ONLY"], c("name", names(in_r)[-seq_len(dots)]))
  expect_equal(names(in_r)[[dots - 1]], "name")

  in_python <- lapply(parameters[names != "kwargs"], function(parameter) parameter$default)
  expect_identical(unname(lapply(in_r[-dots], eval)), in_python)
})

# contract 12: the bad-input walk -----------------------------------------------------------------

walked <- rlang::exprs(
  NULL, NA, NA_integer_, NA_real_, NA_character_, NaN, Inf, -1, 0, 1.5, TRUE, "1", "", c(1, 2),
  integer(0), list(), complex(real = 1, imaginary = 2), function() 1, function(x) x
)

# The accepted values; all others must be refused
accepted <- list(
  learning_rate = c("0", "1.5", "function() 1"),
  momentum = c("0", "1.5"),
  nesterov = "TRUE",
  weight_decay = c("NULL", "0", "1.5"),
  clipnorm = c("NULL", "1.5"),
  clipvalue = c("NULL", "1.5"),
  global_clipnorm = c("NULL", "1.5"),
  use_ema = "TRUE",
  ema_momentum = "0",
  ema_overwrite_frequency = "NULL",
  name = "\"1\"",
  loss_scale_factor = c("NULL", "1.5"),
  gradient_accumulation_steps = "NULL"
)

# The result of each value as `argument`: an optimizer or an error. `momentum = 1.5` warns (below).
walk <- function(argument) {
  calls <- lapply(walked, function(value) rlang::call2("optimizer_sgd", !!argument := value))
  results <- lapply(calls, function(call) {
    withCallingHandlers(
      tryCatch(eval(call), error = identity),
      kerasgd_warning = function(warning) tryInvokeRestart("muffleWarning")
    )
  })
  names(results) <- vapply(walked, rlang::expr_text, "")
  list(calls = calls, results = results)
}

show_refusals <- function(results) {
  refused <- Filter(rlang::is_error, results)
  for (value in names(refused)) {
    cat(value, "\n", paste0("  ", strsplit(conditionMessage(refused[[value]]), "\n")[[1]], "\n"),
      sep = ""
    )
  }
}

for (argument in names(accepted)) {
  test_that(sprintf("`%s` validates its inputs", argument), {
    # contract 12, 12.3, 12.4
    skip_if_no_keras()
    walk <- walk(argument)
    is_error <- vapply(walk$results, rlang::is_error, NA)
    expect_equal(names(walk$results)[!is_error], accepted[[argument]])
    for (optimizer in walk$results[!is_error]) {
      expect_s3_class(optimizer, "kerasgd.SGD")
    }

    requirement <- walk$results[is_error][[1]]$requirement
    for (i in which(is_error)) {
      error <- walk$results[[i]]
      expect_s3_class(
        error, c("kerasgd_argument_error", "kerasgd_error", "rlang_error", "error", "condition"),
        exact = TRUE
      )
      expect_equal(error$argument, argument)
      expect_equal(error$requirement, requirement)
      expect_equal(
        error$received, eval(walked[[i]]),
        ignore_attr = "srcref", ignore_function_env = TRUE
      )
      expect_identical(conditionCall(error), walk$calls[[i]])
      # R's terms, never Python's
      expect_no_match(conditionMessage(error), "None|True|False|float|int\\b|\\bnan\\b|\\binf\\b")
      expect_match(
        conditionMessage(error),
        sprintf("`%s` must be %s, not ", argument, requirement),
        fixed = TRUE
      )
    }
    expect_snapshot(show_refusals(walk$results))
  })
}

test_that("the tests above cover every argument", {
  expect_equal(names(accepted), setdiff(names(formals(optimizer_sgd)), "..."))
})

test_that("natural ways to write a value are accepted", {
  # contract 12.1, 12.2, 12.3
  skip_if_no_keras()
  rate <- function(...) optimizer_sgd(...)$get_config()$learning_rate
  expect_identical(rate(0L), 0)
  expect_identical(rate(1L), 1)
  expect_identical(rate(c(rate = 0.1)), 0.1)
  expect_identical(rate(matrix(0.1)), 0.1)
  expect_identical(optimizer_sgd(momentum = 0L)$momentum, 0)
  expect_identical(optimizer_sgd(momentum = 1L)$momentum, 1)
  expect_identical(optimizer_sgd(momentum = c(m = 0.9))$momentum, 0.9)
  expect_identical(optimizer_sgd(nesterov = c(a = TRUE))$nesterov, TRUE)
  expect_identical(optimizer_sgd(weight_decay = 0L)$weight_decay, 0)
  expect_identical(optimizer_sgd(clipnorm = 1L)$clipnorm, 1)
  expect_identical(optimizer_sgd(ema_momentum = 1L)$ema_momentum, 1)
  expect_identical(optimizer_sgd(loss_scale_factor = 1024L)$loss_scale_factor, 1024)
  expect_identical(optimizer_sgd(name = c(n = "mine"))$name, "mine")
  for (two in list(2, 2L, c(n = 2))) {
    optimizer <- optimizer_sgd(ema_overwrite_frequency = two, gradient_accumulation_steps = two)
    expect_identical(optimizer$ema_overwrite_frequency, 2L)
    expect_identical(optimizer$gradient_accumulation_steps, 2L)
  }
  largest <- .Machine$integer.max
  expect_identical(
    optimizer_sgd(gradient_accumulation_steps = largest)$gradient_accumulation_steps, largest
  )
  expect_error(
    optimizer_sgd(gradient_accumulation_steps = largest + 1),
    class = "kerasgd_argument_error"
  )
})

test_that("at most one clip is set", {
  # contract 4.1
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    optimizer_sgd(clipnorm = 1, clipvalue = 0.5)
    optimizer_sgd(clipvalue = 1, global_clipnorm = 2)
  })
  expect_s3_class(optimizer_sgd(clipnorm = NULL, clipvalue = 1), "kerasgd.SGD")
})

test_that("Python refuses an unknown argument that R cannot check, in R's terms", {
  # contract 12.6
  skip_if_no_keras()
  error <- tryCatch(optimizer_sgd(amsgrad = TRUE), error = identity)
  expect_s3_class(error, c(
    "kerasgd_unknown_argument_error", "kerasgd_argument_error", "kerasgd_error",
    "rlang_error", "error", "condition"
  ), exact = TRUE)
  expect_equal(error$argument, "amsgrad")
  expect_identical(error$received, TRUE)
  expect_null(error$suggestion)
  expect_equal(conditionMessage(error), "`amsgrad` is not an argument of `optimizer_sgd()`.")
})

test_that("the error has the user's call, however the function was called", {
  # contract 12
  skip_if_no_keras()
  call_of <- function(expr) conditionCall(tryCatch(expr, kerasgd_argument_error = identity))
  wrapper <- function(m) optimizer_sgd(momentum = m)
  expect_equal(call_of(optimizer_sgd(momentum = -1)), quote(optimizer_sgd(momentum = -1)))
  expect_equal(
    call_of(kerasgd::optimizer_sgd(momentum = -1)), quote(kerasgd::optimizer_sgd(momentum = -1))
  )
  expect_equal(call_of(wrapper(-1)), quote(optimizer_sgd(momentum = m)))
  arguments <- list(momentum = 2i)
  expected <- rlang::call2("optimizer_sgd", momentum = 2i)
  expect_equal(call_of(do.call(optimizer_sgd, arguments)), expected)
  expect_equal(call_of(do.call("optimizer_sgd", arguments)), expected)
  expect_equal(call_of(rlang::exec(optimizer_sgd, !!!arguments)), expected)
  expect_equal(call_of(-1 |> optimizer_sgd()), quote(optimizer_sgd(-1)))
  expect_equal(call_of(lapply(-1, optimizer_sgd)), quote(optimizer_sgd(X[[i]], ...)))
})

test_that("a Python warning is one R warning per call", {
  # contract 1.5
  skip_if_no_keras()
  warnings <- list()
  withCallingHandlers(
    for (i in 1:2) optimizer <- optimizer_sgd(momentum = 1.5),
    warning = function(warning) {
      warnings <<- c(warnings, list(warning))
      tryInvokeRestart("muffleWarning")
    }
  )
  expect_length(warnings, 2)
  expect_s3_class(
    warnings[[1]], c("kerasgd_warning", "rlang_warning", "warning", "condition"),
    exact = TRUE
  )
  expect_equal(conditionCall(warnings[[1]]), quote(optimizer_sgd(momentum = 1.5)))
  expect_snapshot(cat(conditionMessage(warnings[[1]])))
  expect_equal(optimizer$momentum, 1.5)
  expect_silent(optimizer_sgd(momentum = 1))
})

# The learning rate --------------------------------------------------------------------------------

test_that("a function that requires arguments is refused at construction", {
  # contract 2.5
  skip_if_no_keras()
  halving <- function(step, half_life = 10) 0.1 * 0.5^(step / half_life)
  expect_snapshot(error = TRUE, {
    optimizer_sgd(learning_rate = halving)
    optimizer_sgd(learning_rate = function(a, b) a)
    optimizer_sgd(learning_rate = exp)
  })
})

test_that("a class of schedules in place of a schedule is refused at construction", {
  # contract 2.5
  skip_if_no_keras()
  optimizer_sgd()
  keras <- reticulate::import("keras")
  expect_snapshot(error = TRUE, {
    optimizer_sgd(learning_rate = keras$optimizers$schedules$ExponentialDecay)
    optimizer_sgd(learning_rate = keras$optimizers$schedules)
  })
})

test_that("a function without arguments is called once per step in eager code", {
  # contract 2.3
  skip_if_no_keras()
  calls <- 0
  halving <- function(start = 1) {
    calls <<- calls + 1
    start / 2^calls
  }
  optimizer <- optimizer_sgd(learning_rate = halving)
  expect_equal(calls, 0)
  weights <- steps_from(optimizer, rep(list(c(1, -2)), 4), start = c(0, 0))
  expect_equal(calls, 4)
  expect_close(weights, -(1 - 1 / 2^4) * c(1, -2))
})

test_that("a function without arguments is called once per step in fit()", {
  # contract 2.3
  skip_if_no_keras()
  optimizer_sgd()
  skip_if(loaded_backend() == "jax", "a compiled JAX step cannot call R")
  calls <- 0
  inverse <- function() {
    calls <<- calls + 1
    0.1 / calls
  }
  fitted <- fit_one_weight(optimizer_sgd(learning_rate = inverse), x, y, steps = 4)
  expect_equal(calls, 4)
  expect_close(fitted$weight, target * (1 - prod(1 - curvature * 0.1 / 1:4)))
})

test_that("a function must return a rate", {
  # contract 2.4
  skip_if_no_keras()
  step_with <- function(result) {
    steps_from(optimizer_sgd(learning_rate = function() result), list(1), start = 0)
  }
  expect_close(step_with(2L), -2)
  for (bad in list(NULL, NA, NaN, Inf, -1, TRUE, "0.1", c(1, 2), list())) {
    expect_error(
      step_with(bad),
      "`learning_rate` must be a function that returns a finite number >= 0, not one that returns"
    )
  }
  expect_error(step_with(stop("no rate today")), "`learning_rate` .* no rate today")
})

test_that("a schedule is called with the number of steps so far", {
  # contract 2.2
  skip_if_no_keras()
  optimizer_sgd()
  schedules <- reticulate::import("keras")$optimizers$schedules
  schedule <- schedules$ExponentialDecay(0.1, decay_steps = 10L, decay_rate = 1 / 3)
  rates <- 0.1 * (1 / 3)^((0:5) / 10)
  weights <- steps_from(optimizer_sgd(schedule), rep(list(c(1, -2)), 6), start = c(5, 5))
  expect_close(weights, 5 - sum(rates) * c(1, -2))

  fitted <- fit_one_weight(optimizer_sgd(schedule), x, y, steps = 6)
  expect_close(fitted$weight, target * (1 - prod(1 - curvature * rates)))
})

test_that("a Python function is accepted", {
  # contract 2.3
  skip_if_no_keras()
  quarter <- reticulate::py_eval("lambda: 0.25")
  expect_close(steps_from(optimizer_sgd(quarter), list(1, 1), start = 1), 0.5)
})

# Training, against closed forms ------------------------------------------------------------------

test_that("fit() follows the closed form of gradient descent", {
  # contract 1.1
  skip_if_no_keras()
  fitted <- fit()
  shrink <- 1 - rate * curvature
  expect_close(fitted$weight, target * (1 - shrink^7))
  expect_close(fitted$loss, mean(x^2) * (target * shrink^(0:6))^2)
})

# The last w, where (w - target, velocity) is multiplied by a matrix at each step
weight_by_matrix <- function(matrix, steps = 7) {
  state <- c(-target, 0)
  for (step in seq_len(steps)) state <- drop(matrix %*% state)
  target + state[[1]]
}

test_that("fit() follows the closed form of momentum", {
  # contract 1.2, 1.3
  skip_if_no_keras()
  pull <- rate * curvature
  for (momentum in c(0.5, 7 / 8)) {
    plain <- rbind(c(1 - pull, momentum), c(-pull, momentum))
    expect_close(fit(momentum = momentum)$weight, weight_by_matrix(plain))
    ahead <- rbind(c(1 - pull * (1 + momentum), momentum^2), c(-pull, momentum))
    expect_close(fit(momentum = momentum, nesterov = TRUE)$weight, weight_by_matrix(ahead))
  }
  expect_close(fit(nesterov = TRUE)$weight, target * (1 - (1 - pull)^7))
})

test_that("fit() decays the weights apart from the gradient", {
  # contract 3.1
  skip_if_no_keras()
  decay <- 2
  shrink <- 1 - rate * decay - rate * curvature
  end <- target * curvature / (curvature + decay)
  expect_close(fit(weight_decay = decay)$weight, end * (1 - shrink^7))
})

test_that("fit() clips the gradient", {
  # contract 4.1: far from the minimum each step goes as far as the limit allows
  skip_if_no_keras()
  limit <- 0.01
  expect_close(fit(clipnorm = limit)$weight, 7 * rate * limit)
  expect_close(fit(clipvalue = limit)$weight, 7 * rate * limit)
  expect_close(fit(global_clipnorm = limit)$weight, 7 * rate * limit)
})

test_that("fit() updates every n steps with the mean gradient", {
  # contract 7.1
  skip_if_no_keras()
  shrink <- 1 - rate * curvature
  expect_close(fit(gradient_accumulation_steps = 3, steps = 8)$weight, target * (1 - shrink^2))
})

test_that("fit() divides by the loss scale", {
  # contract 6.1
  skip_if_no_keras()
  shrink <- 1 - rate * curvature
  expect_close(fit(loss_scale_factor = 1024)$weight, target * (1 - shrink^7))
})

test_that("fit() ends with the averages of the weights", {
  # contract 5.1, 5.4
  skip_if_no_keras()
  w <- target * (1 - (1 - rate * curvature)^(1:7))
  keep <- 2 / 3
  average <- sum(keep^(6:0) * c(w[[1]], (1 - keep) * w[-1]))
  expect_close(fit(use_ema = TRUE, ema_momentum = keep)$weight, average)
})

test_that("fit() overwrites the weights with their averages", {
  # contract 5.2: overwritten at every update, the second weight is one part new and the rest old
  skip_if_no_keras()
  pull <- rate * curvature
  keep <- 2 / 3
  shrink <- 1 - (1 - keep) * pull
  fitted <- fit(use_ema = TRUE, ema_momentum = keep, ema_overwrite_frequency = 1)
  expect_close(fitted$weight, target * (1 - (1 - pull) * shrink^6))
})

test_that("the optimizer is a Keras optimizer with the documented name", {
  # contract 12.5, 13.1
  skip_if_no_keras()
  optimizer <- optimizer_sgd(momentum = 0.9)
  keras <- reticulate::import("keras")
  expect_true(reticulate::py_eval("isinstance")(optimizer, keras$optimizers$SGD))
  expect_equal(optimizer$name, "SGD")

  named <- optimizer_sgd(momentum = 0.9, name = "mine")
  named$build(list(keras$Variable(1)))
  paths <- reticulate::py_eval("lambda optimizer: [v.path for v in optimizer.momentums]")
  expect_match(paths(named), "^mine/")
})

test_that("a number that float32 rounds to 0 or infinity gives a warning", {
  # contract 2.1, 3.1, 4.1
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  expect_snapshot({
    optimizer_sgd(1e-60)
    invisible(optimizer_sgd(weight_decay = 1e300))
    invisible(optimizer_sgd(clipnorm = 1e-50))
    optimizer$learning_rate <- 1e-60
    invisible(learning_rate_schedule_cosine_decay(1e-60, 10))
  })
  expect_no_warning(optimizer_sgd(1e-44, weight_decay = 3e38))
})
