origin <- list(call = quote(f(x = 1)), frame = globalenv(), caller = globalenv())

caught <- function(expr) tryCatch(expr, condition = identity)

# As kerasgd.bridge hands it over
python_error <- function(kind = "other", ...) {
  utils::modifyList(
    list(kind = kind, type = "ValueError", message = "It failed.", traceback = "Traceback ..."),
    list(...)
  )
}

test_that("an error about an argument carries the rule and the value", {
  error <- caught(abort_argument("x", "a number, or {null}", 1:2, "Try {true}.", origin))
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

test_that("what is not known of an argument is NULL", {
  expect_null(caught(abort_argument("x", "a number", 1, origin = origin))$hint)
  expect_null(caught(abort_unknown_argument("x", origin = origin))$suggestion)
  expect_null(caught(abort_unknown_argument("x", origin = origin))$hint)
})

test_that("an error about a name carries what was probably meant", {
  error <- caught(abort_unknown_argument("lr", 1, "learning_rate", "Or {null}.", origin))
  expect_s3_class(error, c(
    "kerasgd_unknown_argument_error", "kerasgd_argument_error", "kerasgd_error",
    "rlang_error", "error", "condition"
  ), exact = TRUE)
  expect_equal(error$suggestion, "learning_rate")
  expect_snapshot({
    cat(conditionMessage(error))
    cat(conditionMessage(caught(abort_unknown_argument("jit", origin = origin))))
    cat(conditionMessage(caught(abort_repeated_argument("x", origin))))
    cat(conditionMessage(caught(abort_unnamed_argument(5, after = "name", origin))))
  })
})

test_that("an error about the environment carries the facts", {
  error <- caught(
    abort_environment("No Keras.", c("Install it.", "Restart R."), list(keras = NULL), origin)
  )
  expect_s3_class(
    error, c("kerasgd_environment_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_equal(error$facts, list(keras = NULL))
  expect_snapshot(cat(conditionMessage(error)))
})

test_that("each kind of Python error has its class", {
  signal <- function(...) caught(signal_python_error(python_error(...), NULL, list(x = NA), origin))
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

test_that("another Python error is one sentence, with all of it as the parent", {
  text <- "Layer 'a' has 1.5 units. Give a whole number.\nSee the manual."
  error <- caught(abort_python(python_error(message = text), "the exception", origin))
  expect_equal(error$message, "Layer 'a' has 1.5 units.")
  expect_equal(error$type, "ValueError")
  expect_equal(error$traceback, "Traceback ...")
  expect_equal(error$exception, "the exception")
  expect_equal(conditionCall(error), quote(f(x = 1)))
  expect_equal(conditionMessage(error$parent), paste0("ValueError: ", text))

  silent <- caught(abort_python(python_error(message = " "), NULL, origin))
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

test_that("Python's templates are put into R's words", {
  expect_equal(in_r_words("{true} or {false}, or {null}"), "`TRUE` or `FALSE`, or `NULL`")
  expect_null(in_r_words(NULL))
  expect_null(in_r_words(""))
})

test_that("a warning has a class and the user's call", {
  warning <- caught(warn_kerasgd("Mind the step.", origin))
  expect_s3_class(
    warning, c("kerasgd_warning", "rlang_warning", "warning", "condition"),
    exact = TRUE
  )
  expect_equal(conditionCall(warning), quote(f(x = 1)))
  expect_equal(conditionMessage(warning), "Mind the step.")
})
