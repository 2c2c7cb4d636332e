# One line that stands for an optimizer or a schedule, as in "SGD(0.01, momentum 0.9)": in lists,
# tibbles, titles and settings.

#' @rawNamespace
#' S3method(as.character, kerasgd.SGD, label_as_character)
#' S3method(as.character, kerasgd.LossScaleOptimizer, label_as_character)
#' S3method(as.character, kerasgd.schedules.Schedule, label_as_character)
#' S3method(pillar::obj_sum, kerasgd.SGD, label_in_tibble)
#' S3method(pillar::obj_sum, kerasgd.LossScaleOptimizer, label_in_tibble)
#' S3method(pillar::obj_sum, kerasgd.schedules.Schedule, label_in_tibble)
#' S3method(pillar::format_glimpse, kerasgd.SGD, label_as_character)
#' S3method(pillar::format_glimpse, kerasgd.LossScaleOptimizer, label_as_character)
#' S3method(pillar::format_glimpse, kerasgd.schedules.Schedule, label_as_character)
#' S3method(
#'   pillar::obj_sum, keras.src.optimizers.loss_scale_optimizer.LossScaleOptimizer,
#'   wrapper_in_tibble
#' )
#' S3method(
#'   pillar::format_glimpse, keras.src.optimizers.loss_scale_optimizer.LossScaleOptimizer,
#'   wrapper_in_glimpse
#' )
NULL

label_as_character <- function(x, ...) label_of(x)

#' The label, and a short one for a column that is too narrow for it
#' @noRd
label_in_tibble <- function(x) structure(label_of(x), short = name_of_object(x))

wrapper_in_tibble <- function(x) if (wraps_ours(x)) label_in_tibble(x) else NextMethod()

wrapper_in_glimpse <- function(x, ...) if (wraps_ours(x)) label_of(x) else NextMethod()

#' The label of any optimizer or schedule of ours
#'
#' The main argument comes first, without its name. Other arguments follow if they have no default
#' or differ from it.
#' @noRd
label_of <- function(x) {
  name <- name_of_object(x)
  if (!is_live_python_object(x)) {
    return(paste0(name, ", empty after `readRDS()`"))
  }
  arguments <- if (is_our_schedule(x)) arguments_of_schedule(x) else arguments_of_optimizer(x)
  shown <- paste(names(arguments), shown_settings(arguments))
  shown[[1]] <- shown_settings(arguments[1])
  is_on <- vapply(arguments, isTRUE, NA)
  shown[is_on] <- names(arguments)[is_on]
  sprintf("%s(%s)", name, toString(shown))
}

arguments_of_optimizer <- function(x) {
  changed <- call_python("r.inspection.changed_settings", list(optimizer = x))
  main <- if (inherits(x, wrapper_classes)) "inner_optimizer" else "learning_rate"
  all <- as.list(x)
  c(all[main], changed[setdiff(names(changed), c(main, "name"))])
}

arguments_of_schedule <- function(x) {
  arguments <- as.list(x)
  arguments <- arguments[names(arguments) != "name"]
  constructor <- constructor_of(x)
  if (identical(constructor, learning_rate_schedule_function)) {
    return(c(arguments, steps = length(arguments$values)))
  }
  if (is.null(constructor)) {
    return(arguments)
  }
  is_needed <- names(arguments) %in% required_formals(constructor)
  defaults <- lapply(formals(constructor)[names(arguments)[!is_needed]], eval)
  is_needed[!is_needed] <- !mapply(is_same_value, arguments[!is_needed], defaults)
  arguments[is_needed]
}

#' Are the values equal, whole numbers and doubles alike?
#' @noRd
is_same_value <- function(one, other) {
  length(one) == length(other) && all(as.vector(one) == as.vector(other))
}

#' "SGD", "loss_scale", or the name of a schedule in R, as in "cosine_decay"; else the Python class
#' @noRd
name_of_object <- function(x) {
  if (inherits(x, wrapper_classes)) {
    return("loss_scale")
  }
  name <- name_of_constructor(x)
  if (is.null(name)) short_name(x) else sub("^learning_rate_schedule_", "", name)
}

#' The constructor of the schedule `x`; `NULL` for classes from elsewhere
#' @noRd
constructor_of <- function(x) {
  name <- name_of_constructor(x)
  if (!is.null(name)) get(name, topenv())
}

name_of_constructor <- function(x) {
  class <- class(x)[[1]]
  if (class == "kerasgd.schedules.Table") {
    return("learning_rate_schedule_function")
  }
  # CosineDecay is made by learning_rate_schedule_cosine_decay()
  snake_case <- tolower(gsub("(?<=[a-z])(?=[A-Z])", "_", short_name(x), perl = TRUE))
  name <- paste0("learning_rate_schedule_", snake_case)
  if (startsWith(class, "kerasgd.schedules.") && name %in% getNamespaceExports(topenv())) name
}

#' The last part of the name of the Python class
#' @noRd
short_name <- function(x) sub("^.*[.]", "", class(x)[[1]])
