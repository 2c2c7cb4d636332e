# Data frames like those of statistics(), without training
of_updates <- function(gradient_norm, clip_coefficient = 1, update_ratio = 1e-3, nonfinite = 0,
                       clip_limit = NA, update_norm = update_ratio) {
  found <- data.frame(
    epoch = 1, batch = seq_along(gradient_norm), updates = seq_along(gradient_norm),
    learning_rate = 0.1, gradient_norm, clip_coefficient, update_ratio, update_norm,
    weight_norm = 1, nonfinite, loss_scale = 1, clip_limit
  )
  structure(found, class = c("kerasgd_statistics", "data.frame"))
}

of_variables <- function(paths, gradient_norm = 1, update_ratio = 1e-3, nonfinite = 0,
                         updates = 3, clip_limit = NA) {
  one <- data.frame(
    epoch = 1, batch = 1, updates = 1, path = paths, gradient_norm, update_ratio,
    update_norm = 1, weight_norm = 1, nonfinite, clip_limit
  )
  found <- one[rep(seq_along(paths), updates), ]
  found$updates <- rep(seq_len(updates), each = length(paths))
  structure(found, class = c("kerasgd_variable_statistics", "data.frame"))
}

nothing_finite <- of_updates(NaN, update_ratio = NaN, nonfinite = 3)

drawn_to_nowhere <- function(code) {
  withr::local_pdf(NULL)
  force(code)
}

# The titles that plot() writes to a PDF
words_on <- function(x) {
  file <- withr::local_tempfile(fileext = ".pdf")
  withr::with_pdf(file, plot(x), compress = FALSE, useKerning = FALSE)
  lines <- grep("Tj", readLines(file, warn = FALSE), value = TRUE)
  gsub("^[^(]*\\((.*)\\) Tj.*$", "\\1", lines)
}

test_that("the panels contain the values that a logarithmic axis can show", {
  found <- of_updates(c(2, 0, NaN, Inf), update_ratio = c(0, 1e-3, NaN, 1e-3))
  panels <- panels_of_updates(found)
  expect_equal(panels[[2]]$y, c(2, NA, NA, NA))
  expect_equal(panels[[3]]$y, c(NA, 1e-3, NA, 1e-3))
})

test_that("clipped updates and large ratios are highlighted, and titles count them", {
  found <- of_updates(
    c(1, 4, 8, 2),
    clip_coefficient = c(1, 0.5, 0.25, 1), update_ratio = c(1e-3, 1e-3, 0.2, 1e-3), clip_limit = 2
  )
  panels <- panels_of_updates(found)
  expect_equal(panels[[2]]$striking, c(FALSE, TRUE, TRUE, FALSE))
  expect_equal(panels[[2]]$note, "50 % of the updates clipped (limit 2)")
  expect_equal(panels[[2]]$limit, 2)
  expect_equal(panels[[3]]$striking, c(FALSE, FALSE, TRUE, FALSE))
  expect_equal(panels[[3]]$note, "median 0.001, 25 % above 0.1")

  quiet <- panels_of_updates(of_updates(1:3))
  expect_null(quiet[[1]]$note)
  expect_equal(quiet[[2]]$note, "median 2, largest 3")
  expect_null(panels_of_updates(of_updates(NaN))[[2]]$note)
  expect_equal(quiet[[3]]$note, "median 0.001")
})

test_that("updates that are not finite get a stripe, and the title reports skipping", {
  skipped <- of_updates(c(1, NaN, 1), nonfinite = c(0, 2, 0), update_norm = c(1, 0, 1))
  expect_equal(panels_of_updates(skipped)[[1]]$note, "1 update not finite, skipped")
  expect_equal(stripes_of_nonfinite(skipped), data.frame(left = 1.5, right = 2.5))
  done <- of_updates(c(1, NaN, NaN), nonfinite = c(0, 2, 1), update_norm = c(1, NaN, NaN))
  expect_equal(panels_of_updates(done)[[1]]$note, "2 updates not finite")
})

test_that("combined data frames show both limits", {
  both <- rbind(of_updates(1:2, clip_limit = 2), of_updates(1:2, clip_limit = 5))
  expect_equal(panels_of_updates(both)[[2]]$note, "0 % of the updates clipped (limit 2, 5)")
  drawn_to_nowhere({
    expect_silent(plot(both))
    expect_no_warning(print(ggplot2::autoplot(both)))
  })
})

test_that("variables that differ from the rest stand out, with the reason", {
  paths <- c("a", "b", "c", "d", "e")
  expect_length(standing_out(of_variables(paths)), 0)
  expect_equal(
    standing_out(of_variables(
      paths,
      gradient_norm = c(1, 0, 1, 1, 1), update_ratio = c(1, 1, 1, 100, 0.01) * 1e-3,
      nonfinite = c(7, 0, 0, 0, 0)
    )),
    c(
      a = "21 elements of the gradient not finite", b = "gradient 0 in 100 % of the updates",
      d = "ratio 100 times above the median", e = "ratio 100 times below the median"
    )
  )
  # a reason that applies to all variables makes none stand out
  expect_length(standing_out(of_variables(paths, gradient_norm = 0, update_ratio = 0)), 0)
  expect_length(standing_out(of_variables(paths, gradient_norm = NaN, nonfinite = 1)), 0)
  many <- of_variables(letters, gradient_norm = rep(0:1, each = 13))
  expect_length(standing_out(many), 6)
})

test_that("ticks are powers of ten, at most six", {
  expect_equal(powers_of_ten(c(1e-4, 1e-1)), 10^(-4:-1))
  expect_null(powers_of_ten(c(0.5, 20)))
  expect_lte(length(powers_of_ten(c(1e-30, 1e30))), 7)
})

test_that("plot() draws titles, notes and names, and restores the device settings", {
  found <- of_updates(c(1, 4), clip_coefficient = c(1, 0.5), clip_limit = 2)
  words <- words_on(found)
  expect_true(all(
    c(
      "Learning rate", "Gradient norm", "50 % of the updates clipped \\(limit 2\\)",
      "Update-to-weight ratio", "median 0.001", "Update"
    ) %in% words
  ))
  of_two <- of_variables(c("on", "off"), gradient_norm = c(1, 0))
  expect_true("off: gradient 0 in 100 % of the updates" %in% words_on(of_two))

  drawn_to_nowhere({
    before <- graphics::par("mfrow", "mar")
    expect_identical(withVisible(plot(found)), list(value = found, visible = FALSE))
    plot(of_two, col.axis = "grey40")
    expect_equal(graphics::par("mfrow", "mar"), before)
  })
})

test_that("any rows can be plotted: one, none finite, all equal", {
  drawn_to_nowhere({
    for (found in list(
      of_updates(1), nothing_finite, of_updates(rep(1e-30, 500)),
      of_variables("w"), of_variables(c("w", "b"), NaN, NaN, 1), of_variables("w", 0, 0)
    )) {
      expect_silent(plot(found))
    }
  })
})

test_that("ggplot2 draws the same plot", {
  skip_if_not_installed("ggplot2")
  found <- of_updates(
    c(1, 4, NaN),
    clip_coefficient = c(1, 0.5, NaN), nonfinite = c(0, 0, 1), clip_limit = 2
  )
  built <- ggplot2::ggplot_build(ggplot2::autoplot(found))
  labels <- vapply(panels_of_updates(found), function(panel) {
    paste(c(panel$title, panel$note), collapse = ": ")
  }, "")
  expect_equal(as.character(built$layout$layout$panel), labels)
  layer <- function(geom) {
    Filter(function(data) inherits(data$geom, geom), Map(function(layer, data) {
      list(geom = layer$geom, data = data)
    }, built$plot$layers, built$data))
  }
  points <- layer("GeomPoint")[[1]]$data
  expect_equal(points$y[points$PANEL == 2], log10(c(1, 4, NA)))
  expect_equal(points$colour[points$PANEL == 2][1:2], unname(colour_of_points))
  expect_equal(layer("GeomHline")[[1]]$data$yintercept, log10(2))
  expect_equal(layer("GeomRect")[[2]]$data$xmin, rep(2.5, 3))
})

test_that("ggplot2 names the variables that stand out", {
  skip_if_not_installed("ggplot2")
  found <- of_variables(c("on", "off", "also"), gradient_norm = c(1, 0, 1), clip_limit = 3)
  built <- ggplot2::ggplot_build(ggplot2::autoplot(found))
  expect_equal(
    built$plot$scales$get_scales("colour")$get_limits(), "off: gradient 0 in 100 % of the updates"
  )
  lines <- built$data[[length(built$data)]]
  expect_setequal(lines$colour, c("grey70", colours_of_variables[[1]]))
  drawn_to_nowhere({
    rarely_drawn <- list(
      of_variables("w"), of_variables(c("w", "b"), NaN, NaN, 1), of_variables("w", updates = 1)
    )
    for (found in c(rarely_drawn, list(of_updates(1), nothing_finite))) {
      expect_silent(print(ggplot2::autoplot(found)))
    }
  })
})

test_that("it validates its inputs", {
  skip_if_no_keras()
  empty <- statistics(callback_statistics())
  expect_snapshot(error = TRUE, {
    plot(empty)
    plot(statistics(callback_statistics(), of = "variables"))
    ggplot2::autoplot(empty)
  })
})
