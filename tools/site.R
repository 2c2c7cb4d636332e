# Builds the website of the installed package, with its articles and the output of its examples, in
# build/site; see _pkgdown.yml.

# No request goes to CRAN or other sites: neither from pkgdown ...
options(pkgdown.internet = FALSE)

# ... nor from downlit, which turns code into links. It would look up on CRAN each package that the
# code names and that is not installed, such as keras3. Empty packages stand in for these.
stand_in_for_missing_packages <- function(files) {
  text <- unlist(lapply(files, readLines, encoding = "UTF-8"))
  named <- unlist(regmatches(text, gregexpr(
    "(?<=library\\()[[:alnum:].]+|[[:alnum:].]+(?=:::?[[:alpha:]])", text,
    perl = TRUE
  )))
  library <- tempfile("library")
  dir.create(library)
  for (package in unique(named)) {
    if (!nzchar(system.file(package = package))) {
      source <- file.path(tempfile("source"), package)
      dir.create(source, recursive = TRUE)
      writeLines(c(paste("Package:", package), "Version: 0.0"), file.path(source, "DESCRIPTION"))
      file.create(file.path(source, "NAMESPACE"))
      utils::install.packages(source, library, repos = NULL, type = "source", quiet = TRUE)
    }
  }
  .libPaths(c(library, .libPaths()))
}
stand_in_for_missing_packages(c(
  "README.md", "NEWS.md", "CONTRIBUTING.md",
  Sys.glob(c("vignettes/*.Rmd", "vignettes/articles/*.Rmd", "man/*.Rd"))
))

pkgdown::build_site(install = FALSE, devel = FALSE, new_process = FALSE, preview = FALSE)

site <- "build/site"
edit <- function(file, from, to) {
  text <- readLines(file, encoding = "UTF-8")
  edited <- gsub(from, to, text, fixed = TRUE)
  if (!identical(text, edited)) writeLines(edited, file, useBytes = TRUE)
}

# README.md links to files of the repository that have other places in the website
home <- file.path(site, "index.html")
edit(home, "\"NEWS.html\"", "\"news/index.html\"")
for (page in list.files("vignettes", "[.]Rmd$", recursive = TRUE)) {
  article <- file.path("articles", sub("[.]Rmd$", ".html", basename(page)))
  edit(home, sprintf("\"vignettes/%s\"", page), sprintf("\"%s\"", article))
}

source("tools/site/offline.R")
work_offline(site)
