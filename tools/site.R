# Builds the pages of the installed package, with its articles and what its examples print, in
# build/site; see _pkgdown.yml.

# Nothing is asked of CRAN or of other sites
options(pkgdown.internet = FALSE)

pkgdown::build_site(install = FALSE, devel = FALSE, new_process = FALSE, preview = FALSE)

# Two of README.md's links are to files that have another place in the pages, or none
site <- "build/site"
home <- file.path(site, "index.html")
writeLines(gsub("\"NEWS.html\"", "\"news/index.html\"", readLines(home)), home)
dir.create(file.path(site, "demo"), showWarnings = FALSE)
invisible(file.copy("demo/iris.R", file.path(site, "demo"), overwrite = TRUE))
