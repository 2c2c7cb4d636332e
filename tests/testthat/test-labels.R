test_that("an optimizer is one line: its rate and what differs from the defaults", {
  skip_if_no_keras()
  label <- function(...) as.character(optimizer_sgd(...))
  expect_identical(label(), "SGD(0.01)")
  expect_identical(label(0.01, momentum = 0.9), "SGD(0.01, momentum 0.9)")
  expect_identical(
    label(1 / 3, nesterov = TRUE, momentum = 0.5, clipnorm = 2, name = "mine"),
    "SGD(0.33333334, momentum 0.5, nesterov, clipnorm 2)"
  )
  expect_identical(label(function() stop("a look must not call this")), "SGD(<function>)")
  cosine <- learning_rate_schedule_cosine_decay(0.1, 100)
  expect_identical(label(cosine), "SGD(cosine_decay(0.1, decay_steps 100))")
  of_keras <- reticulate::import("keras")$optimizers$schedules$CosineDecay(0.1, 10L)
  expect_identical(label(of_keras, use_ema = TRUE), "SGD(<CosineDecay>, use_ema)")

  scaled <- optimizer_loss_scale(optimizer_sgd(0.5, momentum = 0.9), initial_scale = 1024)
  expect_identical(
    as.character(scaled), "loss_scale(SGD(0.5, momentum 0.9), initial_scale 1024)"
  )
})

test_that("a rate that comes from float32 has the digits that it has", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1)
  optimizer$learning_rate <- as_float32(0.003125)
  expect_identical(as.character(optimizer), "SGD(0.003125)")
})

test_that("a class that the user made of ours has its own name and defaults", {
  # contract 13.3
  skip_if_no_keras()
  optimizer_sgd()
  make <- reticulate::py_eval(
    "lambda base: type('Mine', (base,), {'__init__': lambda self, **k: base.__init__(self, **k)})"
  )
  optimizer <- make(reticulate::import("kerasgd")$SGD)(momentum = 0.5)
  expect_identical(as.character(optimizer), "Mine(0.01, momentum 0.5)")
  expect_identical(format(optimizer)[1:2], c("<__main__.Mine> SGD", "  momentum = 0.5"))
  expect_identical(subset(as.data.frame(optimizer), value != default)$argument, "momentum")
})

test_that("a schedule is one line: its R name, and its arguments without those left at a default", {
  skip_if_no_keras()
  polynomial <- learning_rate_schedule_polynomial_decay(0.1, 1e6)
  expect_snapshot({
    as.character(learning_rate_schedule_cosine_decay(0.1, 1000))
    as.character(
      learning_rate_schedule_cosine_decay(0, 50, 0, "mine", warmup_target = 0.1, warmup_steps = 10)
    )
    as.character(learning_rate_schedule_cosine_decay_restarts(0.1, 100, m_mul = 0.5))
    as.character(learning_rate_schedule_exponential_decay(0.1, 10, 0.5, staircase = TRUE))
    as.character(learning_rate_schedule_inverse_time_decay(0.1, 10, 0.5))
    as.character(learning_rate_schedule_piecewise_constant_decay(10, c(0.1, 0.05)))
    as.character(learning_rate_schedule_piecewise_constant_decay(1:4, 0.1 / 1:5))
    as.character(polynomial)
    as.character(learning_rate_schedule_warmup_stable_decay(0.1, 10, 20, 30))
    as.character(learning_rate_schedule_one_cycle(0.1, 100))
    as.character(learning_rate_schedule_function(function(step) 0.5^step, 10))
    as.character(learning_rate_schedule_linear_warmup(polynomial, 5))
    as.character(learning_rate_schedule_linear_warmup(0.1, 5))
  })
})

test_that("every schedule of the package has the name of its function", {
  skip_if_no_keras()
  optimizer_sgd()
  classes <- reticulate::import("kerasgd")$schedules$Schedule$`__subclasses__`()
  names <- vapply(classes, function(class) class$`__name__`, "")
  found <- vapply(names, function(name) {
    name_of_constructor(structure(list(), class = paste0("kerasgd.schedules.", name)))
  }, "")
  constructors <- grep("^learning_rate_schedule_", getNamespaceExports("kerasgd"), value = TRUE)
  expect_setequal(found, constructors)
})

test_that("lists and their structure have a line for each", {
  skip_if_no_keras()
  scheduled <- optimizer_sgd(learning_rate_schedule_cosine_decay(0.1, 100), clipnorm = 1)
  things <- list(
    n = 1, optimizer = optimizer_sgd(0.01, momentum = 0.9),
    scaled = optimizer_loss_scale(scheduled), schedule = as.list(scheduled)$learning_rate
  )
  expect_snapshot({
    str(things)
    str(restored_by_r(things[-1]))
    sapply(things[-1], as.character)
    data.frame(n = 1:3, thing = I(unname(things[-1])))
    scheduled
  })
})

test_that("tibbles show the line, and the name where the column is narrow", {
  skip_if_no_keras()
  skip_if_not_installed("tibble")
  skip_if_not_installed("pillar")
  runs <- tibble::tibble(
    optimizer = list(optimizer_sgd(0.01, momentum = 0.9), optimizer_loss_scale(optimizer_sgd())),
    schedule = list(
      learning_rate_schedule_cosine_decay(0.1, 100), learning_rate_schedule_one_cycle(0.1, 100)
    )
  )
  expect_snapshot({
    runs
    print(runs, width = 30)
    tibble::glimpse(runs, width = 100)
    restored_by_r(runs)
  })
})

test_that("tibbles show Keras' own wrapper of ours, and leave another to others", {
  # contract 6.2
  skip_if_no_keras()
  skip_if_not_installed("tibble")
  skip_if_not_installed("pillar")
  optimizer_sgd()
  keras <- reticulate::import("keras")
  wrap <- keras$optimizers$LossScaleOptimizer
  of_ours <- tibble::tibble(optimizer = list(wrap(optimizer_sgd(0.1))))
  expect_match(format(of_ours), "<loss_scale(SGD(0.1))>", fixed = TRUE, all = FALSE)
  expect_output(tibble::glimpse(of_ours), "<list> loss_scale(SGD(0.1))", fixed = TRUE)
  of_adam <- tibble::tibble(optimizer = list(wrap(keras$optimizers$Adam(0.1))))
  expect_false(any(grepl("<loss_scale(", format(of_adam), fixed = TRUE)))
})
