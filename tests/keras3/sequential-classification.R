# A softmax layer on hair colour learns the share of each eye colour, as counted.
library(keras3)
library(kerasgd)

counts <- as.data.frame(margin.table(HairEyeColor, c("Hair", "Eye")))
hair <- to_categorical(as.integer(counts$Hair) - 1)
eye <- as.integer(counts$Eye) - 1

model <- keras_model_sequential(input_shape = 4) |>
  layer_dense(4, activation = "softmax", use_bias = FALSE)
model |> compile(
  optimizer = optimizer_sgd(learning_rate = 0.5, momentum = 0.95, nesterov = TRUE),
  loss = "sparse_categorical_crossentropy",
  weighted_metrics = "accuracy"
)
history <- model |> fit(
  hair, eye,
  sample_weight = counts$Freq / mean(counts$Freq),
  epochs = 300, batch_size = 16, verbose = 0
)

counted <- prop.table(margin.table(HairEyeColor, c("Hair", "Eye")), "Hair")
predicted <- predict(model, diag(4), verbose = 0)
stopifnot(all.equal(predicted, unclass(counted), tolerance = 1e-4, check.attributes = FALSE))
accuracy <- sum(apply(margin.table(HairEyeColor, c("Hair", "Eye")), 1, max)) / sum(HairEyeColor)
stopifnot(all.equal(tail(history$metrics$accuracy, 1), accuracy, tolerance = 1e-6))

cat("the softmax gives the counted shares of eye colours within 1e-4\n")
