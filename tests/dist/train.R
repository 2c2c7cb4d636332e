# Trains with the kerasgd that this R has, and prints what it found as JSON.

library(kerasgd)

keras <- reticulate::import("keras")
layers <- list(
  keras$Input(shape = list(1L)),
  keras$layers$Dense(1L, use_bias = FALSE, kernel_initializer = "zeros")
)
model <- keras$Sequential(layers)
optimizer <- optimizer_sgd(learning_rate = 0.25, momentum = 0.5)
model$compile(optimizer = optimizer, loss = "mean_squared_error")
ones <- matrix(1, 4, 1)
model$fit(ones, ones, batch_size = 1L, verbose = 0L)
model$save("model.keras")
restored <- keras$saving$load_model("model.keras")
refused <- tryCatch(optimizer_sgd(lr = 0.1), kerasgd_unknown_argument_error = identity)

found <- list(
  library = dirname(find.package("kerasgd")),
  file = reticulate::import("kerasgd")$`__file__`,
  version = as.character(packageVersion("kerasgd")),
  weights = c(model$get_weights()[[1]], restored$get_weights()[[1]]),
  suggestion = refused$suggestion,
  vignettes = vignette(package = "kerasgd")$results[, "Item"],
  citation = format(citation("kerasgd"), style = "text")
)
cat(jsonlite::toJSON(found, auto_unbox = TRUE, digits = NA), "\n")
