#' Apply your own gradients
#'
#' `apply_gradients()` takes one optimizer step with gradients that you computed yourself, for
#' example in a custom training loop. See [optimizer_sgd()] for the formulas; with a gradient
#' \eqn{g} and the learning rate \eqn{\eta}, the simplest step is
#' \eqn{w \leftarrow w - \eta g}{w <- w - eta * g}.
#'
#' The first step builds the optimizer: from then on, it trains these variables only. If there is an
#' error, no variable changes.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param grads A list with one gradient for each variable, in the same order. A gradient is a
#'   numeric vector, matrix or array of R, a tensor of the backend, or `NULL` for a variable without
#'   a gradient. It must have the dimensions of its variable: a vector of n numbers for a variable
#'   of shape n, a single number for a scalar variable, and a 2 x 3 matrix for a variable of shape
#'   (2, 3), row for row and column for column. For a single variable, `grads` may be the gradient
#'   itself. Infinities and `NaN` are accepted; `NA` is an error.
#' @param variables A list of variables, or a Keras model, which stands for its trainable variables.
#' @param ... Not used.
#'
#' @details R numbers are converted to float32, or to float64 for float64 variables. With
#' [optimizer_loss_scale()], pass the gradients of the scaled loss (see `optimizer$scale_loss()`).
#' `optimizer$apply(grads, variables)` is the method that Keras documents, for tensors.
#'
#' @return The optimizer, invisibly. The variables are changed in place.
#'
#' @section Errors:
#' `kerasgd_argument_error` if the number of gradients and variables differs, if a gradient has
#' other dimensions than its variable or is not an array of numbers, if all gradients are `NULL`, or
#' if gradients and variables are swapped; `kerasgd_state_error` if the optimizer was built with
#' other variables.
#'
#' @seealso [optimizer_sgd()]
#' @concept custom training loop
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' weights <- keras$Variable(matrix(0, nrow = 2, ncol = 3))
#' optimizer <- optimizer_sgd(learning_rate = 0.1)
#' apply_gradients(optimizer, list(matrix(1:6, nrow = 2)), list(weights))
#' matrix(as.double(weights), nrow = 2)
#'
#' # A gradient with other dimensions is an error
#' try(apply_gradients(optimizer, list(matrix(1:6, nrow = 3)), list(weights)))
apply_gradients <- function(optimizer, grads, variables, ...) {
  given <- known_arguments()
  check_optimizer(given)
  check_given(given, "grads", "a list of gradients")
  check_given(given, "variables", "a list of variables, or a Keras model")
  # A single tensor or R array stands for a list of one
  gradients <- if (is.list(grads)) unname(grads) else list(grads)
  variables <- call_python(
    "r.methods.variables_to_train",
    list(
      variables = without_names(variables), grads = Filter(is_live_python_object, gradients)
    )
  )
  if (length(gradients) != length(variables)) {
    requirement <- sprintf("one gradient for each variable, %d in all", length(variables))
    abort_argument(grads, requirement)
  }
  tensors <- Map(gradient_as_tensor, gradients, variables, MoreArgs = list(call = environment()))
  call_python_function(
    reticulate::py_get_attr(optimizer, "apply"), list(tensors, variables),
    received = list() # Python describes the gradient that it refuses
  )
  invisible(optimizer)
}

path_of <- function(variable, call = rlang::caller_env()) {
  call_python("variables.path_of", list(variable = variable), call = call)
}

#' Describe the first `NA` of an array
#' @noRd
first_na <- function(x) {
  index <- which(is.na(x) & !is.nan(x), arr.ind = is.array(x))
  first <- if (is.array(x)) paste0("[", paste(index[1, ], collapse = ", "), "]") else index[[1]]
  sprintf("element %s is NA", first)
}

gradient_as_tensor <- function(gradient, variable, call = rlang::caller_env()) {
  if (is.null(gradient) || is_live_python_object(gradient)) {
    return(gradient)
  }
  is_plain <- is.numeric(gradient) && !is.object(gradient)
  if (!is_plain || is_any_na(gradient)) {
    abort_argument(
      gradient, "arrays of numbers, tensors, or {null} for no gradient",
      hint = sprintf("This is the gradient for `%s`.", path_of(variable, call = call)),
      fault = if (is_plain) first_na(gradient),
      arg = "grads", call = call
    )
  }
  call_python(
    "r.methods.gradient", c(array_for_python(gradient), variable = variable),
    received = list(grads = gradient), call = call
  )
}
