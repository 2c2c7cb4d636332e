# JAX, four devices in one process. Here the processor provides four virtual devices; with four
# GPUs, remove the first line.
Sys.setenv(XLA_FLAGS = "--xla_force_host_platform_device_count=4", KERAS_BACKEND = "jax")
source("training.R")
library(kerasgd)

keras <- reticulate::import("keras")
keras$distribution$set_distribution(keras$distribution$DataParallel())
model <- new_model(keras)
model$compile(new_optimizer(), loss = "mse")
history <- model$fit(x, y, batch_size = nrow(x), epochs = steps, shuffle = FALSE, verbose = 0L)
report(model)
