known <- setdiff(names(formals(optimizer_sgd)), "...")

refusal <- function(expr) {
  # R's own warning about partial matching is not tested here
  withr::local_options(warnPartialMatchArgs = FALSE)
  tryCatch(expr, error = identity)
}

test_that("misspelt, shortened and unnamed arguments are refused in every form of call", {
  wrapper <- function(...) optimizer_sgd(...)
  deep_wrapper <- function(...) lapply(1, function(i) wrapper(...))
  short <- list(mom = 0.9)

  expect_suggestion <- function(expr, name, suggestion) {
    error <- refusal(expr)
    expect_s3_class(error, c(
      "kerasgd_unknown_argument_error", "kerasgd_argument_error", "kerasgd_error",
      "rlang_error", "error", "condition"
    ), exact = TRUE)
    expect_equal(error$argument, name)
    expect_equal(error$suggestion, suggestion)
    expect_equal(as.character(error$call[[1]]), "optimizer_sgd")
  }
  expect_suggestion(optimizer_sgd(mom = 0.9), "mom", "momentum")
  expect_suggestion(optimizer_sgd(mom = 0.9, momentum = 0.8), "mom", "momentum")
  expect_suggestion(0.1 |> optimizer_sgd(mom = 0.9), "mom", "momentum")
  expect_suggestion(do.call(optimizer_sgd, short), "mom", "momentum")
  expect_suggestion(do.call("optimizer_sgd", short), "mom", "momentum")
  expect_suggestion(lapply(0.1, optimizer_sgd, mom = 0.9), "mom", "momentum")
  expect_suggestion(Map(optimizer_sgd, mom = 0.9), "mom", "momentum")
  expect_suggestion(mapply(optimizer_sgd, 0.1, MoreArgs = short), "mom", "momentum")
  expect_suggestion(wrapper(mom = 0.9), "mom", "momentum")
  expect_suggestion(deep_wrapper(mom = 0.9), "mom", "momentum")
  expect_suggestion(rlang::exec(optimizer_sgd, mom = 0.9), "mom", "momentum")
  expect_suggestion(rlang::exec("optimizer_sgd", !!!short), "mom", "momentum")
  # after `...` R does not match partial names; they are errors all the same
  expect_suggestion(optimizer_sgd(grad = 4), "grad", "gradient_accumulation_steps")
  expect_suggestion(optimizer_sgd(lr = 0.1), "lr", "learning_rate")
  expect_suggestion(wrapper(momentun = 0.9), "momentun", "momentum")
  expect_suggestion(optimizer_sgd(Nesterov = TRUE), "Nesterov", "nesterov")
  expect_suggestion(optimizer_sgd(learning.rate = 1), "learning.rate", "learning_rate")
  expect_equal(
    as.character(refusal(kerasgd::optimizer_sgd(lr = 1))$call[[1]]),
    c("::", "kerasgd", "optimizer_sgd")
  )

  all_by_position <- c(list(0.1, 0, FALSE), rep(list(NULL), 4), list(FALSE, 0.99, NULL, "SGD", 5))
  unnamed <- refusal(do.call(optimizer_sgd, all_by_position))
  expect_s3_class(unnamed, "kerasgd_argument_error")
  expect_equal(unnamed$argument, "...")
  expect_equal(unnamed$received, 5)

  twice <- refusal(optimizer_sgd(extra = 1, extra = 2))
  expect_s3_class(twice, "kerasgd_argument_error")
  expect_equal(twice$argument, "extra")
})

test_that("argument names are checked without starting Python", {
  output <- run_r({
    refused <- function(expr) inherits(tryCatch(expr, error = identity), "kerasgd_argument_error")
    wrapper <- function(...) optimizer_sgd(...)
    by_position <- list(0, 0, FALSE, NULL, NULL, NULL, NULL, FALSE, 0.99, NULL, "SGD", 5)
    cat(
      refused(optimizer_sgd(lr = 1)),
      refused(optimizer_sgd(mom = 1)),
      refused(optimizer_sgd(momentun = 1)),
      refused(do.call(optimizer_sgd, list(mom = 1))),
      refused(lapply(1, optimizer_sgd, mom = 1)),
      refused(Map(optimizer_sgd, mom = 1)),
      refused(1 |> optimizer_sgd(mom = 1)),
      refused(wrapper(mom = 1)),
      refused(rlang::exec(optimizer_sgd, mom = 1)),
      refused(do.call(optimizer_sgd, by_position)),
      refused(install_kerasgd(back = "jax"))
    )
    cat("\nstarted:", reticulate::py_available(initialize = FALSE))
  })
  expect_equal(output[[1]], paste(rep("TRUE", 11), collapse = " "))
  expect_equal(output[[2]], "started: FALSE")
})

test_that("every name in the table of hints leads to its argument", {
  hints <- argument_hints()
  names_of <- function(constructor) setdiff(names(formals(constructor)), "...")
  constructors <- mget(
    c("optimizer_sgd", "set_group", ls("package:kerasgd", pattern = "^learning_rate_schedule_")),
    envir = asNamespace("kerasgd")
  )
  expect_setequal(setdiff(hints$meant, unlist(lapply(constructors, names_of))), character())
  # a name that could mean several arguments suggests the first that exists
  for (i in seq_len(nrow(hints))) {
    for (arguments in Filter(function(x) hints$meant[[i]] %in% x, lapply(constructors, names_of))) {
      possible <- hints$meant[hints$misspelt == hints$misspelt[[i]] & hints$meant %in% arguments]
      expect_equal(meant_argument(hints$misspelt[[i]], arguments)$name, possible[[1]])
    }
  }
  expect_equal(meant_argument("LR", known)$name, "learning_rate")
  expect_equal(
    meant_argument("max_lr", names(formals(learning_rate_schedule_one_cycle)))$name,
    "peak_learning_rate"
  )
  expect_match(meant_argument("decay", known)$hint, "schedule")
})

test_that("a typing error suggests the argument, an unrelated name suggests none", {
  for (name in known) {
    expect_equal(meant_argument(sub("^(.)(.)", "\\1", name), known)$name, name)
    expect_equal(meant_argument(toupper(name), known)$name, name)
  }
  expect_null(meant_argument("jit", known))
  expect_null(meant_argument("amsgrad", known))
  expect_null(meant_argument("epsilon", known))
})

test_that("Python's own search suggests the same names", {
  skip_if_no_keras()
  suggested <- function(name) {
    call_python("arguments.suggest", list(argument = name, known = as.list(known)))[[1]]
  }
  hints <- argument_hints()
  swapped <- sub("(.)(.)$", "\\2\\1", setdiff(known, "name")) # too short for R
  for (name in c(
    hints$misspelt[hints$meant %in% known], sub("^(.)(.)", "\\1", known), swapped, toupper(known),
    gsub("_", ".", known), substr(known, 1, 4)
  )) {
    expect_equal(suggested(name), meant_argument(name, known)$name)
  }
  for (name in c("jit", "amsgrad", "epsilon")) {
    expect_null(suggested(name))
  }
})

test_that("an error in the user's argument expression has the user's call", {
  call_of <- function(expr) deparse(conditionCall(tryCatch(expr, error = identity)))
  expect_equal(call_of(optimizer_sgd(no_such_rate)), "optimizer_sgd(no_such_rate)")
  expect_equal(call_of(optimizer_sgd(extra = no_such)), "optimizer_sgd(extra = no_such)")
  expect_equal(call_of(optimizer_sgd(stop("mine"))), "optimizer_sgd(stop(\"mine\"))")
  expect_equal(call_of(optimizer_sgd(log("a"))), "log(\"a\")")
})

test_that("only the arguments that the user gave are passed to Python", {
  f <- function(a = 1, b = 2, ..., c = 3) given_arguments()
  expect_equal(f(), list())
  expect_equal(f(1), list(a = 1))
  expect_equal(f(b = NULL), list(b = NULL))
  expect_equal(f(c = 5, a = 7, x = "y"), list(a = 7, c = 5, x = "y"))

  # a wrapper's default counts as given; an argument that the wrapper did not get does not
  with_default <- function(rate = 0.1) f(a = rate)
  without_default <- function(rate) f(a = rate)
  expect_equal(with_default(), list(a = 0.1))
  expect_equal(without_default(), list())
  expect_equal(without_default(4), list(a = 4))
})
