# A model of two named inputs is a linear model, so that lm() has its weights.
library(keras3)
library(kerasgd)

data <- as.data.frame(scale(swiss))
work <- as.matrix(data[c("Agriculture", "Examination", "Education")])
life <- as.matrix(data[c("Catholic", "Infant.Mortality")])

input_work <- keras_input(3, name = "work")
input_life <- keras_input(2, name = "life")
output <- list(input_work, input_life) |>
  layer_concatenate() |>
  layer_dense(1, kernel_initializer = "zeros", name = "fertility")
model <- keras_model(list(work = input_work, life = input_life), output)
model |> compile(optimizer = optimizer_sgd(0.1, momentum = 0.8), loss = "mse")

inputs <- list(work = work, life = life)
search <- find_learning_rate(model, inputs, data$Fertility, batch_size = 47, steps = 50)
stopifnot(all(as.numeric(unlist(get_weights(model))) == 0), length(search$suggestion) == 2)
model |> fit(inputs, data$Fertility, epochs = 150, batch_size = 47, verbose = 0)

best <- lm(Fertility ~ Agriculture + Examination + Education + Catholic + Infant.Mortality, data)
weights <- get_layer(model, "fertility")$get_weights()
stopifnot(all.equal(c(weights[[1]]), unname(coef(best)[-1]), tolerance = 1e-4))
stopifnot(abs(weights[[2]]) < 1e-5)

cat("two named inputs end at the coefficients of lm() within 1e-4\n")
