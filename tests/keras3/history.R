# The history of keras3's fit() has the statistics of kerasgd, and can be tabulated and plotted.
library(keras3)
library(kerasgd)

x <- unname(scale(as.matrix(swiss[-1])))
y <- as.numeric(scale(swiss$Fertility))
model <- keras_model_sequential(input_shape = 5) |>
  layer_dense(8, activation = "tanh") |>
  layer_dense(1)
optimizer <- optimizer_sgd(0.05, momentum = 0.9, global_clipnorm = 1) |> track_statistics()
model |> compile(optimizer = optimizer, loss = "mse", metrics = list("mae"))
watch <- callback_statistics()
history <- model |> fit(
  x, y,
  epochs = 5, batch_size = 8, validation_split = 0.2, verbose = 0, callbacks = list(watch)
)

measured <- statistics(watch)
stopifnot(nrow(measured) == 25)
of_epochs <- function(name) as.numeric(tapply(measured[[name]], measured$epoch, mean))
stopifnot(
  all.equal(history$metrics$gradient_norm, of_epochs("gradient_norm"), tolerance = 1e-6),
  all.equal(history$metrics$update_ratio, of_epochs("update_ratio"), tolerance = 1e-6),
  all.equal(
    history$metrics$clipped, as.numeric(tapply(measured$clip_coefficient < 1, measured$epoch, mean))
  )
)
rows <- as.data.frame(history)
stopifnot("gradient_norm" %in% rows$metric, sum(rows$metric == "loss") == 10)

pictures <- tempfile("picture", fileext = c(".png", ".png"))
draw <- function(file, code) {
  grDevices::png(file)
  on.exit(grDevices::dev.off())
  code
  stopifnot(file.exists(file))
}
draw(pictures[[1]], plot(watch))
# keras3 1.5.1 looks up the version of TensorFlow here, and fails if it is not installed
if (config_backend() == "tensorflow") draw(pictures[[2]], print(plot(history)))

cat("the history has the means of the measured updates, and the plots are drawn\n")
