# Both packages export eight names. The package attached last provides them, and `::` selects either
# one. Their arguments are those of keras3, in the same order.
library(kerasgd)
library(keras3)

made_by_kerasgd <- function(object) startsWith(class(object)[[1]], "kerasgd.")
stopifnot(
  !made_by_kerasgd(optimizer_sgd()), made_by_kerasgd(kerasgd::optimizer_sgd()),
  !made_by_kerasgd(learning_rate_schedule_cosine_decay(0.1, 10))
)

detach("package:kerasgd")
library(kerasgd)
stopifnot(
  made_by_kerasgd(optimizer_sgd()), !made_by_kerasgd(keras3::optimizer_sgd()),
  made_by_kerasgd(learning_rate_schedule_cosine_decay(0.1, 10))
)

both <- intersect(getNamespaceExports("keras3"), getNamespaceExports("kerasgd"))
schedules <- c(
  "cosine_decay", "cosine_decay_restarts", "exponential_decay", "inverse_time_decay",
  "piecewise_constant_decay", "polynomial_decay"
)
stopifnot(setequal(
  both, c("optimizer_sgd", "optimizer_loss_scale", paste0("learning_rate_schedule_", schedules))
))

arguments_of <- function(package, name) {
  arguments <- names(formals(getExportedValue(package, name)))
  arguments[seq_len(match("...", arguments, nomatch = length(arguments) + 1) - 1)]
}
for (name in both) {
  theirs <- arguments_of("keras3", name)
  stopifnot(identical(arguments_of("kerasgd", name)[seq_along(theirs)], theirs))
}

cat("the package attached last provides the eight names that both export\n")
