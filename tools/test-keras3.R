# Runs the scripts in tests/keras3 with the R package keras3, each in its own session, on each
# backend whose environment exists. Each script checks its results, and its last line of output sums
# them up. A first line such as "# Backends: tensorflow" limits the backends.
# Usage: Rscript tools/test-keras3.R [FILTER]   (FILTER: a part of the names, e.g. schedules)
# KERAS3_LIBRARY names the library of R packages that keras3 is in, where it is not one of R's own;
# KERAS3_BACKENDS (e.g. "jax torch") the backends.

environments <- c(tensorflow = ".venv", jax = ".venv-jax", torch = ".venv-torch")
in_order <- c("kerasgd", "keras3", "reticulate")

main <- function(filter = "") {
  libraries <- c(Sys.getenv("KERAS3_LIBRARY"), .libPaths())
  libraries <- libraries[nzchar(libraries)]
  versions <- versions_in(libraries)
  if (is.na(versions[["keras3"]])) {
    cat(
      "Skipped: the R package keras3 is not installed. `install.packages(\"keras3\")` installs it;",
      "KERAS3_LIBRARY can name another library of R packages that has it.\n"
    )
    return(invisible(TRUE))
  }
  writeLines(toString(paste(in_order, versions)))
  scripts <- list.files("tests/keras3", "[.]R$", full.names = TRUE)
  scripts <- scripts[grepl(filter, basename(scripts), fixed = TRUE)]
  if (length(scripts) == 0) stop("no script in tests/keras3 has `", filter, "` in its name")
  backends <- backends_here()
  outcomes <- vapply(backends, function(backend) {
    vapply(scripts, run_script, "", backend = backend, libraries = libraries)
  }, character(length(scripts)))
  outcomes <- matrix(
    outcomes, length(scripts),
    dimnames = list(sub("[.]R$", "", basename(scripts)), backends)
  )
  print_table(outcomes)
  !any(outcomes == "failed")
}

versions_in <- function(libraries) {
  vapply(in_order, function(package) {
    folder <- system.file(package = package, lib.loc = libraries)
    if (!nzchar(folder)) {
      return(NA_character_)
    }
    read.dcf(file.path(folder, "DESCRIPTION"), "Version")[[1]]
  }, "")
}

backends_here <- function() {
  asked <- strsplit(Sys.getenv("KERAS3_BACKENDS", toString(names(environments))), "[ ,]+")[[1]]
  unknown <- setdiff(asked, names(environments))
  if (length(unknown) > 0) stop("KERAS3_BACKENDS has an unknown backend: ", toString(unknown))
  there <- file.exists(file.path(environments[asked], "bin", "python"))
  if (!any(there)) stop("none of these environments is there: ", toString(environments[asked]))
  asked[there]
}

#' "passed", "failed", or "-" where the script is for other backends
run_script <- function(script, backend, libraries) {
  of_backends <- grep("^# Backends: ", readLines(script, n = 1), value = TRUE)
  if (length(of_backends) > 0 && !grepl(backend, of_backends, fixed = TRUE)) {
    return("-")
  }
  output <- tempfile()
  python <- file.path(getwd(), environments[[backend]], "bin", "python")
  status <- system2(
    file.path(R.home("bin"), "Rscript"), c("--no-init-file", shQuote(script)),
    stdout = output, stderr = output, timeout = 1800,
    env = c(
      paste0("R_LIBS=", shQuote(paste(libraries, collapse = ":"))),
      paste0("RETICULATE_PYTHON=", shQuote(python)),
      paste0("KERAS_BACKEND=", backend)
    )
  )
  lines <- readLines(output, warn = FALSE)
  passed <- identical(status, 0L)
  told <- utils::tail(lines, 1)
  name <- sub("[.]R$", "", basename(script))
  outcome <- if (passed) "passed" else "failed"
  cat(sprintf("%-10s %s: %s\n", backend, name, if (passed) told else outcome))
  if (!passed) writeLines(paste("   ", utils::tail(lines, 30)))
  outcome
}

print_table <- function(outcomes) {
  cells <- rbind(colnames(outcomes), outcomes)
  names <- format(c("", rownames(outcomes)))
  cat("", apply(cbind(names, format(cells)), 1, paste, collapse = "  "), "", sep = "\n")
  counts <- table(factor(outcomes, c("passed", "failed")))
  cat(sprintf("%d passed, %d failed\n", counts[["passed"]], counts[["failed"]]))
}

succeeded <- do.call(main, as.list(commandArgs(trailingOnly = TRUE)))
quit(save = "no", status = if (succeeded) 0 else 1)
