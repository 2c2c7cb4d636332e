# Draws the figure of README.md with the installed package: the three faults of Keras' SGD in its
# table, each run with Keras' optimizer and with optimizer_sgd().

library(kerasgd)

keras <- reticulate::import("keras")
optimizers <- list(keras$optimizers$SGD, optimizer_sgd)
colours <- c(Keras = "#d1495b", kerasgd = "#1b6ca8")

tensor <- function(number, dtype = "float32") {
  keras$ops$convert_to_tensor(list(number), dtype = dtype)
}

# A bias that is excluded from weight decay. All gradients are 0, and the model is saved and loaded
# halfway.
bias_after_loading <- function(sgd, steps = 20) {
  layer <- keras$layers$Dense(1L, bias_initializer = "ones")
  model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
  optimizer <- sgd(learning_rate = 1, weight_decay = 0.1)
  optimizer$exclude_from_weight_decay(var_names = list("bias"))
  model$compile(optimizer = optimizer)
  optimizer$build(model$trainable_variables)

  path <- tempfile(fileext = ".keras")
  bias <- 1
  for (step in seq_len(steps)) {
    if (step == steps / 2 + 1) {
      model$save(path)
      model <- keras$models$load_model(path)
    }
    gradients <- lapply(model$trainable_variables, keras$ops$zeros_like)
    model$optimizer$apply(gradients, model$trainable_variables)
    bias[[step + 1]] <- as.double(model$get_weights()[[2]])
  }
  bias
}

# The moving average after each step, with gradients of 1 and four steps to an update.
# `finalize_variable_values()` writes the average into the weight, so each number of steps needs its
# own run.
average_of_weights <- function(sgd, steps = 19) {
  vapply(0:steps, function(number) {
    optimizer <- sgd(
      learning_rate = 1, use_ema = TRUE, ema_momentum = 0.5, gradient_accumulation_steps = 4L
    )
    w <- keras$Variable(tensor(0))
    for (step in seq_len(number)) optimizer$apply(list(tensor(1)), list(w))
    if (number > 0) optimizer$finalize_variable_values(list(w))
    as.double(w)
  }, 0)
}

# The size of the update that accumulates `number` bfloat16 gradients of 1
accumulated_step <- function(sgd, number) {
  optimizer <- sgd(learning_rate = 1, gradient_accumulation_steps = as.integer(number))
  w <- keras$Variable(tensor(0, "bfloat16"), dtype = "bfloat16")
  for (step in seq_len(number)) optimizer$apply(list(tensor(1, "bfloat16")), list(w))
  -as.double(w)
}

panel <- function(x, values, title, xlab, ..., type = "l") {
  matplot(
    x, values,
    type = type, lty = 1, lwd = 3, col = colours, bty = "l",
    xlab = xlab, ylab = "", main = title, ...
  )
}

dir.create("man/figures", showWarnings = FALSE)
png("man/figures/three-faults.png", width = 2200, height = 800, res = 240)
par(mfrow = c(1, 3), mar = c(4, 3, 3.4, 1), mgp = c(2.2, 0.7, 0), las = 1, cex.main = 1.05)

bias <- sapply(optimizers, bias_after_loading)
panel(seq_len(nrow(bias)) - 1, bias, "Bias excluded from\nweight decay", "Steps", ylim = c(0, 1.1))
abline(v = 10, lty = 3)
text(10, 0.1, "save and load", pos = 2)
legend("bottomleft", names(colours), lwd = 3, col = colours, bty = "n", inset = c(0, 0.15))

averages <- sapply(optimizers, average_of_weights)
panel(
  seq_len(nrow(averages)) - 1, averages,
  "Moving average of a weight,\nupdated at every 4th step", "Steps",
  type = "s"
)

numbers <- seq(64, 512, by = 64)
steps <- sapply(optimizers, function(sgd) vapply(numbers, accumulated_step, 0, sgd = sgd))
panel(
  numbers, steps, "Mean of accumulated\nbfloat16 gradients of 1", "Gradients accumulated",
  ylim = c(0, 1.1), xaxt = "n"
)
axis(1, at = seq(128, 512, by = 128))
invisible(dev.off())
