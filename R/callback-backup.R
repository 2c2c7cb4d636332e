#' Back up training so that it can resume after a crash
#'
#' A callback for `fit()` that backs up the weights and the optimizer after each epoch. If training
#' is killed, run the same script again: `fit()` restores the last backup and starts the interrupted
#' epoch again.
#'
#' If the order of the data does not depend on earlier epochs (for example with `shuffle = FALSE`),
#' the final weights are bit for bit those of uninterrupted training. The backup contains the
#' complete optimizer state: for each weight \eqn{w} its velocity \eqn{v}, its moving average
#' \eqn{a} and the gradients accumulated for the next update, and the number of steps, which
#' schedules depend on.
#'
#' This callback extends `keras$callbacks$BackupAndRestore()`, which overwrites the last backup with
#' each new one. If the process is killed while Keras' callback writes, the backup may be
#' unreadable, or combine the weights of one epoch with the number of another. `callback_backup()`
#' writes each backup to a new file, and replaces the last backup once the new one is complete. It
#' has no `save_freq` argument: after a backup in the middle of an epoch, Keras would repeat the
#' whole epoch with weights that have already seen a part of it.
#'
#' @param backup_dir The path of a folder for the backups of this training run only. It need not
#'   exist. If several processes train, give each its own folder.
#' @param delete_checkpoint Whether to delete the backups when `fit()` completes, together with the
#'   folder if it is then empty.
#' @param ... Not used.
#'
#' @return A Keras callback, for the argument `callbacks` of `fit()`. The model must be built when
#'   `fit()` begins, for example because it has an input shape.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above.
#'
#' @source Keras' documentation of
#' [BackupAndRestore](https://keras.io/api/callbacks/backup_and_restore/).
#'
#' @seealso [save_optimizer()] for custom training loops; `vignette("kerasgd")` for a training run
#' that survives a crash.
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
