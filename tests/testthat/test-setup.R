refused <- function(expr) {
  withr::local_options(warnPartialMatchArgs = FALSE)
  tryCatch(expr, kerasgd_error = identity)
}

test_that("install_kerasgd() validates its inputs", {
  expect_snapshot(error = TRUE, {
    install_kerasgd("theano")
    install_kerasgd(c("jax", "torch"))
    install_kerasgd(NULL)
    install_kerasgd(NA)
    install_kerasgd(envname = "")
    install_kerasgd(envname = NA_character_)
    install_kerasgd(envname = NULL)
    install_kerasgd(envname = c("a", "b"))
    install_kerasgd(python = "/no/such/python")
    install_kerasgd(python = "/")
    install_kerasgd(python = 3.11)
    install_kerasgd(python = NA)
    install_kerasgd(env = "a")
    install_kerasgd(gpu = "no")
    install_kerasgd(gpu = 1)
    install_kerasgd(gpu = NULL)
    install_kerasgd(gpu = c(TRUE, FALSE))
    install_kerasgd(gpus = TRUE)
    install_kerasgd("jax", "a", "/usr/bin/python3")
  })
})

test_that("a failure is a classed error with the user's call, and creates nothing", {
  withr::local_envvar(WORKON_HOME = withr::local_tempdir())
  error <- refused(install_kerasgd("theano"))
  expect_s3_class(
    error, c("kerasgd_argument_error", "kerasgd_error", "rlang_error", "error", "condition"),
    exact = TRUE
  )
  expect_equal(error$argument, "backend")
  expect_equal(error$received, "theano")
  expect_equal(error$call, quote(install_kerasgd("theano")))
  expect_equal(dir(Sys.getenv("WORKON_HOME")), character())
})

test_that("a GPU build is refused on systems without one", {
  expect_silent(check_gpu(TRUE, NULL, system = "Linux"))
  expect_silent(check_gpu(NA, NULL, system = "Windows"))
  call <- quote(install_kerasgd(gpu = TRUE))
  expect_snapshot(error = TRUE, check_gpu(TRUE, system = "Windows", call = call))
})

test_that("pip installs packages for the backend, the device and reticulate", {
  numpy <- if (packageVersion("reticulate") < "1.38") "numpy<2"
  keras <- "keras>=3.10,<4"
  packages <- function(...) lapply(installations(...), `[[`, "packages")
  options <- function(...) lapply(installations(...), `[[`, "options")

  expect_equal(packages("tensorflow", FALSE, "Linux"), list(c(keras, "tensorflow-cpu", numpy)))
  expect_equal(packages("tensorflow", TRUE, "Linux"), list(c(keras, "tensorflow[and-cuda]", numpy)))
  expect_equal(packages("tensorflow", FALSE, "Darwin"), list(c(keras, "tensorflow", numpy)))
  expect_equal(packages("jax", FALSE, "Linux"), list(c(keras, "jax", numpy)))
  expect_equal(packages("jax", TRUE, "Linux"), list(c(keras, "jax[cuda12]", numpy)))
  expect_equal(options("jax", TRUE, "Linux"), list(character()))

  # pip's own index has PyTorch for CUDA on Linux, and for the CPU elsewhere
  expect_equal(packages("torch", TRUE, "Linux"), list(c(keras, "torch", numpy)))
  expect_equal(options("torch", TRUE, "Linux"), list(character()))
  expect_equal(packages("torch", FALSE, "Windows"), list(c(keras, "torch", numpy)))
  expect_equal(packages("torch", FALSE, "Linux"), list("torch", c(keras, numpy)))
  expect_equal(
    options("torch", FALSE, "Linux"),
    list("--index-url https://download.pytorch.org/whl/cpu", character())
  )
})

test_that("an NVIDIA device is found by the driver's program or among the PCI devices", {
  skip_on_os("windows")
  programs <- withr::local_tempdir()
  withr::local_envvar(PATH = programs)
  put <- function(name, line) {
    file <- file.path(programs, name)
    writeLines(c("#!/bin/sh", sprintf("echo '%s'", line)), file)
    Sys.chmod(file, "755")
  }
  expect_false(has_nvidia_device("Linux"))
  put("lspci", "00:02.0 VGA compatible controller: Intel Corporation HD Graphics")
  put("nvidia-smi", "No devices were found")
  expect_false(has_nvidia_device("Linux"))
  put("lspci", "01:00.0 3D controller: NVIDIA Corporation GA102GL [A40] (rev a1)")
  expect_true(has_nvidia_device("Linux"))
  unlink(file.path(programs, "lspci"))
  put("nvidia-smi", "GPU 0: Tesla T4 (UUID: GPU-9e8d35e3)")
  expect_true(has_nvidia_device("Linux"))
  expect_false(has_nvidia_device("Darwin"))

  # the user's choice takes precedence
  expect_false(wants_gpu(FALSE))
  expect_true(wants_gpu(TRUE))
  if (Sys.info()[["sysname"]] == "Linux") {
    expect_snapshot(expect_true(wants_gpu(NA)))
    unlink(file.path(programs, "nvidia-smi"))
    expect_snapshot(expect_false(wants_gpu(NA)))
  }
})

test_that("the supported versions are those of the Python project", {
  pyproject <- test_path("..", "..", "pyproject.toml")
  skip_if_not(file.exists(pyproject), "the package sources are not available")
  lines <- readLines(pyproject)
  expect_true(any(grepl(sprintf("\"%s\"", keras_requirement), lines, fixed = TRUE)))
  expect_true(any(grepl(sprintf("requires-python = \">=%s\"", oldest$python), lines, fixed = TRUE)))
})

test_that("a program that is not Python is refused before anything is created", {
  skip_on_os("windows")
  home <- withr::local_tempdir()
  withr::local_envvar(WORKON_HOME = home)
  program <- withr::local_tempfile(lines = c("#!/bin/sh", "exit 1"))
  Sys.chmod(program, "755")
  error <- refused(install_kerasgd(python = program))
  expect_s3_class(error, "kerasgd_environment_error")
  expect_equal(
    strsplit(conditionMessage(error), "\n")[[1]][[1]],
    sprintf("Python does not run (%s).", program)
  )
  expect_equal(dir(home), character())
})

test_that("a Python too old, without venv or without a library is refused", {
  skip_on_os("windows")
  problem_of <- function(...) {
    facts <- c(...)
    program <- withr::local_tempfile(lines = c(
      "#!/bin/sh",
      sprintf("printf '%%s\\t%%s\\n' %s %s", names(facts), facts)
    ))
    Sys.chmod(program, "755")
    gsub(program, "<python>", problems_in_words(starter_problems(program)), fixed = TRUE)
  }
  good <- c(python_version = "3.11.2", shared_library = "TRUE", venv = "TRUE", pip = "TRUE")
  expect_equal(problem_of(good), character())
  expect_snapshot({
    problem_of(replace(good, "python_version", "3.9.1"))
    problem_of(replace(good, "venv", "FALSE"))
    problem_of(replace(good, "shared_library", "FALSE"))
  })
})

test_that("a Python without pip is refused if reticulate requires pip", {
  facts <- list(python = "/usr/bin/python3", pip = "FALSE")
  expect_null(problem_of_pip(facts, numeric_version("1.28")))
  expect_null(problem_of_pip(list(pip = "TRUE"), numeric_version("1.41")))
  expect_snapshot(problem_of_pip(facts, numeric_version("1.41.0.1")))

  # the package's claim matches reticulate's behaviour
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  bare <- withr::local_tempdir()
  system2(python, c("-m", "venv", "--without-pip", shQuote(bare)))
  starter <- file.path(bare, "bin", "python")
  skip_if_not(file.exists(starter), "python3 cannot create environments")
  expect_equal(ask_python(starter)$pip, "FALSE")
  error <- tryCatch(
    reticulate::virtualenv_create(withr::local_tempfile(), python = starter, packages = FALSE),
    error = identity
  )
  expect_equal(inherits(error, "error"), packageVersion("reticulate") >= "1.29")
})

test_that("if no Python is found, the error says what to install", {
  withr::local_envvar(PATH = withr::local_tempdir())
  error <- refused(install_kerasgd(envname = file.path(tempdir(), "never-made")))
  expect_s3_class(error, "kerasgd_environment_error")
  expect_snapshot(cat(conditionMessage(error)))
})

test_that("a failure of reticulate is shown in the message", {
  skip_on_cran()
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  skip_if(length(starter_problems(python)) > 0, "python3 cannot create environments")
  file <- withr::local_tempfile(lines = "no folder")
  envname <- file.path(file, "r-test")
  suppressMessages(capture.output(
    error <- refused(install_kerasgd(envname = envname, python = python))
  ))
  expect_s3_class(error, "kerasgd_environment_error")
  message <- gsub(envname, "<envname>", conditionMessage(error), fixed = TRUE)
  expect_match(message, "^The virtual environment \"<envname>\" could not be created\\.")
  expect_match(message, "reticulate said: Error creating virtual environment", fixed = TRUE)
})

test_that("a failure of pip is an error that refers to its output", {
  skip_on_cran() # reticulate installs nothing while R checks packages
  python <- Sys.which("python3")
  skip_if(python == "", "there is no python3")
  skip_if(length(starter_problems(python)) > 0, "python3 cannot create environments")
  # pip finds no packages, and does not use the network
  output <- run_r(
    {
      envname <- file.path(tempdir(), "r-test")
      error <- tryCatch(install_kerasgd(envname = envname), error = identity)
      message <- strsplit(conditionMessage(error), "\n")[[1]][[1]]
      cat("", class(error)[[1]], deparse(conditionCall(error)), dir.exists(envname), sep = "\n")
      cat(gsub(envname, "<envname>", message, fixed = TRUE))
    },
    c(PIP_NO_INDEX = "1", PIP_FIND_LINKS = "", PIP_CONFIG_FILE = nullfile())
  )
  expect_equal(tail(output, 4), c(
    "kerasgd_environment_error",
    "install_kerasgd(envname = envname)",
    "TRUE",
    "pip could not install into the environment \"<envname>\"."
  ))
})

test_that("it says how to use an environment", {
  withr::local_envvar(RETICULATE_PYTHON = NA)
  expect_null(how_to_use("r-kerasgd", "/env/bin/python"))
  expect_equal(how_to_use("other", "/env/bin/python"), "reticulate::use_virtualenv(\"other\")")
  # the variable takes precedence over use_virtualenv()
  withr::local_envvar(RETICULATE_PYTHON = "/env/bin/python")
  expect_null(how_to_use("r-kerasgd", "/env/bin/python"))
  expect_equal(
    how_to_use("r-kerasgd", "/elsewhere/bin/python"),
    "Sys.setenv(RETICULATE_PYTHON = \"/elsewhere/bin/python\")"
  )
})
