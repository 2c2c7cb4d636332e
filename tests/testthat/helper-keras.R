# The reason why tests cannot use Keras here, or NULL; cached, because it starts Python.
keras_obstacle <- local({
  obstacle <- NULL
  known <- FALSE
  function() {
    if (!known) {
      facts <- environment_facts()
      problems <- if (facts$managed) {
        list(list(problem = "No Python is set up."))
      } else {
        environment_problems(facts)
      }
      obstacle <<- if (length(problems) > 0) problems[[1]]$problem
      known <<- TRUE
    }
    obstacle
  }
})

skip_if_no_keras <- function() {
  testthat::skip_if_not(is.null(keras_obstacle()), keras_obstacle())
}

# For snapshots: the module of Keras' optimizers depends on the backend and on reticulate
without_keras_module <- function(lines) sub("<keras[.][a-z_.]*(SGD|Adam)>", "<\\1>", lines)

# A Python object after `saveRDS()` and `readRDS()`
restored_by_r <- function(object) {
  file <- withr::local_tempfile()
  saveRDS(object, file)
  readRDS(file)
}

# Newer versions of reticulate refuse it before they call this package's method
skip_if_reticulate_refuses_empty_objects <- function() {
  testthat::skip_if(
    utils::packageVersion("reticulate") >= "1.41",
    "this version of reticulate itself refuses an object from an earlier session"
  )
}

# A model of one weight without bias that starts at 0: y = w x
one_weight_model <- function(optimizer) {
  keras <- reticulate::import("keras")
  layer <- keras$layers$Dense(1L, use_bias = FALSE, kernel_initializer = "zeros")
  model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
  model$compile(optimizer = optimizer, loss = "mse")
  model
}

# Fit it with all data as one batch; returns the losses before each step and the final weight
fit_one_weight <- function(optimizer, x, y, steps) {
  model <- one_weight_model(optimizer)
  history <- model$fit(
    matrix(x), matrix(y),
    epochs = as.integer(steps), batch_size = length(x), shuffle = FALSE, verbose = 0L
  )
  list(
    loss = as.numeric(unlist(history$history$loss)),
    weight = as.numeric(model$get_weights()[[1]])
  )
}

# Do a step with each of `gradients`, from `start`; returns the final weights
steps_from <- function(optimizer, gradients, start) {
  keras <- reticulate::import("keras")
  tensor <- function(x) keras$ops$convert_to_tensor(as.list(x), dtype = "float32")
  weights <- keras$Variable(tensor(start))
  for (gradient in gradients) {
    optimizer$apply(list(tensor(gradient)), list(weights))
  }
  as.numeric(keras$ops$convert_to_numpy(weights))
}

# contract 8.2: the bound for float32
expect_close <- function(actual, expected) {
  testthat::expect_length(actual, length(expected))
  testthat::expect_lte(max(abs(actual - expected)), 2e-6 * max(abs(expected)))
}
