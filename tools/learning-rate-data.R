# Writes the data for tools/record_learning_rates.py, with the target in the last column.
# Usage: Rscript tools/learning-rate-data.R FOLDER

folder <- commandArgs(trailingOnly = TRUE)[[1]]
write <- function(name, x, y) {
  file <- file.path(folder, paste0(name, ".csv"))
  utils::write.csv(data.frame(scale(x), y), file, row.names = FALSE)
}
standardised <- function(y) as.vector(scale(y))

write("mtcars", mtcars[c("wt", "hp", "qsec")], standardised(mtcars$mpg))
write("iris", iris[1:4], as.integer(iris$Species) - 1)
write(
  "ChickWeight", stats::model.matrix(~ Time + Diet, ChickWeight)[, -1],
  standardised(ChickWeight$weight)
)
