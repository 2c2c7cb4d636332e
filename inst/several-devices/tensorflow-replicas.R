# TensorFlow, two devices in one process. Here the processor provides two virtual devices; with two
# GPUs, remove the logical devices, and use "GPU:0" and "GPU:1".
Sys.setenv(KERAS_BACKEND = "tensorflow")
source("training.R")
library(kerasgd)

tf <- reticulate::import("tensorflow")
logical_device <- tf$config$LogicalDeviceConfiguration()
tf$config$set_logical_device_configuration(
  tf$config$list_physical_devices("CPU")[[1]], list(logical_device, logical_device)
)
keras <- reticulate::import("keras")

strategy <- tf$distribute$MirroredStrategy(list("CPU:0", "CPU:1"))
with(strategy$scope(), {
  model <- new_model(keras)
  model$compile(new_optimizer(), loss = "mse")
})
history <- model$fit(x, y, batch_size = nrow(x), epochs = steps, verbose = 0L)
report(model)
