#' Save and load an optimizer
#'
#' `save_optimizer()` writes an optimizer with its settings and complete state to a file, and
#' `load_optimizer()` restores it, in another session, on another machine or with another backend.
#' On the same machine and backend, resumed training equals uninterrupted training: with the same
#' weights and data, the results are the same bit for bit, even if the optimizer was saved in the
#' middle of an accumulation window.
#'
#' @section Keras files:
#' `model$save()` and `model$save_weights()` (in keras3 `save_model()` and `save_model_weights()`)
#' save the state of the optimizer too. When such a file is loaded, the state is restored variable
#' by variable, even if layers were frozen, added or removed since; state that does not fit is left
#' out, with one warning. State of another optimizer class, such as Keras' own SGD, is left out as
#' well; [from_keras_optimizer()] converts a Keras optimizer together with its state.
#'
#' @section Saved settings and state:
#' The file contains the settings (with the exact learning rate, the arguments of schedules and the
#' exclusions from weight decay) and the state: the number of steps; for each weight \eqn{w}, its
#' velocity \eqn{v}, its moving average \eqn{a} and the sum of its gradients in the current
#' accumulation window, if the optimizer uses them; and the scale of [optimizer_loss_scale()]. The
#' weights belong to the model; save them with `model$save_weights()` or `model$save()`.
#'
#' The file is a zip archive of NumPy arrays and JSON. Reading it never runs code.
#'
#' R's own `saveRDS()` and `save()` cannot store Python objects; using an optimizer that they stored
#' is an error that says so.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param file The path of the file, one non-empty string. An existing file is replaced once the new
#'   one is complete.
#' @param model The Keras model, or list of variables, that the optimizer will train: the state is
#'   restored at once. With `NULL`, the first step restores it, before it changes any weight. In
#'   both cases, it is an error if the state belongs to other variables (see `strict`). Variables
#'   are paired by their paths or, if these differ, by their order.
#' @param strict Whether state that does not fit is an error: `TRUE` or `FALSE`. With `FALSE`, the
#'   state that fits is restored; one warning names the rest, which `summary(optimizer)` lists too.
#' @param ... Not used.
#'
#' @return `save_optimizer()` returns `file`, invisibly; `load_optimizer()` returns the optimizer.
#'
#' @section Errors:
#' * `kerasgd_argument_error`: an argument is not as described above.
#' * `kerasgd_state_error`: the optimizer cannot be saved (its learning rate is a function, or
#'   weights and averages are swapped), the file was not written by `save_optimizer()` or is
#'   damaged, or its state belongs to other variables or arguments. The error changes nothing.
#'
#' @seealso [callback_backup()] to back up a whole `fit()`; [optimizer_sgd()]
#' @concept checkpoint
#' @concept resume training
#' @name save_optimizer
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' weight <- keras$Variable(0)
#' optimizer <- optimizer_sgd(learning_rate = 0.1, momentum = 0.5)
#' optimizer$apply(list(keras$ops$ones(list())), list(weight))
#'
#' file <- tempfile()
#' save_optimizer(optimizer, file)
#' again <- load_optimizer(file, list(weight))
#' all.equal(again, optimizer)
#'
#' # State of other variables is an error
#' try(load_optimizer(file, list(keras$Variable(c(0, 0)))))
#' unlink(file)
NULL

#' @rdname save_optimizer
#' @export
save_optimizer <- function(optimizer, file, ...) {
  given <- known_arguments()
  check_optimizer(given)
  check_given(given, "file", "the path of a file")
  if (!is_string(file)) {
    abort_argument(file, "the path of a file")
  }
  if (!dir.exists(dirname(file))) {
    abort_argument(file, "a path in an existing folder")
  }
  if (dir.exists(file)) {
    abort_argument(file, "the path of a file", hint = "This is a folder.")
  }
  path <- normalizePath(file, mustWork = FALSE)
  call_python("save_optimizer", list(optimizer = optimizer, file = path))
  invisible(file)
}

#' @rdname save_optimizer
#' @export
load_optimizer <- function(file, model = NULL, strict = TRUE, ...) {
  given <- known_arguments()
  check_given(given, "file", "the path of an existing file")
  check_file(file)
  path <- normalizePath(file)
  call_python(
    "r.methods.load_optimizer",
    list(file = path, model = without_names(model), strict = strict)
  )
}
