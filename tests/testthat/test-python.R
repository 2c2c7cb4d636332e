call <- quote(f())

# The value that Python receives for an R value
seen <- function(x) reticulate::py_eval("repr")(as_python(x))

test_that("values that Python can represent arrive exactly", {
  skip_if_no_keras()
  optimizer_sgd()
  expect_equal(seen(NULL), "None")
  expect_equal(seen(TRUE), "True")
  expect_equal(seen(2), "2.0")
  expect_equal(seen(2L), "2")
  expect_equal(seen(0.1), "0.1")
  expect_equal(seen(NaN), "nan")
  expect_equal(seen(-Inf), "-inf")
  expect_equal(seen("a"), "'a'")
  expect_equal(seen("\u00e4"), "'\u00e4'")
  expect_equal(seen(iconv("\u00e4", "UTF-8", "latin1")), "'\u00e4'")
  expect_equal(seen(c(a = 1)), "1.0")
  expect_equal(seen(matrix(0.5)), "0.5")
  expect_equal(seen(c(a = 1, b = 2)), "[1.0, 2.0]")
  expect_equal(seen(c("a", "b")), "['a', 'b']")
  expect_equal(seen(integer()), "[]")
  expect_equal(seen(list()), "[]")
  expect_equal(seen(list(1, "a", NULL)), "[1.0, 'a', None]")
  expect_equal(seen(list(b = 1, a = NULL)), "{'b': 1.0, 'a': None}")
})

test_that("elements that Python would misinterpret are described", {
  skip_if_no_keras()
  optimizer_sgd()
  expect_equal(seen(c(1, NA)), "[1.0, `NA_real_`]")
  expect_equal(seen(c(a = TRUE, b = NA)), "[True, `NA`]")
})

test_that("values that Python would misinterpret arrive with a description", {
  skip_if_no_keras()
  optimizer_sgd()
  expect_unrepresentable <- function(x) {
    expect_s3_class(as_python(x), "kerasgd.errors.Described")
    expect_equal(seen(x), describe(x))
  }
  expect_unrepresentable(NA)
  expect_unrepresentable(NA_integer_)
  expect_unrepresentable(NA_real_)
  expect_unrepresentable(NA_character_)
  expect_unrepresentable(complex(real = 1, imaginary = 2))
  expect_unrepresentable(as.raw(1))
  expect_unrepresentable(factor("a"))
  expect_unrepresentable(Sys.Date())
  expect_unrepresentable(iris)
  expect_unrepresentable(quote(x))
  expect_unrepresentable(globalenv())
  expect_unrepresentable(list(a = 1, 2))
  expect_equal(seen(list(1, NA)), "[1.0, `NA`]")
})

test_that("a function arrives with its required arguments", {
  skip_if_no_keras()
  optimizer_sgd()
  expect_equal(seen(function() 1), "<R function()>")
  expect_equal(seen(function(a, b = 1, ...) 1), "<R function(a)>")
  expect_equal(seen(function(a, b) 1), "<R function(a, b)>")
  expect_equal(seen(sum), "<R function()>")
  expect_equal(seen(`[`), "<R function()>")

  # its result is converted in the same way
  repr_of_result <- reticulate::py_eval("lambda f: repr(f())")
  expect_equal(repr_of_result(as_python(function() 0.1)), "0.1")
  expect_equal(repr_of_result(as_python(function() NA)), "`NA`")
})

test_that("Python objects arrive unchanged, unless they are from an earlier session", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  expect_identical(as_python(optimizer), optimizer)

  file <- withr::local_tempfile()
  saveRDS(optimizer, file)
  expect_equal(seen(readRDS(file)), "a Python object from an earlier session")
  # a schedule is a function of R too
  saveRDS(learning_rate_schedule_exponential_decay(0.1, 10, 0.5), file)
  expect_equal(seen(readRDS(file)), "a Python object from an earlier session")
  expect_snapshot(error = TRUE, {
    optimizer_sgd(learning_rate = readRDS(file))
    optimizer_sgd(momentum = readRDS(file))
  })
})

test_that("a Python error is an R error with the user's call", {
  skip_if_no_keras()
  # a call without arguments, which is not an argument error of the user
  error <- tryCatch(call_python("ArgumentError", list(), call = call), error = identity)
  expect_s3_class(
    error, c("kerasgd_python_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_equal(conditionCall(error), quote(f()))
  expect_equal(error$type, "TypeError")
  expect_match(conditionMessage(error), "missing 3 required positional arguments")
  expect_match(error$traceback, "^Traceback")
  expect_s3_class(error$exception, "python.builtin.TypeError")
})

test_that("reticulate before 1.38 with NumPy 2 is refused before Python starts", {
  skip_if(packageVersion("reticulate") >= "1.38", "this version of reticulate works with NumPy 2")
  python <- numpy_2_python()
  skip_if_not(file.exists(python), "no Python with NumPy 2: KERASGD_NUMPY_2_PYTHON can name one")
  output <- run_r(
    {
      error <- tryCatch(optimizer_sgd(), error = identity)
      cat("\n", class(error)[[1]], "\n", sep = "")
      cat(strsplit(conditionMessage(error), "\n")[[1]][[1]], "\n", sep = "")
      cat("started:", reticulate::py_available(initialize = FALSE))
    },
    c(RETICULATE_PYTHON = python, KERAS_BACKEND = NA)
  )
  expect_equal(output[length(output) - 2], "kerasgd_environment_error")
  expect_match(
    output[length(output) - 1],
    "^reticulate [0-9.]+ does not work with NumPy [2-9][0-9.]+: arrays do not convert\\.$"
  )
  expect_equal(tail(output, 1), "started: FALSE")
})

test_that("a Keras without its backend is a classed error before Python starts", {
  skip_if_no_keras()
  missing <- setdiff(c("jax", "torch"), names(environment_facts()))
  skip_if(length(missing) == 0, "all backends are installed")
  output <- eval(bquote(run_r(
    {
      error <- tryCatch(optimizer_sgd(), error = identity)
      cat("\n", class(error)[[1]], "\n", sep = "")
      cat(strsplit(conditionMessage(error), "\n")[[1]][[1]], "\n", sep = "")
      cat("started:", reticulate::py_available(initialize = FALSE))
    },
    c(KERAS_BACKEND = .(missing[[1]]))
  )))
  expect_equal(output[length(output) - 2], "kerasgd_environment_error")
  expect_match(
    output[length(output) - 1],
    sprintf("^Keras is set to use %s, which is not installed", backends[[missing[[1]]]])
  )
  expect_equal(tail(output, 1), "started: FALSE")
})

test_that("a Python that another package has started is used", {
  skip_if_no_keras()
  output <- run_r({
    reticulate::py_run_string("x = 1")
    cat("\n", class(optimizer_sgd())[[1]], "\n", kerasgd:::find_python()$started, sep = "")
  })
  expect_equal(tail(output, 2), c("kerasgd.SGD", "TRUE"))
})

test_that("the installed backend is used, also if Keras is imported before our first call", {
  python <- numpy_2_python()
  skip_if_not(file.exists(python), "no Python with NumPy 2: KERASGD_NUMPY_2_PYTHON can name one")
  installed <- intersect(names(backends), names(ask_python(python)))
  skip_if("tensorflow" %in% installed, "Keras uses TensorFlow by default")
  output <- run_r(
    cat("\n", reticulate::import("keras")$backend$backend(), sep = ""),
    c(RETICULATE_PYTHON = python, KERAS_BACKEND = NA, KERAS_HOME = tempdir())
  )
  expect_equal(tail(output, 1), installed[[1]])
})

test_that("the names of a list of variables are ignored", {
  skip_if_no_keras()
  new <- function(...) optimizer_sgd(0.5, weight_decay = 0.5, ...)
  keras <- reticulate::import("keras")
  w <- keras$Variable(1, name = "w")
  named <- list(a = w)
  row_of <- function(optimizer) variable_groups(optimizer, named)

  expect_identical(row_of(set_group(new(), named, momentum = 0.5))$momentum, 0.5)
  expect_identical(row_of(set_group(new(), list(a = "w"), momentum = 0.5))$momentum, 0.5)
  excluded <- exclude_from_weight_decay(new(), var_list = named)
  expect_identical(row_of(excluded)$weight_decay, 0)
  excluded <- exclude_from_weight_decay(new(), var_names = list(a = "w"))
  expect_identical(row_of(excluded)$weight_decay, 0)

  averaging <- new(use_ema = TRUE, ema_momentum = 0.5)
  for (i in 1:2) apply_gradients(averaging, list(b = 0), named)
  expect_close(as.double(w), 0.75^2) # the decay of two steps
  average <- (0.75 + 0.75^2) / 2
  swap_ema_weights(averaging, named)
  expect_close(as.double(w), average)
  swap_ema_weights(averaging, named)
  finalize_variable_values(averaging, named)
  expect_close(as.double(w), average)

  file <- withr::local_tempfile()
  save_optimizer(averaging, file)
  expect_true(all.equal(load_optimizer(file, named), averaging))
})
