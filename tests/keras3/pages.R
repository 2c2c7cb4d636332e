# Backends: tensorflow
# README.md and "Get started" show what the code prints here.
source("tools/record-keras3.R")

recorded <- grep("^<!--", readLines(record), value = TRUE, invert = TRUE)
printed <- run_chunks(chunks_with_keras3(page))
stopifnot(identical(printed, recorded))

readme <- readLines("README.md")
start <- grep("^library\\(keras3\\)", readme)[[1]]
shown <- readme[start:(start + match("```", readme[-seq_len(start)]) - 1)]
printed <- run_chunks(list(readme = grep("^#>", shown, value = TRUE, invert = TRUE)))
stopifnot(identical(
  grep("^#>", printed, value = TRUE), grep("^#>", shown, value = TRUE)
))

cat("README.md and \"Get started\" show what their code prints\n")
