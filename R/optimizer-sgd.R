#' Stochastic gradient descent
#'
#' `optimizer_sgd()` makes an optimizer for Keras models: gradient descent, with momentum, Nesterov
#' acceleration, weight decay, gradient clipping, averaged weights and gradient accumulation where
#' they are asked for. It is a `keras.optimizers.SGD` that does what this page says on the
#' TensorFlow, JAX and PyTorch backends.
#'
#' @section The update:
#' Let \eqn{w} be an array of weights of any shape, \eqn{g} its gradient, of
#' the same shape, \eqn{\eta} the learning rate, \eqn{\mu} the momentum and \eqn{\lambda} the weight
#' decay. A *step* is one batch of `fit()`; an *update* is a step that changes the weights, which
#' every step does unless gradients are accumulated. An update is, in this order:
#'
#' 1. The gradient is divided by `loss_scale_factor`, summed over the devices, and averaged over the
#'    accumulated steps.
#' 2. It is clipped:
#'    * `clipvalue` \eqn{= c}: \eqn{g \leftarrow \min(\max(g, -c), c)}{g <- min(max(g, -c), c)},
#'      element by element;
#'    * `clipnorm` \eqn{= c}: \eqn{g \leftarrow g \min(1, c / \|g\|_2)}{g <- g * min(1, c / ||g||)},
#'      for each weight array by itself;
#'    * `global_clipnorm` \eqn{= c}: the same with the norm over all gradients together.
#' 3. The weight decays: \eqn{w \leftarrow w - \eta \lambda w}{w <- w - eta * lambda * w}.
#' 4. The rule. Without momentum
#'    \deqn{w \leftarrow w - \eta g.}{w <- w - eta * g.}
#'    With momentum, for a velocity \eqn{v} of the shape of \eqn{w} that begins at 0,
#'    \deqn{v \leftarrow \mu v - \eta g, \qquad w \leftarrow w + v,}{
#'    v <- mu * v - eta * g,  w <- w + v,}
#'    and with `nesterov` too
#'    \deqn{v \leftarrow \mu v - \eta g, \qquad w \leftarrow w + \mu v - \eta g.}{
#'    v <- mu * v - eta * g,  w <- w + mu * v - eta * g.}
#' 5. Constraints of the weight are applied.
#' 6. With `use_ema`, the average \eqn{a} follows the weight. After the first update
#'    \eqn{a = w}; then, with \eqn{m} for `ema_momentum`,
#'    \deqn{a \leftarrow m a + (1 - m) w.}{a <- m * a + (1 - m) * w.} After every
#'    `ema_overwrite_frequency`th update the weight is overwritten: \eqn{w \leftarrow a}{w <- a}.
#'
#' @param learning_rate The learning rate \eqn{\eta}: a finite number >= 0, a learning-rate schedule
#'   of this package (see [learning_rate_schedules]) or of Keras, or a function without arguments. A
#'   schedule is called with the number of steps so far. A function, of R or of Python, is called
#'   once a step, also in `fit()` (with `steps_per_execution`, once for those steps); what it
#'   returns must be such a number. With the JAX backend `fit()` refuses it.
#' @param momentum The momentum \eqn{\mu}: a finite number >= 0. Above 1 the iteration diverges;
#'   this is accepted with a warning.
#' @param nesterov Use Nesterov's rule? `TRUE` or `FALSE`. Without momentum it changes nothing.
#' @param weight_decay The weight decay \eqn{\lambda}: a finite number >= 0, or `NULL` for none. It
#'   is decoupled from the gradient: neither momentum nor clipping sees it.
#' @param clipnorm,clipvalue,global_clipnorm Limits for the gradient, in its units: the norm of each
#'   gradient, the size of each element, the norm of all gradients together. A finite number > 0, or
#'   `NULL` for no limit. At most one of the three can be set.
#' @param use_ema Keep an exponential moving average of the weights? `TRUE` or `FALSE`. After the
#'   last epoch `fit()` sets the weights to their averages.
#' @param ema_momentum How slowly the average follows: a number from 0 to 1. It has an effect only
#'   with `use_ema`.
#' @param ema_overwrite_frequency After how many updates the weights are overwritten by their
#'   averages: a whole number >= 1, or `NULL` for never during training. It has an effect only with
#'   `use_ema`.
#' @param name The optimizer's name, with which the paths of its variables begin: one non-empty
#'   string without `/`.
#' @param ... Further named arguments that the `keras.optimizers.SGD` installed here takes. Any
#'   other name is an error.
#' @param loss_scale_factor By what the loss is multiplied before gradients are taken, and the
#'   gradients divided afterwards, so that small gradients survive in half precision: a finite
#'   number > 0, or `NULL` for 1.
#' @param gradient_accumulation_steps Over how many steps gradients are averaged before they make
#'   one update: a whole number >= 1, or `NULL` for 1.
#'
#' @details
#' Whole numbers may be given as doubles (`2` for `2L`) and numbers as integers. `NA` is
#' never accepted, flags are `TRUE` or `FALSE` and not `1` or `"yes"`, and a vector of another
#' length than one is no number. A number that float32 turns into 0 or infinity is accepted with a
#' warning. Names of arguments must be written in full. What R itself can see
#' to be wrong (misspelt, abbreviated and unnamed arguments) is refused without starting Python.
#'
#' Only the arguments that are given are handed over to Python; the defaults above are those of
#' the Python class.
#'
#' @return The optimizer, a Python object of class `kerasgd.SGD` and `keras.optimizers.SGD`, for the
#'   `optimizer` argument of a model's `compile()`.
#'
#' @section Saved models:
#' `model$save()` keeps the optimizer with the model. In a new session `library(kerasgd)` sees to it
#' that `keras$saving$load_model()` knows its class and those of the schedules.
#'
#' @section Averages and other callbacks:
#' `fit()` writes the averages into the weights after its last epoch. Keras' callbacks look at the
#' weights before that, and two of them do not go well with `use_ema`:
#' `EarlyStopping(restore_best_weights = TRUE)` restores the best weights, not their averages, and
#' `ModelCheckpoint` stores weights, not averages. To judge, stop at or store the averages, put
#' Keras' callback `SwapEMAWeights(swap_on_epoch = TRUE)` before these in the list of callbacks:
#' from the end of each epoch to the beginning of the next the model then has its averages.
#'
#' @section Errors:
#' They have the class `kerasgd_error` and the call of `optimizer_sgd()`.
#' * `kerasgd_argument_error`: an argument is not as described above. Its fields are `argument`,
#'   `requirement`, `received` and `hint`.
#' * `kerasgd_unknown_argument_error` (a `kerasgd_argument_error`): there is no argument of this
#'   name; the field `suggestion` has the one that was probably meant.
#' * `kerasgd_environment_error`: Python or Keras is missing or does not fit, see
#'   [kerasgd_sitrep()].
#'
#' A warning has the class `kerasgd_warning`.
#'
#' The function itself in place of an optimizer, as in `compile(optimizer = optimizer_sgd)` without
#' the `()`, is a `kerasgd_argument_error` too, with the call of `compile()`.
#'
#' What the optimizer refuses later, inside `fit()`, comes through reticulate, whose conditions have
#' none of these classes. Their message begins with the error's name in Python, such as
#' `kerasgd.errors.StateError`; after that it is what it would be elsewhere.
#'
#' @source
#' The [documentation of `keras.optimizers.SGD`](https://keras.io/api/optimizers/sgd/).
#'
#' Momentum and Nesterov's rule: Sutskever, I., Martens, J., Dahl, G. and Hinton, G. (2013). On the
#' importance of initialization and momentum in deep learning. *Proceedings of the 30th
#' International Conference on Machine Learning*, PMLR 28(3), 1139-1147.
#'
#' Averaged weights: Polyak, B. T. and Juditsky, A. B. (1992). Acceleration of stochastic
#' approximation by averaging. *SIAM Journal on Control and Optimization*, 30(4), 838-855.
#'
#' Clipping by the norm: Pascanu, R., Mikolov, T. and Bengio, Y. (2013). On the difficulty of
#' training recurrent neural networks. *Proceedings of the 30th International Conference on Machine
#' Learning*, PMLR 28(3), 1310-1318.
#'
#' Decoupled weight decay: Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay
#' regularization. *International Conference on Learning Representations*.
#'
#' @seealso [learning_rate_schedules], [optimizer_loss_scale()], [optimizer_methods],
#'   [save_optimizer()]; [set_group()] for rates of single layers; [install_kerasgd()] to install
#'   Keras, [kerasgd_sitrep()] to see what is installed.
#' @concept SGD
#' @concept gradient descent
#' @concept momentum
#' @concept Nesterov momentum
#' @concept gradient clipping
#' @concept weight decay
#' @concept gradient accumulation
#' @concept exponential moving average
#' @concept mixed precision
#' @export
#' @examples
#' # A misspelt argument is refused, and no Python is needed for that
#' try(optimizer_sgd(lr = 0.1))
#'
#' @examplesIf kerasgd_available()
#' optimizer_sgd(learning_rate = 0.05, momentum = 0.9, nesterov = TRUE)
#'
#' # Which species of iris is it?
#' keras <- reticulate::import("keras")
#' keras$utils$set_random_seed(1L)
#' model <- keras$Sequential(list(
#'   keras$Input(shape = list(4L)),
#'   keras$layers$Dense(3L, activation = "softmax")
#' ))
#' model$compile(
#'   optimizer = optimizer_sgd(learning_rate = 0.05, momentum = 0.9),
#'   loss = "sparse_categorical_crossentropy"
#' )
#' x <- unname(scale(as.matrix(iris[1:4])))
#' species <- array(as.integer(iris$Species) - 1L)
#' history <- model$fit(x, species, epochs = 5L, verbose = 0L)
#' unlist(history$history$loss)
#'
#' # What is not accepted is said together with what is
#' try(optimizer_sgd(momentum = "a"))
#' try(optimizer_sgd(clipnorm = 1, clipvalue = 0.5))
optimizer_sgd <- function(learning_rate = 0.01,
                          momentum = 0,
                          nesterov = FALSE,
                          weight_decay = NULL,
                          clipnorm = NULL,
                          clipvalue = NULL,
                          global_clipnorm = NULL,
                          use_ema = FALSE,
                          ema_momentum = 0.99,
                          ema_overwrite_frequency = NULL,
                          name = "SGD",
                          ...,
                          loss_scale_factor = NULL,
                          gradient_accumulation_steps = NULL) {
  call_python("SGD", given_arguments())
}
class(optimizer_sgd) <- c("kerasgd_constructor", "function")
