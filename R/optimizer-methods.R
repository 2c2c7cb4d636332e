#' What R's own functions do with an optimizer
#'
#' The optimizers of [optimizer_sgd()] and [optimizer_loss_scale()] can be printed, summarised,
#' compared and changed with the functions that R has for that. All of this works with
#' `model$optimizer` too.
#'
#' @name optimizer_methods
#'
#' @section Looking at it:
#' * `print(optimizer)` and `format(optimizer)` show the settings that differ from the defaults, how
#'   many steps the optimizer has done, and the learning rate now.
#' * `summary(optimizer)` shows all settings and the state: steps and updates, how much memory the
#'   arrays beside the weights take, averages, what is excluded from weight decay, and the scale of
#'   [optimizer_loss_scale()] with the finite steps that it takes until it doubles. It returns them
#'   as a list.
#' * `as.list(optimizer)` gives the settings, by the names of the arguments of [optimizer_sgd()]. A
#'   learning-rate schedule is there as the object.
#' * `optimizer$` followed by the Tab key completes the names of settings and methods.
#'
#' None of these calls a learning rate that is a function. `optimizer$learning_rate` does.
#'
#' @section Comparing two:
#' `all.equal(target, current, tolerance = 1.5e-8)` is `TRUE` if class, settings and state of two
#' optimizers are equal, and else says in which of them they differ. Numbers \eqn{a} and \eqn{b}
#' are equal if \eqn{|a - b| \le} `tolerance` \eqn{\times |a|}{|a - b| <= tolerance * |a|}; for
#' arrays the mean of both sides is taken over the elements that differ. Functions are equal if
#' they are the same object.
#'
#' @section Changing it:
#' * `update(optimizer, learning_rate = 0.1, ...)` returns a new optimizer with the same settings
#'   but those that are given, which are checked as by [optimizer_sgd()]. It begins without state.
#'   Of [optimizer_loss_scale()] the inner optimizer is new as well, and takes its own settings.
#' * `optimizer$learning_rate <- 0.1` changes the rate of an optimizer in use: to a number, a
#'   schedule or a function. In `fit()` a number acts at once. Another replacement needs
#'   `compile()` again, if a training step has been compiled on TensorFlow or JAX; there is a
#'   warning then.
#'
#' @section Its numbers:
#' `as.double()` (and `as.numeric()`, which is the same) turns a Keras variable, or a tensor of the
#' backend, into a numeric vector, the first index running fastest, as in R's arrays:
#' `as.double(optimizer$learning_rate)`, `as.numeric(optimizer$iterations)`. Counts are exact up to
#' \eqn{2^{53}}.
#'
#' @section Its methods:
#' The methods that Keras documents, `optimizer$apply()`, `$apply_gradients()`, `$build()`,
#' `$exclude_from_weight_decay()`, `$finalize_variable_values()`, `$get_config()` and
#' `$swap_ema_weights()`, are called in R as in Python. Their errors and warnings are those of this
#' package.
#'
#' @section Errors:
#' * `kerasgd_argument_error`: an argument of `update()`, or a learning rate, is refused; see
#'   [optimizer_sgd()].
#' * `kerasgd_state_error`: any use of an optimizer that was read by `readRDS()` or `load()`, which
#'   keep nothing of a Python object. Use [save_optimizer()] instead.
#'
#' @return `format()` returns a character vector, `as.list()` a named list, `summary()` a list of
#'   class `kerasgd_optimizer_summary` with `class`, `name`, `settings` and `state`, `all.equal()`
#'   `TRUE` or a character vector, `update()` an optimizer, and `as.double()` a numeric vector.
#'
#' @examplesIf kerasgd_available()
#' optimizer <- optimizer_sgd(learning_rate = 0.05, momentum = 0.9)
#' optimizer
#' summary(optimizer)
#'
#' faster <- update(optimizer, learning_rate = 0.5)
#' all.equal(optimizer, faster)
#'
#' optimizer$learning_rate <- 0.01
#' as.double(optimizer$learning_rate)
#' as.numeric(optimizer$iterations)
#'
#' # What is refused
#' try(update(optimizer, momentum = "a lot"))
#' try(optimizer$learning_rate <- -1)
NULL

# The methods are registered for the two Python classes, which `model$optimizer` has too. Python's
# class names are no names for R functions.

#' @rawNamespace
#' S3method(format, kerasgd.SGD, format_optimizer)
#' S3method(format, kerasgd.LossScaleOptimizer, format_optimizer)
#' S3method(print, kerasgd.SGD, print_optimizer)
#' S3method(print, kerasgd.LossScaleOptimizer, print_optimizer)
#' S3method(str, kerasgd.SGD, str_optimizer)
#' S3method(str, kerasgd.LossScaleOptimizer, str_optimizer)
#' S3method(summary, kerasgd.SGD, summarise_optimizer)
#' S3method(summary, kerasgd.LossScaleOptimizer, summarise_optimizer)
#' S3method(as.list, kerasgd.SGD, list_settings)
#' S3method(as.list, kerasgd.LossScaleOptimizer, list_settings)
#' S3method(all.equal, kerasgd.SGD, compare_optimizers)
#' S3method(all.equal, kerasgd.LossScaleOptimizer, compare_optimizers)
#' S3method(stats::update, kerasgd.SGD, update_optimizer)
#' S3method(stats::update, kerasgd.LossScaleOptimizer, update_optimizer)
#' S3method("$", kerasgd.SGD, get_from_optimizer)
#' S3method("$", kerasgd.LossScaleOptimizer, get_from_optimizer)
#' S3method("$<-", kerasgd.SGD, set_on_optimizer)
#' S3method("$<-", kerasgd.LossScaleOptimizer, set_on_optimizer)
#' S3method("[[", kerasgd.SGD, get_from_optimizer)
#' S3method("[[", kerasgd.LossScaleOptimizer, get_from_optimizer)
#' S3method("[[<-", kerasgd.SGD, set_on_optimizer)
#' S3method("[[<-", kerasgd.LossScaleOptimizer, set_on_optimizer)
#' S3method(utils::.DollarNames, kerasgd.SGD, complete_names)
#' S3method(utils::.DollarNames, kerasgd.LossScaleOptimizer, complete_names)
#' S3method(reticulate::r_to_py, kerasgd.SGD, refuse_empty)
#' S3method(reticulate::r_to_py, kerasgd.LossScaleOptimizer, refuse_empty)
NULL

# Looking at it -----------------------------------------------------------------------------------

format_optimizer <- function(x, ...) {
  origin <- origin_of_call("format")
  check_live(x, origin)
  inner <- inner_optimizer(x)
  c(
    sprintf("<%s> %s", class(x)[[1]], py_get(x, "name")),
    format_settings(call_python("inspection.changed_settings", list(optimizer = x), origin)),
    if (!identical(x, inner)) paste0("  ", format_optimizer(inner)),
    if (identical(x, inner)) paste0("  ", format_progress(optimizer_facts(inner, origin)))
  )
}

print_optimizer <- function(x, ...) {
  check_live(x, origin_of_call("print"))
  cat(format_optimizer(x, ...), sep = "\n")
  invisible(x)
}

str_optimizer <- function(object, ...) {
  check_live(object, origin_of_call("str"))
  cat(format_optimizer(object), sep = "\n")
}

format_settings <- function(settings) {
  settings <- settings[names(settings) != "name"]
  if (length(settings) > 0) {
    sprintf("  %s = %s", names(settings), vapply(settings, format_setting, ""))
  }
}

format_setting <- function(x) {
  if (is.numeric(x)) {
    format(x, digits = 15, scientific = NA)
  } else if (is_schedule(x)) {
    sprintf("<%s>", reticulate::py_get_attr(x, "__class__")$`__name__`)
  } else if (is_python_object(x) || is.function(x)) {
    "<function>"
  } else {
    rlang::expr_text(x)
  }
}

is_schedule <- function(x) {
  any(grepl("LearningRateSchedule$", class(x)))
}

format_progress <- function(facts) {
  c(
    if (facts$updates == facts$steps) {
      sprintf("steps so far: %s", count(facts$steps))
    } else {
      sprintf("steps so far: %s (updates: %s)", count(facts$steps), count(facts$updates))
    },
    if (!is.null(facts$rate)) sprintf("learning rate now: %s", format(facts$rate, digits = 7)),
    if (facts$swapped) "weights and averages are exchanged"
  )
}

count <- function(x) format(x, big.mark = ",", scientific = FALSE, trim = TRUE)

inner_optimizer <- function(x) {
  if (inherits(x, "kerasgd.LossScaleOptimizer")) py_get(x, "inner_optimizer") else x
}

optimizer_facts <- function(x, origin) {
  call_python("inspection.facts", list(optimizer = x), origin)
}

list_settings <- function(x, ...) {
  origin <- origin_of_call("as.list")
  check_live(x, origin)
  call_python("inspection.settings", list(optimizer = x), origin)
}

summarise_optimizer <- function(object, ...) {
  origin <- origin_of_call("summary")
  check_live(object, origin)
  structure(
    list(
      class = class(object)[[1]],
      name = py_get(object, "name"),
      settings = list_settings(object),
      state = optimizer_facts(object, origin)
    ),
    class = "kerasgd_optimizer_summary"
  )
}

#' @export
format.kerasgd_optimizer_summary <- function(x, ...) {
  inner <- x$settings$inner_optimizer
  own <- x$settings[setdiff(names(x$settings), "inner_optimizer")]
  settings <- c(own, if (!is.null(inner)) list_settings(inner))
  c(
    sprintf("<%s> %s", x$class, x$name),
    "Settings",
    format_settings(settings),
    "State",
    paste0("  ", format_state(x$state))
  )
}

#' @export
print.kerasgd_optimizer_summary <- function(x, ...) {
  cat(format(x, ...), sep = "\n")
  invisible(x)
}

format_state <- function(state) {
  c(
    format_progress(state),
    if (state$built) {
      c(
        sprintf("variables: %s (%s weights)", count(state$variables), count(state$weights)),
        sprintf("memory beside the weights: %s bytes", count(state$bytes))
      )
    } else {
      "not built: no variables yet"
    },
    sprintf("averages of the weights: %s", if (state$use_ema) "on" else "off"),
    format_scale(state),
    format_exclusions(state)
  )
}

format_scale <- function(state) {
  if (!is.null(state$scale)) {
    sprintf(
      "loss scale now: %s, twice that after %s more finite steps in a row",
      format(state$scale, digits = 7), count(state$steps_to_growth)
    )
  }
}

format_exclusions <- function(state) {
  patterns <- as.character(state$patterns)
  excluded <- c(
    if (length(patterns) > 0) encodeString(patterns, quote = "\""), as.character(state$excluded)
  )
  if (length(excluded) > 0) {
    sprintf("excluded from weight decay: %s", paste(excluded, collapse = ", "))
  }
}

# Comparing two -----------------------------------------------------------------------------------

compare_optimizers <- function(target, current, ..., tolerance = sqrt(.Machine$double.eps)) {
  origin <- origin_of_call("all.equal")
  check_live(target, origin)
  if (!identical(class(target)[[1]], class(current)[[1]])) {
    return(sprintf("class: <%s> is not <%s>", class(target)[[1]], class(current)[[1]]))
  }
  check_live(current, origin)
  differences <- c(
    compare_settings(target, current, tolerance, origin),
    compare_state(target, current, tolerance, origin)
  )
  if (!identical(target, inner_optimizer(target))) {
    inner <- compare_optimizers(
      inner_optimizer(target), inner_optimizer(current),
      tolerance = tolerance
    )
    differences <- c(differences, if (!isTRUE(inner)) inner)
  }
  if (length(differences) > 0) differences else TRUE
}

compare_settings <- function(target, current, tolerance, origin) {
  pair <- list(one = target, other = current, tolerance = tolerance)
  differing <- call_python("inspection.differing_settings", pair, origin)
  ours <- list_settings(target)
  theirs <- list_settings(current)
  unlist(lapply(as.character(differing), function(name) {
    if (name %in% names(ours)) {
      sprintf("`%s`: %s", name, tell_apart(ours[[name]], theirs[[name]], tolerance))
    } else {
      sprintf("%s differ", name)
    }
  }))
}

#' In what two settings that differ do so
#' @noRd
tell_apart <- function(one, other, tolerance) {
  formatted <- c(format_setting(one), format_setting(other))
  if (formatted[[1]] != formatted[[2]]) {
    return(sprintf("%s is not %s", formatted[[1]], formatted[[2]]))
  }
  arguments <- if (inherits(one, "kerasgd.schedules.Schedule")) {
    compare_schedules(one, other, tolerance = tolerance)
  }
  if (is.character(arguments)) arguments else sprintf("two %s that differ", formatted[[1]])
}

compare_state <- function(target, current, tolerance, origin) {
  pair <- list(one = target, other = current, tolerance = tolerance)
  differing <- call_python("inspection.differing_state", pair, origin)
  vapply(names(differing), function(role) {
    difference <- differing[[role]]
    if (is.null(difference)) {
      sprintf("state `%s`: only one of the two has it in this shape", role)
    } else {
      sprintf("state `%s`: mean relative difference %s", role, format(difference, digits = 7))
    }
  }, "", USE.NAMES = FALSE)
}

# Changing it -------------------------------------------------------------------------------------

update_optimizer <- function(object, ...) {
  origin <- origin_of_call("update")
  check_live(object, origin)
  changes <- given_arguments(origin)[-1]
  constructors <- if (identical(object, inner_optimizer(object))) {
    list(optimizer_sgd)
  } else {
    list(optimizer_loss_scale, optimizer_sgd)
  }
  known <- setdiff(names(unlist(lapply(constructors, formals))), "...")
  check_argument_names(setdiff(names(changes), known), known, origin)
  call_python(
    "inspection.updated", list(optimizer = object, changes = changes), origin,
    received = changes
  )
}

set_on_optimizer <- function(x, name, value) {
  origin <- list(
    call = call("<-", call("$", quote(optimizer), as.name(name)), substitute(value)),
    frame = environment(), caller = parent.frame()
  )
  check_live(x, origin)
  if (name != "learning_rate") {
    check_attribute(x, name, origin)
    return(NextMethod())
  }
  call_python("r_methods.set_learning_rate", list(optimizer = x, learning_rate = value), origin)
  invisible(x)
}

#' Refuse an argument, which the state was made for, and what stands for one, such as `lr`
#' @noRd
check_attribute <- function(x, name, origin) {
  if (name %in% names(formals(optimizer_sgd))) abort_fixed_argument(name, origin)
  if (!reticulate::py_has_attr(x, name)) {
    meant <- meant_argument(name, names(formals(optimizer_sgd)))
    if (!is.null(meant)) abort_unknown_attribute(name, meant$name, origin)
  }
}

# Its attributes and methods ----------------------------------------------------------------------

# Those whose errors are to be conditions of ours
documented_methods <- c(
  "apply", "apply_gradients", "build", "exclude_from_weight_decay", "finalize_variable_values",
  "get_config", "swap_ema_weights"
)

get_from_optimizer <- function(x, name) {
  origin <- list(
    call = call("$", quote(optimizer), as.name(name)),
    frame = environment(), caller = parent.frame()
  )
  check_live(x, origin)
  # Asked for again if that fails: through the bridge the error is a condition of ours
  ask_again <- function(error) {
    call_python("r_methods.attribute", list(optimizer = x, name = name), origin)
  }
  found <- tryCatch(NextMethod(), error = ask_again)
  if (name %in% documented_methods) with_conditions(found) else found
}

#' A method of Python whose errors and warnings are conditions with the user's call
#'
#' It keeps what makes it an object of Python, as which it can be handed back.
#' @noRd
with_conditions <- function(method) {
  called <- function(...) {
    origin <- list(call = sys.call(), frame = environment(), caller = parent.frame())
    call_python_method(method, list(...), origin)
  }
  attributes(called) <- attributes(method)
  called
}

complete_names <- function(x, pattern = "") {
  if (!is_live_python_object(x)) {
    return(character())
  }
  # Python's own list is made by reading every attribute, which calls a rate that is a function
  settings <- names(list_settings(x))
  known <- sort(c(settings, "built", "iterations", "variables", documented_methods))
  known[grepl(pattern, known)]
}

#' An attribute of Python, without the methods above
#' @noRd
py_get <- function(x, name) {
  reticulate::py_to_r(reticulate::py_get_attr(x, name))
}

# Its numbers -------------------------------------------------------------------------------------

#' @rawNamespace
#' S3method(as.double, keras.src.backend.common.variables.Variable, doubles_of_python)
#' S3method(as.double, tensorflow.python.framework.tensor.Tensor, doubles_of_python)
#' S3method(as.double, jax.Array, doubles_of_python)
#' S3method(as.double, jaxlib._jax.ArrayImpl, doubles_of_python)
#' S3method(as.double, torch.Tensor, doubles_of_python)
#' S3method(as.integer, keras.src.backend.common.variables.Variable, integers_of_python)
#' S3method(as.integer, tensorflow.python.framework.tensor.Tensor, integers_of_python)
#' S3method(as.integer, jax.Array, integers_of_python)
#' S3method(as.integer, jaxlib._jax.ArrayImpl, integers_of_python)
#' S3method(as.integer, torch.Tensor, integers_of_python)
NULL

doubles_of_python <- function(x, ...) {
  origin <- origin_of_call("as.double")
  check_live(x, origin)
  doubles_from_python(x, origin)
}

integers_of_python <- function(x, ...) {
  as.integer(doubles_of_python(x))
}

# Checks ------------------------------------------------------------------------------------------

is_optimizer <- function(x) inherits(x, c("kerasgd.SGD", "kerasgd.LossScaleOptimizer"))

check_live <- function(x, origin) {
  if (!is_live_python_object(x)) {
    abort_earlier_session(x, origin)
  }
}

#' What is handed to Python, as in `compile(optimizer = optimizer)`, is asked for by reticulate
#' @noRd
refuse_empty <- function(x, convert = FALSE) {
  check_live(x, origin_of_conversion())
  x
}

#' Refuse a call whose argument `optimizer` is missing or something else
#' @noRd
check_optimizer <- function(given, origin) {
  requirement <- "an optimizer made by `optimizer_sgd()` or `optimizer_loss_scale()`"
  check_given(given, "optimizer", requirement, origin)
  if (!is_optimizer(given$optimizer)) {
    abort_argument("optimizer", requirement, given$optimizer, origin = origin)
  }
  check_live(given$optimizer, origin)
}
