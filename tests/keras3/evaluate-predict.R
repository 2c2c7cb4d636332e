# keras3's results for a trained model agree with its weights, also with averaged weights.
library(keras3)
library(kerasgd)

x <- unname(scale(as.matrix(swiss[-1])))
y <- as.numeric(scale(swiss$Fertility))
held_out <- 1:10

model <- keras_model_sequential(input_shape = 5) |>
  layer_dense(1, use_bias = FALSE, kernel_initializer = "zeros")
model |> compile(
  optimizer = optimizer_sgd(0.05, use_ema = TRUE, ema_momentum = 0.9), loss = "mse",
  metrics = list("mae")
)
history <- model |> fit(
  x[-held_out, ], y[-held_out],
  epochs = 30, batch_size = 8, verbose = 0,
  validation_data = list(x[held_out, ], y[held_out]), callbacks = callback_swap_ema_weights()
)
predicted <- predict(model, x[held_out, ], verbose = 0)
by_hand <- x[held_out, ] %*% get_weights(model)[[1]]
stopifnot(all.equal(predicted, by_hand, tolerance = 1e-5))
results <- evaluate(model, x[held_out, ], y[held_out], verbose = 0)
stopifnot(
  all.equal(results$loss, mean((by_hand - y[held_out])^2), tolerance = 1e-5),
  all.equal(results$mae, mean(abs(by_hand - y[held_out])), tolerance = 1e-5),
  all.equal(tail(history$metrics$val_loss, 1), results$loss, tolerance = 1e-4)
)
tested <- test_on_batch(model, x[held_out, ], y[held_out])
stopifnot(all.equal(tested$loss, results$loss, tolerance = 1e-5))

cat("evaluate(), predict() and the history agree with the weights\n")
