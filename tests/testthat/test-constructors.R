exported <- grep(
  "^(optimizer|learning_rate_schedule|callback)_", getNamespaceExports("kerasgd"),
  value = TRUE
)

test_that("every exported constructor has the class and its own name", {
  expect_true(all(c("optimizer_sgd", "learning_rate_schedule_function") %in% exported))
  for (name in exported) {
    fn <- getExportedValue("kerasgd", name)
    expect_s3_class(fn, c("kerasgd_constructor", "function"), exact = TRUE)
    expect_equal(exported_name(fn), name)
  }
})

test_that("a constructor works like any other function", {
  expect_true(is.function(optimizer_sgd))
  expect_equal(names(formals(learning_rate_schedule_function)), c("fn", "steps", "name", "..."))
  expect_equal(formals(args(optimizer_sgd)), formals(optimizer_sgd))
  # printed without its attributes
  expect_equal(capture.output(print(optimizer_sgd)), capture.output(print(unclass(optimizer_sgd))))
  expect_no_match(capture.output(print(optimizer_sgd)), "attr(", fixed = TRUE)
})

test_that("a forgotten call is an error that shows the call", {
  skip_if_no_keras()
  optimizer_sgd()
  keras <- reticulate::import("keras")
  model <- one_weight_model(optimizer_sgd())
  expect_snapshot(error = TRUE, {
    model$compile(optimizer = optimizer_sgd)
    model$compile(optimizer_loss_scale)
    keras$optimizers$Adam(learning_rate = learning_rate_schedule_cosine_decay)
    model$fit(matrix(1), matrix(1), callbacks = list(callback_learning_rate_function))
    optimizer_sgd(learning_rate = learning_rate_schedule_cosine_decay)
    optimizer_sgd(learning_rate = optimizer_sgd)
    optimizer_loss_scale(optimizer_sgd)
    callback_learning_rate_function(learning_rate_schedule_one_cycle)
  })
  # nothing was compiled
  expect_s3_class(model$optimizer, "kerasgd.SGD")
})

test_that("the error has the class and the call of the user, however Python is called", {
  skip_if_no_keras()
  optimizer_sgd()
  model <- one_weight_model(optimizer_sgd())
  refusal <- function(expr) tryCatch(expr, kerasgd_argument_error = identity)
  error <- refusal(model$compile(optimizer = optimizer_sgd))
  expect_s3_class(
    error, c("kerasgd_argument_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_identical(error$received, optimizer_sgd)
  expect_equal(conditionCall(error), quote(model$compile(optimizer = optimizer_sgd)))
  expect_equal(conditionCall(refusal(reticulate::r_to_py(optimizer_sgd))), quote(
    reticulate::r_to_py(optimizer_sgd)
  ))
  message <- "`optimizer_sgd` is a function, and must be called: `optimizer_sgd()`."
  expect_equal(error$message, message)
  expect_equal(refusal(do.call(model$compile, list(optimizer = optimizer_sgd)))$message, message)
  expect_equal(refusal(model$optimizer <- optimizer_sgd)$message, message)
})
