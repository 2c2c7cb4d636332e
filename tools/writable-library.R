# Prints R's first writable library. If there is none, creates the user's own library, which R then
# finds in every later session.

writable <- function(path) file.access(path, mode = 2) == 0

library <- Find(writable, .libPaths())
if (is.null(library)) {
  library <- strsplit(Sys.getenv("R_LIBS_USER"), .Platform$path.sep, fixed = TRUE)[[1]][[1]]
  library <- path.expand(library)
  dir.create(library, recursive = TRUE, showWarnings = FALSE)
}
if (!writable(library)) {
  stop("R has no writable library, and ", library, " cannot be created.", call. = FALSE)
}
writeLines(library)
