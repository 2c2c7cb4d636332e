# y = w x with x = 1 and y = 1, from w = 0: the loss (w - 1)^2 shrinks by (1 - 2 rate)^2 a step
search_one_weight <- function(..., optimizer = optimizer_sgd(0.5)) {
  find_learning_rate(one_weight_model(optimizer), 1, 1, ...)
}

smoothed <- function(losses, share = 0.9) {
  vapply(seq_along(losses), function(i) {
    weights <- share^(i - seq_len(i))
    sum(weights * losses[seq_len(i)]) / sum(weights)
  }, 0)
}

test_that("rows match training with these rates", {
  # contract 17.1, 17.2
  skip_if_no_keras()
  search <- search_one_weight(lowest_rate = 1e-3, highest_rate = 0.4, steps = 12)
  rates <- 1e-3 * 400^((1:12 - 1) / 11)
  losses <- c(1, cumprod((1 - 2 * rates)^2)[-12])
  rows <- as.data.frame(search)
  expect_identical(rows, search$rows)
  expect_equal(rows$step, 1:12)
  expect_equal(rows$learning_rate, rates, tolerance = 1e-12)
  expect_equal(rows$loss, losses, tolerance = 1e-4)
  expect_equal(rows$smoothed_loss, smoothed(losses), tolerance = 1e-4)
})

test_that("it stops when the loss explodes, and reports it", {
  # contract 17.1
  skip_if_no_keras()
  search <- search_one_weight(lowest_rate = 0.9, highest_rate = 100)
  # |1 - 2 rate| > 1 from the first rate above 1 on
  losses <- cumprod(c(1, (1 - 2 * 0.9 * (100 / 0.9)^(0:98 / 99))^2))
  expected <- which(smoothed(losses) > 4 * cummin(smoothed(losses)))[[1]]
  expect_equal(nrow(search$rows), expected)
  expect_match(format(search)[[2]], "ended early: .* more than 4 times")
})

test_that("suggestions are rates at which the loss falls, by name", {
  # contract 17.2, 17.3
  skip_if_no_keras()
  search <- search_one_weight()
  expect_named(search$suggestion, c("steepest", "minimum"))
  # below it a step changes the loss by less than a ten-thousandth; above 1 the loss grows
  expect_true(all(search$suggestion > 1e-5 & search$suggestion < 1))
  none <- search_one_weight(lowest_rate = 1e-12, highest_rate = 1e-11)
  expect_identical(none$suggestion, stats::setNames(numeric(), character()))
})

test_that("everything is restored", {
  # contract 17.1
  skip_if_no_keras()
  model <- one_weight_model(optimizer_sgd(0.25, momentum = 0.9))
  model$fit(matrix(1), matrix(1), verbose = 0L)
  weight <- as.double(model$trainable_variables[[1]])
  state <- function() lapply(model$optimizer$variables, as.double)
  before <- state()
  expect_length(before, 3)
  set.seed(1)
  of_r <- .Random.seed
  find_learning_rate(model, 1, 1)
  expect_identical(as.double(model$trainable_variables[[1]]), weight)
  expect_identical(state(), before)
  expect_identical(.Random.seed, of_r)
  unbuilt <- one_weight_model(optimizer_sgd())
  find_learning_rate(unbuilt, 1, 1)
  expect_false(unbuilt$optimizer$built)
})

test_that("it accepts the data of fit()", {
  # contract 17.1
  skip_if_no_keras()
  first_loss <- function(...) {
    model <- one_weight_model(optimizer_sgd())
    find_learning_rate(model, ..., steps = 10, highest_rate = 1e-6)$rows$loss[[1]]
  }
  # at w = 0 the loss is the mean of y^2
  expect_equal(first_loss(matrix(1:4), c(1, 2, 3, 4), batch_size = 4), 7.5)
  expect_equal(first_loss(1:4, 1:4, batch_size = 2, shuffle = FALSE), 2.5)
  expect_equal(first_loss(c(1, 1), c(1, 2), sample_weight = c(0, 4)), 8)
  expect_equal(first_loss(c(1, 1), c(0, 1), class_weight = list("0" = 1, "1" = 3)), 1.5)
  expect_equal(first_loss(c(1, 1), c(0, 1), class_weight = c("0" = 1, "1" = 5)), 2.5)
  python <- reticulate::py_run_string(paste(
    "import keras", "class Data(keras.utils.PyDataset):",
    "  def __len__(self): return 3",
    "  def __getitem__(self, i): return self.x, self.y",
    sep = "\n"
  ), local = TRUE)
  data <- python$Data()
  data$x <- matrix(c(1, 1))
  data$y <- matrix(c(3, 3))
  expect_equal(first_loss(data), 9)
})

test_that("it accepts a tf.data.Dataset, and models with several inputs and outputs", {
  # contract 17.1
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  rows <- function(...) find_learning_rate(..., steps = 10, highest_rate = 1e-6)$rows
  if (keras$backend$backend() == "tensorflow") {
    slices <- reticulate::import("tensorflow")$data$Dataset$from_tensor_slices
    data <- slices(reticulate::tuple(matrix(c(1, 1)), matrix(c(1, 3))))$batch(2L)
    expect_equal(rows(one_weight_model(optimizer_sgd()), data)$loss[[1]], 5)
  }
  model_of <- function(...) {
    inputs <- list(...)
    sum <- keras$layers$Dense(1L, use_bias = FALSE, kernel_initializer = "ones")
    model <- keras$Model(inputs, sum(keras$layers$Add()(unname(inputs))))
    model$compile(optimizer = optimizer_sgd(), loss = "mse")
    model
  }
  input <- function() keras$Input(shape = list(1L))
  # the mean of (1 + 2 - 0)^2 and (1 + 1 - 0)^2
  x <- list(one = c(1, 1), other = matrix(c(2, 1)))
  expect_equal(rows(model_of(one = input(), other = input()), x, c(0, 0))$loss[[1]], 6.5)
  expect_equal(rows(model_of(input(), input()), unname(x), c(0, 0))$loss[[1]], 6.5)
})

test_that("an interrupt restores everything, and ends as an interrupt", {
  # contract 17.1
  skip_on_os("windows")
  skip_if_no_keras()
  lines <- run_r({
    keras <- reticulate::import("keras")
    layer <- keras$layers$Dense(1L, use_bias = FALSE, kernel_initializer = "ones")
    model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
    model$compile(optimizer = optimizer_sgd(0.5), loss = "mse")
    optimizer <- model$optimizer
    options(rlang_interactive = TRUE, cli.dynamic = TRUE, cli.progress_show_after = 0)
    system(sprintf("(sleep 3; kill -INT %d) &", Sys.getpid()))
    ended <- tryCatch(
      {
        find_learning_rate(model, matrix(1), matrix(2), steps = 1e6, highest_rate = 1e-6)
        "to its end"
      },
      interrupt = function(condition) "by an interrupt",
      error = conditionMessage
    )
    cat("\nended", ended, "\n")
    cat("weight", as.double(model$trainable_variables[[1]]), "\n")
    cat("same optimizer", reticulate::py_id(optimizer) == reticulate::py_id(model$optimizer), "\n")
    model$fit(matrix(1), matrix(2), verbose = 0L)
    cat("trained to", as.double(model$trainable_variables[[1]]), "\n")
  })
  expect_equal(
    trimws(tail(lines, 4)),
    c("ended by an interrupt", "weight 1", "same optimizer TRUE", "trained to 2")
  )
})

search_of <- function(losses, suggestion = stats::setNames(numeric(), character()), steps = NULL) {
  rates <- 10^seq(-7, 1, length.out = 100)
  found <- list(
    rows = list(
      step = seq_along(losses) - 1, learning_rate = rates[seq_along(losses)],
      loss = losses, smoothed_loss = losses
    ),
    suggestion = as.list(suggestion)
  )
  new_rate_search(found, steps %||% length(losses))
}

test_that("print() shows the suggestions, their reasons, and why the search ended", {
  withr::local_options(cli.unicode = FALSE)
  expect_snapshot({
    search_of(rep(1, 100), c(steepest = 0.0123456, minimum = 3 / 7))
    search_of(c(2, 1, 5), c(steepest = 2e-5, minimum = 1e-4), steps = 100)
    search_of(c(1, NaN), steps = 100)
    search_of(rep(1, 100))
  })
  expect_lte(max(nchar(format(search_of(c(1, NaN), steps = 100)))), 80)
  search <- search_of(1)
  expect_output(expect_identical(withVisible(print(search)), list(value = search, visible = FALSE)))
})

test_that("it validates its inputs", {
  # contract 12, 17.1
  skip_if_no_keras()
  keras <- reticulate::import("keras")
  model <- one_weight_model(optimizer_sgd())
  scheduled <- one_weight_model(
    keras$optimizers$Adam(keras$optimizers$schedules$CosineDecay(0.1, 10L))
  )
  uncompiled <- keras$Sequential(list(keras$Input(shape = list(1L)), keras$layers$Dense(1L)))
  unbuilt <- keras$Sequential(list(keras$layers$Dense(1L)))
  unbuilt$compile(optimizer = optimizer_sgd(), loss = "mse")
  generator <- reticulate::py_eval("(batch for batch in [])")
  # an older reticulate calls it an iterator
  one_name <- function(lines) sub("python.builtin.iterator", "python.builtin.generator", lines)
  expect_snapshot(error = TRUE, transform = one_name, {
    find_learning_rate()
    find_learning_rate(model)
    find_learning_rate("model", 1, 1)
    find_learning_rate(optimizer_sgd(), 1, 1)
    find_learning_rate(uncompiled, 1, 1)
    find_learning_rate(unbuilt, 1, 1)
    find_learning_rate(scheduled, 1, 1)
    find_learning_rate(model, mtcars, 1)
    find_learning_rate(model, function() 1)
    find_learning_rate(model, generator)
    find_learning_rate(model, 1, factor("a"))
    find_learning_rate(model, NULL, 1)
    find_learning_rate(model, 1, NA)
    find_learning_rate(model, 1, 1, lowest_rate = 0)
    find_learning_rate(model, 1, 1, highest_rate = NA)
    find_learning_rate(model, 1, 1, lowest_rate = 1, highest_rate = 0.1)
    find_learning_rate(model, 1, 1, steps = 9)
    find_learning_rate(model, 1, 1, steps = 10.5)
    find_learning_rate(model, 1, 1, batch_size = 0)
    find_learning_rate(model, 1, 1, 16)
    find_learning_rate(model, 1, 1, batchsize = 16)
    find_learning_rate(model, 1, 1, step = 16)
    find_learning_rate(model, 1, 1, epochs = 3)
    find_learning_rate(model, 1, 1, validation_split = 0.2)
    find_learning_rate(model, 1, 1, class_weight = c(1, 2))
    find_learning_rate(model, 1, 1, sample_weight = mtcars)
    find_learning_rate(model, 1:3, 1:2)
    find_learning_rate(model, 1:3, 1:3, sample_weight = 1)
  })
})

test_that("errors have classes, and the call is the user's", {
  skip_if_no_keras()
  model <- one_weight_model(optimizer_sgd())
  error <- expect_error(
    find_learning_rate(model, 1, 1, steps = "many"),
    class = "kerasgd_argument_error"
  )
  expect_identical(error$call[[1]], quote(find_learning_rate))
  expect_identical(error[c("argument", "received")], list(argument = "steps", received = "many"))
  expect_error(find_learning_rate(model, matrix(1, 1, 2), 1), class = "kerasgd_python_error")
  model$optimizer <- NULL
  expect_error(find_learning_rate(model, 1, 1), class = "kerasgd_state_error")
})
