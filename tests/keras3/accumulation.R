# Four accumulated batches of 8 give the result of one batch of 32.
library(keras3)
library(kerasgd)

x <- unname(scale(as.matrix(mtcars[c("wt", "hp", "qsec")])))
y <- as.numeric(scale(mtcars$mpg))
weights_after <- function(optimizer, batch_size) {
  set_random_seed(1)
  model <- keras_model_sequential(input_shape = 3) |> layer_dense(8, "tanh") |> layer_dense(1)
  model |> compile(optimizer = optimizer, loss = "mse")
  model |> fit(x, y, epochs = 10, batch_size = batch_size, shuffle = FALSE, verbose = 0)
  get_weights(model)
}
settings <- list(
  learning_rate = 0.1, momentum = 0.9, weight_decay = 0.01, clipnorm = 0.5, use_ema = TRUE,
  ema_momentum = 0.5
)
whole <- weights_after(do.call(optimizer_sgd, settings), 32)
accumulated <- weights_after(
  do.call(optimizer_sgd, c(settings, gradient_accumulation_steps = 4)), 8
)
stopifnot(all.equal(accumulated, whole, tolerance = 1e-4))

cat("four accumulated batches of 8 equal one of 32, also with clipping, decay and averaging\n")
