#' One step with gradients of your own
#'
#' `apply_gradients()` does one step of an optimizer (see [optimizer_sgd()] for the formulas) with
#' gradients that you give. With \eqn{g} for a gradient and \eqn{\eta} for the learning rate, the
#' simplest step is \eqn{w \leftarrow w - \eta g}{w <- w - eta * g}.
#'
#' The first step builds the optimizer with these variables. A step is done with all gradients, or
#' with none if there is an error.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param grads A list with a gradient for each variable, in their order. A gradient is a numeric
#'   vector, matrix or array of R, a tensor of the backend, or `NULL` for none. Its dimensions must
#'   be those of the variable: a vector of n numbers is for a variable of shape n, one number for
#'   one without dimensions, and a 2 x 3 matrix for a variable of shape (2, 3), row for row and
#'   column for column. For a single variable the gradient itself will do.
#'   Infinities and `NaN` are taken as they are; `NA` is refused.
#' @param variables The variables, as a list, or a Keras model for its trainable variables.
#' @param ... Not used.
#'
#' @details Numbers of R go over as doubles and are rounded to float32 (float64 for variables of
#' that type). With [optimizer_loss_scale()] the gradients are those of the scaled loss, see
#' `optimizer$scale_loss()`. `optimizer$apply(grads, variables)` is the method as Keras documents
#' it.
#'
#' @return The optimizer, invisibly. The variables have changed.
#'
#' @section Errors:
#' `kerasgd_argument_error` if there are more or fewer gradients than variables, if a gradient has
#' other dimensions than its variable or is no array of numbers, if all are `NULL`, or if gradients
#' and variables are given in the wrong order;
#' `kerasgd_state_error` if the optimizer was built with other variables.
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
#' # A gradient of other dimensions is refused
#' try(apply_gradients(optimizer, list(matrix(1:6, nrow = 3)), list(weights)))
apply_gradients <- function(optimizer, grads, variables, ...) {
  given <- known_arguments()
  check_optimizer(given)
  check_given(given, "grads", "a list of gradients")
  check_given(given, "variables", "a list of variables, or a Keras model")
  # A tensor, or an array of R, stands for a list of it
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
    received = list() # it is one of the gradients that is refused: Python has the words
  )
  invisible(optimizer)
}

path_of <- function(variable, call = rlang::caller_env()) {
  call_python("variables.path_of", list(variable = variable), call = call)
}

#' Which element of an array is the first `NA`
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
      hint = sprintf("This is the one for `%s`.", path_of(variable, call = call)),
      fault = if (is_plain) first_na(gradient),
      arg = "grads", call = call
    )
  }
  call_python(
    "r.methods.gradient", c(array_for_python(gradient), variable = variable),
    received = list(grads = gradient), call = call
  )
}
