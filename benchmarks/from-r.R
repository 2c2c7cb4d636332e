# What R adds: attaching the package, making an optimizer, setting its rate, a rate that is an R
# closure.
# Usage: Rscript benchmarks/from-r.R FOLDER

folder <- commandArgs(trailingOnly = TRUE)[[1]]
rounds <- 15

# In a session of its own, which has seen neither the package nor Python.
attaching <- function() {
  code <- paste(
    "cat(system.time(library(kerasgd))[['elapsed']],",
    "reticulate::py_available(initialize = FALSE))"
  )
  said <- strsplit(system2("Rscript", c("-e", shQuote(code)), stdout = TRUE), " ")[[1]]
  stopifnot(said[[2]] == "FALSE")
  1000 * as.numeric(said[[1]])
}

milliseconds <- function(code, times) {
  1000 * system.time(for (i in seq_len(times)) code())[["elapsed"]] / times
}

making <- function() {
  from_python <- reticulate::py$making_times()
  from_r <- milliseconds(function() kerasgd::optimizer_sgd(momentum = 0.9), 50)
  c(from_python, from_r)
}

# Setting the rate of an optimizer of Keras, and of one of ours.
setting <- function() {
  vapply(
    list(
      reticulate::import("keras")$optimizers$SGD(),
      kerasgd::optimizer_sgd()
    ),
    function(optimizer) milliseconds(function() optimizer$learning_rate <- 0.1, 500),
    numeric(1)
  )
}

# A compiled training step of one small variable, with this rate.
step_with <- function(rate) {
  reticulate::py$benchmark_step(kerasgd::optimizer_sgd(rate))
}

step_code <- '
import timeit

import keras
import kerasgd
import tensorflow as tf


def making_times():
    # As in R, where Python collects garbage.
    timer = timeit.Timer(lambda: kerasgd.SGD(momentum=0.9), setup="import gc; gc.enable()")
    return 1000 * min(timer.repeat(number=50, repeat=3)) / 50


def benchmark_step(optimizer):
    variable = keras.Variable([1.0])
    optimizer.build([variable])
    gradient = tf.constant([0.1])
    return tf.function(lambda: optimizer.apply([gradient], [variable]))


def benchmark_times(step):
    step()
    return 1000 * min(timeit.repeat(step, number=200, repeat=3)) / 200
'

# `against` is the same without what R, or this package, adds.
row <- function(what, milliseconds, against = NA) {
  data.frame(
    what = what,
    ms = stats::median(milliseconds),
    lowest = min(milliseconds),
    highest = max(milliseconds),
    python = stats::median(against)
  )
}

reticulate::py_run_string(step_code)
invisible(making()) # the first ones import and compile
made <- replicate(rounds, making())
set <- replicate(rounds, setting())
with_number <- step_with(0.01)
with_closure <- step_with(function() 0.01)
steps <- replicate(rounds, vapply(
  list(with_number, with_closure), reticulate::py$benchmark_times, numeric(1)
))
rows <- rbind(
  row("library(kerasgd)", replicate(rounds, attaching())),
  row("optimizer_sgd()", made[2, ], made[1, ]),
  row("optimizer$learning_rate <- 0.1", set[2, ], set[1, ]),
  row("a compiled step, learning_rate = function() 0.01", steps[2, ], steps[1, ])
)
about <- list(
  machine = reticulate::import_from_path("benchmarks", ".")$results$environment()$machine,
  versions = paste0(
    "R ", getRversion(), ", reticulate ", utils::packageVersion("reticulate"),
    ", keras ", reticulate::py_get_attr(reticulate::import("keras"), "__version__")
  ),
  load = scan("/proc/loadavg", quiet = TRUE, nmax = 1, what = 0, sep = " ")
)
text <- jsonlite::toJSON(
  list(about = about, rows = rows),
  auto_unbox = TRUE, digits = 4, pretty = TRUE, na = "null"
)
writeLines(text, file.path(folder, "from-r.json"))
print(rows, digits = 3)
