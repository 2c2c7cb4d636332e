# Schedules of either package in optimizers of either one. The gradient is 1 at each step, so that
# the weight ends at minus the sum of the rates.
library(keras3)
library(kerasgd)

steps <- 8
rates_seen_by <- function(optimizer) {
  model <- keras_model_sequential(input_shape = 1) |>
    layer_dense(1, use_bias = FALSE, kernel_initializer = "zeros")
  model |> compile(optimizer = optimizer, loss = function(y_true, y_pred) op_mean(y_pred))
  weights <- vapply(seq_len(steps), function(step) {
    train_on_batch(model, matrix(1), matrix(0))
    unlist(get_weights(model))
  }, 0)
  -diff(c(0, weights))
}
after <- function(formula, n = steps) formula(seq_len(n) - 1)
cosine <- after(function(t) 0.1 * (1 + cos(pi * pmin(t, 5) / 5)) / 2)
exponential <- after(function(t) 0.1 * 0.5^(t / 3))
piecewise <- after(function(t) c(0.3, 0.2, 0.1)[findInterval(t, c(0, 3.5, 5.5))])
expect_rates <- function(optimizer, expected) {
  stopifnot(all.equal(rates_seen_by(optimizer), expected, tolerance = 1e-5))
}

# keras3's schedules in kerasgd's optimizer
expect_rates(optimizer_sgd(keras3::learning_rate_schedule_cosine_decay(0.1, 5)), cosine)
expect_rates(
  optimizer_sgd(keras3::learning_rate_schedule_exponential_decay(0.1, 3, decay_rate = 0.5)),
  exponential
)
expect_rates(
  optimizer_sgd(keras3::learning_rate_schedule_piecewise_constant_decay(c(3, 5), c(0.3, 0.2, 0.1))),
  piecewise
)

# kerasgd's schedules in keras3's optimizers: with a constant gradient Adam's step is the rate
expect_rates(keras3::optimizer_sgd(learning_rate_schedule_cosine_decay(0.1, 5)), cosine)
expect_rates(keras3::optimizer_adam(learning_rate_schedule_cosine_decay(0.1, 5)), cosine)
expect_rates(
  keras3::optimizer_sgd(learning_rate_schedule_exponential_decay(0.1, 3, decay_rate = 0.5)),
  exponential
)
expect_rates(
  keras3::optimizer_sgd(learning_rate_schedule_piecewise_constant_decay(c(3, 5), c(0.3, 0.2, 0.1))),
  piecewise
)

# A schedule that the user writes with keras3
learning_rate_schedule_triangle <- new_learning_rate_schedule_class(
  "Triangle",
  initialize = function(highest, period) {
    super$initialize()
    self$highest <- highest
    self$period <- period
  },
  call = function(step) {
    place <- op_mod(op_cast(step, "float32"), self$period) / self$period
    self$highest * (1 - op_abs(2 * place - 1))
  },
  get_config = function() list(highest = self$highest, period = self$period)
)
triangle <- after(function(t) 0.1 * (1 - abs(2 * (t %% 4) / 4 - 1)))
expect_rates(optimizer_sgd(learning_rate_schedule_triangle(0.1, 4)), triangle)

cat("the schedules of keras3, of kerasgd and of a user give the rates of their formulas\n")
