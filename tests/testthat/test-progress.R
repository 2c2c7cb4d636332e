test_that("no progress bar shows in a script, in knitr or in tests", {
  expect_false(shows_progress())
  withr::local_options(rlang_interactive = TRUE)
  expect_true(shows_progress())
  withr::local_options(rlang_interactive = NULL, knitr.in.progress = TRUE)
  expect_false(shows_progress())
  expect_silent(progress_bar("Working")(1, 2))
})

# Terminal output; a carriage return and "erase to the end of the line" clear the line
shown_by <- function(work) {
  withr::local_options(
    rlang_interactive = TRUE, cli.dynamic = TRUE, cli.ansi = TRUE, cli.num_colors = 1L,
    cli.progress_show_after = 0, cli.unicode = FALSE
  )
  file <- withr::local_tempfile()
  connection <- file(file, "w")
  sink(connection, type = "message")
  withr::defer({
    sink(type = "message")
    close(connection)
  })
  try(work(), silent = TRUE)
  flush(connection)
  readChar(file, file.size(file))
}

left_on_line <- function(text) {
  line <- utils::tail(strsplit(paste0(text, "\r"), "\r|\033\\[K|\033\\[2K")[[1]], 1)
  trimws(gsub("\033\\[[0-9?]*[a-zA-Z]", "", line))
}

test_that("a progress bar shows the progress and is cleared, also after an error", {
  for (fails in c(FALSE, TRUE)) {
    text <- shown_by(function() {
      show <- progress_bar("Working")
      for (done in 1:4) {
        Sys.sleep(0.3)
        show(done, 4)
      }
      if (fails) stop("It fails.")
    })
    expect_match(text, "Working")
    expect_match(text, "50%")
    expect_identical(left_on_line(text), "")
  }
})
