# Training that stops in its fourth epoch resumes, and ends with the weights of an uninterrupted
# run, with an optimizer of either package.
library(keras3)
library(kerasgd)

x <- scale(as.matrix(mtcars[c("wt", "hp", "qsec")]))
y <- as.numeric(scale(mtcars$mpg))

train <- function(make_optimizer, folder, ...) {
  set_random_seed(1)
  model <- keras_model_sequential(input_shape = 3) |>
    layer_dense(8, activation = "tanh") |>
    layer_dense(1)
  model |> compile(optimizer = make_optimizer(), loss = "mse")
  history <- model |> fit(
    x, y,
    epochs = 6, batch_size = 8, shuffle = FALSE, verbose = 0,
    callbacks = list(callback_backup(folder), ...)
  )
  list(epochs = length(history$metrics$loss), weights = get_weights(model))
}
power_cut <- callback_lambda(
  on_epoch_begin = function(epoch, logs) if (epoch == 4) stop("power cut")
)
schedule <- learning_rate_schedule_cosine_decay(0.05, decay_steps = 24)
optimizers <- list(
  kerasgd = function() optimizer_sgd(schedule, momentum = 0.9, use_ema = TRUE),
  keras3_sgd = function() keras3::optimizer_sgd(schedule, momentum = 0.9),
  keras3_adam = function() keras3::optimizer_adam(0.01)
)
for (make_optimizer in optimizers) {
  uninterrupted <- train(make_optimizer, tempfile("backup"))
  folder <- tempfile("backup")
  outcome <- try(train(make_optimizer, folder, power_cut), silent = TRUE)
  stopifnot(inherits(outcome, "try-error"), grepl("power cut", outcome))
  resumed <- train(make_optimizer, folder)
  stopifnot(identical(resumed$weights, uninterrupted$weights), !dir.exists(folder))
  stopifnot(resumed$epochs == 3) # of 6
}

cat("SGD of both packages and Adam end with the weights of an uninterrupted run\n")
