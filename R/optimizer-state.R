#' Keep an optimizer in a file
#'
#' `save_optimizer()` writes an optimizer with its settings and all its state, and
#' `load_optimizer()` makes it again, in another session, on another machine or with another
#' backend. Training that goes on with it is training that was never interrupted: with the same
#' weights and data the results are the same, bit for bit, also in the middle of an accumulation
#' window.
#'
#' @section Files of Keras:
#' `model$save()` and `model$save_weights()` (in keras3 `save_model()` and `save_model_weights()`)
#' keep the state of the optimizer too. Such a model always loads: state comes back by variable,
#' also when layers were frozen, added or removed since, and what cannot be given back is left out
#' with one warning. State that another class wrote, such as Keras' own SGD, is left out as well;
#' [from_keras_optimizer()] takes an optimizer of Keras over with its state.
#'
#' @section What is kept:
#' The settings (the learning rate exactly as it was given, schedules with their arguments,
#' exclusions from weight decay), and the state: for a weight \eqn{w} its velocity \eqn{v}, its
#' average \eqn{a} and the sum of its gradients in this accumulation window, each as far as the
#' optimizer has it; the count of steps; the scale of [optimizer_loss_scale()]. The weights belong
#' to the model, which Keras saves: `model$save_weights()`, `model$save()`.
#'
#' The file is a zip of NumPy arrays and of JSON. Nothing in it is run as code when it is read.
#'
#' R's own `saveRDS()` and `save()` cannot store Python objects; an optimizer that comes back
#' from them says so when it is used.
#'
#' @param optimizer An optimizer made by [optimizer_sgd()] or [optimizer_loss_scale()].
#' @param file The path of the file, one non-empty string. An existing file is replaced when the new
#'   one is complete.
#' @param model A Keras model, or a list of variables, that the optimizer is to train: the state is
#'   set at once, and an error says if it belongs to other variables. With `NULL` that is left to
#'   the first step, which trains nothing if the state does not fit. Variables are paired by their
#'   paths; if these differ, in their order.
#' @param strict What to do with state that does not fit: with `TRUE` it is an error, and nothing is
#'   changed; with `FALSE` what fits comes back, one warning names the rest, and
#'   `summary(optimizer)` keeps saying so.
#' @param ... Not used.
#'
#' @return `save_optimizer()` returns `file`, invisibly; `load_optimizer()` the optimizer.
#'
#' @section Errors:
#' * `kerasgd_argument_error`: an argument is not as described above.
#' * `kerasgd_state_error`: the optimizer cannot be saved (its learning rate is a function, or
#'   weights and averages are swapped), the file was not written by `save_optimizer()` or is
#'   damaged, or its state belongs to other variables or arguments. Nothing is changed then.
#'
#' @seealso [callback_backup()], which backs a whole `fit()` up; [optimizer_sgd()]
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
#' # State of other variables is refused
#' try(load_optimizer(file, list(keras$Variable(c(0, 0)))))
#' unlink(file)
NULL

#' @rdname save_optimizer
#' @export
save_optimizer <- function(optimizer, file, ...) {
  given <- known_arguments()
  check_optimizer(given)
  check_given(given, "file", "the path of a file")
  check_string(file)
  if (!dir.exists(dirname(file))) {
    abort_argument(file, "in a folder that exists")
  }
  if (dir.exists(file)) {
    abort_argument(file, "the path of a file", hint = "It is a folder.")
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
