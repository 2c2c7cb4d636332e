# One constructor for each schedule. Python checks the arguments (python/kerasgd/schedules.py); R
# checks only the plain numbers that `fn` returns (see `as_rate()`).

#' Create a Python schedule that R can call
#'
#' @param class The name of the Python class, or of a function that creates an instance.
#' @param rules The name of the table with the rules of its arguments.
#' @noRd
new_schedule <- function(class, given, rules = "RULES", call = rlang::caller_env()) {
  for (argument in required_formals(rlang::frame_fn(call))) {
    if (!argument %in% names(given)) {
      rule <- python_package(call = call)$schedules[[rules]][[argument]]
      abort_missing_argument(argument, rule$requirement, call = call)
    }
  }
  callable_in_r(call_python(paste0("schedules.", class), given, call = call))
}

#' A schedule whose calls signal errors as R conditions with the user's call
#'
#' The attributes also make it a Python object, which can be passed to Python.
#' @noRd
callable_in_r <- function(schedule) {
  called <- function(steps) {
    if (missing(steps)) {
      abort_missing_argument("steps", "whole numbers from 0 to 2147483647")
    }
    check_live(schedule)
    if (is_python_object(steps)) schedule(steps) else rates_at(schedule, steps)
  }
  attributes(called) <- attributes(schedule)
  called
}

rates_at <- function(schedule, steps, call = rlang::caller_env()) {
  arguments <- list(schedule = schedule, steps = steps)
  as.double(call_python("schedules.evaluate", arguments, call = call))
}

#' Cosine decay
#'
#' The rate falls along half a cosine, slowly at the start and at the end, to `alpha` times its
#' highest value after `decay_steps` steps. A linear warm-up to `warmup_target` can come first.
#'
#' @section Formula:
#' With \eqn{\eta_0}{eta0} for `initial_learning_rate`, \eqn{\alpha}{a} for `alpha` and \eqn{n} for
#' `decay_steps`, the rate at step \eqn{t = 0, 1, \ldots}{t = 0, 1, ...} is
#' \deqn{\eta(t) = \eta_0 \left((1 - \alpha) \frac{1 + \cos(\pi \min(t, n) / n)}{2} +
#'   \alpha\right).}{rate(t) = eta0 * ((1 - a) * (1 + cos(pi * min(t, n) / n)) / 2 + a).} With a
#' warm-up, let \eqn{\eta_1}{eta1} be `warmup_target` and \eqn{m} be `warmup_steps`: the rate is
#' \eqn{\eta_0 + (\eta_1 - \eta_0) t / m}{eta0 + (eta1 - eta0) * t / m} for \eqn{t < m}. After that,
#' the formula above applies with \eqn{\eta_1}{eta1} for \eqn{\eta_0}{eta0} and \eqn{t - m} for
#' \eqn{t}.
#'
#' @param initial_learning_rate The rate at step 0: a finite number >= 0.
#' @param decay_steps The number of steps of the decay: a whole number >= 1.
#' @param alpha The final rate, as a fraction of the highest rate: a number from 0 to 1.
#' @param name A name for the schedule: one non-empty string without `/`.
#' @param warmup_target The rate at the end of the warm-up: a finite number >= 0, or `NULL` for no
#'   warm-up.
#' @param warmup_steps The number of steps of the warm-up: a whole number >= 0. Without
#'   `warmup_target`, it has no effect and gives a warning.
#' @param ... Not used.
#'
#' @return The schedule: a Python object that is also an R function of the step; see
#'   [learning_rate_schedules] for its methods. Pass it as the `learning_rate` of an optimizer,
#'   which calls it with the number of steps so far. One step is one batch of `fit()`.
#'
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above; see [optimizer_sgd()].
#' Whole numbers may be given as doubles (`2` for `2L`).
#'
#' @source
#' Loshchilov, I. and Hutter, F. (2017). SGDR: Stochastic gradient descent with warm restarts.
#' *International Conference on Learning Representations*.
#'
#' The warm-up: Goyal, P. et al. (2017). Accurate, large minibatch SGD: Training ImageNet in 1 hour.
#' [arXiv:1706.02677](https://arxiv.org/abs/1706.02677).
#'
#' @family learning-rate schedules
#' @concept cosine annealing
#' @concept learning rate warm-up
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_cosine_decay(0.1, decay_steps = 100)
#' schedule
#' schedule(c(0, 50, 100, 1000))
#' plot(schedule)
#'
#' optimizer_sgd(learning_rate = schedule)
#'
#' # With a warm-up
#' plot(learning_rate_schedule_cosine_decay(0, 100, warmup_target = 0.1, warmup_steps = 20))
#'
#' try(learning_rate_schedule_cosine_decay(0.1, decay_steps = 0.5))
learning_rate_schedule_cosine_decay <- function(initial_learning_rate,
                                                decay_steps,
                                                alpha = 0,
                                                name = "CosineDecay",
                                                warmup_target = NULL,
                                                warmup_steps = 0,
                                                ...) {
  new_schedule("CosineDecay", known_arguments())
}
class(learning_rate_schedule_cosine_decay) <- c("kerasgd_constructor", "function")

#' Cosine decay with warm restarts
#'
#' In each period, the rate falls along half a cosine; then it jumps up again. Each period is
#' `t_mul` times as long as the one before, and each peak is `m_mul` times as high (with `alpha =
#' 0`).
#'
#' @section Formula:
#' Period \eqn{i = 0, 1, \ldots}{i = 0, 1, ...} takes `first_decay_steps` \eqn{\times}{*}
#' `t_mul`\eqn{^i} steps. At the point where a fraction \eqn{f} of period \eqn{i} has passed, the
#' rate is, with \eqn{\eta_0}{eta0} for `initial_learning_rate`, \eqn{m} for `m_mul` and
#' \eqn{\alpha}{a} for `alpha`,
#' \deqn{\eta_0 \left((1 - \alpha) m^i \frac{1 + \cos(\pi f)}{2} + \alpha\right).}{
#'   eta0 * ((1 - a) * m^i * (1 + cos(pi * f)) / 2 + a).}
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param first_decay_steps The number of steps of the first period: a whole number >= 1.
#' @param t_mul The length of a period divided by that of the period before: a finite number >= 1.
#' @param m_mul The height of a peak divided by that of the peak before, for `alpha = 0`: a finite
#'   number >= 0.
#' @param alpha The final rate of a period, as a fraction of `initial_learning_rate`: a number from
#'   0 to 1.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source
#' Loshchilov, I. and Hutter, F. (2017). SGDR: Stochastic gradient descent with warm restarts.
#' *International Conference on Learning Representations*.
#' @family learning-rate schedules
#' @concept warm restarts
#' @concept cosine annealing
#' @concept SGDR
#' @concept cyclical learning rate
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_cosine_decay_restarts(0.1, 100, m_mul = 0.8)
#' schedule(c(0, 99, 100, 299, 300))
#' plot(schedule)
learning_rate_schedule_cosine_decay_restarts <- function(initial_learning_rate,
                                                         first_decay_steps,
                                                         t_mul = 2,
                                                         m_mul = 1,
                                                         alpha = 0,
                                                         name = "SGDRDecay",
                                                         ...) {
  new_schedule("CosineDecayRestarts", known_arguments())
}
class(learning_rate_schedule_cosine_decay_restarts) <- c("kerasgd_constructor", "function")

#' Exponential decay
#'
#' The rate is multiplied by `decay_rate` every `decay_steps` steps: gradually, or all at once with
#' `staircase = TRUE`.
#'
#' @section Formula:
#' With \eqn{\eta_0}{eta0} for `initial_learning_rate`, \eqn{r} for `decay_rate` and \eqn{n} for
#' `decay_steps`, the rate at step \eqn{t} is
#' \deqn{\eta(t) = \eta_0 r^{t / n}.}{rate(t) = eta0 * r^(t / n).}
#' With `staircase = TRUE`, the exponent is \eqn{\lfloor t / n \rfloor}{floor(t / n)}.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param decay_steps The number of steps for one multiplication by `decay_rate`: a whole
#'   number >= 1.
#' @param decay_rate The factor: a finite number >= 0.
#' @param staircase Whether the rate changes only at multiples of `decay_steps`: `TRUE` or `FALSE`.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source Keras' documentation of
#'   [ExponentialDecay](https://keras.io/api/optimizers/learning_rate_schedules/exponential_decay/).
#' @family learning-rate schedules
#' @concept exponential learning rate decay
#' @concept step decay
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_exponential_decay(0.1, decay_steps = 100, decay_rate = 0.5)
#' schedule(c(0, 50, 100, 200))
#' plot(schedule)
learning_rate_schedule_exponential_decay <- function(initial_learning_rate,
                                                     decay_steps,
                                                     decay_rate,
                                                     staircase = FALSE,
                                                     name = "ExponentialDecay",
                                                     ...) {
  new_schedule("ExponentialDecay", known_arguments())
}
class(learning_rate_schedule_exponential_decay) <- c("kerasgd_constructor", "function")

#' Inverse time decay
#'
#' The rate is divided by a number that grows linearly with the step: it falls fast at first, then
#' ever more slowly.
#'
#' @section Formula:
#' With \eqn{\eta_0}{eta0} for `initial_learning_rate`, \eqn{r} for `decay_rate` and \eqn{n} for
#' `decay_steps`, the rate at step \eqn{t} is
#' \deqn{\eta(t) = \frac{\eta_0}{1 + r t / n}.}{rate(t) = eta0 / (1 + r * t / n).}
#' With `staircase = TRUE`, \eqn{\lfloor t / n \rfloor}{floor(t / n)} replaces \eqn{t / n}.
#'
#' @inheritParams learning_rate_schedule_exponential_decay
#' @param decay_steps The number of steps in which the divisor grows by `decay_rate`: a whole
#'   number >= 1.
#' @param decay_rate The growth of the divisor in `decay_steps` steps: a finite number >= 0.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source Keras' documentation of [InverseTimeDecay](
#'   https://keras.io/api/optimizers/learning_rate_schedules/inverse_time_decay/).
#'
#' The theory behind this decay: Robbins, H. and Monro, S. (1951). A stochastic approximation
#' method. *The Annals of Mathematical Statistics*, 22(3), 400-407.
#' @family learning-rate schedules
#' @concept inverse time decay
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_inverse_time_decay(0.1, decay_steps = 100, decay_rate = 1)
#' schedule(c(0, 100, 300))
#' plot(schedule)
learning_rate_schedule_inverse_time_decay <- function(initial_learning_rate,
                                                      decay_steps,
                                                      decay_rate,
                                                      staircase = FALSE,
                                                      name = "InverseTimeDecay",
                                                      ...) {
  new_schedule("InverseTimeDecay", known_arguments())
}
class(learning_rate_schedule_inverse_time_decay) <- c("kerasgd_constructor", "function")

#' Piecewise constant learning rate
#'
#' The rate is `values[1]` up to and including step `boundaries[1]`, then `values[2]` up to and
#' including step `boundaries[2]`, and so on. After the last boundary, it is the last value.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param boundaries The last step of each of `values` but the final one: increasing whole
#'   numbers >= 0, at least one.
#' @param values The rates: finite numbers >= 0, one more than `boundaries`.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source Keras' documentation of [PiecewiseConstantDecay](
#'   https://keras.io/api/optimizers/learning_rate_schedules/piecewise_constant_decay/).
#' @family learning-rate schedules
#' @concept step decay
#' @concept multi-step learning rate
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_piecewise_constant_decay(c(100, 150), c(0.1, 0.05, 0.01))
#' schedule(c(0, 100, 101, 150, 151))
#' plot(schedule)
learning_rate_schedule_piecewise_constant_decay <- function(boundaries,
                                                            values,
                                                            name = "PiecewiseConstant",
                                                            ...) {
  new_schedule("PiecewiseConstantDecay", known_arguments())
}
class(learning_rate_schedule_piecewise_constant_decay) <- c("kerasgd_constructor", "function")

#' Polynomial decay
#'
#' The rate falls to `end_learning_rate` in `decay_steps` steps: linearly with `power = 1`, and
#' faster at the start with a higher `power`.
#'
#' @section Formula:
#' With \eqn{\eta_0}{eta0} for `initial_learning_rate`, \eqn{\eta_1}{eta1} for `end_learning_rate`,
#' \eqn{n} for `decay_steps` and \eqn{p} for `power`, the rate at step \eqn{t} is
#' \deqn{\eta(t) = \eta_1 + (\eta_0 - \eta_1) \left(1 - \frac{\min(t, n)}{n}\right)^p.}{
#'   rate(t) = eta1 + (eta0 - eta1) * (1 - min(t, n) / n)^p.} With `cycle = TRUE`, the smallest
#' multiple of \eqn{n} that is at least \eqn{t} replaces \eqn{n} (\eqn{n} itself for \eqn{t = 0}).
#' So the rate jumps up after each multiple of \eqn{n}, to ever lower peaks.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param end_learning_rate The final rate: a finite number >= 0.
#' @param power The exponent: a finite number >= 0.
#' @param cycle Whether the decay starts again after `decay_steps`: `TRUE` or `FALSE`.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source Keras' documentation of
#'   [PolynomialDecay](https://keras.io/api/optimizers/learning_rate_schedules/polynomial_decay/).
#' @family learning-rate schedules
#' @concept polynomial decay
#' @concept linear decay
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_polynomial_decay(0.1, decay_steps = 100, power = 2)
#' schedule(c(0, 50, 100))
#' plot(schedule)
learning_rate_schedule_polynomial_decay <- function(initial_learning_rate,
                                                    decay_steps,
                                                    end_learning_rate = 1e-4,
                                                    power = 1,
                                                    cycle = FALSE,
                                                    name = "PolynomialDecay",
                                                    ...) {
  new_schedule("PolynomialDecay", known_arguments())
}
class(learning_rate_schedule_polynomial_decay) <- c("kerasgd_constructor", "function")

#' Linear warm-up before a schedule or a constant rate
#'
#' The rate rises linearly to the first rate of a schedule, or to a constant rate. Then the schedule
#' starts, from its own step 0.
#'
#' @section Formula:
#' With \eqn{\eta_0}{eta0} for `initial_learning_rate`, \eqn{m} for `warmup_steps` and \eqn{s} for
#' the schedule (which may be constant), the rate at step \eqn{t} is
#' \eqn{\eta_0 + (s(0) - \eta_0) t / m}{eta0 + (s(0) - eta0) * t / m} for \eqn{t < m}, and
#' \eqn{s(t - m)} after that.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param learning_rate The rate after the warm-up: a finite number >= 0, or a learning-rate
#'   schedule of this package or of Keras.
#' @param warmup_steps The number of steps of the warm-up: a whole number >= 0.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source
#' Goyal, P. et al. (2017). Accurate, large minibatch SGD: Training ImageNet in 1 hour. Section 2.2.
#' [arXiv:1706.02677](https://arxiv.org/abs/1706.02677).
#' @family learning-rate schedules
#' @concept learning rate warm-up
#' @concept warmup
#' @export
#' @examplesIf kerasgd_available()
#' falling <- learning_rate_schedule_exponential_decay(0.1, decay_steps = 50, decay_rate = 0.5)
#' schedule <- learning_rate_schedule_linear_warmup(falling, warmup_steps = 20)
#' schedule
#' schedule(c(0, 10, 20, 70))
#' plot(schedule)
#'
#' learning_rate_schedule_linear_warmup(0.1, warmup_steps = 4)(0:6)
learning_rate_schedule_linear_warmup <- function(learning_rate,
                                                 warmup_steps,
                                                 initial_learning_rate = 0,
                                                 name = "LinearWarmup",
                                                 ...) {
  new_schedule("LinearWarmup", known_arguments())
}
class(learning_rate_schedule_linear_warmup) <- c("kerasgd_constructor", "function")

#' Linear warm-up, constant rate and linear decay
#'
#' The rate rises linearly from `initial_learning_rate` to `peak_learning_rate` in `warmup_steps`
#' steps, is constant for `stable_steps` steps, and falls linearly to `end_learning_rate` in
#' `decay_steps` steps. You can prolong the constant part without changing the steps before it.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param peak_learning_rate The highest rate: a finite number >= 0.
#' @param warmup_steps,stable_steps,decay_steps The number of steps of each of the three parts:
#'   whole numbers, the first two >= 0, the last >= 1.
#' @param end_learning_rate The final rate: a finite number >= 0.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source
#' Hu, S. et al. (2024). MiniCPM: Unveiling the potential of small language models with scalable
#' training strategies. Section 4. [arXiv:2404.06395](https://arxiv.org/abs/2404.06395).
#' @family learning-rate schedules
#' @concept learning rate warm-up
#' @concept trapezoidal schedule
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_warmup_stable_decay(
#'   0.1,
#'   warmup_steps = 20, stable_steps = 60, decay_steps = 20
#' )
#' schedule(c(0, 10, 20, 80, 90, 100))
#' plot(schedule)
learning_rate_schedule_warmup_stable_decay <- function(peak_learning_rate,
                                                       warmup_steps,
                                                       stable_steps,
                                                       decay_steps,
                                                       initial_learning_rate = 0,
                                                       end_learning_rate = 0,
                                                       name = "WarmupStableDecay",
                                                       ...) {
  new_schedule("WarmupStableDecay", known_arguments())
}
class(learning_rate_schedule_warmup_stable_decay) <- c("kerasgd_constructor", "function")

#' One-cycle learning rate
#'
#' One cycle spans the whole training: the rate rises along half a cosine to a high peak, and falls
#' along another to a very low rate.
#'
#' @section Formula:
#' Let \eqn{\eta}{eta} be `peak_learning_rate`, \eqn{a = \eta /}{a = eta /} `initial_divisor`,
#' \eqn{b = \eta /}{b = eta /} `end_divisor`, \eqn{n} the `total_steps` and \eqn{m =}
#' `warmup_fraction` \eqn{\times n}{* n}. The rate at step \eqn{t} is
#' \deqn{a + (\eta - a) \frac{1 - \cos(\pi t / m)}{2} \quad \textrm{for } t < m,}{
#'   a + (eta - a) * (1 - cos(pi * t / m)) / 2  for t < m,}
#' \deqn{b + (\eta - b) \frac{1 + \cos(\pi (t - m) / (n - m))}{2} \quad
#'   \textrm{for } m \le t \le n,}{
#'   b + (eta - b) * (1 + cos(pi * (t - m) / (n - m))) / 2  for m <= t <= n,}
#' and \eqn{b} after that.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param peak_learning_rate The highest rate \eqn{\eta}{eta}: a finite number >= 0.
#' @param total_steps The number of steps of the cycle: a whole number >= 1.
#' @param warmup_fraction The fraction of these steps in which the rate rises: a number between 0
#'   and 1.
#' @param initial_divisor,end_divisor The initial rate is the peak divided by `initial_divisor`, the
#'   final rate is the peak divided by `end_divisor`: finite numbers >= 1.
#' @inherit learning_rate_schedule_cosine_decay return
#' @inheritSection learning_rate_schedule_cosine_decay Errors
#' @source
#' Smith, L. N. and Topin, N. (2018). Super-convergence: Very fast training of neural networks using
#' large learning rates. [arXiv:1708.07120](https://arxiv.org/abs/1708.07120). The paper uses
#' straight lines; half cosines and these default divisors are in common use today.
#' @family learning-rate schedules
#' @concept one cycle policy
#' @concept super-convergence
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_one_cycle(0.5, total_steps = 100)
#' schedule(c(0, 30, 100))
#' plot(schedule)
learning_rate_schedule_one_cycle <- function(peak_learning_rate,
                                             total_steps,
                                             warmup_fraction = 0.3,
                                             initial_divisor = 25,
                                             end_divisor = 1e5,
                                             name = "OneCycle",
                                             ...) {
  new_schedule("OneCycle", known_arguments())
}
class(learning_rate_schedule_one_cycle) <- c("kerasgd_constructor", "function")

#' Learning rate from a function of the step
#'
#' `learning_rate_schedule_function()` makes a schedule of your own formula. It calls your function
#' at once for each of the steps `0`, `1`, ..., `steps - 1`, and stores the rates in a table. So the
#' schedule works in compiled training, which cannot call R, and can be saved with the model. After
#' the last step, the rate stays constant. In an interactive session, a long calculation shows a
#' progress bar.
#'
#' @inheritParams learning_rate_schedule_cosine_decay
#' @param fn A function of the step that returns a finite number >= 0. It is called with one step at
#'   a time, a double, so it need not be vectorised.
#' @param steps The number of steps: a whole number >= 1.
#' @inherit learning_rate_schedule_cosine_decay return
#' @section Errors:
#' `kerasgd_argument_error` if an argument is not as described above, or if `fn` fails or returns
#' anything but a finite number >= 0 at one of the steps; see [optimizer_sgd()].
#' @seealso [optimizer_sgd()] also accepts a function *without* arguments as `learning_rate`, and
#' calls it during training.
#' @source Written for this package.
#' @family learning-rate schedules
#' @concept lambda schedule
#' @concept custom schedule
#' @export
#' @examplesIf kerasgd_available()
#' schedule <- learning_rate_schedule_function(function(step) 0.1 / sqrt(1 + step), steps = 200)
#' schedule(c(0, 3, 199, 1000))
#' plot(schedule)
#'
#' try(learning_rate_schedule_function(function(step) 1 - step, steps = 200))
learning_rate_schedule_function <- function(fn, steps, name = "Table", ...) {
  given <- known_arguments()
  if (!is.function(given$fn) || is_python_object(given$fn) || is_constructor(given$fn)) {
    return(new_schedule("Table.of_function", given, rules = "TABLE_RULES"))
  }
  check_given(given, "steps", "a whole number from 1 to 2147483647")
  table <- call_python("r.methods.checked_table", given)
  rates <- rates_of_function(fn, table$steps)
  bytes <- reticulate::r_to_py(writeBin(rates, raw(), endian = "little"))
  callable_in_r(call_python("r.methods.table", list(data = bytes, name = table$name)))
}
class(learning_rate_schedule_function) <- c("kerasgd_constructor", "function")

#' Call an R function at each step, with a progress bar if that takes long
#'
#' R makes the calls: from Python, a million calls would take twenty times longer.
#' @noRd
rates_of_function <- function(fn, steps, call = rlang::caller_env()) {
  rates <- double(steps)
  show <- progress_bar("Calling `fn`")
  for (first in seq(1, steps, by = 1000)) {
    chunk <- first:min(first + 999, steps)
    rates[chunk] <- rates_at_some_steps(fn, chunk - 1, call = call)
    show(chunk[[length(chunk)]], steps)
  }
  rates
}

#' The steps are doubles, because the product of two integers can overflow.
#' @noRd
rates_at_some_steps <- function(fn, steps, call = rlang::caller_env()) {
  at <- NULL
  values <- tryCatch(
    lapply(steps, function(step) {
      at <<- step
      fn(step) # called as `fn`, the name in R's own error messages
    }),
    error = function(error) {
      abort_fn(fn, at, paste("failed:", conditionMessage(error)), call = call)
    }
  )
  unlist(Map(function(value, step) as_rate(value, fn, step, call = call), values, steps))
}

as_rate <- function(value, fn, step, call = rlang::caller_env()) {
  is_plain <- is.double(value) && length(value) == 1L && !is.object(value)
  if (is_plain && !is.na(value) && value >= 0 && value < Inf) {
    return(as.vector(value))
  }
  # Python checks other values, such as Python numbers
  rule <- python_package(call = call)$arguments$RATE
  arguments <- list(argument = "learning_rate", value = value, rule = rule)
  tryCatch(
    call_python("arguments.check", arguments, call = call),
    kerasgd_argument_error = function(error) {
      abort_fn(fn, step, paste("returned", describe_element(value)), call = call)
    }
  )
}

abort_fn <- function(fn, step, what, call = rlang::caller_env()) {
  abort_argument(
    fn, "a function of the step that returns finite numbers >= 0",
    fault = sprintf("at step %.0f it %s", step, what), call = call
  )
}
