# An update with a non-finite gradient is skipped; several in a row stop training.
library(keras3)
library(kerasgd)

x <- matrix(c(1, 1, NaN, 1, 1))
y <- matrix(1, 5)
new_model <- function() {
  model <- keras_model_sequential(input_shape = 1) |>
    layer_dense(1, use_bias = FALSE, kernel_initializer = "zeros", name = "slope")
  model |> compile(optimizer = optimizer_sgd(0.25) |> skip_nonfinite(), loss = "mse")
  model
}

# Four of five steps halve the distance to 1
model <- new_model()
model |> fit(x, y, batch_size = 1, shuffle = FALSE, verbose = 0)
stopifnot(all.equal(unlist(get_weights(model)), 1 - 0.5^4))
stopifnot(summary(model$optimizer)$state$skipping$skipped == 1)

outcome <- try(silent = TRUE, new_model() |> fit(
  x[c(1, 3, 3), , drop = FALSE], y[1:3],
  batch_size = 1, shuffle = FALSE, verbose = 0,
  callbacks = list(callback_stop_on_nonfinite(max_in_a_row = 2))
))
stopifnot(inherits(outcome, "try-error"))
message <- conditionMessage(attr(outcome, "condition"))
for (part in c("not finite in 2 updates in a row", "epoch 1, batch 3", "slope/kernel` (1 NaN")) {
  stopifnot(grepl(part, message, fixed = TRUE))
}

cat("one NaN is skipped, and two in a row stop training with an error that locates them\n")
