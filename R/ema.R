#' Use the moving averages of the weights
#'
#' An optimizer with `use_ema = TRUE` keeps an exponential moving average of each weight (see
#' [optimizer_sgd()]). `swap_ema_weights()` swaps the weights and their averages, so that you can
#' evaluate or predict with the averages; a second call restores both exactly.
#' `finalize_variable_values()` overwrites the weights with the averages for good, as `fit()` does
#' after its last epoch.
#'
#' With weights \eqn{w} and averages \eqn{a}, `swap_ema_weights()` does
#' \eqn{(w, a) \leftarrow (a, w)}{(w, a) <- (a, w)}, and `finalize_variable_values()` does
#' \eqn{w \leftarrow a}{w <- a}.
#' Without `use_ema`, and before the first update, both do nothing. While weights and averages are
#' swapped, the optimizer cannot be trained or saved.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param model A Keras model, or a list of variables. `finalize_variable_values()` overwrites the
#'   listed variables, or the trainable variables of the model; it skips variables that have no
#'   average, with a warning. `swap_ema_weights()` always swaps all variables, and uses `model` only
#'   to check that the optimizer trains this model. `NULL` stands for all variables that the
#'   optimizer was built with.
#' @param ... Not used.
#'
#' @details `optimizer$swap_ema_weights()` and `optimizer$finalize_variable_values(variables)` are
#' the methods that Keras documents.
#'
#' @return The optimizer, invisibly.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; `kerasgd_state_error` if the
#' optimizer has an average for none of the variables, or if `finalize_variable_values()` is called
#' while weights and averages are swapped.
#'
#' @source
#' Polyak, B. T. and Juditsky, A. B. (1992). Acceleration of stochastic approximation by averaging.
#' *SIAM Journal on Control and Optimization*, 30(4), 838-855.
#'
#' @concept exponential moving average
#' @concept Polyak averaging
#' @concept weight averaging
#' @name ema
#' @seealso [optimizer_sgd()]
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' layer <- keras$layers$Dense(1L, use_bias = FALSE)
#' model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
#' optimizer <- optimizer_sgd(learning_rate = 0.1, use_ema = TRUE, ema_momentum = 0.5)
#'
#' # Two steps
#' weight <- model$trainable_variables[[1]]
#' weight$assign(matrix(0))
#' optimizer$apply(list(keras$ops$ones(list(1L, 1L))), list(weight))
#' optimizer$apply(list(keras$ops$ones(list(1L, 1L))), list(weight))
#'
#' as.double(weight) # now
#' swap_ema_weights(optimizer, model)
#' as.double(weight) # its average
#' swap_ema_weights(optimizer, model)
#' as.double(weight)
#'
#' finalize_variable_values(optimizer, model)
#' as.double(weight)
NULL

#' @rdname ema
#' @export
swap_ema_weights <- function(optimizer, model = NULL, ...) {
  given <- known_arguments()
  check_optimizer(given)
  call_python(
    "r.methods.swap_ema_weights", list(optimizer = optimizer, model = without_names(model))
  )
  invisible(optimizer)
}

#' @rdname ema
#' @export
finalize_variable_values <- function(optimizer, model = NULL, ...) {
  given <- known_arguments()
  check_optimizer(given)
  call_python(
    "r.methods.finalize_variable_values",
    list(optimizer = optimizer, model = without_names(model))
  )
  invisible(optimizer)
}
