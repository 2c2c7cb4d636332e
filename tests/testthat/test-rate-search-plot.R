search_of <- function(losses, suggestion = c(steepest = 1e-3, minimum = 1e-2), smoothed = losses) {
  rows <- data.frame(
    step = seq_along(losses), learning_rate = 10^seq(-5, 1, length.out = length(losses)),
    loss = losses, smoothed_loss = smoothed
  )
  structure(
    list(suggestion = suggestion, rows = rows, steps = length(losses)),
    class = "kerasgd_rate_search"
  )
}

none <- stats::setNames(numeric(), character())
falling <- c(rep(2, 10), seq(2, 1, length.out = 10), 1e6, 1e12)

drawn_to_nowhere <- function(code) {
  withr::local_pdf(NULL)
  force(code)
}

# The text that plot() writes to a PDF
words_on <- function(x, ...) {
  file <- withr::local_tempfile(fileext = ".pdf")
  withr::with_pdf(file, plot(x, ...), compress = FALSE, useKerning = FALSE)
  lines <- grep("Tj", readLines(file, warn = FALSE), value = TRUE)
  gsub("^[^(]*\\((.*)\\) Tj.*$", "\\1", lines)
}

test_that("the loss axis shows everything up to the minimum, whatever comes after", {
  # contract 17.2
  expect_equal(readable_losses(search_of(falling)$rows), c(1 - 0.05, 2 + 0.25))
  expect_equal(readable_losses(search_of(c(falling, Inf, NaN))$rows), c(1 - 0.05, 2 + 0.25))
  # a loss that rises from the beginning: its first quarter
  expect_equal(readable_losses(search_of(2^(0:7))$rows), c(1 - 0.05, 2 + 0.25))
  # a noisy loss is seen as a whole, beside the smoothed one
  noisy <- search_of(c(5, -1, 3, 0), smoothed = c(2, 2, 2, 1))$rows
  expect_equal(readable_losses(noisy), c(-1 - 0.3, 5 + 1.5))
  level <- readable_losses(search_of(rep(3, 9))$rows)
  expect_true(level[[1]] < 3 && level[[2]] > 3)
  expect_equal(readable_losses(search_of(c(NaN, Inf))$rows), c(0, 1))
})

test_that("suggestions are points on the smoothed curve", {
  # contract 17.2: halfway, on the logarithm, between rates with the smoothed losses 2 and 1
  search <- search_of(c(2, 2, 1, 1), c(minimum = 1e-2, steepest = 1e-1), c(4, 2, 1, 3))
  search$rows$learning_rate <- c(1e-3, 1e-2, 1, 10)
  points <- points_of_search(search)
  expect_equal(points$learning_rate, c(1e-2, 1e-1))
  expect_equal(points$loss, c(2, 1.5))
  expect_equal(points$label, c("minimum: 0.01", "steepest: 0.1"))
  expect_equal(nrow(points_of_search(search_of(falling, none))), 0)
})

test_that("plot() labels its elements, and the user's settings take precedence", {
  words <- words_on(search_of(falling))
  labels <- c("loss", "smoothed loss", "minimum: 0.01", "steepest: 0.001")
  expect_true(all(c(labels, "Loss", "Learning rate \\(log scale\\)") %in% words))
  expect_true("No rate made the loss fall" %in% words_on(search_of(rep(1, 9), none)))
  words <- words_on(search_of(falling), main = "Mine", xlab = "rate")
  expect_true(all(c("Mine", "rate") %in% words))
  drawn_to_nowhere({
    search <- search_of(falling)
    expect_identical(withVisible(plot(search)), list(value = search, visible = FALSE))
    expect_equal(graphics::par("usr")[3:4], c(0.95, 2.25) + c(-1, 1) * 0.04 * 1.3)
  })
})

test_that("any search can be plotted: exploded, level, or with few batches", {
  for (search in list(
    search_of(c(falling, NaN)), search_of(rep(0, 9), none), search_of(c(1, NaN), none),
    search_of(NaN, none), search_of(rep(1e-30, 300), c(steepest = 1e-3, minimum = 1e-3))
  )) {
    drawn_to_nowhere(expect_silent(plot(search)))
    if (requireNamespace("ggplot2", quietly = TRUE)) {
      # ggplot2 reports that a line of one point is not a line
      drawn_to_nowhere(suppressMessages(expect_no_warning(print(ggplot2::autoplot(search)))))
    }
  }
})

test_that("ggplot2 draws the same plot", {
  skip_if_not_installed("ggplot2")
  search <- search_of(falling)
  built <- ggplot2::ggplot_build(ggplot2::autoplot(search))
  lines <- split(built$data[[1]], built$data[[1]]$colour)
  expect_setequal(names(lines), c(colour_of_loss, colour_of_points[["usual"]]))
  expect_equal(lines[[colour_of_loss]]$x, log10(search$rows$learning_rate))
  expect_equal(built$data[[2]]$x, c(-2, -3))
  expect_equal(built$data[[2]]$y, points_of_search(search)$loss)
  labels <- built$plot$scales$get_scales("fill")$get_limits()
  expect_equal(labels, c("minimum: 0.01", "steepest: 0.001"))
  expect_equal(built$layout$coord$limits$y, readable_losses(search$rows))
})
