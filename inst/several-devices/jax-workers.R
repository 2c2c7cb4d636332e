# JAX, several processes. Each process runs this script.
Sys.setenv(KERAS_BACKEND = "jax")
source("training.R")
library(kerasgd)

jax <- reticulate::import("jax")
jax$config$update("jax_cpu_collectives_implementation", "gloo") # for CPUs only
keras <- reticulate::import("keras")
keras$distribution$initialize(worker$coordinator, worker$count, worker$rank)
# Each process reads its own part of the data.
distribution <- keras$distribution$DataParallel(auto_shard_dataset = FALSE)
keras$distribution$set_distribution(distribution)

model <- new_model(keras)
model$compile(new_optimizer(), loss = "mse")
history <- model$fit(
  x[mine, ], array(y[mine]),
  batch_size = sum(mine), epochs = steps, shuffle = FALSE, verbose = 0L
)
report(model)
