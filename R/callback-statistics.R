#' Collect update statistics in `fit()`
#'
#' A callback for `fit()` that keeps one row for each update that the optimizer measures (see
#' [track_statistics()]). It also adds a summary of each epoch to Keras' logs, which the progress
#' bar, the history and other callbacks show.
#'
#' The summary covers the measured updates of the epoch:
#'
#' * `learning_rate`: the last value;
#' * `gradient_norm` and `update_ratio`: the means of the finite values;
#' * `clipped`: the share of updates that were clipped;
#' * `nonfinite`: the sum;
#' * `loss_scale`: the last value, if there is a loss scale.
#'
#' Callbacks that come before this one in the list do not see these values, so put this one first.
#'
#' On JAX, the callback has to fetch each measurement from Keras' trainer, which takes time. To save
#' time, measure fewer updates: `track_statistics(optimizer, every = 10)` measures every tenth. With
#' `steps_per_execution = n`, the callback sees only the last measured update of every n steps.
#'
#' @param ... Not used.
#'
#' @return A Keras callback, for the argument `callbacks` of `fit()`. [statistics()] returns its
#'   rows as a data frame; `plot()` and `ggplot2::autoplot()` plot them (see
#'   [plot.kerasgd_statistics()]).
#'
#' @section Errors:
#' If the optimizer does not measure its updates, `fit()` stops at once with an error that names
#' `track_statistics()`.
#'
#' Pass the callback in a list: `callbacks = list(callback)`. On JAX and PyTorch, Keras runs a
#' callback that is not in a list in parallel with the training steps; `fit()` then stops with an
#' error.
#'
#' @source Keras' documentation of [callbacks](https://keras.io/api/callbacks/).
#'
#' @seealso [track_statistics()] for the definition of each statistic, [plot.kerasgd_statistics()]
#' for plots
#' @concept callback
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
#' history <- model$fit(x, y, epochs = 3L, callbacks = list(watch), verbose = 0L)
#' watch
#' statistics(watch)
#' unlist(history$history$clipped) # the share of clipped updates in each epoch
callback_statistics <- function(...) {
  known_arguments()
  call_python("callbacks.Statistics", list())
}
class(callback_statistics) <- c("kerasgd_constructor", "function")

#' @rawNamespace
#' S3method(print, kerasgd.callbacks.Statistics, print_callback_statistics)
#' S3method(plot, kerasgd.callbacks.Statistics, plot_callback_statistics)
#' S3method(ggplot2::autoplot, kerasgd.callbacks.Statistics, autoplot_callback_statistics)
NULL

print_callback_statistics <- function(x, ...) {
  lines <- if (is_live_python_object(x)) {
    rows <- counted(nrow(statistics(x)), "measured update")
    sprintf("<kerasgd.callbacks.Statistics> %s: see `statistics()` and `plot()`", rows)
  }
  writeLines(lines %||% line_for_empty(x))
  invisible(x)
}

plot_callback_statistics <- function(x, ...) {
  check_live(x)
  plot(statistics(x), ...)
  invisible(x)
}

autoplot_callback_statistics <- function(object, ...) {
  check_live(object)
  ggplot2::autoplot(statistics(object), ...)
}
