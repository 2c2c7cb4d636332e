# The training run of all scripts in this folder: a linear model of the fuel consumption of 32 cars,
# with all cars in each step. `weights_in_r()` does the same in plain R, on one device.
data <- scale(mtcars[c("mpg", "cyl", "disp", "hp", "wt", "qsec")])
x <- unname(data[, -1])
y <- array(data[, "mpg"])
steps <- 20L

new_optimizer <- function() {
  kerasgd::optimizer_sgd(0.1, momentum = 0.9, global_clipnorm = 0.5)
}

new_layer <- function(keras) {
  first <- keras$initializers$Constant(0.1)
  keras$layers$Dense(1L, use_bias = FALSE, kernel_initializer = first)
}

new_model <- function(keras) {
  keras$Sequential(list(keras$Input(shape = list(ncol(x))), new_layer(keras)))
}

weights_in_r <- function() {
  w <- rep(0.1, ncol(x))
  velocity <- 0
  for (step in seq_len(steps)) {
    gradient <- drop(2 * crossprod(x, drop(x %*% w) - y)) / nrow(x)
    gradient <- gradient * min(1, 0.5 / sqrt(sum(gradient^2)))
    velocity <- 0.9 * velocity - 0.1 * gradient
    w <- w + velocity
  }
  w
}

report <- function(model) {
  difference <- max(abs(model$get_weights()[[1]] - weights_in_r()))
  cat("largest difference from plain R:", format(difference, digits = 2), "\n")
}

# The environment variables that `start-workers.R` sets for each process.
worker <- list(
  rank = as.integer(Sys.getenv("RANK", "0")),
  count = as.integer(Sys.getenv("WORLD_SIZE", "1")),
  coordinator = Sys.getenv("COORDINATOR")
)
# The cars of this worker. Every worker gets the same number.
mine <- seq_len(nrow(x)) %% worker$count == worker$rank
