keras_sgd <- function(...) {
  reticulate::import("keras")$optimizers$SGD(...)
}

test_that("training continues from the state of Keras' optimizer", {
  # contract 9.4c: 1 - 0.5, then velocity 0.5 * -0.5 - 0.5
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  weight <- keras$Variable(1)
  theirs <- keras_sgd(learning_rate = 0.5, momentum = 0.5, weight_decay = 0)
  theirs$apply(list(keras$ops$ones(list())), list(weight))
  ours <- from_keras_optimizer(theirs)
  expect_s3_class(ours, "kerasgd.SGD")
  expect_identical(as.numeric(ours$iterations), 1)
  expect_identical(as.list(ours)$momentum, 0.5)
  ours$apply(list(keras$ops$ones(list())), list(weight))
  expect_close(as.double(weight), 1 - 0.5 - 0.75)
})

test_that("fit() continues to train a model that was trained with Keras' SGD", {
  # contract 9.4c: y = x, gradient 2 (w - 1)
  skip_if_no_keras()
  model <- one_weight_model(keras_sgd(learning_rate = 0.1, momentum = 0.5))
  one <- matrix(1)
  model$fit(one, one, verbose = 0L)
  model$compile(optimizer = from_keras_optimizer(model$optimizer), loss = "mse")
  model$fit(one, one, verbose = 0L)
  expect_close(as.numeric(model$get_weights()[[1]]), 0.2 + 0.5 * 0.2 + 0.1 * 2 * 0.8)
})

test_that("it validates its inputs", {
  # contract 9.4c, 12
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  expect_snapshot(error = TRUE, transform = without_keras_module, {
    from_keras_optimizer()
    from_keras_optimizer(keras$optimizers$Adam())
    from_keras_optimizer(optimizer_sgd())
    from_keras_optimizer(NULL)
    from_keras_optimizer("sgd")
    from_keras_optimizer(keras_sgd(clipnorm = -1))
    from_keras_optimizer(keras_sgd(), model = NULL)
  })
})
