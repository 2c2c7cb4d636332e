# A partially matched name is a mistake in the package or in a test.
withr::local_options(
  warnPartialMatchArgs = TRUE,
  warnPartialMatchAttr = TRUE,
  warnPartialMatchDollar = TRUE,
  .local_envir = teardown_env()
)
# Hide TensorFlow's messages at start-up.
withr::local_envvar(TF_CPP_MIN_LOG_LEVEL = "3", .local_envir = teardown_env())
