#' Plot learning-rate schedules
#'
#' `plot()` draws one learning-rate schedule, or several with a legend. `lines()` adds one to a
#' plot. `ggplot2::autoplot()` draws the same as `plot()`, in the same colours, with the package
#' ggplot2.
#'
#' @name plot_schedules
#'
#' @section Usage:
#' ```r
#' plot(x, ..., steps = NULL)
#' lines(x, ..., steps = NULL)
#' autoplot(object, ..., steps = NULL)
#' ```
#'
#' @section Arguments:
#' * `x`, `object`: a learning-rate schedule of this package.
#' * `...`: more schedules, of this package or of Keras, or lists of them; and named graphical
#'   parameters, for `plot()` those of [graphics::matplot()], for `lines()` those of
#'   [graphics::lines()]. `lines()` draws one schedule. `autoplot()` accepts no graphical
#'   parameters: change its plot with `+`.
#' * `steps`: the steps to show, whole numbers >= 0. `plot(schedule, 0:100)`, without the name,
#'   works too. By default, a plot covers the schedules from beginning to end with at most 1001
#'   steps, and `lines()` covers the range of the existing plot.
#'
#' @section Titles and legends:
#' The title of a plot of one schedule is its R name with its arguments, such as
#' `cosine_decay(0.1, decay_steps 100)`. Several schedules have a legend instead. The legend shows
#' the name of the argument (`plot(a, "with warm-up" = b)`) or list element, otherwise the name of
#' the variable, otherwise the R name. `plot()` places the legend where it covers no curve; if there
#' is no such place, it extends the vertical axis. From the seventh schedule on, colours repeat with
#' dashed lines.
#'
#' @section Errors:
#' `kerasgd_argument_error` for steps or arguments that are not as described above, and
#' `kerasgd_state_error` for a schedule from `readRDS()` or `load()`.
#'
#' @return `plot()` and `lines()` return `x`, invisibly, and `ggplot2::autoplot()` returns a ggplot2
#'   plot.
#'
#' @family learning-rate schedules
#' @concept learning rate schedule
#' @concept learning rate plot
#' @examplesIf kerasgd_available()
#' cosine <- learning_rate_schedule_cosine_decay(0.1, decay_steps = 1000)
#' plot(cosine)
#' plot(cosine, steps = 0:500, main = "The first half", col = "black")
#'
#' # Several
#' stairs <- learning_rate_schedule_exponential_decay(0.1, 200, 0.5, staircase = TRUE)
#' plot(cosine, stairs, "with a warm-up" = learning_rate_schedule_linear_warmup(cosine, 100))
#'
#' # A list of them
#' higher_ends <- list(low = update(cosine, alpha = 0.1), high = update(cosine, alpha = 0.5))
#' plot(cosine, higher_ends)
#'
#' # On a logarithmic axis, and one more
#' plot(stairs, log = "y")
#' lines(learning_rate_schedule_exponential_decay(0.1, 200, 0.5), lty = 2)
#'
#' try(plot(cosine, step = 0:500))
NULL

#' @rawNamespace
#' S3method(plot, kerasgd.schedules.Schedule, plot_schedule)
#' S3method(graphics::lines, kerasgd.schedules.Schedule, lines_of_schedule)
#' S3method(ggplot2::autoplot, kerasgd.schedules.Schedule, autoplot_schedule)
NULL

plot_schedule <- function(x, ..., steps = NULL) {
  check_live(x)
  given <- sort_arguments(list(x, ...), as.list(substitute(list(x, ...)))[-1], steps)
  rates <- rates_of_several(given$schedules, given$steps)
  rates <- on_log_axes(rates, given$others$log %||% "")
  look <- look_of(length(given$schedules))
  defaults <- list(
    type = if (nrow(rates) > 1) "l" else "p", pch = 16, lty = look$lty, lwd = 2, col = look$col,
    xlab = "Step", ylab = "Learning rate", las = 1
  )
  draw_curves(rates, utils::modifyList(defaults, given$others), title_of(given$schedules))
  invisible(x)
}

lines_of_schedule <- function(x, ..., steps = NULL) {
  check_live(x)
  given <- given_arguments()
  rates <- rates_to_see(x, steps %||% steps_in_plot())
  settings <- utils::modifyList(
    list(lwd = 2, col = look_of(2)$col[[2]]), given[setdiff(names(given), c("x", "steps"))]
  )
  do.call(graphics::lines, c(list(rates$step, rates$learning_rate), settings))
  invisible(x)
}

steps_in_plot <- function() {
  shown <- graphics::par("usr")[1:2]
  if (graphics::par("xlog")) shown <- 10^shown
  steps_between(max(0, ceiling(shown[[1]])), max(0, floor(shown[[2]])))
}

# What is drawn -----------------------------------------------------------------------------------

#' The schedules among the arguments of `plot()`, the steps, and the graphical parameters
#'
#' The second argument, which is `y` elsewhere, may be the steps.
#' @noRd
sort_arguments <- function(arguments, expressions, steps,
                           accepted = "schedules, lists of them, or named graphical parameters",
                           call = rlang::caller_env()) {
  names <- rlang::names2(arguments)
  names[names == "y"] <- ""
  are_schedules <- vapply(arguments, is_plotted, NA)
  if (length(arguments) > 1 && names[[2]] == "" && !are_schedules[[2]]) {
    if (!is.null(steps)) abort_repeated_argument("steps", call = call)
    steps <- arguments[[2]]
    names[[2]] <- "steps"
  }
  are_others <- !are_schedules & names != "steps"
  others <- stats::setNames(arguments[are_others], names[are_others])
  check_argument_names(names(others), "steps", call = call)
  refuse <- function(x, fault = NULL) {
    hint <- "Write `steps = ` for the steps."
    abort_argument(x, accepted, fault = fault, hint = hint, arg = "...", call = call)
  }
  if ("" %in% names(others)) refuse(others[[match("", names(others))]])
  schedules <- stats::setNames(arguments[are_schedules], names[are_schedules])
  list(
    schedules = named_schedules(schedules, expressions[are_schedules], refuse, call = call),
    steps = checked_steps(steps, call = call), others = others
  )
}

#' A schedule, or a list, whose elements are checked later
#' @noRd
is_plotted <- function(x) is_schedule(x) || rlang::is_bare_list(x)

#' The steps in order, without repeats; there must be at least one
#' @noRd
checked_steps <- function(steps, call = rlang::caller_env()) {
  if (!is.null(steps) && length(steps) == 0) {
    abort_argument(steps, "at least one whole number from 0 to 2147483647", call = call)
  }
  if (is.numeric(steps)) sort(unique(steps), na.last = TRUE) else steps
}

#' The schedules, named for a legend by the user's names, the variables or the labels
#'
#' @param refuse A function that refuses a list, given the list and its fault.
#' @noRd
named_schedules <- function(arguments, expressions, refuse, call = rlang::caller_env()) {
  name <- function(given, expression, schedule) {
    if (nzchar(given)) given else name_in_code(expression) %||% label_in_legend(schedule)
  }
  named <- Map(function(value, given, expression) {
    if (is_schedule(value)) {
      return(stats::setNames(list(value), name(given, expression, value)))
    }
    check_all_schedules(value, refuse)
    stats::setNames(value, mapply(name, rlang::names2(value), list(NULL), value))
  }, arguments, rlang::names2(arguments), expressions)
  schedules <- do.call(c, unname(named))
  for (schedule in schedules) {
    check_live(schedule, call = call)
  }
  stats::setNames(schedules, make.unique(names(schedules), sep = " "))
}

check_all_schedules <- function(values, refuse) {
  wrong <- which(!vapply(values, is_schedule, NA))
  if (length(wrong) > 0) {
    element <- describe_element(values[[wrong[[1]]]])
    refuse(values, fault = sprintf("element %d of the list is %s", wrong[[1]], element))
  }
}

#' "cosine" for `cosine`, `all$cosine` and `all[["cosine"]]`
#' @noRd
name_in_code <- function(expression) {
  if (rlang::is_call(expression, c("$", "[["), n = 2)) {
    expression <- expression[[3]]
  }
  is_name <- is.symbol(expression) && !identical(expression, quote(.)) || is.character(expression)
  if (is_name) as.character(expression)
}

label_in_legend <- function(x) if (is_our_schedule(x)) label_of(x) else short_name(x)

title_of <- function(schedules) if (length(schedules) == 1) label_in_legend(schedules[[1]])

#' The rates of several schedules at the same steps: the first column has the steps
#' @noRd
rates_of_several <- function(schedules, steps, call = rlang::caller_env()) {
  if (is.null(steps)) {
    of_each <- lapply(schedules, steps_to_see)
    steps <- of_each[[which.max(vapply(of_each, max, 0))]]
  }
  rates <- lapply(schedules, rates_at, steps = steps, call = call)
  data.frame(step = as.vector(unlist(steps)), rates, check.names = FALSE)
}

#' The rates without the values that a logarithmic axis cannot show
#' @noRd
on_log_axes <- function(rates, log = "", call = rlang::caller_env()) {
  if (!identical(log, "")) check_choice(log, c("x", "y", "xy"), call = call)
  if (has_log(log, "x")) rates <- rates[rates$step > 0, ]
  if (has_log(log, "y")) rates[-1] <- lapply(rates[-1], positive)
  if (all(is.na(rates[-1]))) {
    hint <- sprintf("No %s is greater than 0.", if (nrow(rates) == 0) "step" else "rate")
    abort_argument(log, "the name of an axis with values > 0", hint = hint, call = call)
  }
  rates
}

has_log <- function(log, axis) isTRUE(grepl(axis, log, fixed = TRUE))

look_of <- function(n) {
  index <- seq_len(n) - 1
  list(
    col = unname(colours)[index %% length(colours) + 1],
    lty = index %/% length(colours) + 1
  )
}

# Base graphics -----------------------------------------------------------------------------------

#' @param title The title, unless the user gives `main`.
#' @noRd
draw_curves <- function(rates, settings, title) {
  draw <- function(settings) {
    do.call(graphics::matplot, c(list(rates$step, as.matrix(rates[-1])), settings))
  }
  if (isTRUE(settings$add)) {
    return(draw(settings))
  }
  graphics::plot.new() # to measure with the fonts of the device
  limits <- limits_of_curves(rates, settings)
  legend <- if (ncol(rates) > 2) place_legend(legend_of(names(rates)[-1], settings), rates, limits)
  graphics::par(new = TRUE)
  limits$y <- legend$ylim %||% limits$y
  ours <- list(xaxt = "n", yaxt = "n", ylab = "", xlim = limits$x, ylim = limits$y)
  draw(utils::modifyList(settings, ours))
  draw_axes(settings)
  if (!is.null(legend)) do.call(graphics::legend, legend$arguments)
  if (!is.null(title) && !"main" %in% names(settings)) {
    do.call(graphics::title, c(list(font.main = 1), fitted_title(title)))
  }
}

#' The limits of both axes, which are logarithmic, and whether the vertical one may be extended
#' @noRd
limits_of_curves <- function(rates, settings) {
  log <- list(x = has_log(settings$log, "x"), y = has_log(settings$log, "y"))
  list(
    x = settings$xlim %||% range(rates$step),
    y = settings$ylim %||% range(if (!log$y) 0, rates[-1], na.rm = TRUE),
    log = log, can_grow = is.null(settings$ylim)
  )
}

#' Draw horizontal labels, as large as the margin allows, and the name of the axis beside them
#' @noRd
draw_axes <- function(settings) {
  has_axis <- function(kind) !isFALSE(settings$axes) && !identical(settings[[kind]], "n")
  of_axis <- settings[names(settings) %in% c("cex.axis", "col.axis", "font.axis", "las", "tcl")]
  if (has_axis("xaxt")) {
    at <- graphics::axTicks(1)
    do.call(graphics::axis, c(list(1, at, whole_labels(at, of_axis)), of_axis))
  }
  at <- graphics::axTicks(2)
  labels <- if (has_log(settings$log, "y")) vapply(at, format, "") else format(at, trim = TRUE)
  room <- room_for_labels(if (has_axis("yaxt")) labels else "", settings)
  if (has_axis("yaxt")) {
    of_axis$cex.axis <- room$cex
    do.call(graphics::axis, c(list(2, at, labels, mgp = c(3, from_axis, 0)), of_axis))
  }
  if (!is.null(room$line)) {
    of_name <- settings[names(settings) %in% c("ylab", "cex.lab", "col.lab", "font.lab")]
    do.call(graphics::title, c(list(line = room$line), of_name))
  }
}

with_commas <- function(x) format(x, big.mark = ",", scientific = FALSE, trim = TRUE)

#' The labels of the steps; those at the edge of the figure are left out if they would be cut
#' @noRd
whole_labels <- function(at, of_axis) {
  labels <- with_commas(at)
  cex <- of_axis$cex.axis %||% graphics::par("cex.axis")
  half <- graphics::strwidth(labels, "inches", cex = cex) / 2
  middle <- graphics::grconvertX(at, "user", "inches")
  edges <- graphics::grconvertX(c(0, 1), "nfc", "inches")
  ifelse(middle - half >= edges[[1]] & middle + half <= edges[[2]], labels, "")
}

#' The size of the labels of the vertical axis, and the line of the margin for its name
#'
#' A narrow margin, as in several small plots, has no room for the name: only the labels are drawn.
#' @noRd
room_for_labels <- function(labels, settings) {
  cex <- settings$cex.axis %||% graphics::par("cex.axis")
  if (!settings$las %in% 1:2) {
    return(list(cex = cex, line = graphics::par("mgp")[[1]]))
  }
  inches_per_line <- graphics::par("csi") * graphics::par("mex")
  needed <- max(graphics::strwidth(labels, "inches", cex = cex)) / inches_per_line
  beside_axis <- graphics::par("mar")[[2]] - from_axis
  beside_name <- beside_axis - 1.5
  has_name <- beside_name >= 0.6 * needed
  shrink <- min(1, (if (has_name) beside_name else beside_axis - 0.1) / needed)
  list(cex = cex * max(shrink, 0.4), line = if (has_name) from_axis + shrink * needed + 0.4)
}

# Lines of the margin between the vertical axis and its labels
from_axis <- 0.7

#' A title on as many lines as the margin holds, in a size that fits
#' @noRd
fitted_title <- function(title) {
  width <- graphics::par("pin")[[1]] + 2 * min(graphics::par("mai")[c(2, 4)])
  for (cex in c(1.2, 1, 0.85, 0.7, 0.6)) {
    size <- function(text) max(graphics::strwidth(text, "inches", cex = cex, font = 1))
    lines <- wrapped(title, nchar(title) * width / size(title))
    if (length(lines) * cex * 1.1 <= graphics::par("mar")[[3]] && size(lines) <= width) break
  }
  list(main = lines, cex.main = cex)
}

#' Wrap a label, but never between the name of an argument and its value
#' @noRd
wrapped <- function(label, width) {
  kept_together <- gsub("(?<=[^,]) ", "\001", label, perl = TRUE)
  gsub("\001", " ", strwrap(kept_together, max(width, 2)), fixed = TRUE)
}

legend_of <- function(names, settings) {
  types <- unlist(strsplit(settings$type, "")) # a string may have one for each curve
  is_line <- any(types %in% c("l", "s", "S", "b", "o", "c", "h"))
  is_point <- any(types %in% c("p", "b", "o"))
  arguments <- c(
    list(names, bg = "white", box.col = "grey80", inset = 0.02),
    settings["col"], if (is_line) settings[c("lty", "lwd")], if (is_point) settings["pch"]
  )
  graphics::plot.window(c(0, 1), c(0, 1), xaxs = "i", yaxs = "i")
  size <- function(columns, cex) {
    arguments[c("ncol", "cex")] <- list(columns, cex)
    drawn <- do.call(graphics::legend, c(list("topright", plot = FALSE), arguments))
    c(drawn$rect$w, drawn$rect$h)
  }
  # The largest legend that takes at most 35 %, or else 50 %, of the height; otherwise the lowest
  looks <- expand.grid(columns = seq_along(names), cex = c(0.9, 0.75, 0.6, 0.5))
  sizes <- mapply(size, looks$columns, looks$cex)
  fits <- sizes[1, ] <= 0.95
  heights <- ifelse(fits, sizes[2, ], Inf)
  chosen <- c(which(heights <= 0.35), which(heights <= 0.5), which.min(heights), nrow(looks))[[1]]
  arguments[c("ncol", "cex")] <- looks[chosen, ]
  list(arguments = arguments, size = sizes[, chosen])
}

#' Place the legend where it covers no curve; extend the axis if there is no such place
#' @noRd
place_legend <- function(legend, rates, limits) {
  places <- list(
    topright = c(1, 1), topleft = c(0, 1), bottomleft = c(0, 0), bottomright = c(1, 0),
    top = c(0.5, 1), bottom = c(0.5, 0)
  )
  pieces <- pieces_of_curves(rates, limits)
  boxes <- lapply(places, box_at, size = pmin(legend$size + 0.04, 1))
  is_free <- vapply(boxes, function(box) !any(is_under(pieces, box)), NA)
  legend$arguments$x <- names(places)[c(which(is_free), 1)[[1]]]
  if (!any(is_free) && limits$can_grow) {
    legend$ylim <- extended_limits(pieces, boxes$topright, limits)
  }
  legend
}

box_at <- function(place, size) {
  corner <- place * (1 - size)
  list(x = corner[[1]] + c(0, size[[1]]), y = corner[[2]] + c(0, size[[2]]))
}

#' The curves as short pieces, in fractions of the width and height of the plot
#' @noRd
pieces_of_curves <- function(rates, limits) {
  x <- as_fraction(rates$step, limits$x, limits$log$x)
  do.call(rbind, lapply(rates[-1], function(rate) {
    y <- as_fraction(rate, limits$y, limits$log$y)
    known <- !is.na(x) & !is.na(y)
    if (sum(known) > 1) {
      curve <- stats::approx(x[known], y[known], sort(unique(c(x[known], seq(0, 1, 0.005)))))
      x <- curve$x
      y <- curve$y
    }
    piece <- data.frame(x = x, to_x = c(x[-1], NA), y = y, to_y = c(y[-1], NA))
    piece[!is.na(piece$y), ]
  }))
}

#' R leaves 4 % of an axis on both sides
#' @noRd
as_fraction <- function(values, limits, log) {
  if (log) {
    values <- log10(values)
    limits <- log10(limits)
  }
  span <- diff(limits)
  within <- if (span == 0) rep(0.5, length(values)) else (values - limits[[1]]) / span
  (within + 0.04) / 1.08
}

is_under <- function(pieces, box) {
  overlap <- function(from, to, ends) {
    pmin(from, to, na.rm = TRUE) <= ends[[2]] & pmax(from, to, na.rm = TRUE) >= ends[[1]]
  }
  overlap(pieces$x, pieces$to_x, box$x) & overlap(pieces$y, pieces$to_y, box$y)
}

#' The limits of the vertical axis that keep all curves below the legend, which is at the top
#' @noRd
extended_limits <- function(pieces, box, limits) {
  below <- is_under(pieces, list(x = box$x, y = c(-Inf, Inf)))
  peak <- 1.08 * max(pieces$y[below]) - 0.04
  factor <- peak / max(1.08 * box$y[[1]] - 0.04, 0.1)
  ends <- if (limits$log$y) log10(limits$y) else limits$y
  ends[[2]] <- ends[[1]] + factor * diff(ends)
  if (limits$log$y) 10^ends else ends
}

# ggplot2 -----------------------------------------------------------------------------------------

autoplot_schedule <- function(object, ..., steps = NULL) {
  check_live(object)
  given <- sort_arguments(
    list(object, ...), as.list(substitute(list(object, ...)))[-1], steps,
    accepted = "schedules, or lists of them"
  )
  if (length(given$others) > 0) {
    name <- names(given$others)[[1]]
    abort_unknown_argument(name, given$others[[1]], hint = "Change the plot with `+`.")
  }
  rates <- rates_of_several(given$schedules, given$steps)
  names <- names(given$schedules)
  rows <- data.frame(
    step = rates$step,
    learning_rate = unlist(rates[-1], use.names = FALSE),
    schedule = rep(factor(names, names), each = nrow(rates))
  )
  look <- look_of(length(names))
  at <- ggplot2::aes(
    .data$step, .data$learning_rate,
    colour = .data$schedule, linetype = .data$schedule
  )
  title <- title_of(given$schedules)
  ggplot2::ggplot(rows, at) +
    (if (nrow(rates) > 1) ggplot2::geom_line(linewidth = 0.8) else ggplot2::geom_point()) +
    ggplot2::expand_limits(y = 0) +
    ggplot2::scale_colour_manual(values = look$col) +
    ggplot2::scale_linetype_manual(values = look$lty) +
    ggplot2::scale_x_continuous(labels = with_commas) +
    ggplot2::labs(
      x = "Step", y = "Learning rate", colour = NULL, linetype = NULL,
      title = if (!is.null(title)) paste(wrapped(title, 40), collapse = "\n")
    ) +
    ggplot2::theme_bw() +
    ggplot2::theme(
      plot.title = ggplot2::element_text(size = 10),
      plot.title.position = "plot",
      plot.margin = ggplot2::margin(6, 16, 6, 6), # for the last label of the steps
      legend.position = if (is.null(title)) "bottom" else "none"
    ) +
    ggplot2::guides(colour = columns_of_legend(names), linetype = columns_of_legend(names))
}

#' As many columns as about 45 characters hold
#' @noRd
columns_of_legend <- function(names) {
  ggplot2::guide_legend(ncol = max(1, min(length(names), 45 %/% (max(nchar(names)) + 6))))
}
