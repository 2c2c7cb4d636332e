# The search leaves no trace in a model that keras3 compiled, with an optimizer of either package.
library(keras3)
library(kerasgd)

x <- scale(as.matrix(iris[1:4]))
species <- as.integer(iris$Species) - 1

train <- function(optimizer, search) {
  set_random_seed(7)
  model <- keras_model_sequential(input_shape = 4) |>
    layer_dense(16, activation = "relu") |>
    layer_dropout(0.2) |>
    layer_dense(3, activation = "softmax")
  model |> compile(
    optimizer = optimizer, loss = "sparse_categorical_crossentropy", metrics = "accuracy"
  )
  found <- if (search) find_learning_rate(model, x, species, batch_size = 16, steps = 100)
  model |> fit(x, species, epochs = 2, batch_size = 16, verbose = 0)
  list(found = found, weights = get_weights(model), model = model)
}
optimizers <- list(
  "kerasgd::optimizer_sgd" = function() optimizer_sgd(0.01, momentum = 0.9),
  "keras3::optimizer_sgd" = function() keras3::optimizer_sgd(0.01, momentum = 0.9),
  "keras3::optimizer_adam" = function() keras3::optimizer_adam(0.001)
)
for (name in names(optimizers)) {
  searched <- train(optimizers[[name]](), search = TRUE)
  plain <- train(optimizers[[name]](), search = FALSE)
  stopifnot(identical(searched$weights, plain$weights))

  # The suggested rate trains the model
  rate <- searched$found$suggestion[["steepest"]]
  searched$model$optimizer$learning_rate <- rate
  searched$model |> fit(x, species, epochs = 15, batch_size = 16, verbose = 0)
  result <- evaluate(searched$model, x, species, verbose = 0)
  cat(sprintf("  %-23s %.3f: accuracy %.2f\n", name, rate, result$accuracy))
  stopifnot(result$accuracy > 0.9)
}

cat("the search suggests a rate that trains the model, and leaves no trace\n")
