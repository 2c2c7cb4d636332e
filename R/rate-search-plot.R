#' Plot a learning-rate search
#'
#' `plot()` draws the loss over the learning rate, on a logarithmic axis: the loss of each batch in
#' grey, the smoothed loss in blue, and the suggested rates as points, `steepest` in orange and
#' `minimum` in white. `ggplot2::autoplot(x)` draws the same plot with the package ggplot2.
#'
#' @section Interpretation:
#' From left to right, the curve is level while the rate is too low to matter, then falls, and rises
#' when the rate is too high. A rate on the slope is a good start. The loss axis ends a little above
#' the losses before the minimum, so that very high losses at the end do not flatten the rest of the
#' curve. If the curve does not fall, there are no points; see [find_learning_rate()].
#'
#' @param x The result of [find_learning_rate()].
#' @param ... Graphical parameters, as in [graphics::plot.default()].
#'
#' @return `plot()` returns `x`, invisibly; `ggplot2::autoplot()` returns a ggplot2 plot.
#'
#' @source
#' Smith, L. N. (2017). Cyclical learning rates for training neural networks. *IEEE Winter
#' Conference on Applications of Computer Vision*, section 3.3.
#'
#' @seealso [find_learning_rate()]; `vignette("choosing-a-learning-rate")`
#' @concept learning rate finder
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' layers <- list(keras$Input(shape = list(1L)), keras$layers$Dense(1L))
#' model <- keras$Sequential(layers)
#' model$compile(optimizer = optimizer_sgd(), loss = "mse")
#' search <- find_learning_rate(model, cars$speed / 10, cars$dist / 10, batch_size = 10)
#' plot(search)
#' plot(search, main = "Stopping distances", ylim = c(0, 30))
plot.kerasgd_rate_search <- function(x, ...) {
  rows <- x$rows
  settings <- utils::modifyList(
    list(
      log = "x", ylim = readable_losses(rows), las = 1, xlab = "Learning rate (log scale)",
      ylab = "Loss", xaxt = "n", main = title_of_search(x)
    ),
    list(...)
  )
  do.call(graphics::plot, c(list(range(rows$learning_rate), c(1, 1), type = "n"), settings))
  ends <- 10^graphics::par("usr")[1:2]
  graphics::axis(1, at = powers_of_ten(ends))
  graphics::lines(rows$learning_rate, finite(rows$loss), col = colour_of_loss)
  graphics::lines(
    rows$learning_rate, finite(rows$smoothed_loss),
    lwd = 2, col = colour_of_points[["usual"]]
  )
  points <- points_of_search(x)
  graphics::points(
    points$learning_rate, points$loss,
    pch = 21, cex = points$size, bg = points$colour
  )
  # The curve starts level and then falls, so there is room at the bottom left
  graphics::legend(
    "bottomleft", c("loss", "smoothed loss", points$label),
    bg = "white", box.col = "grey80", inset = 0.01,
    lty = rep(c(1, NA), c(2, nrow(points))), lwd = c(1, 2, rep(NA, nrow(points))),
    pch = rep(c(NA, 21), c(2, nrow(points))), pt.cex = c(NA, NA, points$size),
    col = c(colour_of_loss, colour_of_points[["usual"]], rep("black", nrow(points))),
    pt.bg = c(NA, NA, points$colour)
  )
  invisible(x)
}

title_of_search <- function(x) {
  if (length(x$suggestion) == 0) "No rate made the loss fall"
}

colour_of_loss <- "grey70"

finite <- function(values) ifelse(is.finite(values), values, NA)

#' The limits of the loss axis: all losses up to the minimum, and a little more
#' @noRd
readable_losses <- function(rows) {
  smoothed <- finite(rows$smoothed_loss)
  # if the loss only rises, show a part of the rise
  last <- max(which.min(smoothed), ceiling(nrow(rows) / 4))
  seen <- seq_len(nrow(rows)) <= last
  shown <- finite(c(rows$loss[seen], smoothed[seen]))
  if (all(is.na(shown))) {
    return(c(0, 1))
  }
  ends <- range(shown, na.rm = TRUE)
  room <- max(diff(ends), abs(ends[[1]]) / 100, 1e-30)
  ends + c(-0.05, 0.25) * room
}

#' The positions of the suggestions on the smoothed curve
#'
#' Both can coincide: the first point is larger, so it shows behind the second.
#' @noRd
points_of_search <- function(x) {
  found <- x$suggestion[intersect(c("minimum", "steepest"), names(x$suggestion))]
  known <- is.finite(x$rows$smoothed_loss)
  loss <- if (length(found) > 0) {
    stats::approx(log(x$rows$learning_rate[known]), x$rows$smoothed_loss[known], log(found))$y
  }
  is_steepest <- names(found) == "steepest"
  data.frame(
    learning_rate = unname(found), loss = as.double(loss),
    label = sprintf("%s: %s", names(found), vapply(found, format, "", digits = 2)),
    size = ifelse(is_steepest, 1.2, 2),
    colour = ifelse(is_steepest, colour_of_points[["striking"]], "white")
  )
}

#' @rawNamespace S3method(ggplot2::autoplot, kerasgd_rate_search, autoplot_rate_search)
NULL

autoplot_rate_search <- function(object, ...) {
  rows <- object$rows
  points <- points_of_search(object)
  at <- ggplot2::aes
  lines <- data.frame(
    learning_rate = rows$learning_rate,
    loss = finite(c(rows$loss, rows$smoothed_loss)),
    curve = rep(factor(c("loss", "smoothed loss")), each = nrow(rows))
  )
  ggplot2::ggplot(lines, at(.data$learning_rate, .data$loss)) +
    ggplot2::geom_line(at(colour = .data$curve, linewidth = .data$curve), na.rm = TRUE) +
    ggplot2::geom_point(at(fill = .data$label, size = .data$label), points, shape = 21) +
    ggplot2::scale_fill_manual(values = points$colour, limits = points$label) +
    ggplot2::scale_size_manual(values = 2 * points$size, limits = points$label) +
    ggplot2::scale_colour_manual(values = c(colour_of_loss, colour_of_points[["usual"]])) +
    ggplot2::scale_linewidth_manual(values = c(0.4, 1)) +
    ggplot2::scale_x_log10() +
    # values outside are cut off, not dropped, so the curve continues to the edge
    ggplot2::coord_cartesian(ylim = readable_losses(rows)) +
    ggplot2::labs(
      x = "Learning rate", y = "Loss", colour = NULL, linewidth = NULL, fill = NULL, size = NULL,
      title = title_of_search(object)
    ) +
    ggplot2::theme_bw() +
    ggplot2::theme(legend.position = "bottom")
}
