#' Explain a step, stage by stage
#'
#' `explain_step()` shows how the next step would change each variable of a model, given one batch
#' of data: the norm of the gradient before and after clipping, the contributions of weight decay,
#' velocity and constraints, and how far the weights move. With `check = TRUE`, it also takes the
#' real step, on copies of the weights and the optimizer, and compares the two, so you can check on
#' your own model that the optimizer does what its documentation says. The model does not change.
#'
#' @section The stages:
#' A reference implementation of the documentation (see [optimizer_sgd()]) in plain NumPy computes
#' the step in float64 from the current weights and state. The table has the columns for each
#' variable. \eqn{g} is the gradient of this step, \eqn{\bar g}{mean(g)} its mean over the
#' accumulation window, \eqn{\tilde g}{c(g)} that mean after clipping, and \eqn{\|\cdot\|}{||.||}
#' the L2 norm over the elements of the variable; the other symbols are those of [optimizer_sgd()].
#'
#' | column | definition | in `print()` |
#' |---|---|---|
#' | `gradient_norm` | \eqn{\|s g\|}{||s g||}, with the loss scale \eqn{s} | gradient |
#' | `unscaled_norm` | \eqn{\|g\|}{||g||} | after unscaling |
#' | `mean_norm` | \eqn{\|\bar g\|}{||mean(g)||} | mean over the window |
#' | `clip_coefficient` | `clipped_norm / mean_norm` | clip coefficient |
#' | `clipped_norm` | \eqn{\|\tilde g\|}{||c(g)||} | after the clip |
#' | `decay_norm` | \eqn{\|\eta \lambda w\|}{||eta lambda w||} | weight decay |
#' | `velocity_norm_before` | \eqn{\|v\|}{||v||} before the step | velocity before |
#' | `velocity_norm` | \eqn{\|v\|}{||v||} after the step | velocity |
#' | `constraint_norm` | norm of the change by the constraint | constraint |
#' | `overwritten` | whether the average overwrites the weights | overwritten |
#' | `change_norm` | \eqn{\|\Delta w\|}{||dw||}, norm of the total change | change of weights |
#' | `average_distance` | norm of the new weights minus their average | distance to average |
#'
#' `NA` means that this step does not reach the stage. A step of gradient accumulation that is not
#' an update ends after unscaling, and so does a step that [optimizer_loss_scale()] skips. A step
#' that [skip_nonfinite()] skips ends after the mean. `print()` reports this.
#'
#' `check = TRUE` adds three columns. `largest_difference` is the largest difference of any weight
#' between the real step and the reference, which use the same gradients. `bound` is the largest
#' difference that rounding explains: the largest weight times 2e-6 in float32, 1e-12 in float64,
#' \eqn{2^{-10}}{2^-10} in float16 and \eqn{2^{-7}}{2^-7} in bfloat16. `holds` is `TRUE` if the
#' difference is within the bound.
#'
#' @param model A compiled Keras model, from reticulate or the keras3 package, with Keras' own
#'   `train_step()`. Its optimizer comes from kerasgd or is a `keras.optimizers.SGD`; for the
#'   latter, `check` shows where Keras departs from its documentation on this model.
#' @param x,y The inputs and targets of one batch: matrices, arrays or vectors, or lists of them for
#'   several inputs or outputs.
#' @param sample_weight A vector of sample weights, or `NULL`.
#' @param check Whether to compare with the real step: `TRUE` or `FALSE`.
#' @param ... Not used.
#'
#' @return A data frame of class `kerasgd_step` with one row for each variable: `path`, `shape`
#'   (such as `"784 x 128"`, or `"scalar"`), and the columns listed in the section "The stages".
#'
#'   `print()` shows stages as rows and variables as columns, in as many blocks as the width of the
#'   console requires. It shows at most 10 variables; `print(x, n = Inf)` shows all. Stages that
#'   have no effect on any variable are listed below the table. A subset of the columns prints as a
#'   plain data frame.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; `kerasgd_state_error` if the
#' model is not compiled, or has another optimizer or a custom `train_step()`;
#' `kerasgd_python_error` for errors of Keras, for example if the batch does not fit the model.
#'
#' @source The documentation of [`keras.optimizers.SGD`](https://keras.io/api/optimizers/sgd/).
#'
#' @seealso [sgd_conformance()] to check an optimizer against all of the documentation;
#' [track_statistics()] to measure steps during training
#' @concept debugging
#' @concept gradient norm
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' keras$utils$set_random_seed(1L)
#' layers <- list(
#'   keras$Input(shape = list(3L)), keras$layers$Dense(4L, "relu"), keras$layers$Dense(1L)
#' )
#' model <- keras$Sequential(layers, name = "cars")
#' model$compile(
#'   optimizer = optimizer_sgd(0.01, momentum = 0.9, weight_decay = 0.01, global_clipnorm = 5),
#'   loss = "mse"
#' )
#' x <- scale(as.matrix(mtcars[c("wt", "hp", "qsec")]))
#' step <- explain_step(model, x, mtcars$mpg, check = TRUE)
#' step
#'
#' # The result is a data frame
#' step[c("path", "mean_norm", "clipped_norm", "holds")]
#'
#' # Keras' own optimizer, with targets so large that the norm of the gradient overflows float32
#' model$compile(optimizer = keras$optimizers$SGD(0.01, clipnorm = 1), loss = "mse")
#' explain_step(model, x, 1e20 * mtcars$mpg, check = TRUE)
#'
#' # An argument error
#' try(explain_step(model, x, mtcars$mpg, check = "yes"))
explain_step <- function(model, x, y = NULL, sample_weight = NULL, check = FALSE, ...) {
  given <- known_arguments()
  check_given(given, "model", "a compiled Keras model")
  check_given(given, "x", requirement_of_array)
  if (is.null(x)) check_array(x, requirement_of_array)
  check_rows(x, y)
  check_rows(x, sample_weight)
  python_package()
  explained <- call_python(
    "r.tools.explain_step",
    list(
      model = model, x = data_as_python(x), y = data_as_python(y),
      sample_weight = data_as_python(sample_weight), check = check
    ),
    received = given
  )
  new_step(explained)
}

new_step <- function(explained) {
  column <- function(values) {
    values <- lapply(values, function(value) if (is.null(value)) NA else value)
    if (is.numeric(unlist(values))) vapply(values, as.double, 0) else unlist(values)
  }
  records <- explained$rows
  records$shape <- vapply(
    records$shape, function(shape) format_shape(as.double(unlist(shape))), ""
  )
  rows <- data.frame(lapply(records, column))
  numbers <- setdiff(names(rows), c("path", "shape", "overwritten", "holds"))
  rows[numbers] <- lapply(rows[numbers], as.double)
  structure(
    rows,
    class = c("kerasgd_step", "data.frame"),
    step = explained[setdiff(names(explained), "rows")]
  )
}

# Printing ----------------------------------------------------------------------------------------

# The lines of the table, in the order of a step
lines_of_step <- c(
  shape = "shape", gradient_norm = "gradient", unscaled_norm = "after unscaling",
  mean_norm = "mean over the window", clip_coefficient = "clip coefficient",
  clipped_norm = "after the clip", decay_norm = "weight decay",
  velocity_norm_before = "velocity before", velocity_norm = "velocity",
  constraint_norm = "constraint", overwritten = "overwritten", change_norm = "change of weights",
  average_distance = "distance to average", largest_difference = "real step differs by",
  bound = "allowed by rounding", holds = "as documented"
)

# The columns of each stage that can be without effect
columns_of_stages <- list(
  "loss scale" = "unscaled_norm", "accumulation" = "mean_norm",
  "clip" = c("clip_coefficient", "clipped_norm"), "weight decay" = "decay_norm",
  "momentum" = c("velocity_norm_before", "velocity_norm"), "constraints" = "constraint_norm",
  "averages" = c("overwritten", "average_distance")
)

#' @export
format.kerasgd_step <- function(x, ..., n = 10, width = getOption("width")) {
  width <- min(width, 80)
  shown <- x[seq_len(min(nrow(x), n)), ]
  idle <- idle_stages(x)
  notes <- c(
    format_hidden_variables(nrow(x) - nrow(shown)),
    format_outcome(attr(x, "step")),
    format_idle(idle, attr(x, "step")$outcome),
    format_agreement(x)
  )
  c(
    strwrap(format_title(x), width = width, exdent = 2),
    wrapped_table(shown, setdiff(lines_with_values(x), unlist(columns_of_stages[idle])), width),
    strwrap(notes, width = width, exdent = 2)
  )
}

#' @export
print.kerasgd_step <- function(x, ...) {
  # A subset of the columns is a plain data frame
  checked <- c("largest_difference", "bound", "holds")
  has_all <- all(c("path", setdiff(names(lines_of_step), checked)) %in% names(x))
  if (!has_all || nrow(x) == 0 || is.null(attr(x, "step"))) {
    return(NextMethod())
  }
  writeLines(format(x, ...))
  invisible(x)
}

format_title <- function(x) {
  step <- attr(x, "step")
  window <- if (step$window > 1) sprintf(", %d of %d in its window", step$position, step$window)
  sprintf(
    "<kerasgd_step> the next step of %s%s: learning rate %s, %s",
    step$optimizer, window %||% "", format_rates(step$learning_rate),
    counted(nrow(x), "variable")
  )
}

format_hidden_variables <- function(n) {
  if (n > 0) sprintf("... and %s: `print(x, n = Inf)` shows all.", counted(n, "more variable"))
}

#' The outcome of a step that is not an update
#' @noRd
format_outcome <- function(step) {
  switch(step$outcome,
    in_window = sprintf(
      "Inside an accumulation window: the gradient is added to the sum. Weights change at step %d.",
      step$window
    ),
    skipped = "Skipped: the gradient is not finite, so no weight changes."
  )
}

#' The stages that change none of the variables
#' @noRd
idle_stages <- function(x) {
  same <- function(one, other) identical(x[[one]], x[[other]])
  only <- function(name, value) all(x[[name]] %in% c(NA, value))
  idle <- c(
    "loss scale" = same("unscaled_norm", "gradient_norm"),
    "accumulation" = attr(x, "step")$window == 1 && same("mean_norm", "unscaled_norm"),
    "clip" = only("clip_coefficient", 1), "weight decay" = only("decay_norm", 0),
    "momentum" = only("velocity_norm", NA), "constraints" = only("constraint_norm", 0),
    "averages" = only("average_distance", NA)
  )
  names(idle)[idle]
}

format_idle <- function(idle, outcome) {
  # A step that is not an update does not reach the other stages
  if (outcome != "done") idle <- intersect(idle, "loss scale")
  if (length(idle) > 0) sprintf("No effect in this step: %s.", paste(idle, collapse = ", "))
}

#' The result of the check; `NULL` without one
#' @noRd
format_agreement <- function(x) {
  if (is.null(x$holds)) {
    return(NULL)
  }
  subject <- if (attr(x, "step")$is_ours) "The real step" else "The real step of Keras"
  if (all(x$holds)) {
    all <- if (nrow(x) == 1) "its variable" else sprintf("each of the %d variables", nrow(x))
    return(sprintf("%s does what the documentation says, for %s.", subject, all))
  }
  sprintf(
    "%s departs from the documentation for %d of %s, by up to %s: %s.",
    subject, sum(!x$holds), counted(nrow(x), "variable"),
    format(max(x$largest_difference[!x$holds]), digits = 2),
    some_of(sprintf("`%s`", x$path[!x$holds]))
  )
}

some_of <- function(names, n = 3) {
  more <- length(names) - n
  paste(
    c(utils::head(names, n), if (more > 0) sprintf("and %d more", more)),
    collapse = ", "
  )
}

#' `NaN` is a value: the norm of a gradient that is not finite
#' @noRd
lines_with_values <- function(x) {
  Filter(function(name) !all(is_none(x[[name]])), intersect(names(lines_of_step), names(x)))
}

is_none <- function(values) is.na(values) & !(values %in% NaN)

#' Stages as rows and variables as columns, in blocks that fit the width of the console
#' @noRd
wrapped_table <- function(x, lines, width) {
  folder <- common_folder(x$path)
  heads <- heads_of_paths(substring(x$path, nchar(folder) + 1))
  empty <- rep("", length(heads[[1]]) - 1)
  labels <- format(c(shortened_path(folder, 24), empty, lines_of_step[lines]))
  cells <- lapply(x[lines], format_cells)
  columns <- lapply(seq_len(nrow(x)), function(i) {
    format(c(heads[[i]], vapply(cells, `[[`, "", i)), justify = "right")
  })
  widths <- 2 + vapply(columns, function(column) nchar(column[[1]]), 1)
  blocks <- split(columns, blocks_of(widths, room = width - nchar(labels[[1]])))
  unlist(lapply(unname(blocks), function(block) {
    c(sub(" +$", "", do.call(paste, c(list(labels), block, sep = "  "))), "")
  }))
}

#' One line for each part of a path, the last part at the bottom
#' @noRd
heads_of_paths <- function(paths) {
  parts <- strsplit(gsub("/", "/\n", paths, fixed = TRUE), "\n", fixed = TRUE)
  depth <- max(lengths(parts))
  lapply(parts, function(part) c(rep("", depth - length(part)), shortened_path(part, 14)))
}

#' Assign each column to a block that has room for it
#' @noRd
blocks_of <- function(widths, room) {
  block <- 1
  used <- 0
  vapply(widths, function(width) {
    if (used > 0 && used + width > room) {
      block <<- block + 1
      used <<- 0
    }
    used <<- used + width
    block
  }, 1)
}

#' The prefix that all paths share, up to a slash; mostly the name of the model
#' @noRd
common_folder <- function(paths) {
  folder <- sub("[^/]*$", "", paths[[1]])
  while (!all(startsWith(paths, folder))) {
    folder <- sub("[^/]*/$", "", folder)
  }
  folder
}

format_cells <- function(values) {
  shown <- if (is.character(values)) {
    values
  } else if (is.logical(values)) {
    ifelse(values, "yes", "no")
  } else {
    formatC(values, digits = 4, format = "g")
  }
  ifelse(is_none(values), "-", shown)
}
