# README.md of the sources; it is not in an installed package or where `R CMD check` runs
readme <- function() {
  path <- test_path("..", "..", "README.md")
  skip_if_not(file.exists(path), "README.md is not available")
  readLines(path, encoding = "UTF-8")
}

# The R examples of README.md that show output, without the fences. The one that needs keras3 is run
# by `make test-keras3`.
examples <- function() {
  lines <- readme()
  starts <- which(lines == "```r")
  ends <- vapply(starts, function(start) min(which(lines == "```" & seq_along(lines) > start)), 0L)
  blocks <- Map(function(start, end) lines[(start + 1):(end - 1)], starts, ends)
  Filter(function(block) any(startsWith(block, "#>")) && !any(block == "library(keras3)"), blocks)
}

output_in <- function(lines) trimws(lines[startsWith(lines, "#>")], "right")

# What the code of an example prints, in the way that README.md shows output
printed_by <- function(block) {
  code <- block[!startsWith(block, "#>")]
  options <- "```{r, collapse = TRUE, comment = '#>', error = TRUE}"
  knit <- knitr::knit(text = c(options, code, "```"), quiet = TRUE, envir = new.env())
  output_in(strsplit(knit, "\n", fixed = TRUE)[[1]])
}

test_that("the R example of README.md prints what it shows", {
  skip_on_cran()
  skip_if_not_installed("knitr")
  skip_if_no_keras()
  local_reproducible_output(unicode = TRUE)
  shown <- examples()
  expect_length(shown, 1)
  expect_equal(printed_by(shown[[1]]), output_in(shown[[1]]))
})
