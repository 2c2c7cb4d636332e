#' Measure the updates of an optimizer
#'
#' `track_statistics()` makes an optimizer measure its updates: the norm of the gradient, the effect
#' of clipping, and the change of the weights. In `fit()`, [callback_statistics()] collects the
#' measurements. `statistics()` returns them as a data frame, which can be plotted.
#'
#' @section The statistics:
#' Let \eqn{g} be the gradient of the update, over all variables and before clipping (with
#' accumulation, the mean over the window), \eqn{\tilde g}{c(g)} the gradient after clipping,
#' \eqn{w} the weights before the update and \eqn{\Delta w}{dw} their change by weight decay, update
#' rule and constraints. \eqn{\|\cdot\|}{||.||} is the L2 norm over all elements.
#'
#' | column | definition |
#' |---|---|
#' | `learning_rate` | the learning rate of the update |
#' | `gradient_norm` | \eqn{\|g\|}{||g||} |
#' | `clip_coefficient` | \eqn{\|\tilde g\| / \|g\|}{||c(g)|| / ||g||}; 1 for a norm of 0 |
#' | `update_ratio` | \eqn{\|\Delta w\| / \|w\|}{||dw|| / ||w||}; 0 for weights of norm 0 |
#' | `update_norm` | \eqn{\|\Delta w\|}{||dw||} |
#' | `weight_norm` | \eqn{\|w\|}{||w||} |
#' | `nonfinite` | the number of elements of \eqn{g} that are `NaN` or infinite |
#' | `loss_scale` | the factor that multiplied the loss |
#' | `updates` | the number of updates so far |
#' | `clip_limit` | the limit of the norm: the optimizer's `global_clipnorm`, or `NA` |
#'
#' A callback adds `epoch` and `batch`, both counted from 1. With `of = "variables"`, there is one
#' row for each update and variable: `path` names the variable, the norms, the ratio and `nonfinite`
#' are those of this variable alone, and `clip_limit` is the optimizer's `clipnorm`.
#'
#' An update with a `clip_coefficient` below 1 was clipped. An `update_ratio` near 0.001 is often
#' healthy (Karpathy).
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()], before its
#'   first step.
#' @param per_variable Whether to measure each variable too: `TRUE` or `FALSE`.
#' @param every A whole number n >= 1: the optimizer measures every n-th update.
#' @param x A callback made by [callback_statistics()], for all its rows, or an optimizer, for the
#'   last update that it measured.
#' @param of `"updates"`, or `"variables"`, which requires `per_variable = TRUE`.
#' @param ... Not used.
#'
#' @return `track_statistics()` returns the optimizer, invisibly, so that calls can be chained with
#'   `|>`.
#'
#' `statistics()` returns a data frame of class `kerasgd_statistics` or, with `of = "variables"`, of
#' class `kerasgd_variable_statistics`, with one row for each measured update. For an optimizer that
#' has not measured an update yet, it returns `NULL`. See [plot.kerasgd_statistics()].
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; `kerasgd_state_error` if the
#' optimizer is already built, or does not measure its updates or variables.
#'
#' @source
#' Karpathy, A. (2015). [CS231n: babysitting the learning
#' process](https://cs231n.github.io/neural-networks-3/), section "Ratio of weights:updates".
#'
#' Pascanu, R., Mikolov, T. and Bengio, Y. (2013). On the difficulty of training recurrent neural
#' networks. *International Conference on Machine Learning*. On the norm of the gradient and
#' clipping it.
#'
#' @seealso [callback_statistics()] to collect statistics in `fit()`; [skip_nonfinite()];
#' `vignette("watching-a-training")`
#' @concept gradient norm
#' @concept monitoring
#' @concept update ratio
#' @export
#' @examplesIf kerasgd_available()
#' # One weight of 4 in y = w x, with x = 1 and y = 0: the gradient of w^2 is 2 w
#' optimizer <- optimizer_sgd(learning_rate = 0.25, global_clipnorm = 4) |> track_statistics()
#' weight <- reticulate::import("keras")$Variable(4)
#' for (step in 1:3) {
#'   apply_gradients(optimizer, list(2 * as.double(weight)), list(weight))
#'   print(statistics(optimizer))
#' }
#'
#' # The optimizer is already built, and does not measure variables
#' try(track_statistics(optimizer))
#' try(statistics(optimizer, of = "variables"))
track_statistics <- function(optimizer, per_variable = FALSE, every = 1, ...) {
  given <- known_arguments()
  check_optimizer(given)
  settings <- list(per_variable = per_variable, every = every)
  call_python_function(
    reticulate::py_get_attr(optimizer, "track_statistics"),
    lapply(settings, as_python), settings
  )
  invisible(optimizer)
}

#' @rdname track_statistics
#' @export
statistics <- function(x, of = "updates", ...) {
  UseMethod("statistics")
}

#' @rawNamespace
#' S3method(statistics, kerasgd.callbacks.Statistics, statistics_of)
#' S3method(statistics, kerasgd.SGD, statistics_of)
#' S3method(statistics, kerasgd.LossScaleOptimizer, statistics_of)
#' S3method(statistics, keras.src.optimizers.loss_scale_optimizer.LossScaleOptimizer, statistics_of)
NULL

statistics_of <- function(x, of = "updates", ...) {
  known_arguments()
  check_live(x)
  check_choice(of, c("updates", "variables"))
  if (inherits(x, keras_wrapper)) {
    if (!wraps_ours(x)) abort_without_statistics(x)
    x <- inner_optimizer(x)
  }
  columns <- call_python(paste0("r.statistics.of_", of), list(source = x))
  if (!is.null(columns)) data_frame_of_statistics(columns)
}

#' @export
statistics.default <- function(x, ...) {
  abort_without_statistics(x)
}

abort_without_statistics <- function(x, call = rlang::caller_env()) {
  requirement <- paste(
    "a callback made by `callback_statistics()`,",
    "or an optimizer made by `optimizer_sgd()` or `optimizer_loss_scale()`"
  )
  if (missing(x)) abort_missing_argument("x", requirement, call = call)
  abort_argument(x, requirement, arg = "x", call = call)
}

#' The order of the columns: the most useful come first, because `print()` shows as many as fit
#' @noRd
columns_of_statistics <- c(
  "epoch", "batch", "updates", "path", "learning_rate", "gradient_norm", "clip_coefficient",
  "update_ratio", "update_norm", "weight_norm", "nonfinite", "loss_scale", "clip_limit"
)

#' @param columns From `kerasgd.r.statistics`: bytes of doubles, and the distinct paths.
#' @noRd
data_frame_of_statistics <- function(columns) {
  paths <- as.character(columns$paths)
  measured <- columns[setdiff(names(columns), c("paths", "clip_limit"))]
  measured <- lapply(measured, function(bytes) {
    readBin(bytes, "double", n = length(bytes) / 8, endian = "little")
  })
  if ("path" %in% names(measured)) measured$path <- paths[measured$path + 1]
  rows <- length(measured[[1]])
  measured$clip_limit <- rep(as.double(columns$clip_limit %||% NA), rows)
  found <- data.frame(measured[intersect(columns_of_statistics, names(measured))])
  of_variables <- if ("path" %in% names(found)) "kerasgd_variable_statistics"
  class(found) <- c(of_variables %||% "kerasgd_statistics", "data.frame")
  found
}

#' A data frame that lacks one of the columns is a plain data frame
#' @export
#' @noRd
`[.kerasgd_statistics` <- function(x, ...) {
  chosen <- NextMethod()
  if (is.data.frame(chosen) && !setequal(names(chosen), names(x))) as.data.frame(chosen) else chosen
}

#' @export
`[.kerasgd_variable_statistics` <- `[.kerasgd_statistics`

# Printing ----------------------------------------------------------------------------------------

#' @export
print.kerasgd_statistics <- function(x, ...) {
  notes <- c(note_on_clips(x), note_on_nonfinite(x))
  writeLines(c(
    sprintf("<kerasgd_statistics> %s%s", counted(nrow(x), "measured update"), format_epochs(x)),
    sprintf("  %s", notes),
    format_rows(as.data.frame(x))
  ))
  invisible(x)
}

#' @export
print.kerasgd_variable_statistics <- function(x, ...) {
  variables <- counted(length(unique(x$path)), "variable")
  rows <- counted(nrow(x), "row")
  writeLines(c(
    sprintf("<kerasgd_variable_statistics> %s, %s%s", rows, variables, format_epochs(x)),
    format_rows(as.data.frame(x))
  ))
  invisible(x)
}


format_epochs <- function(x) {
  if (nrow(x) == 0 || is.null(x$epoch)) {
    return("")
  }
  ends <- unique(range(x$epoch))
  sprintf(" in epoch%s %s", if (length(ends) > 1) "s" else "", paste(ends, collapse = " to "))
}

#' The share of clipped updates, and the limit; `NULL` if nothing is clipped
#' @noRd
note_on_clips <- function(x) {
  clipped <- is_clipped(x)
  limit <- limit_of(x)
  if (any(clipped) || length(limit) > 0) {
    share <- paste(percent(mean(clipped)), "of the updates clipped")
    paste0(share, if (length(limit) > 0) sprintf(" (limit %s)", toString(signif(limit, 4))))
  }
}

#' The number of updates whose gradient was not finite, and whether they were skipped
#' @noRd
note_on_nonfinite <- function(x) {
  hit <- x$nonfinite > 0
  if (any(hit)) {
    skipped <- all(x$update_norm[hit] %in% 0) # NaN if the update was not skipped
    sprintf("%s not finite%s", counted(sum(hit), "update"), if (skipped) ", skipped" else "")
  }
}

percent <- function(share) paste(format(100 * share, digits = 2, trim = TRUE), "%")

is_clipped <- function(x) !is.na(x$clip_coefficient) & x$clip_coefficient < 1

#' The first and last rows, with as many columns as fit into 80 characters
#' @noRd
format_rows <- function(rows) {
  if (nrow(rows) == 0) {
    return(NULL)
  }
  chosen <- if (nrow(rows) > 12) c(1:5, NA, nrow(rows) - 4:0) else seq_len(nrow(rows))
  columns <- Map(format_column, names(rows), rows, list(chosen))
  fit <- cumsum(1 + vapply(columns, function(lines) nchar(lines[[1]]), 1)) <= 80
  left_out <- names(rows)[!fit]
  c(
    do.call(paste, unname(columns[fit])),
    if (length(left_out) > 0) {
      strwrap(paste("... and", paste(left_out, collapse = ", ")), width = 80, exdent = 4)
    }
  )
}

#' The name and the values of a column, all equally wide; `NA` among the indices stands for omitted
#' rows
#' @noRd
format_column <- function(name, values, chosen) {
  shown <- if (is.character(values)) values[chosen] else format_numbers(values[chosen])
  shown[is.na(chosen)] <- "..."
  format(c(name, shown), justify = if (is.character(values)) "left" else "right")
}

format_numbers <- function(x) {
  is_whole <- !is.na(x) & x == trunc(x) & abs(x) < 1e15
  ifelse(is_whole, format_whole(x), formatC(x, digits = 4, format = "g"))
}

format_whole <- function(x) formatC(x, digits = 0, format = "f")
