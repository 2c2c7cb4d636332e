# Optimizers and schedules as data frames: their settings, and their rates.

#' @rawNamespace
#' S3method(as.data.frame, kerasgd.SGD, tabulate_settings)
#' S3method(as.data.frame, kerasgd.LossScaleOptimizer, tabulate_settings)
#' S3method(as.data.frame, kerasgd.schedules.Schedule, tabulate_rates)
NULL

tabulate_settings <- function(x, row.names = NULL, # nolint: object_name_linter. The generic's.
                              optional = FALSE, ...) {
  check_live(x)
  check_table_arguments()
  inner <- inner_optimizer(x)
  rows <- table_of_settings(x, except = "inner_optimizer")
  if (!identical(x, inner)) {
    rows <- rbind(rows, table_of_settings(inner, except = "name"))
  }
  with_row_names(rows, row.names)
}

table_of_settings <- function(x, except, call = rlang::caller_env()) {
  settings <- as.list(x)
  settings <- settings[setdiff(names(settings), except)]
  defaults <- call_python("r.inspection.default_settings", list(optimizer = x), call = call)
  data.frame(
    argument = names(settings),
    value = words_for_settings(settings),
    number = unname(vapply(settings, as_number, 0)),
    default = words_for_settings(defaults[names(settings)])
  )
}

#' The settings as they are printed, but strings without quotation marks
#' @noRd
words_for_settings <- function(settings) {
  are_text <- vapply(settings, is.character, NA)
  unname(replace(shown_settings(settings), are_text, as.character(settings[are_text])))
}

as_number <- function(x) if (is.numeric(x) && length(x) == 1) as.double(x) else NA_real_

tabulate_rates <- function(x, row.names = NULL, # nolint: object_name_linter. The generic's.
                           optional = FALSE, ..., steps = NULL) {
  check_live(x)
  check_table_arguments()
  if (is.null(steps) && !is.null(row.names)) {
    abort_argument(
      row.names, "`NULL` unless `steps` is given",
      hint = "The second argument is `row.names`: write `steps = ` for the steps."
    )
  }
  with_row_names(rates_to_see(x, steps), row.names)
}

#' Refuse arguments that would be ignored, except `stringsAsFactors`, which R's own functions pass
#' @noRd
check_table_arguments <- function(call = rlang::caller_env()) {
  given <- given_arguments(call)
  further <- setdiff(names(given), c(names(formals(rlang::frame_fn(call))), "stringsAsFactors"))
  if (length(further) > 0) {
    abort_unknown_argument(further[[1]], given[[further[[1]]]], call = call)
  }
}

with_row_names <- function(rows, row.names, # nolint: object_name_linter.
                           call = rlang::caller_env()) {
  if (is.null(row.names)) {
    return(rows)
  }
  fit <- (is.character(row.names) || is.numeric(row.names)) && length(row.names) == nrow(rows) &&
    !anyNA(row.names) && !anyDuplicated(row.names)
  if (!fit) {
    names <- if (nrow(rows) == 1) "one name" else sprintf("%d different names", nrow(rows))
    requirement <- paste("`NULL` or", names)
    abort_argument(row.names, requirement, call = call)
  }
  row.names(rows) <- row.names
  rows
}
