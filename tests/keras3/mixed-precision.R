# Under mixed_float16, compile() wraps the optimizer in a loss scale.
library(keras3)
library(kerasgd)

config_set_dtype_policy("mixed_float16")
data <- as.data.frame(scale(swiss))
x <- as.matrix(data[-1])
best <- coef(lm(Fertility ~ . - 1, data))

fitted_weights <- function(optimizer) {
  model <- keras_model_sequential(input_shape = 5) |>
    layer_dense(1, use_bias = FALSE, kernel_initializer = "zeros")
  model |> compile(optimizer = optimizer, loss = "mse")
  model |> fit(x, data$Fertility, epochs = 100, batch_size = 47, verbose = 0)
  printed <- capture.output(print(model$optimizer))
  stopifnot(
    grepl("LossScaleOptimizer", printed[[1]]),
    any(grepl("steps so far: 100", printed, fixed = TRUE))
  )
  unlist(get_weights(model))
}
optimizers <- list(
  by_compile = optimizer_sgd(0.1, momentum = 0.8),
  kerasgd = optimizer_loss_scale(optimizer_sgd(0.1, momentum = 0.8), initial_scale = 1024),
  keras3 = keras3::optimizer_loss_scale(optimizer_sgd(0.1, momentum = 0.8), initial_scale = 1024)
)
for (optimizer in optimizers) {
  # float16 has 11 bits
  stopifnot(all.equal(fitted_weights(optimizer), unname(best), tolerance = 0.01))
}

cat("float16 training with a loss scale ends at the coefficients of lm() within 1%\n")
