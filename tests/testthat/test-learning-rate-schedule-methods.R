test_that("a schedule is a function of the steps", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_piecewise_constant_decay(2, c(0.5, 0.25))
  expect_identical(schedule(0:4), c(0.5, 0.5, 0.5, 0.25, 0.25))
  expect_identical(schedule(2), 0.5)
  expect_identical(schedule(integer()), numeric())
  expect_identical(schedule(c(a = 0, b = 3)), c(0.5, 0.25))
  tensor <- reticulate::import("keras")$ops$convert_to_tensor(3L)
  expect_equal(as.double(schedule(tensor)), 0.25)
  expect_s3_class(schedule, c("kerasgd.schedules.PiecewiseConstantDecay", "python.builtin.object"))
})

test_that("steps are checked", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  expect_snapshot(error = TRUE, {
    schedule()
    schedule(-1)
    schedule(2^31)
    schedule(c(0, NA))
    schedule(1.5)
    schedule("1")
    schedule(NULL)
  })
})

test_that("it prints its formula and its arguments", {
  skip_if_no_keras()
  expect_snapshot({
    learning_rate_schedule_cosine_decay(0.1, 1000)
    learning_rate_schedule_cosine_decay(0, 1000, warmup_target = 0.1, warmup_steps = 10)
    learning_rate_schedule_cosine_decay_restarts(0.1, 100)
    learning_rate_schedule_exponential_decay(0.1, 10, 0.5, staircase = TRUE)
    learning_rate_schedule_inverse_time_decay(0.1, 10, 0.5)
    learning_rate_schedule_piecewise_constant_decay(c(10, 20), c(0.1, 0.05, 0.01))
    learning_rate_schedule_polynomial_decay(0.1, 10, cycle = TRUE)
    learning_rate_schedule_warmup_stable_decay(0.1, 10, 20, 30)
    learning_rate_schedule_one_cycle(0.1, 100)
    learning_rate_schedule_function(function(step) 0.5^step, 10)
    learning_rate_schedule_linear_warmup(learning_rate_schedule_polynomial_decay(0.1, 10), 5)
    learning_rate_schedule_linear_warmup(0.1, 5)
  })
  schedule <- learning_rate_schedule_linear_warmup(0.1, 5)
  expect_identical(format(schedule), capture.output(print(schedule)))
})

test_that("its arguments are a list", {
  skip_if_no_keras()
  expect_equal(
    as.list(learning_rate_schedule_cosine_decay(0.1, 10)),
    list(
      initial_learning_rate = 0.1, decay_steps = 10L, alpha = 0, name = "CosineDecay",
      warmup_target = NULL, warmup_steps = 0L
    )
  )
  expect_equal(
    as.list(learning_rate_schedule_piecewise_constant_decay(5, c(0.1, 0.2))),
    list(boundaries = 5L, values = c(0.1, 0.2), name = "PiecewiseConstant")
  )
})

test_that("all.equal() compares the arguments", {
  skip_if_no_keras()
  cosine <- function(...) learning_rate_schedule_cosine_decay(...)
  warmup <- function(...) learning_rate_schedule_linear_warmup(...)
  expect_true(all.equal(cosine(0.1, 10), cosine(0.1, 10)))
  expect_true(all.equal(cosine(0.1, 10), cosine(0.1 + 1e-12, 10)))
  expect_match(all.equal(cosine(0.1, 10), cosine(0.1 + 1e-12, 10), tolerance = 0), "initial_learn")
  expect_match(all.equal(cosine(0.1, 10), cosine(0.5, 10)), "`initial_learning_rate`: ")
  expect_match(all.equal(cosine(0.1, 10), warmup(0.1, 10)), "class: <.*CosineDecay> is not <")
  expect_true(all.equal(warmup(cosine(0.1, 10), 5), warmup(cosine(0.1, 10), 5)))
  expect_match(
    all.equal(warmup(cosine(0.1, 10), 5), warmup(cosine(0.1, 20), 5)),
    "`learning_rate`: `decay_steps`: "
  )
  expect_match(
    all.equal(warmup(cosine(0.1, 10), 5), warmup(0.1, 5)), "`learning_rate`: ",
    all = FALSE
  )

  of_keras <- reticulate::import("keras")$optimizers$schedules$CosineDecay
  expect_true(all.equal(warmup(of_keras(0.1, 10L), 5), warmup(of_keras(0.1, 10L), 5)))
  expect_match(
    all.equal(warmup(of_keras(0.1, 10L), 5), warmup(of_keras(0.5, 10L), 5)),
    "`learning_rate`: the two schedules differ"
  )
})

test_that("waldo compares the arguments", {
  skip_if_no_keras()
  cosine <- function(...) learning_rate_schedule_cosine_decay(...)
  warmup <- function(...) learning_rate_schedule_linear_warmup(...)
  expect_equal(warmup(cosine(0.1, 10), 5), warmup(cosine(0.1, 10), 5))
  of_keras <- reticulate::import("keras")$optimizers$schedules$CosineDecay
  expect_equal(warmup(of_keras(0.1, 10L), 5), warmup(of_keras(0.1, 10L), 5))
  expect_snapshot({
    waldo::compare(cosine(0.1, 10), cosine(0.1, 20))
    waldo::compare(warmup(cosine(0.1, 10), 5), warmup(cosine(0.2, 10), 5))
    waldo::compare(warmup(of_keras(0.1, 10L), 5), warmup(of_keras(0.1, 20L), 5))
  })
})

test_that("update() makes another one, with the same checks", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  expect_equal(
    update(schedule, alpha = 0.5, decay_steps = 20),
    learning_rate_schedule_cosine_decay(0.1, 20, alpha = 0.5)
  )
  expect_identical(as.list(schedule)$alpha, 0)
  table <- learning_rate_schedule_function(sqrt, 3)
  expect_identical(update(table, values = c(0.5, 0.25))(0:3), c(0.5, 0.25, 0.25, 0.25))
  expect_snapshot(error = TRUE, {
    update(schedule, alpha = 2)
    update(schedule, decay_steps = 93.75)
    update(schedule, alpa = 0.5)
    update(schedule, nonsense = 1)
    update(schedule, 0.5)
    update(learning_rate_schedule_piecewise_constant_decay(5, c(0.1, 0.2)), values = c(0.1, NA))
  })
})

test_that("it cannot be changed", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  expect_snapshot(error = TRUE, {
    schedule$alpha <- 0.5
    schedule[["decay_steps"]] <- 5
    schedule$alpa <- 0.5
    schedule$nonsense <- 1
    schedule$alpa
  })
  expect_identical(schedule[["decay_steps"]], 10L)
  expect_error(schedule$nonsense, "has no `nonsense`", class = "kerasgd_argument_error")
  expect_identical(as.list(schedule)$alpha, 0)
})

# contract 9.5
test_that("after readRDS() any use reports what happened", {
  skip_if_no_keras()
  schedule <- restored_by_r(learning_rate_schedule_cosine_decay(0.1, 10))
  for (use in list(format, as.list, update, function(x) x(1))) {
    expect_error(
      use(schedule), "is empty: `saveRDS()` and",
      fixed = TRUE, class = "kerasgd_state_error"
    )
  }
  expect_error(all.equal(schedule, schedule), class = "kerasgd_state_error")
  expect_error(schedule$alpha <- 1, class = "kerasgd_state_error")
  expect_error(schedule$alpha, class = "kerasgd_state_error")
  expect_snapshot({
    print(list(schedule, 1))
    str(list(schedule, 1))
    restored_by_r(summary(optimizer_sgd(learning_rate_schedule_cosine_decay(0.1, 10))))
  })
})

# contract 9.5
test_that("a schedule that readRDS() restored is not passed to Keras", {
  skip_if_no_keras()
  skip_if_reticulate_refuses_empty_objects()
  schedule <- restored_by_r(learning_rate_schedule_cosine_decay(0.1, 10))
  sgd <- reticulate::import("keras")$optimizers$SGD
  expect_snapshot(error = TRUE, sgd(learning_rate = schedule))
})
