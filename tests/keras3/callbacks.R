# Callbacks of keras3 and of kerasgd in one fit(). The loss (w - 1)^2 has the gradient 2 (w - 1):
# with the rate r each step multiplies w - 1 by 1 - 2 r.
library(keras3)
library(kerasgd)

new_model <- function(optimizer) {
  model <- keras_model_sequential(input_shape = 1) |>
    layer_dense(1, use_bias = FALSE, kernel_initializer = "zeros")
  model |> compile(optimizer = optimizer, loss = "mse")
  model
}
train <- function(model, epochs, ...) {
  fit(model, matrix(1), matrix(1), epochs = epochs, callbacks = list(...), verbose = 0)
}
weight_of <- function(model) unlist(get_weights(model))

# keras3's scheduler sets the rate of kerasgd's optimizer, whose statistics are collected
model <- new_model(optimizer_sgd(0.4) |> track_statistics())
watch <- callback_statistics()
folder <- tempfile()
dir.create(folder)
history <- train(
  model, 4,
  callback_learning_rate_scheduler(function(epoch, lr) 0.4 / 2^epoch), watch,
  callback_csv_logger(file.path(folder, "log.csv")),
  callback_model_checkpoint(file.path(folder, "model-{epoch}.keras"))
)
rates <- 0.4 / 2^(0:3)
distances <- cumprod(1 - 2 * rates)
stopifnot(all.equal(weight_of(model), 1 - distances[[4]], tolerance = 1e-6))
seen <- statistics(watch)
stopifnot(
  all.equal(seen$learning_rate, rates, tolerance = 1e-6),
  all.equal(seen$gradient_norm, 2 * c(1, distances[-4]), tolerance = 1e-6),
  all.equal(history$metrics$loss, c(1, distances[-4])^2, tolerance = 1e-6),
  all.equal(read.csv(file.path(folder, "log.csv"))$loss, history$metrics$loss, tolerance = 1e-6)
)
kept <- load_model(file.path(folder, "model-2.keras"))
stopifnot(all.equal(weight_of(kept), 1 - distances[[2]], tolerance = 1e-6))

# An R function sets the rate before each batch
rate <- 0.4
halve <- callback_lambda(on_epoch_end = function(epoch, logs) rate <<- rate / 2)
model <- new_model(optimizer_sgd(0.1))
train(model, 4, callback_learning_rate_function(function() rate), halve)
stopifnot(all.equal(weight_of(model), 1 - distances[[4]], tolerance = 1e-6))

# A rate of 0 improves nothing: the callbacks notice the plateau, and training stops
model <- new_model(optimizer_sgd(0))
history <- train(model, 20, callback_early_stopping(monitor = "loss", patience = 3))
stopifnot(length(history$metrics$loss) == 4)
model <- new_model(optimizer_sgd(1)) # the weight jumps from 0 to 2 and back
train(
  model, 3,
  callback_reduce_lr_on_plateau(monitor = "loss", factor = 0.5, patience = 1, min_delta = 0)
)
stopifnot(all.equal(weight_of(model), 1), as.numeric(model$optimizer$learning_rate) == 0.25)

# A callback that the user writes with keras3 reads and sets the rate
callback_halving <- new_callback_class(
  "Halving",
  on_epoch_end = function(epoch, logs = NULL) {
    optimizer <- self$model$optimizer
    optimizer$learning_rate <- as.numeric(optimizer$learning_rate) / 2
  }
)
model <- new_model(optimizer_sgd(0.4))
train(model, 4, callback_halving())
stopifnot(all.equal(weight_of(model), 1 - distances[[4]], tolerance = 1e-6))

cat("eight kinds of callbacks agree with the closed form\n")
