# Combines the results of tools/record-conformance.sh in a folder into one table.
# Usage: Rscript tools/tabulate-conformance.R FOLDER FILE.csv

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[[1]]

table_of <- function(backend, subject) {
  records <- jsonlite::read_json(file.path(folder, sprintf("%s-%s.json", backend, subject)))
  field <- function(name) {
    vapply(records, function(record) paste(record[[name]], collapse = ", "), "")
  }
  versions <- scan(file.path(folder, paste0(backend, "-versions")), "", quiet = TRUE)
  columns <- c("clause", "sentence", "status", "where", "expected", "actual", "deviations")
  data.frame(
    recorded = format(Sys.Date()), keras = versions[[1]],
    backend = backend, backend_version = versions[[2]], subject = subject,
    lapply(stats::setNames(columns, columns), field)
  )
}

tables <- list()
for (subject in c("keras.optimizers:SGD", "kerasgd:SGD")) {
  for (backend in c("tensorflow", "jax", "torch")) {
    tables <- c(tables, list(table_of(backend, subject)))
  }
}
utils::write.csv(do.call(rbind, tables), arguments[[2]], row.names = FALSE)
