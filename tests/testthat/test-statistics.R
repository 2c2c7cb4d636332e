# y = w x with x = 1 and y = 0, from w = 8: the gradient of (w - y)^2 is 2 w
walk <- function(optimizer, targets, callbacks = list(), epochs = 1) {
  model <- one_weight_model(optimizer)
  model$set_weights(list(matrix(8)))
  x <- matrix(rep(1, length(targets)))
  model$fit(
    x, matrix(targets),
    batch_size = 1L, epochs = as.integer(epochs), shuffle = FALSE, verbose = 0L,
    callbacks = callbacks
  )
  model
}

tracked <- function(..., per_variable = FALSE, every = 1) {
  track_statistics(optimizer_sgd(...), per_variable = per_variable, every = every)
}

# contract 15.2, computed in R from the formulas
statistics_by_hand <- function(targets, rate, limit = Inf, decay = 0, start = 8) {
  w <- start
  do.call(rbind, lapply(targets, function(y) {
    before <- w
    g <- 2 * (w - y)
    clipped <- sign(g) * min(abs(g), limit)
    w <<- w - rate * decay * w - rate * clipped
    data.frame(
      learning_rate = rate, gradient_norm = abs(g),
      clip_coefficient = if (g == 0) 1 else abs(clipped / g),
      update_norm = abs(w - before), weight_norm = abs(before),
      update_ratio = if (before == 0) 0 else abs(w - before) / abs(before)
    )
  }))
}

expect_statistics <- function(actual, expected) {
  for (name in names(expected)) {
    expect_close(actual[[name]], expected[[name]])
  }
}

test_that("each statistic matches its formula", {
  # contract 15.2, 15.3, 15.5
  skip_if_no_keras()
  targets <- c(0, 3, -2, 6)
  watch <- callback_statistics()
  walk(tracked(0.25, global_clipnorm = 6, weight_decay = 0.5), targets, list(watch))
  found <- statistics(watch)
  expect_statistics(found, statistics_by_hand(targets, 0.25, limit = 6, decay = 0.5))
  expect_equal(found$epoch, rep(1, 4))
  expect_equal(found$batch, 1:4)
  expect_equal(found$updates, 1:4)
  expect_equal(found$nonfinite, rep(0, 4))
  expect_equal(found$loss_scale, rep(1, 4))
  expect_equal(found$clip_limit, rep(6, 4))
  expect_true(any(found$clip_coefficient < 1) && any(found$clip_coefficient == 1))
})

test_that("one update in `every` is measured, and with accumulation the window's update", {
  # contract 15.1
  skip_if_no_keras()
  watch <- callback_statistics()
  walk(tracked(0.25, every = 2), c(0, 3, -2, 6), list(watch), epochs = 2)
  by_hand <- statistics_by_hand(rep(c(0, 3, -2, 6), 2), 0.25)
  expect_statistics(statistics(watch), by_hand[c(2, 4, 6, 8), ])
  expect_equal(statistics(watch)$epoch, c(1, 1, 2, 2))
  expect_equal(statistics(watch)$updates, c(2, 4, 6, 8))

  watch <- callback_statistics()
  walk(tracked(0.25, gradient_accumulation_steps = 2), c(0, 3, -2, 6), list(watch))
  # the mean of both gradients is that of the mean target
  expect_statistics(statistics(watch), statistics_by_hand(c(1.5, 2), 0.25))
  expect_equal(statistics(watch)$batch, c(2, 4))
})

test_that("each variable has a row with its path", {
  # contract 15.2
  skip_if_no_keras()
  optimizer <- tracked(0.5, clipnorm = 1, per_variable = TRUE)
  keras <- reticulate::import("keras")
  variables <- list(keras$Variable(c(3, 4), name = "pair"), keras$Variable(2, name = "one"))
  apply_gradients(optimizer, list(c(0, 2), NaN), variables)
  found <- statistics(optimizer, of = "variables")
  expect_equal(found$path, c("pair", "one"))
  expect_equal(found$gradient_norm, c(2, NaN), tolerance = 1e-6)
  expect_equal(found$weight_norm, c(5, 2), tolerance = 1e-6)
  expect_equal(found$update_norm, c(0.5, NaN), tolerance = 1e-6)
  expect_equal(found$update_ratio[[1]], 0.1)
  expect_equal(found$nonfinite, c(0, 1))
  expect_equal(found$clip_limit, c(1, 1))
  expect_s3_class(found, c("kerasgd_variable_statistics", "data.frame"), exact = TRUE)
})

test_that("an optimizer shows the last update it measured", {
  skip_if_no_keras()
  optimizer <- tracked(0.25, global_clipnorm = 8)
  expect_null(statistics(optimizer))
  model <- walk(optimizer, c(0, 3))
  found <- statistics(model$optimizer)
  expect_statistics(found, statistics_by_hand(c(0, 3), 0.25, limit = 8)[2, ])
  expect_equal(found$updates, 2)
  expect_false("epoch" %in% names(found))

  scaled <- optimizer_loss_scale(optimizer_sgd(0.25), initial_scale = 4) |> track_statistics()
  walk(scaled, c(0, 3))
  expect_equal(statistics(scaled)$loss_scale, 4)
  expect_statistics(statistics(scaled), statistics_by_hand(c(0, 3), 0.25)[2, ])
})

test_that("track_statistics() returns the optimizer, so calls can be chained", {
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  result <- withVisible(track_statistics(optimizer, every = 5))
  expect_identical(result, list(value = optimizer, visible = FALSE))
})

test_that("a subset of the columns is a plain data frame", {
  skip_if_no_keras()
  optimizer <- tracked(0.25)
  walk(optimizer, c(0, 3))
  found <- statistics(optimizer)
  expect_s3_class(found, c("kerasgd_statistics", "data.frame"), exact = TRUE)
  expect_s3_class(found[found$updates > 5, ], "kerasgd_statistics")
  expect_s3_class(found[c("updates", "gradient_norm")], "data.frame", exact = TRUE)
  expect_s3_class(subset(found, select = -updates), "data.frame", exact = TRUE)
  expect_equal(found[1, "updates"], 2)
  expect_s3_class(as.data.frame(found), "data.frame", exact = TRUE)
})

test_that("print() shows highlights and rows in 80 columns", {
  skip_if_no_keras()
  watch <- callback_statistics()
  nothing_yet <- statistics(watch)
  optimizer <- tracked(0.25, global_clipnorm = 8, per_variable = TRUE) |> skip_nonfinite()
  walk(optimizer, c(0, 3, NaN, 6), list(watch), epochs = 4)
  lines <- capture.output(print(statistics(watch)))
  expect_lte(max(nchar(lines)), 80)
  of_variables <- statistics(watch, of = "variables")
  of_variables$path <- "dense/kernel" # Keras numbers its layers
  expect_lte(max(nchar(capture.output(print(of_variables)))), 80)
  expect_snapshot({
    statistics(watch)
    statistics(watch)[2:3, ]
    statistics(optimizer)
    of_variables[1:2, ]
    nothing_yet
  })
})

test_that("settings and counts can be printed, compared and saved", {
  # contract 14.8, 15, 16
  skip_if_no_keras()
  watched <- function(every = 2) {
    tracked(0.25, per_variable = TRUE, every = every) |> skip_nonfinite()
  }
  optimizer <- watched()
  walk(optimizer, c(0, NaN, NaN, 3, NaN))
  expect_snapshot({
    optimizer
    tail(format(summary(optimizer)), 7)
    optimizer_sgd() |> track_statistics()
    all.equal(watched(), watched(3))
    all.equal(watched(), optimizer_sgd(0.25))
    waldo::compare(watched(), watched(3))
  })
  expect_true(all.equal(watched(), update(optimizer)))
  continued <- update(optimizer, keep_state = TRUE)
  expect_true(all.equal(optimizer, continued))
  expect_equal(summary(update(optimizer, momentum = 0.5))$state$statistics$every, 2)
})

test_that("it validates its inputs", {
  # contract 12
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  built <- tracked(0.25)
  walk(built, c(0, 3))
  watch <- callback_statistics()
  walk(tracked(0.25), c(0, 3), list(watch))
  expect_snapshot(error = TRUE, {
    track_statistics()
    track_statistics("sgd")
    track_statistics(optimizer, per_variable = NA)
    track_statistics(optimizer, per_variable = 1)
    track_statistics(optimizer, per_variable = NULL)
    track_statistics(optimizer, every = 0)
    track_statistics(optimizer, every = 1.5)
    track_statistics(optimizer, every = NA)
    track_statistics(optimizer, every = c(1, 2))
    track_statistics(optimizer, every = NULL)
    track_statistics(optimizer, evry = 2)
    track_statistics(optimizer, TRUE, 2, 3)
    track_statistics(built)
    built$track_statistics()
    statistics()
    statistics("sgd")
    statistics(built, of = "layers")
    statistics(built, of = c("updates", "variables"))
    statistics(built, off = "variables")
    statistics(built, of = "variables")
    statistics(watch, "variables")
    statistics(optimizer)
    statistics(optimizer_sgd)
    optimizer$statistics
  })
  expect_null(summary(optimizer)$state$statistics)
})

# contract 9.5
test_that("after readRDS() it reports what happened", {
  skip_if_no_keras()
  expect_error(statistics(restored_by_r(tracked(0.1))), class = "kerasgd_state_error")
  expect_error(statistics(restored_by_r(callback_statistics())), class = "kerasgd_state_error")
})
