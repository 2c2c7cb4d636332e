# A base model with a tenth of the rate, frozen for an epoch first.
library(keras3)
library(kerasgd)

set_random_seed(1)
x <- scale(as.matrix(iris[1:4]))
species <- as.integer(iris$Species) - 1

base <- keras_model_sequential(input_shape = 4, name = "base") |>
  layer_dense(8, activation = "relu") |>
  layer_dense(8, activation = "relu")
inputs <- keras_input(4)
outputs <- inputs |> base() |> layer_dense(3, activation = "softmax", name = "head")
model <- keras_model(inputs, outputs)
pretrained <- get_weights(base)
before <- get_weights(model)

optimizer <- optimizer_sgd(0.1) |> set_group(base, learning_rate_factor = 0.1)
model |> compile(
  optimizer = optimizer, loss = "sparse_categorical_crossentropy", metrics = "accuracy"
)
groups <- variable_groups(optimizer, model)
stopifnot(all.equal(groups$learning_rate, rep(c(0.01, 0.1), c(4, 2)), tolerance = 1e-6))

# One step on all data, and the same step of plain SGD with a tenth of the rate for the base
model |> fit(x, species, batch_size = 150, verbose = 0)
tuned <- get_weights(model)
set_weights(model, before)
model |> compile(optimizer = keras3::optimizer_sgd(0.1), loss = "sparse_categorical_crossentropy")
model |> fit(x, species, batch_size = 150, verbose = 0)
factors <- rep(c(0.1, 1), c(4, 2))
change <- function(after, factor = 1) Map(function(new, old) factor * (new - old), after, before)
stopifnot(all.equal(
  change(tuned), Map(`*`, change(get_weights(model)), factors), tolerance = 1e-4
))

# A factor of 0 freezes exactly, without compile()
set_weights(model, before)
optimizer <- optimizer_sgd(0.1, momentum = 0.9, weight_decay = 0.01) |>
  set_group(base, learning_rate_factor = 0)
model |> compile(
  optimizer = optimizer, loss = "sparse_categorical_crossentropy", metrics = "accuracy"
)
model |> fit(x, species, epochs = 5, verbose = 0)
stopifnot(identical(get_weights(base), pretrained))
set_learning_rate_factor(optimizer, 1, 0.1) # the first group
model |> fit(x, species, epochs = 20, verbose = 0)
stopifnot(!identical(get_weights(base), pretrained))
accuracy <- evaluate(model, x, species, verbose = 0)$accuracy
stopifnot(accuracy > 0.9)

# keras3's own way to freeze: the optimizer has the head's two variables only
freeze_weights(base)
optimizer <- optimizer_sgd(0.1) |> layer_decay(model, decay = 0.5)
model |> compile(optimizer = optimizer, loss = "sparse_categorical_crossentropy")
frozen <- get_weights(base)
model |> fit(x, species, verbose = 0)
stopifnot(identical(get_weights(base), frozen), nrow(variable_groups(optimizer, model)) == 2)

cat("a tenth of the rate is a tenth of the step, and a frozen base does not move\n")
