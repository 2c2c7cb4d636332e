# A constructor that is handed over in place of what it makes, as in `compile(optimizer =
# optimizer_sgd)`, is just some function to Python. Constructors have a class of their own, so that
# reticulate asks us before it converts one. This file comes last, when there are all of them.

new_constructor <- function(fn, name) {
  structure(fn, class = c("kerasgd_constructor", "function"), name = name)
}

local({
  package <- topenv()
  names <- c("optimizer_sgd", "optimizer_loss_scale", "callback_learning_rate_function")
  for (name in c(names, ls(package, pattern = "^learning_rate_schedule_"))) {
    assign(name, new_constructor(get(name, package), name), package)
  }
})

#' @rawNamespace S3method(reticulate::r_to_py, kerasgd_constructor, refuse_constructor)
NULL

refuse_constructor <- function(x, convert = FALSE) {
  abort_forgotten_call(x, origin_of_conversion())
}

#' Where a conversion by reticulate comes from: the lowest call in a row of reticulate's
#' @noRd
origin_of_conversion <- function() {
  is_reticulates <- function(frame) {
    environmentName(topenv(environment(sys.function(frame)))) == "reticulate"
  }
  frame <- sys.parent()
  while (frame > 1 && is_reticulates(frame - 1)) {
    frame <- frame - 1
  }
  list(call = sys.call(frame), frame = sys.frame(frame))
}

is_constructor <- function(x) inherits(x, "kerasgd_constructor")

#' The call that was forgotten, as in "`optimizer_sgd()`"
#' @noRd
forgotten_call <- function(x) {
  sprintf("`%s(%s)`", attr(x, "name"), paste(required_formals(x), collapse = ", "))
}

#' @export
print.kerasgd_constructor <- function(x, ...) {
  plain <- unclass(x)
  attr(plain, "name") <- NULL
  print(plain, ...)
  invisible(x)
}
