call <- quote(f(x = 1))

caught <- function(expr) tryCatch(expr, condition = identity)

# The form in which `kerasgd.r.bridge` returns an error
python_error <- function(kind = "other", ...) {
  utils::modifyList(
    list(kind = kind, type = "ValueError", message = "It failed.", traceback = "Traceback ..."),
    list(...)
  )
}

test_that("an error shows a function's own name, however it was called", {
  skip_if_no_keras()
  call_of <- function(expr) deparse(conditionCall(tryCatch(expr, error = identity)))
  expect_equal(call_of(lapply(-1, optimizer_sgd)), "optimizer_sgd(X[[i]], ...)")
  expect_equal(call_of(kerasgd::optimizer_sgd(-1)), "kerasgd::optimizer_sgd(-1)")

  empty <- restored_by_r(optimizer_sgd())
  expect_equal(call_of(format(empty)), "format(empty)")
  expect_equal(call_of(lapply(list(empty), format)), "format(X[[i]], ...)")
  expect_equal(call_of(empty$momentum), "optimizer$momentum")
  expect_equal(call_of(empty$learning_rate <- 1), "optimizer$learning_rate <- 1")

  # R calls methods of as.double() without a frame of the generic
  empty <- restored_by_r(reticulate::import("keras")$Variable(1))
  expect_equal(call_of(as.numeric(empty)), "as.double(empty)")
  expect_equal(call_of(as.integer(empty)), "as.double(x)")
})

test_that("an error about an argument carries the rule and the value", {
  error <- caught(abort_argument(1:2, "a number, or {null}", "Try {true}.", arg = "x", call = call))
  expect_s3_class(
    error, c("kerasgd_argument_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_equal(error$argument, "x")
  expect_equal(error$requirement, "a number, or `NULL`")
  expect_identical(error$received, 1:2)
  expect_equal(error$hint, "Try `TRUE`.")
  expect_equal(conditionCall(error), quote(f(x = 1)))
  expect_snapshot(cat(conditionMessage(error)))
})

test_that("unknown fields of an argument error are NULL", {
  x <- 1
  expect_null(caught(abort_argument(x, "a number", call = call))$hint)
  expect_null(caught(abort_unknown_argument("x", call = call))$suggestion)
  expect_null(caught(abort_unknown_argument("x", call = call))$hint)
})

test_that("an error about a name carries what was probably meant", {
  error <- caught(abort_unknown_argument("lr", 1, "learning_rate", "Or {null}.", call = call))
  expect_s3_class(error, c(
    "kerasgd_unknown_argument_error", "kerasgd_argument_error", "kerasgd_error",
    "rlang_error", "error", "condition"
  ), exact = TRUE)
  expect_equal(error$suggestion, "learning_rate")
  expect_snapshot({
    cat(conditionMessage(error))
    cat(conditionMessage(caught(abort_unknown_argument("jit", call = call))))
    cat(conditionMessage(caught(abort_repeated_argument("x", call = call))))
    cat(conditionMessage(caught(abort_unnamed_argument(5, after = "name", call = call))))
  })
})

test_that("an error about the environment carries the facts", {
  error <- caught(
    abort_environment("No Keras.", c("Install it.", "Restart R."), list(keras = NULL), call = call)
  )
  expect_s3_class(
    error, c("kerasgd_environment_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_equal(error$facts, list(keras = NULL))
  expect_snapshot(cat(conditionMessage(error)))
})

test_that("each kind of Python error has its class", {
  signal <- function(...) {
    caught(signal_python_error(python_error(...), NULL, list(x = NA), call = call))
  }
  refused <- signal("argument", argument = "x", requirement = "{true} or {false}")
  expect_s3_class(refused, "kerasgd_argument_error")
  expect_equal(refused$message, "`x` must be `TRUE` or `FALSE`, not `NA`.")
  expect_identical(refused$received, NA)

  unknown <- signal("unknown_argument", argument = "x", suggestion = "y")
  expect_s3_class(unknown, "kerasgd_unknown_argument_error")
  expect_equal(unknown$suggestion, "y")
  expect_identical(unknown$received, NA)

  expect_s3_class(
    signal("state"),
    c(
      "kerasgd_state_error", "kerasgd_python_error", "kerasgd_error",
      "rlang_error", "error", "condition"
    ),
    exact = TRUE
  )
  expect_s3_class(
    signal("other"),
    c("kerasgd_python_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
})

test_that("a state error appears once, with its advice", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  optimizer$build(list(reticulate::import("keras")$Variable(1)))
  error <- expect_error(exclude_from_weight_decay(optimizer, "a"), class = "kerasgd_state_error")
  expect_null(error$parent)
  expect_identical(error$type, "StateError")
  expect_match(error$traceback, "StateError")
  expect_snapshot(exclude_from_weight_decay(optimizer, "a"), error = TRUE)
})

test_that("any other Python error is one sentence, with the full text as the parent", {
  text <- "Layer 'a' has 1.5 units. Give a whole number.\nSee the manual."
  error <- caught(abort_python(python_error(message = text), "the exception", call = call))
  expect_equal(error$message, "Layer 'a' has 1.5 units.")
  expect_equal(error$type, "ValueError")
  expect_equal(error$traceback, "Traceback ...")
  expect_equal(error$exception, "the exception")
  expect_equal(conditionCall(error), quote(f(x = 1)))
  expect_equal(conditionMessage(error$parent), paste0("ValueError: ", text))

  silent <- caught(abort_python(python_error(message = " "), NULL, call = call))
  expect_equal(silent$message, "ValueError")
  expect_equal(conditionMessage(silent$parent), "ValueError")
})

test_that("the first sentence ends at its full stop, and not in a number or after a letter", {
  expect_equal(first_sentence("One. Two."), "One.")
  expect_equal(first_sentence("Got 1.5 of 2. It failed"), "Got 1.5 of 2.")
  expect_equal(first_sentence("Is it? Yes."), "Is it?")
  expect_equal(first_sentence("no stop\nsecond line"), "no stop")
  expect_equal(first_sentence("see keras.Model here. lower case goes on"), paste(
    "see keras.Model here. lower case goes on"
  ))
})

test_that("Python's templates are translated into R's terms", {
  expect_equal(in_r_words("{true} or {false}, or {null}"), "`TRUE` or `FALSE`, or `NULL`")
  expect_null(in_r_words(NULL))
  expect_null(in_r_words(""))
})

test_that("R has a term for each of Python's placeholders", {
  skip_if_no_keras()
  optimizer_sgd()
  errors <- reticulate::import("kerasgd.errors")
  # Python received them when it started
  expect_equal(errors$in_words("{null}, {true}, {false}"), "`NULL`, `TRUE`, `FALSE`")
  expect_setequal(names(errors$`_words`), names(r_words))
})

test_that("a warning has a class and the user's call", {
  warning <- caught(warn_kerasgd("Mind the step.", call = call))
  expect_s3_class(
    warning, c("kerasgd_warning", "rlang_warning", "warning", "condition"),
    exact = TRUE
  )
  expect_equal(conditionCall(warning), quote(f(x = 1)))
  expect_equal(conditionMessage(warning), "Mind the step.")
})

# Errors inside fit(), which pass through reticulate ----------------------------------------------

named_model <- function(optimizer, units = 1L, run_eagerly = FALSE, loss = "mse", ...) {
  keras <- reticulate::import("keras")
  layers <- lapply(seq_along(units), function(i) {
    keras$layers$Dense(units[[i]], use_bias = FALSE, name = paste0("layer_", i), ...)
  })
  model <- keras$Sequential(c(list(keras$Input(shape = list(1L))), layers), name = "model")
  model$compile(optimizer = optimizer, loss = loss, run_eagerly = run_eagerly)
  model
}

fit_once <- function(model, ...) model$fit(matrix(1:2), matrix(1:2), verbose = 0L, ...)

# The error of fit(), in graph and eager mode, without the suffixes of newer reticulate and JAX
said_by_fit <- function(fit) {
  messages <- vapply(c(FALSE, TRUE), function(run_eagerly) {
    message <- conditionMessage(tryCatch(fit(run_eagerly), error = identity))
    message <- sub("Run `reticulate::py_last_error()` for details.", "", message, fixed = TRUE)
    trimws(sub("\n--------------------\nFor simplicity, JAX .*$", "", message))
  }, "")
  expect_identical(messages[[1]], messages[[2]])
  cat(messages[[1]], "\n", sep = "")
}

test_that("fit() reports the failure of a learning-rate function, in R's terms", {
  # contract 2.4
  skip_if_no_keras()
  optimizer_sgd()
  skip_if(loaded_backend() == "jax", "a compiled JAX step cannot call R")
  said_with_rate <- function(rate) {
    said_by_fit(function(run_eagerly) {
      fit_once(named_model(optimizer_sgd(learning_rate = rate), run_eagerly = run_eagerly))
    })
  }
  expect_snapshot({
    said_with_rate(function() stop("no rate today"))
    said_with_rate(function() stop("No rate today.\nThe second line."))
    said_with_rate(function() rate_of_nobody)
    said_with_rate(function() NULL)
    said_with_rate(function() NA)
    said_with_rate(function() NaN)
    said_with_rate(function() -1)
    said_with_rate(function() TRUE)
    said_with_rate(function() "0.1")
    said_with_rate(function() c(0.1, 0.2))
    said_with_rate(function() list())
    said_with_rate(function() optimizer_sgd)
  })
})

test_that("fit() reports the failure of a callback's function, in R's terms", {
  # contract 2.4
  skip_if_no_keras()
  said_with_callback <- function(fn, optimizer = optimizer_sgd()) {
    said_by_fit(function(run_eagerly) {
      callbacks <- list(callback_learning_rate_function(fn))
      fit_once(named_model(optimizer, run_eagerly = run_eagerly), callbacks = callbacks)
    })
  }
  expect_snapshot({
    said_with_callback(function() stop("no rate today"))
    said_with_callback(function() NULL)
    said_with_callback(function() 0.1, optimizer_sgd(learning_rate = function() 0.2))
  })
})

test_that("a compiled fit() on JAX names the callback that replaces a function", {
  # contract 2.3
  skip_if_no_keras()
  rate <- optimizer_sgd(learning_rate = function() 0.1)
  skip_if(loaded_backend() != "jax", "only JAX cannot call a function")
  expect_error(
    fit_once(named_model(rate)),
    paste(
      "`learning_rate` must be a number or a learning-rate schedule in a compiled JAX step, not a",
      "function. Use the callback `callback_learning_rate_function()`"
    ),
    fixed = TRUE
  )
})

test_that("fit() reports that an optimizer belongs to another model", {
  # contract 9.4
  skip_if_no_keras()
  optimizer_sgd()
  skip_if(loaded_backend() == "jax", "JAX passes values, which have no names")
  expect_snapshot(said_by_fit(function(run_eagerly) {
    optimizer <- optimizer_sgd(momentum = 0.5)
    fit_once(named_model(optimizer, run_eagerly = run_eagerly))
    fit_once(named_model(optimizer, units = c(2L, 1L), run_eagerly = run_eagerly))
  }))
})

test_that("fit() reports that the state of a file belongs to another model", {
  # contract 9.4
  skip_if_no_keras()
  file <- withr::local_tempfile()
  expect_snapshot({
    said_by_fit(function(run_eagerly) {
      optimizer <- optimizer_sgd(momentum = 0.5)
      fit_once(named_model(optimizer, run_eagerly = run_eagerly))
      save_optimizer(optimizer, file)
      fit_once(named_model(load_optimizer(file), units = c(2L, 1L), run_eagerly = run_eagerly))
    })
    said_by_fit(function(run_eagerly) {
      optimizer <- optimizer_sgd(momentum = 0.5)
      fit_once(named_model(optimizer, units = 2L, run_eagerly = run_eagerly))
      save_optimizer(optimizer, file)
      fit_once(named_model(load_optimizer(file), run_eagerly = run_eagerly))
    })
  })
})

test_that("fit() reports that no weight has a gradient", {
  # contract 1.6
  skip_if_no_keras()
  optimizer_sgd()
  skip_if(loaded_backend() != "tensorflow", "PyTorch itself refuses it, JAX has zeros")
  keras <- reticulate::import("keras")
  loss_of_data <- function(y, prediction) keras$ops$sum(y)
  expect_snapshot(said_by_fit(function(run_eagerly) {
    fit_once(named_model(optimizer_sgd(), run_eagerly = run_eagerly, loss = loss_of_data))
  }))
})

test_that("fit() reports that a constraint failed", {
  # contract 7.3
  skip_if_no_keras()
  broken <- function(weights) stop("no such limit")
  expect_snapshot(said_by_fit(function(run_eagerly) {
    fit_once(named_model(optimizer_sgd(), run_eagerly = run_eagerly, kernel_constraint = broken))
  }))
})

test_that("fit() reports that weights and averages are swapped", {
  # contract 5.6
  skip_if_no_keras()
  expect_snapshot(said_by_fit(function(run_eagerly) {
    optimizer <- optimizer_sgd(use_ema = TRUE)
    model <- named_model(optimizer, run_eagerly = run_eagerly)
    fit_once(model)
    swap_ema_weights(optimizer)
    fit_once(model)
  }))
})
