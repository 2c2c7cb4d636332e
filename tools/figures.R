# Draws the picture of README.md with the installed package: a search for a learning rate.

library(kerasgd)

keras <- reticulate::import("keras")
keras$utils$set_random_seed(3L)
x <- unname(scale(as.matrix(iris[1:4])))
y <- matrix(as.integer(iris$Species) - 1)

# As in vignettes/choosing-a-learning-rate.Rmd
layers <- list(
  keras$Input(shape = list(4L)),
  keras$layers$Dense(16L, activation = "relu"),
  keras$layers$Dense(3L)
)
model <- keras$Sequential(layers)
loss <- keras$losses$SparseCategoricalCrossentropy(from_logits = TRUE)
model$compile(optimizer = optimizer_sgd(momentum = 0.9), loss = loss)
search <- find_learning_rate(model, x, y, batch_size = 16, steps = 300)
print(search)

dir.create("man/figures", showWarnings = FALSE)
png("man/figures/find-learning-rate.png", width = 1400, height = 800, res = 200)
par(mar = c(4, 4, 1, 1), mgp = c(2.4, 0.7, 0))
plot(search)
invisible(dev.off())
