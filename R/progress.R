# Progress bars for long computations: only in interactive sessions, and cleared at the end.

#' A function that shows the progress of the work
#'
#' The bar disappears when `frame` ends, for any reason.
#'
#' @return A function of the number of pieces of work done and of the total number.
#' @noRd
progress_bar <- function(title, frame = rlang::caller_env()) {
  if (!shows_progress()) {
    return(function(done, total) NULL)
  }
  bar <- cli::cli_progress_bar(title, total = NA, clear = TRUE, .envir = frame)
  drawn <- proc.time()[["elapsed"]]
  function(done, total) {
    # cli's own clock misses most updates during work in Python
    if (proc.time()[["elapsed"]] >= drawn + 0.1) {
      cli::cli_progress_update(set = done, total = total, id = bar, force = TRUE, .envir = frame)
      drawn <<- proc.time()[["elapsed"]]
    }
  }
}

#' The same for Python, which calls it at intervals (`kerasgd.r.tools`); `NULL` if not interactive
#'
#' It never raises an error.
#' @noRd
progress_bar_for_python <- function(title, frame = rlang::caller_env()) {
  if (!shows_progress()) {
    return(NULL)
  }
  show <- progress_bar(title, frame)
  draw <- function(done, total) {
    tryCatch(show(done, total), error = function(error) NULL)
    NULL
  }
  reticulate::r_to_py(draw, convert = TRUE)
}

#' Show progress? Not in a script, in knitr or in tests
#' @noRd
shows_progress <- function() rlang::is_interactive()
