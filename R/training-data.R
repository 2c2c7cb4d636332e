# Training data, as in `fit()`: R's arrays and vectors become NumPy arrays, and Python objects are
# passed unchanged. Values that would arrive as something else are refused.

#' @param x An R value, or a Python object, which is passed unchanged.
#' @param requirement The requirement in words.
#' @noRd
data_as_python <- function(x, requirement = requirement_of_array, arg = rlang::caller_arg(x),
                           call = rlang::caller_env()) {
  force(arg)
  if (is.null(x) || is_live_python_object(x)) {
    x
  } else if (is_python_object(x)) {
    abort_earlier_session(x, call = call)
  } else if (rlang::is_bare_list(x) && length(x) > 0) {
    several_as_python(x, arg, call)
  } else {
    check_array(x, requirement, arg = arg, call = call)
    array_as_python(x)
  }
}

#' Several inputs or outputs of a model, by position or by name
#' @noRd
several_as_python <- function(x, arg, call) {
  python_package(call = call)
  name_of <- function(i) {
    name <- rlang::names2(x)[[i]]
    if (nzchar(name)) sprintf("%s$%s", arg, name) else sprintf("%s[[%d]]", arg, i)
  }
  elements <- lapply(seq_along(x), function(i) {
    data_as_python(x[[i]], arg = name_of(i), call = call)
  })
  if (is.null(names(x))) {
    reticulate::r_to_py(elements)
  } else {
    reticulate::py_dict(names(x), elements)
  }
}

#' A vector has one dimension, also a vector of length 1, which reticulate would convert to a number
#' @noRd
array_as_python <- function(x) {
  reticulate::r_to_py(array(as.vector(x), dim(x) %||% length(x)))
}

check_array <- function(x, requirement, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  is_array <- (is.numeric(x) || is.logical(x) || is.character(x)) && !is.object(x)
  if (!is_array) {
    abort_argument(x, requirement, hint_for_data(x, arg), arg = arg, call = call)
  }
  # An integer NA would arrive as -2147483648, a logical NA as TRUE
  if (!is.double(x) && anyNA(x)) {
    first <- sprintf("element %d is `NA`", which(is.na(x))[[1]])
    abort_argument(x, "data without missing values", fault = first, arg = arg, call = call)
  }
}

requirement_of_array <- "a matrix, an array or a vector"
requirement_of_data <- paste0(
  requirement_of_array, ", or a Python object such as a `tf.data.Dataset`"
)

#' Refuse targets or weights that do not match the number of inputs, if both are R values
#' @noRd
check_rows <- function(x, other, arg = rlang::caller_arg(other), call = rlang::caller_env()) {
  force(arg)
  rows <- function(x) if (is.atomic(x) && !is.null(x)) NROW(x)
  if (!is.null(rows(other)) && !identical(rows(x) %||% rows(other), rows(other))) {
    requirement <- sprintf("one value or row for each row of `x`, which has %s", rows(x))
    abort_argument(other, requirement, arg = arg, call = call)
  }
}

#' A hint on how to convert a value to an array
#' @noRd
hint_for_data <- function(x, arg) {
  if (is.data.frame(x)) {
    "`as.matrix()` converts a data frame with numeric columns to a matrix."
  } else if (is.factor(x)) {
    sprintf("`as.integer(%s) - 1L` numbers the levels of a factor from 0.", arg)
  } else if (is.function(x)) {
    "A function or a generator gives its data only once: pass the data themselves."
  }
}

#' The weights of the classes in Keras' form: a dictionary whose keys are whole numbers
#' @noRd
class_weight_as_python <- function(x, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  force(arg)
  if (is.null(x) || is_live_python_object(x)) {
    return(x)
  }
  if (!are_named_by_class(x) || !are_weights(x)) {
    requirement <- "weights >= 0 named by class number, such as `list(\"0\" = 1, \"1\" = 5)`"
    abort_argument(x, requirement, arg = arg, call = call)
  }
  reticulate::py_dict(as.list(as.integer(names(x))), lapply(unname(as.list(x)), as.double))
}

are_named_by_class <- function(x) {
  names <- rlang::names2(x)
  length(x) > 0 && all(grepl("^[0-9]{1,9}$", names)) && !anyDuplicated(names)
}

are_weights <- function(x) {
  is_number <- function(weight) is.numeric(weight) && length(weight) == 1
  all(vapply(as.list(x), is_number, NA)) && all(is.finite(unlist(x)) & unlist(x) >= 0)
}
