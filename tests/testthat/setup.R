# A partly matched name is a mistake in our code or in a test.
withr::local_options(
  warnPartialMatchArgs = TRUE,
  warnPartialMatchAttr = TRUE,
  warnPartialMatchDollar = TRUE,
  .local_envir = teardown_env()
)
# TensorFlow's messages on start-up are of no interest here.
withr::local_envvar(TF_CPP_MIN_LOG_LEVEL = "3", .local_envir = teardown_env())
