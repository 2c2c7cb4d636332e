# save_optimizer() and load_optimizer() beside keras3's weights, in a loop of train_on_batch().
library(keras3)
library(kerasgd)

x <- unname(scale(as.matrix(mtcars[c("wt", "hp", "qsec")])))
y <- as.numeric(scale(mtcars$mpg))
batches <- split(1:32, rep(1:4, each = 8))
new_model <- function(optimizer) {
  set_random_seed(3)
  model <- keras_model_sequential(input_shape = 3) |> layer_dense(4, "tanh") |> layer_dense(1)
  model |> compile(optimizer = optimizer, loss = "mse")
  model
}
train <- function(model, epochs) {
  for (epoch in seq_len(epochs)) {
    for (rows in batches) train_on_batch(model, x[rows, ], y[rows])
  }
  get_weights(model)
}

optimizer <- optimizer_sgd(
  0.05, momentum = 0.9, nesterov = TRUE, gradient_accumulation_steps = 3
)
uninterrupted <- train(new_model(optimizer), 4)

# After 8 steps, an accumulation window of 3 is incomplete
model <- new_model(update(optimizer))
weights <- train(model, 2)
file <- tempfile("optimizer")
save_optimizer(model$optimizer, file)

continued <- new_model(load_optimizer(file))
set_weights(continued, weights)
stopifnot(identical(train(continued, 2), uninterrupted))

# An optimizer of keras3 is converted with its velocities
theirs <- new_model(keras3::optimizer_sgd(0.05, momentum = 0.9))
weights <- train(theirs, 2)
ours <- new_model(from_keras_optimizer(theirs$optimizer))
set_weights(ours, weights)
stopifnot(all.equal(train(ours, 2), train(theirs, 2), tolerance = 1e-5))

cat("an optimizer is restored from its file in the middle of a window, bit for bit\n")
