#' Find a learning rate to begin with
#'
#' `find_learning_rate()` trains the model for some batches, with a learning rate that grows from
#' batch to batch, and records the loss. Where the loss falls, the rate is of use; where it rises
#' again, the rate is too high. Afterwards the model is as it was.
#'
#' @section The search:
#' The rate of batch \eqn{i} of \eqn{n} is
#' \deqn{\eta_i = \eta_{low} (\eta_{high} / \eta_{low})^{(i - 1) / (n - 1)}}{eta_i = low * (high /
#' low)^((i - 1) / (n - 1))}
#' with `lowest_rate`, `highest_rate` and \eqn{n} = `steps`. The losses \eqn{L_i} of single batches
#' are noisy, so that an average is looked at,
#' \deqn{\bar L_i = \frac{(1 - \beta) \sum_{j \le i} \beta^{i - j} L_j}{1 - \beta^i}}{smoothed_i =
#' (1 - b) * sum(b^(i - j) * L_j for j <= i) / (1 - b^i)}
#' with \eqn{\beta}{b} = 0.9. The search ends early where this smoothed loss exceeds 4 times its
#' least value, or is not finite.
#'
#' Two rates are suggested:
#' * `steepest`: where the smoothed loss falls most over the logarithm of the rate;
#' * `minimum`: a tenth of the rate of the least smoothed loss.
#'
#' Neither is a rate at which the loss had not begun to fall beyond its noise. Where no rate made
#' the loss fall, nothing is suggested. Look at the picture before you take one: a rate on the
#' slope, well before the loss rises again, is a good beginning.
#'
#' @section What stays as it was:
#' Another optimizer with the same settings trains, without velocities at first. Afterwards weights,
#' the optimizer and its state, metrics, seed generators and the global random state of Keras and
#' Python are as before, bit for bit, also after an error or an interrupt. What cannot be put back
#' is the state of the data, as of a `tf.data.Dataset` that shuffles. (R's own random numbers are
#' not used.)
#'
#' @param model A compiled Keras model, also one of the keras3 package. Its optimizer is one of
#'   kerasgd, with any learning rate, or another one of Keras whose rate is a number.
#' @param x,y What `fit()` takes: matrices, arrays or vectors, lists of them for several inputs or
#'   outputs, or objects of Python such as a `tf.data.Dataset` or a `PyDataset`, which bring `y`
#'   along. Functions and generators are refused.
#' @param ... More arguments of `fit()`, by name: `batch_size`, `shuffle`, `sample_weight` (a
#'   vector), and `class_weight` (a list such as `list("0" = 1, "1" = 5)`). Use the `batch_size`
#'   that you will train with: the rate to take depends on it.
#' @param lowest_rate,highest_rate The first and the last rate: numbers from 1e-37 to 1e+38.
#' @param steps The number of batches, a whole number >= 10. Data with fewer batches are repeated.
#'   With momentum take more than 100: a gradient acts for many batches then, and the rate must not
#'   grow much meanwhile.
#'
#' @return An object of class `kerasgd_rate_search`, a list of
#'   * `suggestion`: a numeric vector with the names `steepest` and `minimum`, or an empty one where
#'     no rate made the loss fall;
#'   * `rows`: a data frame with a row for each batch: `step`, `learning_rate`, `loss`,
#'     `smoothed_loss`. `as.data.frame()` gives it too;
#'   * `steps`: as given. There are fewer rows where the search ended early.
#'
#'   It prints, and has `plot()` and `ggplot2::autoplot()`, see [plot.kerasgd_rate_search()].
#'
#' @section Progress:
#' In an interactive session a bar shows how far a long search is. It can be interrupted.
#'
#' @section Errors:
#' `kerasgd_argument_error` for an argument that is not as described above; `kerasgd_state_error` if
#' the model is not compiled, has no weights yet, or its rate cannot be set; `kerasgd_python_error`
#' for errors of Keras while it trains.
#'
#' @source
#' Smith, L. N. (2017). Cyclical learning rates for training neural networks. *IEEE Winter
#' Conference on Applications of Computer Vision*, section 3.3.
#'
#' @seealso `vignette("choosing-a-learning-rate")`; [learning_rate_schedules] for rates that change;
#'   [explain_step()] for a single step
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
#' # Train with it
#' model$optimizer$learning_rate <- search$suggestion[["steepest"]]
#' history <- model$fit(x, y, batch_size = 8L, epochs = 20L, verbose = 0L)
#' signif(unlist(history$history$loss)[c(1, 5, 20)], 3)
#'
#' # What is refused
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
      progress = progress_bar_for_python("Looking for a learning rate"), arguments = arguments
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

#' Why there are fewer batches than wanted; `NULL` where all were trained
#' @noRd
format_early_end <- function(x) {
  if (nrow(x$rows) == x$steps) {
    return(NULL)
  }
  last <- x$rows$smoothed_loss[[nrow(x$rows)]]
  why <- if (is.finite(last)) "had grown to more than 4 times its least value" else "was not finite"
  sprintf("ended early: the smoothed loss %s", why)
}

format_suggestion <- function(suggestion) {
  if (length(suggestion) == 0) {
    return(c(
      "no rate made the loss fall: nothing is suggested",
      "look at `plot()`; other rates, more `steps` or larger batches may show more"
    ))
  }
  reasons <- c(
    steepest = "where the smoothed loss falls most",
    minimum = "a tenth of the rate of the least smoothed loss"
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
