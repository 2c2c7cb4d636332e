#' Back a training up, so that it can be killed
#'
#' A callback for `fit()` that backs up weights and optimizer after each epoch. A training that was
#' killed goes on when it is started again with the same arguments: `fit()` restores the last backup
#' and begins with the epoch that was interrupted.
#'
#' If the order of the data does not depend on the past (`shuffle = FALSE`, say), the weights at the
#' end are those of a training that was never interrupted, bit for bit. All that the optimizer
#' keeps for a weight \eqn{w} comes back: its velocity \eqn{v}, its average \eqn{a}, the gradients
#' of an accumulation window that is open, and the count of steps, which a schedule goes by.
#'
#' `keras$callbacks$BackupAndRestore()`, which this callback uses, writes each backup over the last
#' one. Killed while it writes, it leaves a file that cannot be read, or weights of one epoch that
#' count as those of another. Here each backup is written beside the last one and takes its place
#' when it is complete. `save_freq` is left out on purpose: with it, Keras restarts an epoch from
#' weights that were saved in its middle.
#'
#' @param backup_dir The path of a folder, for the backups of this training only. It need not exist.
#'   Each of several processes needs its own.
#' @param delete_checkpoint Whether the backups are deleted when `fit()` comes to its end, and the
#'   folder with them if it is empty then.
#' @param ... Not used.
#'
#' @return A Keras callback, for the argument `callbacks` of `fit()`. The model must be built when
#'   `fit()` begins, as one with an input shape is.
#'
#' @section Errors:
#' `kerasgd_argument_error` for an argument that is not as described above.
#'
#' @source Keras' documentation of
#' [BackupAndRestore](https://keras.io/api/callbacks/backup_and_restore/).
#'
#' @seealso [save_optimizer()], for a training loop of your own; `vignette("kerasgd")`, where a
#'   training survives.
#' @concept callback
#' @concept checkpoint
#' @concept resume training
#' @concept fault tolerance
#' @export
#' @examplesIf kerasgd_available()
#' keras <- reticulate::import("keras")
#' train <- function(folder, ...) {
#'   layer <- keras$layers$Dense(1L, kernel_initializer = "zeros")
#'   model <- keras$Sequential(list(keras$Input(shape = list(1L)), layer))
#'   model$compile(optimizer = optimizer_sgd(0.1, momentum = 0.5), loss = "mse")
#'   history <- model$fit(
#'     matrix(1:4 / 4), matrix(1:4),
#'     epochs = 5L, shuffle = FALSE, callbacks = list(callback_backup(folder), ...), verbose = 0L
#'   )
#'   list(epochs = unlist(history$epoch), weights = model$get_weights())
#' }
#' uninterrupted <- train(tempfile())
#'
#' # An error in the fourth epoch (Python counts from 0)
#' fail <- function(epoch, logs) if (epoch == 3) stop("the power is gone")
#' failing <- keras$callbacks$LambdaCallback(on_epoch_begin = fail)
#' folder <- tempfile()
#' try(train(folder, failing), silent = TRUE)
#'
#' resumed <- train(folder)
#' resumed$epochs
#' identical(resumed$weights, uninterrupted$weights)
callback_backup <- function(backup_dir, delete_checkpoint = TRUE, ...) {
  given <- known_arguments()
  check_given(given, "backup_dir", "the path of a folder")
  if (is_string(backup_dir)) {
    backup_dir <- normalizePath(backup_dir, mustWork = FALSE)
  }
  call_python(
    "callbacks.Backup",
    list(backup_dir = backup_dir, delete_checkpoint = delete_checkpoint),
    received = given
  )
}
class(callback_backup) <- c("kerasgd_constructor", "function")
