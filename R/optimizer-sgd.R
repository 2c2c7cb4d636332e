#' Stochastic gradient descent optimizer
#'
#' `optimizer_sgd()` creates an optimizer for Keras models: stochastic gradient descent with
#' optional momentum, Nesterov acceleration, weight decay, gradient clipping, weight averaging and
#' gradient accumulation. It is a `keras.optimizers.SGD` that does what this page says on the
#' TensorFlow, JAX and PyTorch backends.
#'
#' @section The update:
#' Let \eqn{w} be an array of weights of any shape, \eqn{g} its gradient of the same shape,
#' \eqn{\eta} the learning rate, \eqn{\mu} the momentum and \eqn{\lambda} the weight decay. A *step*
#' is one batch of `fit()`; an *update* is a step that changes the weights. Without gradient
#' accumulation, every step is an update. An update does the following, in this order:
#'
#' 1. Divide the gradient by `loss_scale_factor`, sum it over the devices, and average it over the
#'    accumulation window.
#' 2. Clip it:
#'    * `clipvalue` \eqn{= c}: \eqn{g \leftarrow \min(\max(g, -c), c)}{g <- min(max(g, -c), c)},
#'      element by element;
#'    * `clipnorm` \eqn{= c}: \eqn{g \leftarrow g \min(1, c / \|g\|_2)}{g <- g * min(1, c / ||g||)},
#'      for each weight array separately;
#'    * `global_clipnorm` \eqn{= c}: the same with the norm over all gradients together.
#' 3. Decay the weights: \eqn{w \leftarrow w - \eta \lambda w}{w <- w - eta * lambda * w}.
#' 4. Apply the update rule. Without momentum,
#'    \deqn{w \leftarrow w - \eta g.}{w <- w - eta * g.}
#'    With momentum, and a velocity \eqn{v} of the same shape that starts at 0,
#'    \deqn{v \leftarrow \mu v - \eta g, \qquad w \leftarrow w + v,}{
#'    v <- mu * v - eta * g,  w <- w + v,}
#'    and with `nesterov = TRUE`,
#'    \deqn{v \leftarrow \mu v - \eta g, \qquad w \leftarrow w + \mu v - \eta g.}{
#'    v <- mu * v - eta * g,  w <- w + mu * v - eta * g.}
#' 5. Apply the constraints of the weights.
#' 6. With `use_ema = TRUE`, update the moving average \eqn{a}. After the first update,
#'    \eqn{a = w}; after each later one, with \eqn{m} for `ema_momentum`,
#'    \deqn{a \leftarrow m a + (1 - m) w.}{a <- m * a + (1 - m) * w.} After every
#'    `ema_overwrite_frequency`th update, overwrite the weights: \eqn{w \leftarrow a}{w <- a}.
#'
#' @param learning_rate The learning rate \eqn{\eta}: a finite number >= 0, a learning-rate schedule
#'   of this package (see [learning_rate_schedules]) or of Keras, or a function without arguments. A
#'   schedule is called with the number of steps so far. A function, from R or Python, is called
#'   once for each step, also in `fit()` (with `steps_per_execution = n`, once for every n steps),
#'   and must return a finite number >= 0. On JAX, `fit()` does not accept a function; use
#'   [callback_learning_rate_function()] instead.
#' @param momentum The momentum \eqn{\mu}: a finite number >= 0. Above 1, the velocity grows without
#'   bound; this is accepted with a warning.
#' @param nesterov Whether to use Nesterov's rule: `TRUE` or `FALSE`. Without momentum it has no
#'   effect.
#' @param weight_decay The weight decay \eqn{\lambda}: a finite number >= 0, or `NULL` for none. It
#'   is decoupled from the gradient: it affects neither momentum nor clipping.
#' @param clipnorm,clipvalue,global_clipnorm Limits for the norm of each gradient (`clipnorm`), the
#'   absolute value of each element (`clipvalue`) or the norm over all gradients together
#'   (`global_clipnorm`): a finite number > 0, or `NULL` for no limit. At most one of the three can
#'   be set.
#' @param use_ema Whether to keep an exponential moving average of the weights: `TRUE` or `FALSE`.
#'   After the last epoch, `fit()` overwrites the weights with their averages.
#' @param ema_momentum The decay rate of the average: a number from 0 to 1. Larger values average
#'   over more updates. It has an effect only with `use_ema = TRUE`.
#' @param ema_overwrite_frequency The averages overwrite the weights after every f-th update: a
#'   whole number f >= 1, or `NULL` to overwrite them only when `fit()` ends. It has an effect only
#'   with `use_ema = TRUE`.
#' @param name The optimizer's name, and the first part of the paths of its variables: one non-empty
#'   string without `/`.
#' @param ... Further named arguments of the installed `keras.optimizers.SGD`. Any other name is an
#'   error.
#' @param loss_scale_factor A factor that keeps small gradients from vanishing in half precision:
#'   the loss is multiplied by it, and the gradients are divided by it. A finite number > 0, or
#'   `NULL` for 1.
#' @param gradient_accumulation_steps The number n of steps in an *accumulation window*: the weights
#'   change only at the last step of a window, by the mean of its n gradients. A whole number >= 1,
#'   or `NULL` for 1.
#'
#' @details
#' Whole numbers may be given as doubles (`2` for `2L`) and numbers as integers. `NA` is never
#' accepted. Flags must be `TRUE` or `FALSE`, not `1` or `"yes"`. Numbers must be vectors of length
#' one. A number that float32 rounds to 0 or infinity is accepted with a warning. Argument names
#' must be written in full. Misspelt and abbreviated names, and unnamed arguments after `name`, are
#' errors that are raised without starting Python.
#'
#' R passes only the arguments that you set to Python; the defaults above are those of the Python
#' class.
#'
#' @return The optimizer, a Python object of class `kerasgd.SGD` and `keras.optimizers.SGD`, for the
#'   `optimizer` argument of a model's `compile()`.
#'
#' @section Saved models:
#' `model$save()` saves the optimizer with the model. In a new session, `library(kerasgd)` registers
#' its class and those of the schedules for `keras$saving$load_model()`.
#'
#' @section Averages and other callbacks:
#' With `use_ema = TRUE`, `fit()` overwrites the weights with their averages, but only after its
#' last epoch: Keras' callbacks see the weights as they were before. This affects two of them:
#' `EarlyStopping(restore_best_weights = TRUE)` restores the best weights, not their averages, and
#' `ModelCheckpoint` saves weights, not averages. To use the averages with these callbacks, put
#' Keras' callback `SwapEMAWeights(swap_on_epoch = TRUE)` before them in the list: the model then
#' holds its averages from the end of each epoch to the beginning of the next.
#'
#' @section Errors:
#' Errors have the class `kerasgd_error` and the call of `optimizer_sgd()`.
#' * `kerasgd_argument_error`: an argument is not as described above. Its fields are `argument`,
#'   `requirement`, `received` and `hint`.
#' * `kerasgd_unknown_argument_error` (a `kerasgd_argument_error`): there is no argument of this
#'   name; the field `suggestion` contains the name that was probably meant.
#' * `kerasgd_environment_error`: Python or Keras is missing or has an unsupported version; see
#'   [kerasgd_sitrep()].
#'
#' Warnings have the class `kerasgd_warning`.
#'
#' `compile(optimizer = optimizer_sgd)`, without the `()`, is also a `kerasgd_argument_error`; its
#' call is that of `compile()`.
#'
#' Errors inside `fit()` pass through reticulate and lose these classes. Their message starts with
#' the name of the Python error, such as `kerasgd.errors.StateError`, followed by the usual text.
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
#' [save_optimizer()]; [set_group()] for settings of single layers; [install_kerasgd()] to install
#' Keras, [kerasgd_sitrep()] to see what is installed.
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
#' # A misspelt argument is an error that does not need Python
#' try(optimizer_sgd(lr = 0.1))
#'
#' @examplesIf kerasgd_available()
#' optimizer_sgd(learning_rate = 0.05, momentum = 0.9, nesterov = TRUE)
#'
#' # Classify the species of iris
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
#' # Errors say what is accepted and what was received
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
