#' Find a learning rate to start with
#'
#' `find_learning_rate()` suggests a learning rate for your model and data. It trains the model for
#' some batches with a learning rate that grows from batch to batch, and records the loss. Rates at
#' which the loss falls are useful; where the loss rises again, the rate is too high. Afterwards the
#' model is restored.
#'
#' @section The search:
#' The rate of batch \eqn{i} of \eqn{n} is
#' \deqn{\eta_i = \eta_{low} (\eta_{high} / \eta_{low})^{(i - 1) / (n - 1)}}{eta_i = low * (high /
#' low)^((i - 1) / (n - 1))} with \eqn{\eta_{low}}{low} for `lowest_rate`, \eqn{\eta_{high}}{high}
#' for `highest_rate` and \eqn{n} for `steps`. The losses \eqn{L_i} of single batches are noisy, so
#' the search uses an exponential moving average,
#' \deqn{\bar L_i = \frac{(1 - \beta) \sum_{j \le i} \beta^{i - j} L_j}{1 - \beta^i}}{smoothed_i =
#' (1 - b) * sum(b^(i - j) * L_j for j <= i) / (1 - b^i)}
#' with \eqn{\beta}{b} = 0.9. The search ends early when this smoothed loss exceeds 4 times its
#' minimum, or is not finite.
#'
#' The search suggests two rates:
#' * `steepest`: the rate at which the smoothed loss falls most steeply over the logarithm of the
#'   rate;
#' * `minimum`: a tenth of the rate with the lowest smoothed loss.
#'
#' The search considers only rates from the point on where the loss has fallen by more than its
#' noise. If there is no such point, it suggests nothing. Look at the plot before you choose a rate:
#' a rate on the slope, well before the loss rises again, is a good start.
#'
#' @section Restored state:
#' The search trains with a copy of the optimizer, whose settings are the same and whose velocities
#' start at 0. Afterwards the weights, the optimizer and its state, metrics, seed generators and the
#' global random state of Keras and Python are restored bit for bit, even after an error or an
#' interrupt. The state of the data, such as a `tf.data.Dataset` that shuffles, cannot be restored.
#' (The search does not use R's random numbers.)
#'
#' @param model A compiled Keras model, from reticulate or the keras3 package. Its optimizer comes
#'   from kerasgd, with any learning rate, or is another Keras optimizer whose learning rate is a
#'   number.
#' @param x,y The data, as for `fit()`: matrices, arrays or vectors, lists of them for several
#'   inputs or outputs, or Python objects such as a `tf.data.Dataset` or a `PyDataset`, which
#'   include `y`. Functions and generators are errors, because the search cannot rewind them.
#' @param ... Further arguments of `fit()`, by name: `batch_size`, `shuffle`, `sample_weight` (a
#'   vector), and `class_weight` (a list such as `list("0" = 1, "1" = 5)`). Use the `batch_size`
#'   that you will train with: the best rate depends on it.
#' @param lowest_rate,highest_rate The first and the last rate: numbers from 1e-37 to 1e+38.
#' @param steps The number of batches, a whole number >= 10. Data with fewer batches are repeated.
#'   With momentum, use more than 100: each gradient then affects many later batches, during which
#'   the rate should grow only a little.
#'
#' @return An object of class `kerasgd_rate_search`, a list of
#'   * `suggestion`: a numeric vector with the names `steepest` and `minimum`, or an empty vector if
#'     no rate made the loss fall;
#'   * `rows`: a data frame with one row for each batch: `step`, `learning_rate`, `loss`,
#'     `smoothed_loss`. `as.data.frame()` returns it too;
#'   * `steps`: the argument `steps`. `rows` has fewer rows if the search ended early.
#'
#'   It has methods for `print()`, `plot()` and `ggplot2::autoplot()`; see
#'   [plot.kerasgd_rate_search()].
#'
#' @section Progress:
#' In an interactive session, a long search shows a progress bar. You can interrupt the search.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; `kerasgd_state_error` if the
#' model is not compiled, has no variables yet, or its learning rate cannot be set;
#' `kerasgd_python_error` for errors of Keras during training.
#'
#' @source
#' Smith, L. N. (2017). Cyclical learning rates for training neural networks. *IEEE Winter
#' Conference on Applications of Computer Vision*, section 3.3.
#'
#' @seealso `vignette("choosing-a-learning-rate")`; [learning_rate_schedules]; [explain_step()] for
#' a single step
#' @concept learning rate finder
#' @concept learning rate range test
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' keras$utils$set_random_seed(1L)
#' x <- scale(as.matrix(mtcars[c("wt", "hp", "qsec")]))
#' y <- matrix(mtcars$mpg - mean(mtcars$mpg))
#'
#' layers <- list(keras$Input(shape = list(3L)), keras$layers$Dense(1L))
#' model <- keras$Sequential(layers)
#' model$compile(optimizer = optimizer_sgd(), loss = "mse")
#'
#' search <- find_learning_rate(model, x, y, batch_size = 8)
#' search
#' head(as.data.frame(search))
#' plot(search)
#'
#' # Train with the suggested rate
#' model$optimizer$learning_rate <- search$suggestion[["steepest"]]
#' history <- model$fit(x, y, batch_size = 8L, epochs = 20L, verbose = 0L)
#' signif(unlist(history$history$loss)[c(1, 5, 20)], 3)
#'
#' # Argument errors
#' try(find_learning_rate(model, mtcars, y))
#' try(find_learning_rate(model, x, y, epochs = 5))
find_learning_rate <- function(model, x, y = NULL, ..., lowest_rate = 1e-7, highest_rate = 10,
                               steps = 100) {
  given <- given_arguments()
  check_given(given, "model", "a compiled Keras model")
  check_given(given, "x", requirement_of_data)
  if (is.null(x)) check_array(x, requirement_of_data)
  check_rows(x, y)
  check_rows(x, given$sample_weight, arg = "sample_weight")
  python_package()
  arguments <- given[setdiff(names(given), c("model", "x", "y"))]
  if (!is.null(given$sample_weight)) {
    arguments$sample_weight <- data_as_python(given$sample_weight, arg = "sample_weight")
  }
  if (!is.null(given$class_weight)) {
    arguments$class_weight <- class_weight_as_python(given$class_weight, "class_weight")
  }
  arguments$steps <- steps
  found <- call_python(
    "r.tools.find_learning_rate",
    list(
      model = model, x = data_as_python(x, requirement_of_data), y = data_as_python(y),
      progress = progress_bar_for_python("Finding a learning rate"), arguments = arguments
    ),
    received = given
  )
  new_rate_search(found, steps)
}

new_rate_search <- function(found, steps) {
  columns <- lapply(found$rows, function(values) as.double(unlist(values)))
  rows <- data.frame(columns)
  rows$step <- rows$step + 1
  suggestion <- vapply(found$suggestion, as.double, 0)
  if (length(suggestion) == 0) {
    suggestion <- stats::setNames(numeric(), character())
  }
  structure(
    list(suggestion = suggestion, rows = rows, steps = steps),
    class = "kerasgd_rate_search"
  )
}

#' @export
as.data.frame.kerasgd_rate_search <- function(x, ...) x$rows

#' @export
format.kerasgd_rate_search <- function(x, ...) {
  rates <- format_rates(x$rows$learning_rate[c(1, nrow(x$rows))])
  batches <- nrow(x$rows)
  searched <- sprintf(
    "<kerasgd_rate_search> %d %s with rates from %s to %s",
    batches, if (batches == 1) "batch" else "batches", rates[[1]], rates[[2]]
  )
  c(searched, sprintf("  %s", c(format_early_end(x), format_suggestion(x$suggestion))))
}

#' The reason for fewer batches than requested; `NULL` if all were trained
#' @noRd
format_early_end <- function(x) {
  if (nrow(x$rows) == x$steps) {
    return(NULL)
  }
  last <- x$rows$smoothed_loss[[nrow(x$rows)]]
  why <- if (is.finite(last)) "grew to more than 4 times its minimum" else "was not finite"
  sprintf("ended early: the smoothed loss %s", why)
}

format_suggestion <- function(suggestion) {
  if (length(suggestion) == 0) {
    return(c(
      "no suggestion: no rate made the loss fall",
      "see `plot()`; try other rates, more `steps` or larger batches"
    ))
  }
  reasons <- c(
    steepest = "where the smoothed loss falls most steeply",
    minimum = "a tenth of the rate with the lowest smoothed loss"
  )
  rates <- vapply(suggestion, format, "", digits = 2)
  sprintf(
    "%s  %s  %s", format(names(suggestion)), format(rates), reasons[names(suggestion)]
  )
}

#' @export
print.kerasgd_rate_search <- function(x, ...) {
  writeLines(format(x, ...))
  invisible(x)
}
