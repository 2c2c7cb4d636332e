# Draws the picture of README.md with the installed package: a search for a learning rate.

library(kerasgd)

keras <- reticulate::import("keras")
keras$utils$set_random_seed(3L)
x <- scale(model.matrix(~ Time + Diet, ChickWeight)[, -1])
y <- as.vector(scale(ChickWeight$weight))

layers <- list(
  keras$Input(shape = list(ncol(x))),
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(1L)
)
model <- keras$Sequential(layers)
model$compile(optimizer = optimizer_sgd(momentum = 0.9), loss = "mse")
search <- find_learning_rate(model, x, y, batch_size = 32)
print(search)

dir.create("man/figures", showWarnings = FALSE)
png("man/figures/find-learning-rate.png", width = 1400, height = 800, res = 200)
par(mar = c(4, 4, 1, 1), mgp = c(2.4, 0.7, 0))
plot(search)
invisible(dev.off())
