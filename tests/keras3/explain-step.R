# The explained step of a linear model that keras3 compiled agrees with the formulas.
library(keras3)
library(kerasgd)

x <- unname(scale(as.matrix(mtcars[c("wt", "hp")])))
y <- as.numeric(scale(mtcars$mpg))

new_model <- function(optimizer) {
  model <- keras_model_sequential(input_shape = 2) |>
    layer_dense(1, use_bias = FALSE, kernel_initializer = "ones", name = "slopes")
  model |> compile(optimizer = optimizer, loss = "mse")
  model
}
gradient <- 2 / 32 * crossprod(x, x %*% c(1, 1) - y)
norm <- sqrt(sum(gradient^2))

optimizers <- list(
  optimizer_sgd(0.1, weight_decay = 0.5, global_clipnorm = 1),
  keras3::optimizer_sgd(0.1, weight_decay = 0.5, global_clipnorm = 1)
)
for (optimizer in optimizers) {
  model <- new_model(optimizer)
  step <- explain_step(model, x, y, check = TRUE)
  stopifnot(
    all.equal(step$gradient_norm, norm, tolerance = 1e-6),
    all.equal(step$clip_coefficient, min(1, 1 / norm), tolerance = 1e-6),
    all.equal(step$decay_norm, 0.1 * 0.5 * sqrt(2), tolerance = 1e-6),
    step$holds, unlist(get_weights(model)) == 1
  )
  # fit() takes the explained step
  model |> fit(x, y, batch_size = 32, verbose = 0)
  stopifnot(all.equal(
    sqrt(sum((unlist(get_weights(model)) - 1)^2)), step$change_norm, tolerance = 1e-5
  ))
}

outcome <- try(explain_step(new_model(keras3::optimizer_adam()), x, y), silent = TRUE)
stopifnot(inherits(attr(outcome, "condition"), "kerasgd_state_error"))

cat("the explained steps of both packages' SGD agree with the formulas\n")
