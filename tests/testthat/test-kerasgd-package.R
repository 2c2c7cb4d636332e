test_that("attaching the package does not start Python", {
  expect_equal(run_r(cat(reticulate::py_available(initialize = FALSE))), "FALSE")
})

test_that("attaching the package does not wait for reticulate", {
  skip_if(is_loaded_from_source(), "pkgload loads all imports")
  expect_equal(run_r(cat(isNamespaceLoaded("reticulate"))), "FALSE")
})

test_that("reticulate knows our environment, whichever package is loaded first", {
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  venvs <- withr::local_tempdir()
  ours <- file.path(venvs, "r-kerasgd")
  system2(python, c("-m", "venv", "--without-pip", shQuote(ours)))
  skip_if_not(dir.exists(ours), "python3 cannot create environments")

  env <- c(WORKON_HOME = venvs, RETICULATE_PYTHON = NA, RETICULATE_PYTHON_ENV = NA)
  # the Python that reticulate starts without kerasgd
  expect_equal(
    run_r(cat(basename(dirname(dirname(reticulate::py_config()$python)))), env),
    "r-kerasgd"
  )
  expect_equal(
    run_r(cat(kerasgd:::find_python()$source), env),
    "the virtual environment 'r-kerasgd'"
  )
})

test_that("requirements are declared to reticulate only before Python starts", {
  skip_if(is_loaded_from_source(), "pkgload loads all imports")
  skip_if(packageVersion("reticulate") < "1.41", "this reticulate does not create environments")
  packages <- quote({
    loadNamespace("reticulate")
    cat(getExportedValue("reticulate", "py_require")()$packages)
  })
  declared <- function(env) {
    env <- c(RETICULATE_PYTHON = NA, RETICULATE_PYTHON_ENV = NA, VIRTUAL_ENV = NA, env)
    tail(eval(bquote(run_r(.(packages), .(env)))), 1)
  }
  nowhere <- withr::local_tempdir()
  expect_match(declared(c(WORKON_HOME = nowhere, KERAS_BACKEND = NA)), "keras>=3.10,<4 tensorflow")
  expect_match(declared(c(WORKON_HOME = nowhere, KERAS_BACKEND = "torch")), "keras>=3.10,<4 torch$")
  # an existing environment has its own backend
  expect_no_match(
    declared(c(RETICULATE_PYTHON = file.path(nowhere, "python"), KERAS_BACKEND = NA)), "tensorflow"
  )
  skip_if_no_keras()
  output <- run_r({
    py_require <- getExportedValue("reticulate", "py_require")
    unloadNamespace("kerasgd")
    py_require("numpy", action = "set")
    reticulate::py_config()
    options(warn = 1)
    loadNamespace("kerasgd", lib.loc = .libPaths())
    cat("\n", py_require()$packages, sep = "")
  })
  expect_equal(tail(output, 1), "numpy")
  expect_no_match(output, "[Ww]arning")
})

test_that("sources whose link is a text file fail with instructions", {
  folder <- withr::local_tempdir()
  writeLines("../python", file.path(folder, "python"))
  expect_snapshot(error = TRUE, check_python_part(file.path(folder, "python")))
  expect_silent(check_python_part(system.file("python", package = "kerasgd")))
})

test_that("the Python package is shipped, and not as a broken link", {
  file <- system.file("python", "kerasgd", "__init__.py", package = "kerasgd")
  expect_true(nzchar(file))
  expect_gt(file.size(file), 0)
})

# Help ---------------------------------------------------------------------------------------------

pages <- function() {
  sources <- file.path(find.package("kerasgd"), "man")
  if (!is_loaded_from_source()) {
    return(tools::Rd_db("kerasgd"))
  }
  files <- Sys.glob(file.path(sources, "*.Rd"))
  stats::setNames(lapply(files, tools::parse_Rd), basename(files))
}

test_that("help.search() finds the pages by common search terms", {
  concepts <- lapply(pages(), function(page) {
    tags <- vapply(page, attr, "", "Rd_tag")
    trimws(vapply(page[tags == "\\concept"], function(x) paste(unlist(x), collapse = ""), ""))
  })
  found <- function(words) {
    has_them <- vapply(concepts, function(x) words %in% x, NA)
    sub(".Rd", "", names(concepts)[has_them], fixed = TRUE)
  }
  expect_true("learning_rate_schedule_cosine_decay" %in% found("cosine annealing"))
  expect_true("learning_rate_schedule_cosine_decay_restarts" %in% found("warm restarts"))
  expect_true("optimizer_sgd" %in% found("gradient clipping"))
  expect_setequal(found("mixed precision"), c("optimizer_sgd", "optimizer_loss_scale"))
  expect_true("ema" %in% found("Polyak averaging"))
})

test_that("formulas are readable as plain text", {
  for (page in pages()) {
    text <- utils::capture.output(tools::Rd2txt(page))
    # remains of LaTeX
    expect_no_match(text, "[_^]\\{|eta_[0-9]|\\\\[a-z]")
  }
})

test_that("the demo writes nothing unless asked", {
  skip_if_no_keras()
  skip_if(is_loaded_from_source(), "demo() needs an installed package")
  folder <- withr::local_tempdir()
  output <- eval(bquote(run_r({
    setwd(.(folder))
    utils::demo("iris", package = "kerasgd", ask = FALSE, echo = FALSE)
  })))
  expect_match(output, "^accuracy 0", all = FALSE)
  expect_identical(list.files(folder, all.files = TRUE, no.. = TRUE), character())
})

# keras3 -------------------------------------------------------------------------------------------

# The arguments of keras3 1.5, for the functions that kerasgd has too. Arguments that come after
# its `...` must be named.
of_keras3 <- list(
  optimizer_sgd = c(
    "learning_rate", "momentum", "nesterov", "weight_decay", "clipnorm", "clipvalue",
    "global_clipnorm", "use_ema", "ema_momentum", "ema_overwrite_frequency", "name", "...",
    "loss_scale_factor", "gradient_accumulation_steps"
  ),
  optimizer_loss_scale = c(
    "inner_optimizer", "initial_scale", "dynamic_growth_steps", "...", "name", "weight_decay",
    "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
    "ema_overwrite_frequency", "loss_scale_factor"
  ),
  learning_rate_schedule_cosine_decay = c(
    "initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps"
  ),
  learning_rate_schedule_cosine_decay_restarts = c(
    "initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name"
  ),
  learning_rate_schedule_exponential_decay = c(
    "initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name"
  ),
  learning_rate_schedule_inverse_time_decay = c(
    "initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name"
  ),
  learning_rate_schedule_piecewise_constant_decay = c("boundaries", "values", "name"),
  learning_rate_schedule_polynomial_decay = c(
    "initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name"
  )
)

test_that("functions that keras3 has too take keras3's arguments, in the same positions", {
  # contract 13.1
  for (name in names(of_keras3)) {
    theirs <- of_keras3[[name]]
    ours <- names(formals(getExportedValue("kerasgd", name)))
    in_place <- theirs[seq_len(match("...", theirs, nomatch = length(theirs) + 1) - 1)]
    expect_equal(utils::head(ours, length(in_place)), in_place, label = name)
    if (name != "optimizer_loss_scale") { # see the next test
      expect_setequal(setdiff(ours, "..."), setdiff(theirs, "..."))
    }
  }
})

# A package that registers the methods of keras3 1.3 to 1.5 for classes that kerasgd handles too
install_registrations_of_keras3 <- function(library) {
  package <- withr::local_tempdir()
  classes <- c("jax.Array", "jaxlib._jax.ArrayImpl", "keras.src.backend.Variable")
  methods <- outer(c("as.double", "as.integer"), classes, sprintf, fmt = "S3method(%s, %s, number)")
  dir.create(file.path(package, "R"))
  writeLines("number <- function(x, ...) 0", file.path(package, "R", "methods.R"))
  writeLines(methods, file.path(package, "NAMESPACE"))
  writeLines(
    c("Package: keras3", "Version: 1.5.1", "Title: T", "Description: D.", "License: GPL-2"),
    file.path(package, "DESCRIPTION")
  )
  utils::install.packages(
    package, library, repos = NULL, type = "source", quiet = TRUE, INSTALL_opts = "--no-docs"
  )
}

test_that("loading kerasgd and keras3 in either order overwrites no method", {
  library <- withr::local_tempdir()
  install_registrations_of_keras3(library)
  # for the package's own loading too
  env <- c(R_LIBS = paste(c(library, .libPaths()), collapse = ":"))
  owner <- "environmentName(environment(getS3method(\"as.double\", \"jax.Array\")))"
  load_both <- function(lines) {
    paths <- sprintf(".libPaths(c(\"%s\", .libPaths()))", library)
    script <- withr::local_tempfile(lines = c(paths, lines))
    withr::local_envvar(env)
    system2(
      file.path(R.home("bin"), "Rscript"), c("--no-init-file", shQuote(script)),
      stdout = TRUE, stderr = TRUE
    )
  }
  ours <- sub("^\\.libPaths\\(", "invisible(", load_package_code())
  theirs <- "library(keras3)"
  expect_identical(load_both(c(ours, theirs, sprintf("cat(%s)", owner))), "keras3")
  expect_identical(load_both(c(theirs, ours, sprintf("cat(%s)", owner))), "keras3")
})

test_that("JAX arrays have methods under all class names unless keras3 is installed", {
  served <- function(class) !is.null(utils::getS3method("as.double", class, optional = TRUE))
  expect_true(served("jax.jaxlib._jax.Array"))
  skip_if(nzchar(system.file(package = "keras3")), "keras3 registers these methods")
  expect_true(served("jax.Array"))
  expect_true(served("jaxlib._jax.ArrayImpl"))
})

test_that("optimizer_loss_scale() accepts keras3's NULL for settings of the inner optimizer", {
  skip_if_no_keras()
  after_dots <- setdiff(of_keras3$optimizer_loss_scale, names(formals(optimizer_loss_scale)))
  expect_length(after_dots, 8)
  nothing <- rep(list(NULL), length(after_dots))
  names(nothing) <- after_dots
  optimizer <- do.call(optimizer_loss_scale, c(list(optimizer_sgd(), name = "mine"), nothing))
  expect_equal(optimizer$name, "mine")
  expect_error(
    optimizer_loss_scale(optimizer_sgd(), clipnorm = 1), "Pass it to the inner optimizer"
  )
})

test_that("objects have the classes that keras3 checks, and keep them in a model", {
  # contract 13.1: S3 methods of keras3 and of kerasgd dispatch on them
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  classes <- c("kerasgd.SGD", "keras.src.optimizers.base_optimizer.BaseOptimizer")
  expect_equal(class(optimizer)[[1]], classes[[1]])
  expect_true(inherits(optimizer, classes[[2]]))
  expect_identical(class(one_weight_model(optimizer)$optimizer), class(optimizer))

  scaled <- optimizer_loss_scale(optimizer)
  expect_equal(class(scaled)[[1]], "kerasgd.LossScaleOptimizer")
  expect_true(inherits(scaled, classes[[2]]))
  expect_identical(class(one_weight_model(scaled)$optimizer), class(scaled))

  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  of_schedules <- "keras.src.optimizers.schedules.learning_rate_schedule.LearningRateSchedule"
  expect_true(inherits(schedule, of_schedules))
  callback <- callback_learning_rate_function(function() 0.1)
  expect_true(inherits(callback, "keras.src.callbacks.callback.Callback"))
})

test_that("Python gets back the same objects that R received", {
  # contract 13.1
  skip_if_no_keras()
  optimizer <- optimizer_sgd()
  schedule <- learning_rate_schedule_cosine_decay(0.1, 10)
  model <- one_weight_model(optimizer)
  is_its_optimizer <- reticulate::py_eval("lambda model, optimizer: model.optimizer is optimizer")
  expect_true(is_its_optimizer(model, optimizer))
  expect_true(is_its_optimizer(model, model$optimizer))

  is_same <- reticulate::py_eval("lambda one, other: one is other")
  for (object in list(
    optimizer, schedule, optimizer_loss_scale(optimizer),
    callback_learning_rate_function(function() 0.1)
  )) {
    expect_true(is_same(object, reticulate::r_to_py(object)))
  }
  adam <- reticulate::import("keras")$optimizers$Adam(schedule)
  has_rate <- reticulate::py_eval("lambda optimizer, rate: optimizer._learning_rate is rate")
  expect_true(has_rate(adam, schedule))
})
