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
    as.data.frame(schedule, steps = -1)
    plot(schedule, steps = 0.5)
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
  expect_identical(format(schedule), capture.output(str(schedule)))
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
    "`learning_rate`: two schedules that differ"
  )
})

test_that("its rates are a data frame", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  expect_identical(
    as.data.frame(schedule, steps = 0:2),
    data.frame(step = 0:2, learning_rate = c(0.5, 0.25, 0.125))
  )
  long <- as.data.frame(learning_rate_schedule_cosine_decay(0.1, 1e6))
  expect_lte(nrow(long), 1001)
  expect_identical(range(long$step), c(0, 1.1e6))
  expect_identical(as.data.frame(learning_rate_schedule_cosine_decay(0.1, 10))$step, 0:11 + 0)
  expect_identical(row.names(as.data.frame(schedule, c("a", "b"), steps = 0:1)), c("a", "b"))
  expect_snapshot(as.data.frame(schedule, 0:2), error = TRUE)
})

test_that("it can be drawn", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  withr::local_pdf(NULL)
  grDevices::dev.control("enable")
  expect_identical(plot(schedule, steps = 0:10, log = "", main = "a"), schedule)
  expect_equal(graphics::par("usr")[1:2], c(-0.4, 10.4))
  plot(schedule, 0:5)
  expect_equal(graphics::par("usr")[1:2], c(-0.2, 5.2))
})

test_that("ggplot2 draws it too", {
  skip_if_no_keras()
  skip_if_not_installed("ggplot2")
  drawn <- ggplot2::autoplot(learning_rate_schedule_exponential_decay(0.5, 1, 0.5), steps = 0:2)
  layer <- ggplot2::layer_data(drawn)
  expect_equal(layer$x, 0:2)
  expect_equal(layer$y, c(0.5, 0.25, 0.125))
})

# contract 9.5
test_that("after readRDS() any use says what happened", {
  skip_if_no_keras()
  schedule <- restored_by_r(learning_rate_schedule_cosine_decay(0.1, 10))
  for (use in list(print, format, str, as.list, as.data.frame, plot, function(x) x(1))) {
    expect_error(use(schedule), "is empty: it was kept with R's own", class = "kerasgd_state_error")
  }
  expect_error(all.equal(schedule, schedule), class = "kerasgd_state_error")
})

# contract 9.5
test_that("Keras is not given a schedule that readRDS() restored", {
  skip_if_no_keras()
  skip_if_reticulate_refuses_empty_objects()
  schedule <- restored_by_r(learning_rate_schedule_cosine_decay(0.1, 10))
  sgd <- reticulate::import("keras")$optimizers$SGD
  expect_snapshot(error = TRUE, sgd(learning_rate = schedule))
})
