# Runs the code for the R package keras3 in "Get started" and records what it prints. The page shows
# the record, since it is built without keras3. `make test-keras3` compares it with a new run.
# Usage: Rscript tools/record-keras3.R   (with keras3, on TensorFlow)

page <- "vignettes/kerasgd.Rmd"
record <- "vignettes/keras3-output.md"

# The chunks of a page with such labels, as lines of code with their labels as names
chunks_with_keras3 <- function(file) {
  lines <- readLines(file)
  starts <- grep("^```\\{r keras3-", lines)
  ends <- vapply(starts, function(start) start + match("```", lines[-seq_len(start)]), 0)
  chunks <- Map(function(start, end) lines[(start + 1):(end - 1)], starts, ends)
  names(chunks) <- sub("^```\\{r ([a-z0-9-]+).*", "\\1", lines[starts])
  chunks
}

# Code and output of each chunk as markdown; they share a session
run_chunks <- function(chunks) {
  document <- unlist(Map(function(code, label) {
    c(paste("##", label), "", "```{r}", code, "```", "")
  }, chunks, names(chunks)))
  knitr::opts_knit$set(progress = FALSE, verbose = FALSE)
  knitr::opts_chunk$set(collapse = TRUE, comment = "#>", message = FALSE, error = TRUE)
  knitted <- knitr::knit(text = document, quiet = TRUE, envir = new.env(parent = globalenv()))
  # Newer versions of knitr begin with "``` r"
  sub("^``` r$", "```r", strsplit(knitted, "\n", fixed = TRUE)[[1]])
}

written_by <- function() {
  version <- function(package) format(utils::packageVersion(package))
  paste0(
    "<!-- Written by tools/record-keras3.R, with keras3 ", version("keras3"), " and Keras ",
    reticulate::import("keras")$`__version__`, " -->"
  )
}

if (sys.nframe() == 0) {
  writeLines(c(run_chunks(chunks_with_keras3(page)), written_by()), record)
}
