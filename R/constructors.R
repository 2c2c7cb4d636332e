# `compile(optimizer = optimizer_sgd)` lacks the `()`. Python cannot detect that, because it cannot
# tell a constructor from other functions. So constructors get a class where they are defined, and
# reticulate calls the method below before it converts one.

#' @rawNamespace S3method(reticulate::r_to_py, kerasgd_constructor, refuse_constructor)
NULL

refuse_constructor <- function(x, convert = FALSE) {
  abort_forgotten_call(x, call = frame_of_conversion())
}

#' The environment of the call that made reticulate convert a value: the first of reticulate's own
#' frames
#' @noRd
frame_of_conversion <- function() {
  is_reticulates <- function(frame) {
    environmentName(topenv(environment(sys.function(frame)))) == "reticulate"
  }
  frame <- sys.parent()
  while (frame > 1 && is_reticulates(frame - 1)) {
    frame <- frame - 1
  }
  sys.frame(frame)
}

is_constructor <- function(x) inherits(x, "kerasgd_constructor")

#' The missing call, as in "`optimizer_sgd()`"
#' @noRd
forgotten_call <- function(x) {
  sprintf("`%s(%s)`", exported_name(x), paste(required_formals(x), collapse = ", "))
}

#' @export
print.kerasgd_constructor <- function(x, ...) {
  print(unclass(x), ...)
  invisible(x)
}
