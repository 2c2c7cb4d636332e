# Prints R's first writable library. Where there is none, it makes the user's own, which R then
# finds in every later session.

writable <- function(path) file.access(path, mode = 2) == 0

library <- Find(writable, .libPaths())
if (is.null(library)) {
  library <- strsplit(Sys.getenv("R_LIBS_USER"), .Platform$path.sep, fixed = TRUE)[[1]][[1]]
  library <- path.expand(library)
  dir.create(library, recursive = TRUE, showWarnings = FALSE)
}
if (!writable(library)) {
  stop("R has no library that you may write to, and ", library, " cannot be made.", call. = FALSE)
}
writeLines(library)
