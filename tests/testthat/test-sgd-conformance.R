test_that("it validates its inputs", {
  skip_if_no_keras()
  expect_snapshot(error = TRUE, {
    sgd_conformance(1)
    sgd_conformance(clause = c("1", "2"))
    sgd_conformance(clause = NA)
    sgd_conformance(clause = TRUE)
    sgd_conformance(backend = "cuda")
    sgd_conformance(python_for = "python")
    sgd_conformance(python_for = c(jax = "/no/such/python"))
    sgd_conformance(section = "5")
  })
})

test_that("it names an unknown class or clause", {
  skip_if_no_keras()
  expect_refused <- function(message, ...) {
    error <- expect_error(sgd_conformance(...))
    expect_s3_class(error, c("kerasgd_conformance_error", "kerasgd_error"))
    expect_equal(as.character(error$call[[1]]), "sgd_conformance")
    expect_match(conditionMessage(error), message)
  }
  expect_refused("no clause '99'", clause = "99")
  expect_refused("no module 'no_such_module'", "no_such_module:SGD", clause = "4.1")
})

# contract 4.1, D19: Keras' own class takes a limit of 0 without a word
test_that("kerasgd holds clauses that Keras' own SGD does not", {
  skip_if_no_keras()
  ours <- sgd_conformance(clause = 4.1)
  expect_s3_class(ours, c("sgd_conformance", "data.frame"), exact = TRUE)
  expect_equal(ours$clause, "4.1")
  expect_equal(ours$status, "holds")

  stock <- sgd_conformance("keras.optimizers:SGD", clause = "4.1")
  expect_equal(stock$status, "fails")
  expect_equal(stock$deviations, "D19")
  expect_equal(stock$where, "clipnorm=0")
})

# Keras' own class has no such method, and its documentation does not promise one
test_that("Keras' class does not claim a section that goes beyond its documentation", {
  skip_if_no_keras()
  stock <- sgd_conformance("keras.optimizers:SGD", clause = "16")
  expect_setequal(stock$status, "not claimed")
  expect_setequal(stock$actual, "it has no `skip_nonfinite()`")
  expect_output(print(stock), sprintf("0 of 0 clauses hold (%d not claimed)", nrow(stock)),
    fixed = TRUE
  )
})

test_that("the lines of a command are counted, and only it gets its environment variables", {
  withr::local_envvar(KERASGD_ONE = "old", KERASGD_OTHER = NA)
  script <- withr::local_tempfile(
    lines = "for (i in 1:3) writeLines(Sys.getenv(c('KERASGD_ONE', 'KERASGD_OTHER')))"
  )
  command <- paste(shQuote(file.path(R.home("bin"), "Rscript")), shQuote(script))
  counted <- NULL
  show <- function(done, total) counted <<- c(counted, done)
  with_variables(c(KERASGD_ONE = "new", KERASGD_OTHER = "new"), count_lines(command, show))
  expect_equal(counted, 1:6)
  expect_equal(Sys.getenv(c("KERASGD_ONE", "KERASGD_OTHER"), NA, names = FALSE), c("old", NA))
  seen <- with_variables(c(KERASGD_OTHER = "new"), Sys.getenv("KERASGD_OTHER"))
  expect_equal(seen, "new")
})

record <- function(clause, status, ...) {
  record <- list(
    clause = clause, sentence = paste("the sentence of", clause), status = status,
    where = "", expected = "", actual = "", deviations = list()
  )
  given <- list(...)
  record[names(given)] <- given
  record
}

results <- new_sgd_conformance(
  list(
    record("1.1", "holds"),
    record("5.1", "fails",
      where = "fit()", expected = "6.875", actual = "6.533",
      deviations = list("D1", "D13")
    ),
    record("10.1", "not tested here", actual = "MirroredStrategy is TensorFlow's"),
    record("14.1", "not claimed", actual = "it has no `set_group()`"),
    record("14.2", "not claimed", actual = "it has no `set_group()`")
  ),
  subject = "keras.optimizers:SGD", backend = "jax"
)

test_that("it prints one line per clause, and the failures", {
  expect_snapshot(results)
})

test_that("it is a data frame, and a subset prints as a plain data frame", {
  expect_equal(
    results$status,
    c("holds", "fails", "not tested here", "not claimed", "not claimed")
  )
  expect_equal(results$deviations, c("", "D1, D13", "", "", ""))
  expect_snapshot(results[c("clause", "status")])
  expect_equal(nrow(results[results$status == "fails", ]), 1)
  expect_output(print(results[results$status == "fails", ]), "0 of 1 clauses hold")
})
