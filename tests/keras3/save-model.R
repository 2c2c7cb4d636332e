# keras3's save_model() keeps the optimizer: three epochs, and three more in a new session, give the
# weights of six epochs.
library(keras3)
library(kerasgd)

x <- scale(as.matrix(mtcars[c("wt", "hp", "qsec")]))
y <- as.numeric(scale(mtcars$mpg))
train <- function(model, epochs) {
  fit(model, x, y, epochs = epochs, batch_size = 8, shuffle = FALSE, verbose = 0)
}
new_model <- function() {
  set_random_seed(1)
  model <- keras_model_sequential(input_shape = 3) |>
    layer_dense(8, activation = "tanh") |>
    layer_dense(1)
  schedule <- learning_rate_schedule_cosine_decay(0.05, decay_steps = 24)
  optimizer <- optimizer_sgd(schedule, momentum = 0.9, weight_decay = 0.01) |>
    exclude_from_weight_decay(rank_below = 2)
  model |> compile(optimizer = optimizer, loss = "mse")
  model
}
arguments <- commandArgs(trailingOnly = TRUE)
if (length(arguments) > 0) {
  # The other session, see below
  model <- load_model(arguments[[1]])
  stopifnot(inherits(model$optimizer, "kerasgd.SGD"))
  train(model, 3)
  saveRDS(get_weights(model), arguments[[2]])
  quit(save = "no")
}

uninterrupted <- new_model()
train(uninterrupted, 6)
uninterrupted <- get_weights(uninterrupted)

model <- new_model()
train(model, 3)
file <- tempfile(fileext = ".keras")
save_model(model, file)
script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
weights <- tempfile(fileext = ".rds")
status <- system2(file.path(R.home("bin"), "Rscript"), shQuote(c(script, file, weights)))
stopifnot(status == 0, identical(readRDS(weights), uninterrupted))

# In this session, with weights files: the model is new, and the state comes with the weights
weights_file <- tempfile(fileext = ".weights.h5")
save_model_weights(model, weights_file)
continued <- new_model()
load_model_weights(continued, weights_file)
train(continued, 3)
stopifnot(identical(get_weights(continued), uninterrupted))

# Configurations
copy <- from_config(get_config(model$optimizer))
stopifnot(isTRUE(all.equal(copy, deserialize_keras_object(serialize_keras_object(copy)))))

cat("three epochs, a file, and three more epochs equal six epochs, bit for bit\n")
