# Prints the named packages that R does not find.
# Usage: Rscript tools/missing-packages.R PACKAGE...

wanted <- commandArgs(trailingOnly = TRUE)
found <- vapply(
  wanted,
  function(package) nzchar(system.file(package = package)),
  logical(1)
)
writeLines(wanted[!found])
