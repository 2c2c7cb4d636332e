# Backends: tensorflow
# A training loop with GradientTape, eager or as a tf_function(), gives the weights of fit().
library(keras3)
library(tensorflow)
library(kerasgd)

x <- unname(scale(as.matrix(mtcars[c("wt", "hp", "qsec")])))
y <- as.matrix(scale(mtcars$mpg))
new_model <- function() {
  set_random_seed(1)
  keras_model_sequential(input_shape = 3) |> layer_dense(8, "tanh") |> layer_dense(1)
}
new_optimizer <- function() optimizer_sgd(0.05, momentum = 0.9, clipnorm = 1)

by_fit <- new_model()
by_fit |> compile(optimizer = new_optimizer(), loss = "mse")
by_fit |> fit(x, y, epochs = 10, batch_size = 32, verbose = 0)
expect_weights_of_fit <- function(model) {
  stopifnot(all.equal(get_weights(model), get_weights(by_fit), tolerance = 1e-5))
}

loss_and_gradients <- function(model, x, y) {
  with(tf$GradientTape() %as% tape, {
    loss <- op_mean((model(x, training = TRUE) - y)^2)
  })
  list(loss, tape$gradient(loss, model$trainable_weights))
}
inputs <- as_tensor(x, "float32")
targets <- as_tensor(y, "float32")

# kerasgd's function
model <- new_model()
optimizer <- new_optimizer()
for (step in 1:10) {
  gradients <- loss_and_gradients(model, inputs, targets)[[2]]
  apply_gradients(optimizer, gradients, model$trainable_weights)
}
expect_weights_of_fit(model)

# keras3's way
model <- new_model()
optimizer <- new_optimizer()
for (step in 1:10) {
  gradients <- loss_and_gradients(model, inputs, targets)[[2]]
  optimizer$apply_gradients(zip_lists(gradients, model$trainable_weights))
}
expect_weights_of_fit(model)

# Compiled
model <- new_model()
optimizer <- new_optimizer()
invisible(optimizer$build(model$trainable_weights))
train_step <- tf_function(function(x, y) {
  result <- loss_and_gradients(model, x, y)
  optimizer$apply(result[[2]])
  result[[1]]
})
for (step in 1:10) loss <- train_step(inputs, targets)
expect_weights_of_fit(model)

# A model class of the user with a train_step() of its own
own_model <- new_model_class(
  "OwnModel",
  train_step = function(data) {
    result <- loss_and_gradients(self, data[[1]], data[[2]])
    self$optimizer$apply(result[[2]], self$trainable_weights)
    list(loss = result[[1]])
  }
)
plain <- new_model()
model <- own_model(plain$inputs, plain$outputs)
model |> compile(optimizer = new_optimizer())
model |> fit(x, y, epochs = 10, batch_size = 32, verbose = 0)
expect_weights_of_fit(model)

cat("three loops and a train_step() with GradientTape give the weights of fit() within rounding\n")
