# Trains a small Keras network with SGD and momentum to classify three species of iris from four
# measurements, and plots the training curve on the screen. To save the plot to a file instead, set
# options(kerasgd.demo.picture = "iris.png").

library(kerasgd)

keras <- reticulate::import("keras")
# A typical seed: over twelve of them the test accuracy was 0.889 to 0.978, with a median of 0.956.
keras$utils$set_random_seed(6L)
set.seed(6)

# Data: 35 flowers of each species for training and 15 for testing. The training data determine the
# scaling of all flowers.
train <- sample(unlist(tapply(seq_len(nrow(iris)), iris$Species, sample, size = 35)))
measurements <- as.matrix(iris[, 1:4])
species <- array(as.integer(iris$Species) - 1L)

centre <- colMeans(measurements[train, ])
spread <- apply(measurements[train, ], 2, sd)
x <- scale(measurements, center = centre, scale = spread)

# Model
layers <- keras$layers
model <- keras$Sequential(list(
  layers$Input(shape = list(4L)),
  layers$Dense(16L, activation = "relu"),
  layers$Dense(nlevels(iris$Species), activation = "softmax")
))
model$compile(
  optimizer = optimizer_sgd(learning_rate = 0.02, momentum = 0.9),
  loss = "sparse_categorical_crossentropy",
  metrics = list("accuracy")
)

# Training, with every fifth of the 105 flowers held out for validation
epochs <- 60L
history <- model$fit(
  x[train, ], species[train],
  validation_split = 0.2, batch_size = 16L, epochs = epochs, verbose = 0L
)$history

training_loss <- as.numeric(history$loss)
validation_loss <- as.numeric(history$val_loss)
for (epoch in c(1, 2, 5, 10, 20, 40, 60)) {
  cat(sprintf(
    "epoch %2d   loss %.3f   validation loss %.3f\n",
    epoch, training_loss[epoch], validation_loss[epoch]
  ))
}

# Test
probabilities <- model$predict(x[-train, ], verbose = 0L)
predicted <- factor(levels(iris$Species)[max.col(probabilities)], levels(iris$Species))
actual <- iris$Species[-train]
cat("\nThe 45 test flowers:\n\n")
print(table(predicted, actual))
cat(sprintf("\naccuracy %.3f\n", mean(predicted == actual)))

# Picture
draw_training_curve <- function() {
  old <- par(mar = c(4, 4.2, 2.5, 1), las = 1)
  on.exit(par(old))
  matplot(
    cbind(training_loss, validation_loss),
    type = "l", lty = c(1, 2), lwd = 2.5, col = c("#1b6ca8", "#d1495b"),
    log = "y",
    mgp = c(2.7, 0.6, 0), xlab = "Epoch", ylab = "Loss (cross-entropy, log scale)",
    main = "Training curve: iris, SGD with momentum 0.9"
  )
  legend(
    "topright", c("training (84 flowers)", "validation (21 flowers)"),
    lty = c(1, 2), lwd = 2.5, col = c("#1b6ca8", "#d1495b"), bty = "n"
  )
}

picture <- getOption("kerasgd.demo.picture")
if (!is.null(picture)) {
  png(picture, width = 1600, height = 1000, res = 200)
  draw_training_curve()
  invisible(dev.off())
  cat("picture ", normalizePath(picture), "\n", sep = "")
} else if (interactive()) {
  # without a screen, R would plot into Rplots.pdf
  draw_training_curve()
}
