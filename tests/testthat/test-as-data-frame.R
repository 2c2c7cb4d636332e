test_that("the settings of an optimizer are a data frame", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd(0.1, momentum = 0.9, nesterov = TRUE, clipnorm = 2L, name = "mine")
  rows <- as.data.frame(optimizer)
  expect_identical(rows$argument, setdiff(names(formals(optimizer_sgd)), "..."))
  expect_identical(rows$number[match(c("momentum", "clipnorm"), rows$argument)], c(0.9, 2))
  are_numbers <- vapply(as.list(optimizer), is.numeric, NA, USE.NAMES = FALSE)
  expect_identical(!is.na(rows$number), are_numbers)
  # the defaults as R's signature has them
  defaults <- lapply(formals(optimizer_sgd)[rows$argument], eval)
  expect_identical(rows$default, vapply(defaults, format, "", USE.NAMES = FALSE))
  expect_identical(
    subset(rows, value != default)$argument,
    c("learning_rate", "momentum", "nesterov", "clipnorm", "name")
  )
  scaled <- optimizer_loss_scale(optimizer_sgd(learning_rate_schedule_cosine_decay(0.1, 10)))
  expect_snapshot({
    rows
    as.data.frame(scaled)
  })
  expect_identical(data.frame(optimizer), rows)
  expect_named(do.call(rbind, lapply(list(optimizer, scaled), as.data.frame)), names(rows))
})

test_that("the rates of a schedule are a data frame", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  expected <- data.frame(step = 0:2, learning_rate = c(0.5, 0.25, 0.125))
  expect_identical(as.data.frame(schedule, steps = 0:2), expected)
  expect_identical(as.data.frame(schedule, steps = c(a = 0L, b = 1L, c = 2L)), expected)
  expect_identical(as.data.frame(schedule, steps = list(0L, 1L, 2L)), expected)
  expect_identical(nrow(as.data.frame(schedule, steps = integer())), 0L)
  long <- as.data.frame(learning_rate_schedule_cosine_decay(0.1, 1e6))
  expect_lte(nrow(long), 1001)
  expect_identical(range(long$step), c(0, 1.1e6))
  expect_identical(as.data.frame(learning_rate_schedule_cosine_decay(0.1, 10))$step, 0:11 + 0)
  expect_identical(row.names(as.data.frame(schedule, c("a", "b"), steps = 0:1)), c("a", "b"))
})

test_that("tibbles are made of them", {
  skip_if_no_keras()
  skip_if_not_installed("tibble")
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  expect_identical(tibble::as_tibble(schedule)$learning_rate[1:3], c(0.5, 0.25, 0.125))
  expect_identical(tibble::as_tibble(optimizer_sgd())$argument[[1]], "learning_rate")
})

test_that("as.data.frame() validates its inputs", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  optimizer <- optimizer_sgd()
  expect_snapshot(error = TRUE, {
    as.data.frame(schedule, steps = -1)
    as.data.frame(schedule, 0:2)
    as.data.frame(schedule, step = 0:2)
    as.data.frame(schedule, steps = 0:1, nonsense = 1)
    as.data.frame(schedule, c("a", "a"), steps = 0:1)
    as.data.frame(schedule, NA, steps = 0)
    as.data.frame(schedule, NA, steps = 0:1)
    as.data.frame(optimizer, steps = 0:2)
    as.data.frame(optimizer, "a")
    as.data.frame(optimizer, NULL, FALSE, 1)
  })
  bad <- list(
    NA, "", c(0, NA), c("a", "b"), 1.5, Inf, TRUE, 2^31, factor(1), mtcars, sum, optimizer
  )
  for (steps in bad) {
    error <- expect_error(as.data.frame(schedule, steps = steps), "`steps` must be whole numbers")
    expect_s3_class(error, c("kerasgd_argument_error", "kerasgd_error"), exact = FALSE)
    expect_identical(conditionCall(error)[[1]], quote(as.data.frame))
  }
})

# contract 9.5
test_that("after readRDS() there are no settings and no rates", {
  skip_if_no_keras()
  expect_empty <- function(code) expect_error(code, "is empty", class = "kerasgd_state_error")
  expect_empty(as.data.frame(restored_by_r(optimizer_sgd())))
  expect_empty(as.data.frame(restored_by_r(learning_rate_schedule_cosine_decay(0.1, 10))))
})
