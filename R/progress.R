# Progress bars for what takes long: only for somebody who watches, and nothing of them stays.

#' A function that shows how far the work is
#'
#' The bar goes when `frame` ends, however it ends.
#'
#' @return A function of the number of pieces of work that are done and of the number of all.
#' @noRd
progress_bar <- function(title, frame = rlang::caller_env()) {
  if (!shows_progress()) {
    return(function(done, total) NULL)
  }
  bar <- cli::cli_progress_bar(title, total = NA, clear = TRUE, .envir = frame)
  drawn <- proc.time()[["elapsed"]]
  function(done, total) {
    # cli's own clock leaves out most updates of work that is done in Python
    if (proc.time()[["elapsed"]] >= drawn + 0.1) {
      cli::cli_progress_update(set = done, total = total, id = bar, force = TRUE, .envir = frame)
      drawn <<- proc.time()[["elapsed"]]
    }
  }
}

#' The same for Python, which calls it now and then (`kerasgd.r.tools`); `NULL` where nobody watches
#'
#' It has no errors of its own.
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

#' Does somebody watch? Not in a script, in knitr or in tests
#' @noRd
shows_progress <- function() rlang::is_interactive()
