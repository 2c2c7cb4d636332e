variable <- function(value, dtype = "float32", name = "w") {
  keras <- reticulate::import("keras")
  keras$Variable(keras$ops$convert_to_tensor(value, dtype = dtype), dtype = dtype, name = name)
}

zeros <- function(..., dtype = "float32") {
  variable(reticulate::import("keras")$ops$zeros(list(...)), dtype)
}

test_that("R arrays keep their rows and columns", {
  # contract 1.1: from 0 with rate 1 the weights become minus the gradients
  skip_if_no_keras()
  optimizer <- optimizer_sgd(learning_rate = 1)
  weights <- list(zeros(2L, 3L), zeros(3L), zeros(2L, 3L, 4L), zeros())
  grads <- list(matrix(c(1.5, -2, 3, 0.1, 5, 6), 2), c(1, 1 / 3, -1), array(1:24, 2:4), 7L)
  result <- withVisible(apply_gradients(optimizer, grads, weights))
  expect_identical(result, list(value = optimizer, visible = FALSE))
  for (i in 1:4) {
    expect_close(as.double(weights[[i]]), -as.vector(grads[[i]]))
  }
  # the row index, as NumPy sees it
  expect_equal(as.double(weights[[1]][0][2]), -5)
  expect_equal(as.double(weights[[1]][1][0]), 2)
})

test_that("numbers are exact in float64", {
  # contract 8.2
  skip_if_no_keras()
  w <- zeros(2L, dtype = "float64")
  apply_gradients(optimizer_sgd(learning_rate = 1), c(1 / 3, 0.1), list(w))
  expect_identical(as.double(w), -c(1 / 3, 0.1))
})

test_that("a scaled gradient does not overflow in half precision", {
  # contract 1.4
  skip_if_no_keras()
  w <- zeros(1L, dtype = "float16")
  apply_gradients(optimizer_sgd(learning_rate = 1, loss_scale_factor = 2^20), 2^20, list(w))
  expect_identical(as.double(w), -1)
})

test_that("NULL means no gradient, and tensors are accepted", {
  # contract 1.6
  skip_if_no_keras()
  ones <- reticulate::import("keras")$ops$ones(list(2L))
  weights <- list(zeros(2L), zeros(2L))
  optimizer <- optimizer_sgd(learning_rate = 1)
  expect_warning(apply_gradients(optimizer, list(NULL, ones), weights), "no gradient for `w`: ")
  expect_identical(lapply(weights, as.double), list(c(0, 0), c(-1, -1)))
})

test_that("a model stands for its trainable variables", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(learning_rate = 0.5)
  model <- one_weight_model(optimizer)
  apply_gradients(optimizer, matrix(3), model)
  expect_identical(as.double(model$trainable_variables[[1]]), -1.5)
})

test_that("infinities and NaN are not hidden", {
  # contract 4.5
  skip_if_no_keras()
  w <- zeros(2L)
  apply_gradients(optimizer_sgd(learning_rate = 1), c(Inf, NaN), list(w))
  expect_identical(as.double(w), c(-Inf, NaN))
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  w <- zeros(2L, 3L)
  scalar <- zeros()
  keras <- reticulate::import("keras")
  expect_snapshot(error = TRUE, {
    apply_gradients()
    apply_gradients("sgd", list(1), list(w))
    apply_gradients(optimizer, variables = list(w))
    apply_gradients(optimizer, list(1))
    apply_gradients(optimizer, list(1), list(1))
    apply_gradients(optimizer, list(1), list())
    apply_gradients(optimizer, list(1), keras$Sequential())
    apply_gradients(optimizer, list(w), list(matrix(1, 2, 3)))
    apply_gradients(optimizer, w, matrix(1, 2, 3))
    apply_gradients(optimizer, one_weight_model(optimizer_sgd()), list(matrix(1)))
    optimizer$apply(w, list(w))
    optimizer$apply(list(1), w)
    optimizer$apply(list(w), list(1))
    optimizer$build(w)
    apply_gradients(optimizer, list(1, 2, 3), list(w))
    apply_gradients(optimizer, list(matrix(1, 3, 2)), list(w))
    apply_gradients(optimizer, list(c(1, 2)), list(scalar))
    apply_gradients(optimizer, list("a"), list(w))
    apply_gradients(optimizer, list(matrix(TRUE, 2, 3)), list(w))
    apply_gradients(optimizer, list(matrix(c(1, 2, NA, 4, 5, 6), 2)), list(w))
    apply_gradients(optimizer, c(1, NA), list(scalar))
    apply_gradients(optimizer, list(1, 2), list(scalar, 1))
    apply_gradients(optimizer, list(matrix(1e300, 2, 3)), list(w))
    apply_gradients(optimizer, list(keras$ops$ones(list(3L, 2L))), list(w))
    apply_gradients(optimizer, list(NULL), list(w))
    apply_gradients(optimizer, list(matrix(1, 2, 3)), list(w), lr = 1)
  })
  # contract 12.7
  expect_identical(as.double(w), rep(0, 6))
  expect_false(optimizer$built)
})
