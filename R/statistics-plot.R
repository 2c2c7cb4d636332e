#' Plot update statistics
#'
#' `plot()` draws three panels over the updates, with logarithmic axes: the learning rate, the norm
#' of the gradient and the update-to-weight ratio. For `statistics(x, of = "variables")`, there are
#' two panels with one line for each variable. `ggplot2::autoplot(x)` draws the same plot with the
#' package ggplot2.
#'
#' @section Interpretation:
#' * *Gradient norm*: an orange point is a clipped update; the dashed line is the limit,
#'   `global_clipnorm` (`clipnorm` in the panels of variables). If nearly all points are orange, the
#'   limit determines the size of the steps: raise it until only outliers exceed it.
#' * *Update-to-weight ratio*: the grey band from 0.0001 to 0.01 surrounds 0.001, which is often a
#'   healthy ratio. A point above 0.1 is orange: the update changes the weights by more than 10 %.
#'   If the ratio stays there and the gradient norm grows, the learning rate is too high. If it is
#'   far below the band, the weights hardly change.
#' * *Light red background*: an update whose gradient had a `NaN` or an infinity.
#' * *Variables*: up to six variables that stand out are coloured and labelled with the reason:
#'   elements of the gradient that are not finite; a gradient of 0 in most updates; or a median
#'   ratio more than 30 times above or below the median ratio of all variables.
#'
#' Values that are 0, `NaN` or infinite have no place on a logarithmic axis and are not drawn.
#'
#' @param x A data frame from [statistics()], with at least one row, or a callback made by
#'   [callback_statistics()].
#' @param ... Graphical parameters for all panels, as in [graphics::plot.default()].
#'
#' @return `plot()` returns `x`, invisibly; `ggplot2::autoplot()` returns a ggplot2 plot.
#'
#' @section Errors:
#' `kerasgd_argument_error` if there are no rows.
#'
#' @source
#' Karpathy, A. (2015). [CS231n: babysitting the learning
#' process](https://cs231n.github.io/neural-networks-3/), section "Ratio of weights:updates".
#'
#' @seealso [track_statistics()] for the formulas; `vignette("watching-a-training")` for examples of
#' training that goes wrong
#' @concept gradient norm
#' @concept monitoring
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' layer <- keras$layers$Dense(1L)
#' model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
#' optimizer <- optimizer_sgd(learning_rate = 0.01, global_clipnorm = 20) |> track_statistics()
#' model$compile(optimizer = optimizer, loss = "mse")
#'
#' watch <- callback_statistics()
#' x <- matrix(cars$speed / 10)
#' y <- matrix(cars$dist / 10)
#' history <- model$fit(x, y, epochs = 20L, callbacks = list(watch), verbose = 0L)
#' plot(statistics(watch))
plot.kerasgd_statistics <- function(x, ...) {
  check_any_rows(x)
  old <- stacked_panels(3)
  on.exit(graphics::par(old))
  for (panel in panels_of_updates(x)) {
    begin_panel(panel, x, ...)
    graphics::lines(x$updates, panel$y, col = "grey60")
    graphics::points(
      x$updates, panel$y,
      pch = 16, cex = size_of_points(x), col = colour_of_points[1 + panel$striking]
    )
  }
  label_updates()
  invisible(x)
}

#' @rdname plot.kerasgd_statistics
#' @export
plot.kerasgd_variable_statistics <- function(x, ...) {
  check_any_rows(x)
  named <- standing_out(x)
  old <- stacked_panels(2, lines_below = length(named))
  on.exit(graphics::par(old))
  colours <- stats::setNames(colours_of_variables[seq_along(named)], names(named))
  for (panel in panels_of_variables(x)) {
    begin_panel(panel, x, ...)
    draw <- function(path, ...) {
      its <- x$path == path
      graphics::lines(x$updates[its], panel$y[its], type = "o", pch = 16, cex = 0.4, ...)
    }
    for (path in setdiff(x$path, names(named))) draw(path, col = "grey70")
    for (path in names(named)) draw(path, col = colours[[path]], lwd = 2)
  }
  label_updates()
  if (length(named) > 0) {
    graphics::mtext(
      sprintf("%s: %s", names(named), named),
      side = 1, outer = TRUE, line = 1.6 + seq_along(named), at = 0.02, adj = 0, cex = 0.8,
      col = colours
    )
  }
  invisible(x)
}

# The panels, for both kinds of graphics -----------------------------------------------------------

healthy_ratio <- c(1e-4, 1e-2)
large_ratio <- 0.1
colour_of_points <- c(usual = colours[["blue"]], striking = colours[["vermilion"]])
colour_of_nonfinite <- "#F4B6B6"
colours_of_variables <- unname(
  colours[c("orange", "sky", "green", "blue", "vermilion", "purple")]
)

#' @return For each panel, a list of `title`, `note`, the values `y` (`NA` for values that a
#'   logarithmic axis cannot show), the flags `striking`, and optionally a `limit` and a `band`.
#' @noRd
panels_of_updates <- function(x) {
  list(
    list(
      title = "Learning rate", note = note_on_nonfinite(x),
      y = positive(x$learning_rate), striking = rep(FALSE, nrow(x))
    ),
    list(
      title = "Gradient norm", note = note_on_clips(x) %||% note_on_gradient(x),
      y = positive(x$gradient_norm), striking = is_clipped(x), limit = limit_of(x)
    ),
    list(
      title = "Update-to-weight ratio", note = note_on_ratio(x),
      y = positive(x$update_ratio), striking = x$update_ratio > large_ratio,
      band = healthy_ratio
    )
  )
}

panels_of_variables <- function(x) {
  list(
    list(
      title = "Gradient norm of each variable", y = positive(x$gradient_norm), limit = limit_of(x)
    ),
    list(
      title = "Update-to-weight ratio of each variable", y = positive(x$update_ratio),
      band = healthy_ratio
    )
  )
}

positive <- function(values) ifelse(is.finite(values) & values > 0, values, NA)

#' The clip limits: one, several if data frames were combined, or none
#' @noRd
limit_of <- function(x) unique(x$clip_limit[!is.na(x$clip_limit)])

note_on_gradient <- function(x) {
  norm <- x$gradient_norm[is.finite(x$gradient_norm)]
  if (length(norm) > 0) {
    sprintf("median %s, largest %s", short(stats::median(norm)), short(max(norm)))
  }
}

short <- function(x) format(x, digits = 2)

note_on_ratio <- function(x) {
  median <- stats::median(positive(x$update_ratio), na.rm = TRUE)
  large <- mean(x$update_ratio > large_ratio, na.rm = TRUE)
  paste(
    c(
      if (!is.na(median)) paste("median", short(median)),
      if (large %in% 0 || is.na(large)) NULL else paste(percent(large), "above", large_ratio)
    ),
    collapse = ", "
  )
}

#' The variables to label with their reasons, at most six
#'
#' A reason that applies to all variables makes none stand out.
#' @noRd
standing_out <- function(x, factor = 30) {
  by_path <- split(x, factor(x$path, unique(x$path)))
  of_each <- function(summary) vapply(by_path, summary, 0)
  nonfinite <- of_each(function(its) sum(its$nonfinite))
  zero <- of_each(function(its) mean(its$gradient_norm %in% 0))
  ratio <- of_each(function(its) stats::median(positive(its$update_ratio), na.rm = TRUE))
  relative <- ratio / stats::median(ratio, na.rm = TRUE)
  reason <- ifelse(!is.na(relative) & abs(log(relative)) > log(factor), words_for(relative), NA)
  if (any(zero <= 0.5)) {
    reason[zero > 0.5] <- sprintf("gradient 0 in %s of the updates", percent(zero[zero > 0.5]))
  }
  if (any(nonfinite == 0)) {
    found <- nonfinite > 0
    reason[found] <- paste(format_numbers(nonfinite[found]), "elements of the gradient not finite")
  }
  utils::head(reason[!is.na(reason)], 6)
}

words_for <- function(relative) {
  times <- signif(pmax(relative, 1 / relative), 2)
  sprintf(
    "ratio %s times %s the median",
    formatC(times, digits = 0, format = "f", big.mark = ","),
    ifelse(relative > 1, "above", "below")
  )
}

# Base graphics ------------------------------------------------------------------------------------

#' @return The parameters to restore.
#' @noRd
stacked_panels <- function(n, lines_below = 0) {
  graphics::par(
    mfrow = c(n, 1), mar = c(0.8, 4.8, 2, 0.8), oma = c(2.6 + lines_below, 0, 0.2, 0),
    mgp = c(3.4, 0.6, 0), las = 1, tcl = -0.3, cex = 0.8
  )
}

#' Draw the axes, title, note and background of a panel
#' @noRd
begin_panel <- function(panel, x, ...) {
  settings <- utils::modifyList(
    list(log = "y", ylim = limits_of(panel), xlab = "", ylab = "", xaxt = "n", yaxt = "n"),
    list(...)
  )
  do.call(graphics::plot, c(list(range(x$updates), c(1, 1), type = "n"), settings))
  if (!is.null(panel$band)) {
    sides <- graphics::par("usr")
    graphics::rect(
      sides[[1]], panel$band[[1]], sides[[2]], panel$band[[2]],
      col = "grey92", border = NA
    )
  }
  ends <- 10^graphics::par("usr")[3:4]
  stripes <- stripes_of_nonfinite(x)
  if (nrow(stripes) > 0) {
    graphics::rect(
      stripes$left, ends[[1]], stripes$right, ends[[2]],
      col = colour_of_nonfinite, border = NA
    )
  }
  graphics::abline(h = panel$limit, lty = 2)
  graphics::axis(1, labels = FALSE)
  graphics::axis(2, at = powers_of_ten(ends))
  graphics::box()
  graphics::title(panel$title, adj = 0, line = 0.5, font.main = 1)
  if (!is.null(panel$note)) graphics::mtext(panel$note, adj = 1, line = 0.4, cex = 0.8)
}

#' The axis limits: all values, the clip limit and the band; at least a factor of ten
#' @noRd
limits_of <- function(panel) {
  shown <- c(panel$y, panel$limit, panel$band)
  ends <- if (all(is.na(shown))) c(1, 1) else range(shown, na.rm = TRUE)
  middle <- sqrt(prod(ends))
  range(ends, middle / sqrt(10), middle * sqrt(10))
}

#' The ticks of a logarithmic axis, at most six; `NULL` leaves a short axis to R
#' @noRd
powers_of_ten <- function(ends) {
  exponents <- seq(ceiling(log10(ends[[1]])), floor(log10(ends[[2]])))
  if (diff(log10(ends)) >= 2) 10^exponents[exponents %% ceiling(length(exponents) / 6) == 0]
}

#' The stripes are as wide as an update, but wide enough to be visible among thousands
#' @noRd
stripes_of_nonfinite <- function(x) {
  at <- unique(x$updates[x$nonfinite > 0])
  half <- max(0.5, diff(range(x$updates)) / 500)
  data.frame(left = at - half, right = at + half)
}

size_of_points <- function(x) if (nrow(x) > 200) 0.5 else 0.8

label_updates <- function() {
  graphics::axis(1, tick = FALSE)
  graphics::mtext("Update", side = 1, outer = TRUE, line = 1.4, cex = 0.8)
}

# ggplot2 ------------------------------------------------------------------------------------------

#' @rawNamespace
#' S3method(ggplot2::autoplot, kerasgd_statistics, autoplot_statistics)
#' S3method(ggplot2::autoplot, kerasgd_variable_statistics, autoplot_variables)
NULL

autoplot_statistics <- function(object, ...) {
  check_any_rows(object)
  panels <- panels_of_updates(object)
  points <- rows_of_panels(panels, object)
  stacked_facets(panels, object) +
    through(points, ggplot2::aes(.data$update, .data$value), colour = "grey60") +
    ggplot2::geom_point(
      ggplot2::aes(.data$update, .data$value), points,
      na.rm = TRUE,
      size = 2 * size_of_points(object), colour = colour_of_points[1 + points$striking]
    )
}

autoplot_variables <- function(object, ...) {
  check_any_rows(object)
  named <- standing_out(object)
  panels <- panels_of_variables(object)
  points <- rows_of_panels(panels, object)
  labels <- sprintf("%s: %s", names(named), named)
  points$variable <- rep(factor(labels[match(object$path, names(named))], labels), length(panels))
  points$path <- rep(object$path, length(panels))
  # draw the unlabelled variables first, behind the others
  points <- points[order(!is.na(points$variable)), ]
  stacked_facets(panels, object) +
    through(points, ggplot2::aes(
      .data$update, .data$value,
      group = factor(.data$path, unique(.data$path)), colour = .data$variable
    )) +
    ggplot2::scale_colour_manual(
      values = colours_of_variables, limits = labels, na.value = "grey70"
    ) +
    ggplot2::guides(colour = ggplot2::guide_legend(ncol = 1)) +
    ggplot2::labs(colour = NULL)
}

#' Draw a line through the points, or a point for a single update, for which ggplot2 would warn
#' @noRd
through <- function(points, aes, ...) {
  is_one <- length(unique(points$update)) == 1
  geom <- if (is_one) ggplot2::geom_point else ggplot2::geom_line
  geom(aes, points, na.rm = TRUE, ...)
}

rows_of_panels <- function(panels, x) {
  do.call(rbind, lapply(panels, function(panel) {
    data.frame(
      panel = label_of_panel(panel, panels), update = x$updates, value = panel$y,
      striking = panel$striking %||% NA
    )
  }))
}

label_of_panel <- function(panel, panels) {
  label <- function(panel) paste(c(panel$title, panel$note), collapse = ": ")
  factor(label(panel), vapply(panels, label, ""))
}

#' The panels below each other, with their backgrounds
#' @noRd
stacked_facets <- function(panels, x) {
  of_panels <- function(columns_of) {
    do.call(rbind, lapply(panels, function(panel) {
      columns <- columns_of(panel)
      if (!is.null(columns)) cbind(panel = label_of_panel(panel, panels), columns)
    }))
  }
  interval <- function(ends) if (!is.null(ends)) data.frame(low = ends[[1]], high = ends[[2]])
  bands <- of_panels(function(panel) interval(panel$band))
  ends <- of_panels(function(panel) interval(limits_of(panel)))
  limits <- of_panels(function(panel) {
    if (length(panel$limit) > 0) data.frame(limit = panel$limit)
  })
  at <- ggplot2::aes
  ggplot2::ggplot() +
    ggplot2::geom_rect(
      at(xmin = -Inf, xmax = Inf, ymin = .data$low, ymax = .data$high), bands,
      fill = "grey92"
    ) +
    ggplot2::geom_blank(at(x$updates[[1]], .data$low), ends) +
    ggplot2::geom_blank(at(x$updates[[1]], .data$high), ends) +
    ggplot2::geom_rect(
      at(xmin = .data$left, xmax = .data$right), stripes_of_nonfinite(x),
      ymin = -Inf, ymax = Inf, fill = colour_of_nonfinite
    ) +
    (if (!is.null(limits)) {
      ggplot2::geom_hline(at(yintercept = .data$limit), limits, linetype = 2)
    }) +
    ggplot2::scale_y_log10() +
    ggplot2::facet_wrap("panel", ncol = 1, scales = "free_y") +
    ggplot2::labs(x = "Update", y = NULL) +
    ggplot2::theme_bw() +
    ggplot2::theme(
      legend.position = "bottom", strip.background = ggplot2::element_blank(),
      strip.text = ggplot2::element_text(hjust = 0)
    )
}

# Checks -------------------------------------------------------------------------------------------

check_any_rows <- function(x, call = rlang::caller_env()) {
  if (nrow(x) == 0) {
    abort_argument(
      x, "statistics of at least one measured update",
      hint = "`fit()` with `callback_statistics()` collects them.",
      description = "an empty data frame", arg = "x", call = call
    )
  }
}
