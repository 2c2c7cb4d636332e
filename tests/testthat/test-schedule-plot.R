# Reads a plot from its page: the texts with their places in points, and the curves by colour
# (in the notation of PDF), and the box of the legend
page_of <- function(code, width = 7, height = 5) {
  file <- withr::local_tempfile(fileext = ".pdf")
  grDevices::pdf(file, width, height, compress = FALSE, useKerning = FALSE)
  device <- grDevices::dev.cur()
  tryCatch(force(code), finally = grDevices::dev.off(device))
  lines <- readLines(file, warn = FALSE, encoding = "latin1")
  list(
    texts = texts_of_page(lines), curves = curves_of_page(lines), legend = legend_of_page(lines),
    width = 72 * width, height = 72 * height
  )
}

texts_of_page <- function(lines) {
  pattern <- "^/F. 1 Tf +(\\S+) +(\\S+) +\\S+ +\\S+ +(\\S+) +(\\S+) Tm \\((.*)\\) Tj$"
  found <- regmatches(lines, regexec(pattern, lines, useBytes = TRUE))
  parts <- do.call(rbind, found[lengths(found) > 0])
  numbers <- matrix(as.double(parts[, 2:5]), ncol = 4)
  data.frame(
    text = gsub("\\", "", parts[, 6], fixed = TRUE), is_horizontal = numbers[, 2] == 0,
    size = pmax(numbers[, 1], numbers[, 2]), x = numbers[, 3], y = numbers[, 4]
  )
}

curves_of_page <- function(lines) {
  is_colour <- grepl(" SCN$", lines, useBytes = TRUE)
  colour <- c(NA, lines[is_colour])[1 + cumsum(is_colour)]
  is_point <- grepl("^[0-9.-]+ [0-9.-]+ [ml]( S)?$", lines, useBytes = TRUE)
  points <- do.call(rbind, strsplit(lines[is_point], " ", fixed = TRUE))
  points <- data.frame(x = as.double(points[, 1]), y = as.double(points[, 2]))
  split(points, sub(" SCN$", "", colour[is_point]))
}

# The only filled rectangle with a border
legend_of_page <- function(lines) {
  line <- utils::tail(lines[which(trimws(lines) == "B") - 1], 1)
  if (length(line) == 1) {
    numbers <- as.double(strsplit(line, " ", fixed = TRUE)[[1]][1:4])
    list(x = sort(numbers[[1]] + c(0, numbers[[3]])), y = sort(numbers[[2]] + c(0, numbers[[4]])))
  }
}

colour_in_pdf <- function(colour) {
  paste(sprintf("%.3f", grDevices::col2rgb(colour) / 255), collapse = " ")
}

# Whole texts on the page, and none on another. R's PDF has the widths of Helvetica.
expect_readable <- function(page) {
  texts <- page$texts
  file <- withr::local_tempfile(fileext = ".pdf")
  grDevices::pdf(file, useKerning = FALSE)
  graphics::plot.new()
  length <- 72 * mapply(function(text, size) {
    graphics::strwidth(text, "inches", cex = size / 12)
  }, texts$text, texts$size)
  grDevices::dev.off()
  ascent <- 0.7 * texts$size
  boxes <- data.frame(
    left = ifelse(texts$is_horizontal, texts$x, texts$x - ascent), bottom = texts$y,
    right = texts$x + ifelse(texts$is_horizontal, length, 0),
    top = texts$y + ifelse(texts$is_horizontal, ascent, length)
  )
  expect_true(all(boxes$left >= 0 & boxes$right <= page$width))
  expect_true(all(boxes$bottom >= 0 & boxes$top <= page$height))
  for (i in seq_len(nrow(boxes))) {
    meets <- boxes$left < boxes$right[[i]] & boxes$right > boxes$left[[i]] &
      boxes$bottom < boxes$top[[i]] & boxes$top > boxes$bottom[[i]]
    expect_identical(texts$text[which(meets)], texts$text[[i]])
  }
}

# Between its points a curve is straight
expect_legend_covers_nothing <- function(page) {
  expect_type(page$legend, "list")
  curves <- page$curves[names(page$curves) %in% vapply(unname(colours), colour_in_pdf, "")]
  for (points in curves) {
    points <- points[!duplicated(points$x), ]
    x <- seq(page$legend$x[[1]], page$legend$x[[2]], length.out = 2000)
    y <- stats::approx(points$x, points$y, x)$y
    expect_false(any(y > page$legend$y[[1]] & y < page$legend$y[[2]], na.rm = TRUE))
  }
}

some_schedules <- function() {
  cosine <- learning_rate_schedule_cosine_decay(0.1, 1000)
  list(
    cosine = cosine,
    exponential = learning_rate_schedule_exponential_decay(0.1, 100, 0.5),
    "with a warm-up" = learning_rate_schedule_linear_warmup(cosine, 100),
    stable = learning_rate_schedule_warmup_stable_decay(0.1, 40, 900, 120),
    "very low" = learning_rate_schedule_polynomial_decay(0.00015, 2e6),
    stairs = learning_rate_schedule_piecewise_constant_decay(c(200, 400), c(0.1, 0.05, 0.01))
  )
}

test_that("one schedule is drawn at the steps that are asked for", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  withr::local_pdf(NULL)
  grDevices::dev.control("enable")
  expect_identical(plot(schedule, steps = 0:10, log = "", main = "a"), schedule)
  expect_equal(graphics::par("usr"), c(-0.4, 10.4, -0.02, 0.52))
  plot(schedule, c(5, 0))
  expect_equal(graphics::par("usr")[1:2], c(-0.2, 5.2))
  plot(schedule, 0:10, log = "y")
  expect_equal(graphics::par("usr")[[4]], log10(0.5) + 0.04 * 10 * log10(2))
  plot(schedule, 0:10, log = "xy")
  expect_equal(graphics::par("usr")[1:2], c(-0.04, 1.04))
  plot(schedule, 3)
  plot(schedule, 0:3, xlim = c(0, 2), ylim = c(0.25, 1))
  expect_equal(graphics::par("usr"), c(-0.08, 2.08, 0.22, 1.03))
  margins <- graphics::par("mar")
  plot(schedule)
  expect_identical(graphics::par("mar"), margins)
})

test_that("the curve goes through the rates, in blue, under the R name", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  page <- page_of(plot(schedule, 0:3))
  points <- page$curves[[colour_in_pdf("#0072B2")]]
  # 0.5, 0.25, 0.125 and 0.0625 between the labels 0.0 and 0.5
  expect_equal(points$x, seq(points$x[[1]], points$x[[4]], length.out = 4), tolerance = 1e-3)
  expect_equal(diff(points$y), diff(points$y)[[1]] * c(1, 0.5, 0.25), tolerance = 1e-3)
  expect_true("exponential_decay(0.5, decay_steps 1, decay_rate 0.5)" %in% page$texts$text)
  expect_setequal(page$texts$text[!page$texts$is_horizontal], "Learning rate")
  expect_true(all(c("0.0", "0.1", "0.2", "0.3", "0.4", "0.5") %in% page$texts$text))
})

test_that("all texts are whole, also on a narrow page", {
  skip_if_no_keras()
  for (schedule in some_schedules()) {
    for (size in list(c(7, 5), c(4, 3), c(3.2, 3))) {
      expect_readable(page_of(plot(schedule), size[[1]], size[[2]]))
    }
  }
  schedules <- some_schedules()
  expect_readable(page_of(plot(schedules$cosine, schedules["with a warm-up"]), 3.2, 3))
  small_panels <- function() {
    graphics::par(mfrow = c(2, 2), mar = c(2.2, 3, 2, 0.6))
    for (schedule in schedules[1:4]) plot(schedule, main = "", xlab = "")
  }
  page <- page_of(small_panels(), 6, 4)
  expect_readable(page)
  expect_false("Learning rate" %in% page$texts$text)
})

test_that("labels are written out, with commas", {
  skip_if_no_keras()
  page <- page_of(plot(learning_rate_schedule_polynomial_decay(0.1, 2e6)))
  expect_true(all(c("500,000", "1,000,000", "2,000,000") %in% page$texts$text))
})

test_that("several have a legend that covers no curve", {
  skip_if_no_keras()
  schedules <- some_schedules()
  falling <- page_of(plot(schedules$cosine, schedules$exponential))
  expect_legend_covers_nothing(falling)
  expect_true(all(c("cosine", "exponential") %in% falling$texts$text))
  expect_false(any(grepl("decay", falling$texts$text)))

  up_to_the_corners <- schedules[c("cosine", "exponential", "stable", "with a warm-up")]
  for (size in list(c(7, 5), c(4, 3), c(3.2, 3))) {
    draw <- function(...) page_of(plot(schedules$stairs, ...), size[[1]], size[[2]])
    expect_legend_covers_nothing(draw(up_to_the_corners, steps = 0:1200))
    expect_legend_covers_nothing(draw(up_to_the_corners, steps = 0:1200, log = "y"))
    expect_legend_covers_nothing(draw(up_to_the_corners, steps = 1:1200, log = "x"))
  }
  many <- lapply(stats::setNames(1:9 / 10, sprintf("alpha 0.%d", 1:9)), function(alpha) {
    update(schedules$cosine, alpha = alpha)
  })
  page <- page_of(plot(schedules$cosine, many))
  expect_legend_covers_nothing(page)
  expect_readable(page)
})

test_that("the axis is extended for the legend, unless the user gives its ends", {
  skip_if_no_keras()
  withr::local_pdf(NULL)
  grDevices::dev.control("enable")
  schedules <- some_schedules()
  others <- schedules[c("exponential", "stable", "with a warm-up")]
  plot(schedules$stairs, others, steps = 0:1200)
  expect_gt(graphics::par("usr")[[4]], 0.11)
  plot(schedules$stairs, others, steps = 0:1200, ylim = c(0, 0.1))
  expect_equal(graphics::par("usr")[3:4], c(-0.004, 0.104))
})

test_that("schedules are named by the user, by their variables or by what they are", {
  skip_if_no_keras()
  exponential <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  cosine <- learning_rate_schedule_cosine_decay(2, 10)
  of_keras <- reticulate::import("keras")$optimizers$schedules$CosineDecay(0.1, 10L)
  all <- list(a = exponential, b = cosine)
  names_of <- function(...) {
    names(sort_arguments(list(...), as.list(substitute(list(...)))[-1], NULL)$schedules)
  }
  expect_identical(
    names_of(exponential, update(cosine), slow = exponential, exponential, y = cosine),
    c("exponential", "cosine_decay(2, decay_steps 10)", "slow", "exponential 1", "cosine")
  )
  expect_identical(names_of(all$a, all[["b"]], all[[1]]), c(
    "a", "b", "exponential_decay(0.5, decay_steps 1, decay_rate 0.5)"
  ))
  expect_identical(names_of(exponential, list(of_keras, k = of_keras), all["b"]), c(
    "exponential", "CosineDecay", "k", "b"
  ))
})

test_that("several are drawn at the steps of the longest, and one can be added", {
  skip_if_no_keras()
  exponential <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  cosine <- learning_rate_schedule_cosine_decay(2, 10)
  of_keras <- reticulate::import("keras")$optimizers$schedules$CosineDecay(0.1, 10L)
  withr::local_pdf(NULL)
  grDevices::dev.control("enable")
  expect_identical(plot(exponential, cosine, steps = 0:10), exponential)
  expect_equal(graphics::par("usr"), c(-0.4, 10.4, -0.08, 2.08))
  plot(exponential, cosine, col = c("red", "blue"))
  expect_equal(graphics::par("usr")[1:2], c(-0.44, 11.44))
  plot(exponential, of_keras, list(), type = "b", axes = FALSE)
  expect_identical(lines(cosine, col = "red"), cosine)
  expect_identical(plot(cosine, add = TRUE), cosine)
  plot(exponential, 1:10, log = "x")
  lines(cosine)
  added <- page_of({
    plot(exponential, 0:8)
    lines(cosine)
  })
  expect_length(added$curves[[colour_in_pdf("#D55E00")]]$x, 9)
})

test_that("ggplot2 draws the same in the same colours", {
  skip_if_no_keras()
  skip_if_not_installed("ggplot2")
  exponential <- learning_rate_schedule_exponential_decay(0.5, 1, 0.5)
  constant <- update(exponential, decay_rate = 1)
  drawn <- ggplot2::autoplot(exponential, steps = 0:2)
  layer <- ggplot2::layer_data(drawn)
  expect_equal(layer$x, 0:2)
  expect_equal(layer$y, c(0.5, 0.25, 0.125))
  expect_identical(unique(layer$colour), "#0072B2")
  expect_match(drawn$labels$title, "^exponential_decay\\(0.5")

  together <- ggplot2::autoplot(exponential, list(flat = constant), steps = 0:1)
  layer <- ggplot2::layer_data(together)
  expect_equal(layer$y, c(0.5, 0.25, 0.5, 0.5))
  expect_identical(unique(layer$colour), c("#0072B2", "#D55E00"))
  expect_identical(levels(together$data$schedule), c("exponential", "flat"))
  expect_null(together$labels$title)
  page <- page_of(plot(exponential, constant, steps = 0:1))
  expect_true(all(vapply(unique(layer$colour), colour_in_pdf, "") %in% names(page$curves)))

  point <- ggplot2::layer_data(ggplot2::autoplot(exponential, steps = list(3)))
  expect_equal(point$y, 0.0625)
  seven <- ggplot2::autoplot(exponential, rep(list(constant), 6), steps = 0:1)
  expect_identical(unique(ggplot2::layer_data(seven)$linetype), c(1, 2))
})

test_that("plot(), lines() and autoplot() validate their inputs", {
  skip_if_no_keras()
  skip_if_not_installed("ggplot2")
  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  other <- update(schedule, alpha = 0.5)
  withr::local_pdf(NULL)
  expect_snapshot(error = TRUE, {
    plot(schedule, steps = 0.5)
    plot(schedule, other, steps = -1)
    plot(schedule, integer())
    plot(schedule, step = 0:3)
    plot(schedule, 0:3, steps = 0:3)
    plot(schedule, other, 0:3)
    plot(schedule, list(other, 3))
    plot(schedule, log = "z")
    plot(schedule, steps = 0, log = "x")
    plot(update(schedule, initial_learning_rate = 0), log = "y")
    lines(schedule, steps = 0.5)
    lines(schedule, other)
    lines(schedule, stps = 1)
    ggplot2::autoplot(schedule, main = "Mine")
    ggplot2::autoplot(schedule, other, 0:3)
  })
  bad <- list(
    NA, "", c(0, NA), c("a", "b"), 1.5, Inf, TRUE, 2^31, factor(1), mtcars, sum, optimizer_sgd(),
    double()
  )
  uses <- list(plot = plot, lines = lines, autoplot = ggplot2::autoplot)
  for (name in names(uses)) {
    use <- uses[[name]]
    for (steps in if (name == "lines") bad[-length(bad)] else bad) {
      error <- expect_error(use(schedule, steps = steps), "^`steps` must be .*whole number")
      expect_s3_class(error, c("kerasgd_argument_error", "kerasgd_error"), exact = FALSE)
      expect_identical(conditionCall(error)[[1]], as.name(name))
    }
  }
})

# contract 9.5
test_that("after readRDS() nothing is drawn", {
  skip_if_no_keras()
  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  empty <- restored_by_r(schedule)
  withr::local_pdf(NULL)
  expect_empty <- function(code) expect_error(code, "is empty", class = "kerasgd_state_error")
  expect_empty(plot(empty))
  expect_empty(plot(schedule, empty))
  expect_empty(plot(schedule, list(empty)))
  expect_empty(lines(empty))
  skip_if_not_installed("ggplot2")
  expect_empty(ggplot2::autoplot(empty))
})
