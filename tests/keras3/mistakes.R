# Common mistakes in keras3 scripts: each error message says how to fix the mistake.
library(keras3)
library(kerasgd)

x <- matrix(1:4 / 4)
y <- matrix(1:4)
model <- keras_model_sequential(input_shape = 1) |> layer_dense(1)
expect_message <- function(code, ...) {
  message <- tryCatch(
    {
      code
      "no error"
    },
    error = conditionMessage
  )
  for (part in c(...)) if (!grepl(part, message, fixed = TRUE)) stop("not in: ", message)
}

# In compile()
expect_message(
  model |> compile(optimizer = optimizer_sgd, loss = "mse"),
  "`optimizer_sgd` is a function", "called: `optimizer_sgd()`"
)
expect_message(
  model |> compile(optimizer = optimizer_sgd(lr = 0.1), loss = "mse"),
  "`lr` is not an argument of `optimizer_sgd()`", "Did you mean `learning_rate`?"
)
expect_message(
  optimizer_sgd(learning_rate_schedule_cosine_decay),
  "`learning_rate_schedule_cosine_decay(initial_learning_rate, decay_steps)`"
)
expect_message(optimizer_loss_scale(keras3::optimizer_adam()), "keras3::optimizer_loss_scale()")

# In fit()
model |> compile(optimizer = optimizer_sgd(), loss = "mse")
train <- function(...) fit(model, x, y, verbose = 0, ...)
expect_message(train(callbacks = callback_statistics), "called: `callback_statistics()`")
expect_message(train(callbacks = callback_statistics()), "Call `track_statistics(optimizer)`")
expect_message(
  train(callbacks = callback_stop_on_nonfinite()), "Call `skip_nonfinite(optimizer)`"
)

# In other functions
expect_message(find_learning_rate(model, mtcars["wt"], y), "not a data frame", "`as.matrix()`")
not_built <- keras_model_sequential() |> layer_dense(1)
expect_message(find_learning_rate(not_built, x, y), "call `compile()` first")
not_built |> compile(optimizer = optimizer_sgd(), loss = "mse")
expect_message(find_learning_rate(not_built, x, y), "no variables yet", "an `Input`")
expect_message(
  set_group(keras3::optimizer_sgd(), "dense", momentum = 0), "made by `optimizer_sgd()`"
)
expect_message(model$optimizer$lr <- 0.1, "Did you mean `learning_rate`?")
expect_message(model$optimizer$learning_rate <- -1, "a finite number >= 0", "the number -1")

cat("each error message says how to fix the mistake\n")
