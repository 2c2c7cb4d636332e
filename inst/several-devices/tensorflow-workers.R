# TensorFlow, several processes. Each process runs this script, with its own TF_CONFIG.
Sys.setenv(KERAS_BACKEND = "tensorflow")
source("training.R")
library(kerasgd)

tf <- reticulate::import("tensorflow")
strategy <- tf$distribute$MultiWorkerMirroredStrategy() # before any other TensorFlow call
keras <- reticulate::import("keras")

# Keras 3 concatenates the metrics of the workers, which fails for scalars. So the steps of this
# model return vectors.
model_class <- reticulate::py_run_string("
import keras

class ModelOnWorkers(keras.Model):
    def train_step(self, data):
        from tensorflow import reshape
        return {name: reshape(value, (1,)) for name, value in super().train_step(data).items()}
", local = TRUE)$ModelOnWorkers

# Each batch contains the rows of all workers together; TensorFlow divides it.
batches <- tf$data$Dataset$from_tensor_slices(reticulate::tuple(x, y))$batch(nrow(x))
with(strategy$scope(), {
  input <- keras$Input(shape = list(ncol(x)))
  output <- new_layer(keras)(input)
})
model <- model_class(input, output) # outside of the scope, because Keras cannot build it there
with(strategy$scope(), {
  optimizer <- new_optimizer()
  model$compile(optimizer, loss = "mse", jit_compile = FALSE)
  optimizer$build(model$trainable_variables)
  history <- model$fit(batches, epochs = steps, shuffle = FALSE, verbose = 0L)
})
report(model)
