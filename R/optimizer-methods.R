#' R methods for optimizers
#'
#' The optimizers of [optimizer_sgd()] and [optimizer_loss_scale()] have methods for R's functions
#' to print, summarise, compare and update objects. The methods also work with `model$optimizer`.
#'
#' @name optimizer_methods
#'
#' @section Printing and summaries:
#' * `print(optimizer)` and `format(optimizer)` show the settings that differ from the defaults, the
#'   number of steps so far, the current learning rate, and whether the optimizer measures or skips
#'   updates (see [track_statistics()] and [skip_nonfinite()]).
#' * `summary(optimizer)` shows all settings and the state: steps and updates, the memory of the
#'   optimizer state, averages, exclusions from weight decay, the groups of [set_group()], and the
#'   scale of [optimizer_loss_scale()] with the number of finite steps until it doubles. It returns
#'   them as a list.
#' * `as.character(optimizer)` returns one line, such as `SGD(0.01, momentum 0.9)`: the learning
#'   rate, and the other settings that differ from the defaults. `str()` and tibbles show this line.
#' * `as.list(optimizer)` returns the settings under the argument names of [optimizer_sgd()]. A
#'   learning-rate schedule is returned as an object.
#' * `as.data.frame(optimizer)` has one row for each setting; see below.
#' * `optimizer$` followed by the Tab key completes the names of settings and methods.
#'
#' If the learning rate is a function, none of these methods calls it. Reading
#' `optimizer$learning_rate` before the first step does.
#'
#' Under the policy `mixed_float16`, `compile()` puts Keras' own wrapper around the optimizer, and
#' `model$optimizer` is that wrapper. These methods work with it too; `update()` turns it into an
#' [optimizer_loss_scale()].
#'
#' `readRDS()` and `load()` cannot restore an optimizer. For such an object, `print()`, `str()` and
#' `as.character()` show one line that says so.
#'
#' @section Settings as a data frame:
#' `as.data.frame(optimizer)` has the columns
#' * `argument`: the name of the argument, as `update()` takes it;
#' * `value`: its value as `print()` shows it, without quotation marks;
#' * `number`: the value if it is a number, otherwise `NA`;
#' * `default`: the default, in the form of `value`.
#'
#' `subset(as.data.frame(optimizer), value != default)` returns the settings that were changed. For
#' [optimizer_loss_scale()], the rows of the inner optimizer follow its own, without a row for the
#' name of the inner optimizer.
#'
#' @section Comparison:
#' `all.equal(target, current, tolerance = 1.5e-8)` is `TRUE` if class, settings, groups and state
#' of two optimizers are equal; otherwise it describes the differences. Numbers \eqn{a} and \eqn{b}
#' are equal if \eqn{|a - b| \le \tau |a|}{|a - b| <= tau * |a|} for the `tolerance`
#' \eqn{\tau}{tau}. For arrays, both sides are means over the elements that differ, as in
#' [all.equal()] for numeric vectors. Functions are compared with `identical()`. State that was
#' loaded and will be restored at the first step is compared too. `expect_equal()` from testthat and
#' `waldo::compare()` compare the same values.
#'
#' @section Changing settings:
#' * `update(optimizer, learning_rate = 0.1, ...)` returns a new optimizer with the given settings,
#'   which are checked as in [optimizer_sgd()]. All other settings, the groups and the exclusions
#'   from weight decay are those of `optimizer`. The new optimizer starts without state; with
#'   `keep_state = TRUE`, it keeps the step count, velocities and averages; state that the new
#'   settings do not use is left out with a warning. For [optimizer_loss_scale()], the inner
#'   optimizer is new as well, and `update()` accepts its settings too.
#' * `optimizer$learning_rate <- 0.1` changes the learning rate of an optimizer in use. A number
#'   takes effect at once, even during `fit()`; it replaces a schedule or a function for good. A
#'   schedule or a function takes effect at once as well, unless a training step is already compiled
#'   on TensorFlow or JAX. A compiled step would ignore it, so this is an error; use `compile(model,
#'   update(optimizer, learning_rate = schedule, keep_state = TRUE), ...)` instead. Changing any
#'   other setting, or creating a new attribute, is an error.
#'
#' One optimizer trains one model. The first step with a second model is an error;
#' `update(optimizer)` creates another optimizer for it.
#'
#' @section Conversion to numbers:
#' `as.double()` (and its synonym `as.numeric()`) converts a Keras variable, or a tensor of the
#' backend, to a numeric vector. The first index varies fastest, as in R's arrays:
#' `as.double(optimizer$learning_rate)`, `as.numeric(optimizer$iterations)`. Counts are exact up to
#' \eqn{2^{53}}{2^53}.
#'
#' @section Python methods:
#' From R, you can call the methods that Keras documents: `optimizer$apply()`, `$apply_gradients()`,
#' `$build()`, `$exclude_from_weight_decay()`, `$finalize_variable_values()`, `$get_config()` and
#' `$swap_ema_weights()`. You can also call `$track_statistics()`, `$skip_nonfinite()`,
#' `$set_group()` and `$set_learning_rate_factor()`, which counts groups from 0, unlike the R
#' function. Their errors and warnings are conditions of this package.
#'
#' @section Errors:
#' * `kerasgd_argument_error`: an argument of `update()` or `as.data.frame()`, or a learning rate,
#'   is invalid; see [optimizer_sgd()].
#' * `kerasgd_state_error`: any other use of an optimizer from `readRDS()` or `load()`, which cannot
#'   restore a Python object. Use [save_optimizer()] instead.
#'
#' @return `format()` returns a character vector, `as.character()` one string, `as.list()` a named
#'   list, `as.data.frame()` a data frame, `summary()` a list of class `kerasgd_optimizer_summary`
#'   with `class`, `name`, `settings` and `state`, `all.equal()` `TRUE` or a character vector,
#'   `update()` an optimizer, and `as.double()` a numeric vector.
#'
#' @examplesIf kerasgd_available()
#' optimizer <- optimizer_sgd(learning_rate = 0.05, momentum = 0.9)
#' optimizer
#' summary(optimizer)
#' as.data.frame(optimizer)
#'
#' # In a table
#' optimizers <- list(optimizer, optimizer_sgd(0.05), optimizer_sgd(0.05, nesterov = TRUE))
#' data.frame(optimizer = sapply(optimizers, as.character), loss = c(0.31, 0.42, 0.38))
#'
#' faster <- update(optimizer, learning_rate = 0.5)
#' all.equal(optimizer, faster)
#'
#' optimizer$learning_rate <- 0.01
#' as.double(optimizer$learning_rate)
#' as.numeric(optimizer$iterations)
#'
#' # Argument errors
#' try(update(optimizer, momentum = "a lot"))
#' try(optimizer$learning_rate <- -1)
NULL

# The methods are registered for the two Python classes, which `model$optimizer` has too. Python
# class names cannot be used in the names of R functions.

#' @rawNamespace
#' S3method(format, kerasgd.SGD, format_optimizer)
#' S3method(format, kerasgd.LossScaleOptimizer, format_optimizer)
#' S3method(print, kerasgd.SGD, print_optimizer)
#' S3method(print, kerasgd.LossScaleOptimizer, print_optimizer)
#' S3method(str, kerasgd.SGD, str_object)
#' S3method(str, kerasgd.LossScaleOptimizer, str_object)
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
#' S3method(waldo::compare_proxy, kerasgd.SGD, proxy_of_optimizer)
#' S3method(waldo::compare_proxy, kerasgd.LossScaleOptimizer, proxy_of_optimizer)
NULL

# Printing and summaries --------------------------------------------------------------------------

format_optimizer <- function(x, ...) {
  check_live(x)
  inner <- inner_optimizer(x)
  c(
    sprintf("<%s> %s", class(x)[[1]], py_get(x, "name")),
    format_settings(call_python("r.inspection.changed_settings", list(optimizer = x))),
    if (!identical(x, inner)) paste0("  ", format(inner)),
    if (identical(x, inner)) {
      described <- optimizer_description(inner)
      paste0("  ", c(format_watched(described), format_group_count(described$groups)))
    }
  )
}

print_optimizer <- function(x, ...) {
  cat(if (is_live_python_object(x)) format(x, ...) else line_for_empty(x), sep = "\n")
  invisible(x)
}

#' One line, which fits into the structure of a list, as in " $ optimizer: SGD(0.01)"
#' @noRd
str_object <- function(object, ...) {
  cat("", if (is_live_python_object(object)) label_of(object) else line_for_empty(object))
  cat("\n")
  invisible()
}

format_settings <- function(settings) {
  settings <- settings[names(settings) != "name"]
  if (length(settings) > 0) sprintf("  %s = %s", names(settings), shown_settings(settings))
}

#' Each setting in R's words; a rate with the digits that it has
#' @noRd
shown_settings <- function(settings) {
  shown <- vapply(settings, format_setting, "")
  if (is.numeric(settings$learning_rate)) {
    shown[["learning_rate"]] <- format_rate(settings$learning_rate)
  }
  shown
}

format_setting <- function(x) {
  if (is.numeric(x) && length(x) > 1) {
    first <- vapply(signif(utils::head(x, 3), 7), format_setting, "")
    sprintf("c(%s)", toString(c(first, if (length(x) > 3) "...")))
  } else if (is.numeric(x)) {
    format(x, digits = 15, scientific = NA)
  } else if (is_labelled(x)) {
    label_of(x)
  } else if (is_python_object(x) && !is_live_python_object(x)) {
    sprintf("<%s>, empty after `readRDS()`", short_name(x))
  } else if (is_schedule(x)) {
    sprintf("<%s>", short_name(x))
  } else if (is_python_object(x) || is.function(x)) {
    "<function>"
  } else {
    rlang::expr_text(x)
  }
}

#' Format a rate with the digits of float32, in which it is used: not 0.00312500004656613
#' @noRd
format_rate <- function(x) {
  stored <- as_float32(x)
  if (x != 0 && stored %in% c(0, Inf)) {
    return(format(x, digits = 15))
  }
  shown <- vapply(7:9, function(digits) format(stored, digits = digits), "")
  shown[[match(stored, as_float32(as.double(shown)))]]
}

#' The float32 number that is stored for `x`
#' @noRd
as_float32 <- function(x) {
  readBin(writeBin(as.double(x), raw(), size = 4), "double", n = length(x), size = 4)
}

is_schedule <- function(x) {
  any(grepl("LearningRateSchedule$", class(x)))
}

is_our_schedule <- function(x) inherits(x, "kerasgd.schedules.Schedule")

is_labelled <- function(x) is_optimizer(x) || is_our_schedule(x)

format_progress <- function(described) {
  c(
    if (described$updates == described$steps) {
      sprintf("steps so far: %s", count(described$steps))
    } else {
      sprintf("steps so far: %s (updates: %s)", count(described$steps), count(described$updates))
    },
    if (!is.null(described$rate)) sprintf("learning rate now: %s", format_rate(described$rate)),
    if (described$swapped) "weights and averages are swapped"
  )
}

#' The progress, with measured and skipped updates
#' @noRd
format_watched <- function(described) {
  c(
    format_progress(described), format_tracking(described$statistics),
    format_skipping(described$skipping)
  )
}

format_tracking <- function(statistics) {
  if (!is.null(statistics)) {
    sprintf(
      "measures %s%s (%s so far)",
      if (statistics$every == 1) "each update" else paste("1 update in", count(statistics$every)),
      if (statistics$per_variable) ", each variable too" else "",
      count(statistics$measured)
    )
  }
}

format_skipping <- function(skipping) {
  if (!is.null(skipping)) {
    sprintf(
      "skips updates whose gradient is not finite (%s so far, %s in a row now)",
      count(skipping$skipped), count(skipping$in_a_row)
    )
  }
}

count <- function(x) format(x, big.mark = ",", scientific = FALSE, trim = TRUE)

counted <- function(n, noun) paste0(count(n), " ", noun, if (n != 1) "s")

inner_optimizer <- function(x) {
  if (inherits(x, wrapper_classes)) py_get(x, "inner_optimizer") else x
}

optimizer_description <- function(x, call = rlang::caller_env()) {
  call_python("r.inspection.description", list(optimizer = x), call = call)
}

list_settings <- function(x, ...) {
  check_live(x)
  lapply(call_python("r.inspection.settings", list(optimizer = x)), revealed_function)
}

summarise_optimizer <- function(object, ...) {
  check_live(object)
  structure(
    list(
      class = class(object)[[1]],
      name = py_get(object, "name"),
      settings = as.list(object),
      state = optimizer_description(object)
    ),
    class = "kerasgd_optimizer_summary"
  )
}

#' @export
format.kerasgd_optimizer_summary <- function(x, ...) {
  inner <- x$settings$inner_optimizer
  settings <- x$settings
  # an inner optimizer that `readRDS()` restored has no settings to show
  if (!is.null(inner) && is_live_python_object(inner)) {
    own <- setdiff(names(settings), "inner_optimizer")
    settings <- c(settings[own], as.list(inner))
  }
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
    format_watched(state),
    if (state$built) {
      c(
        sprintf("variables: %s (%s)", count(state$variables), counted(state$weights, "weight")),
        sprintf("memory of the optimizer state: %s", counted(state$bytes, "byte"))
      )
    } else {
      "not built: no variables yet"
    },
    sprintf("moving averages of the weights: %s", if (state$use_ema) "on" else "off"),
    format_scale(state),
    format_exclusions(state),
    format_groups(state$groups),
    format_left_out(state)
  )
}

format_left_out <- function(state) {
  sprintf("state left out: %s", unlist(state$left_out))
}

format_scale <- function(state) {
  if (!is.null(state$scale)) {
    sprintf(
      "loss scale now: %s, doubles after %s in a row",
      format(state$scale, digits = 7), counted(state$steps_to_growth, "more finite step")
    )
  }
}

format_exclusions <- function(state) {
  patterns <- encodeString(as.character(state$patterns), quote = "\"")
  variables <- as.character(state$excluded)
  c(
    if (length(patterns) > 0) {
      paste("excluded from weight decay by name:", paste(patterns, collapse = ", "))
    },
    if (!is.null(state$rank_below)) {
      sprintf("excluded from weight decay: fewer than %s dimensions", count(state$rank_below))
    },
    if (length(variables) > 0) {
      c("excluded from weight decay:", paste0("  ", shortened(variables, 10)))
    }
  )
}

#' Shorten many lines to the first ones
#' @noRd
shortened <- function(lines, most) {
  if (length(lines) <= most + 1) {
    return(lines)
  }
  c(lines[seq_len(most)], sprintf("... and %s more", count(length(lines) - most)))
}

# Comparison --------------------------------------------------------------------------------------

compare_optimizers <- function(target, current, ..., tolerance = sqrt(.Machine$double.eps)) {
  check_live(target)
  if (!identical(class(target)[[1]], class(current)[[1]])) {
    return(sprintf("class: <%s> is not <%s>", class(target)[[1]], class(current)[[1]]))
  }
  check_live(current)
  differences <- c(
    compare_settings(target, current, tolerance),
    compare_state(target, current, tolerance)
  )
  if (identical(target, inner_optimizer(target))) {
    differences <- c(differences, compare_groups(target, current, tolerance))
  } else {
    inner <- all.equal(inner_optimizer(target), inner_optimizer(current), tolerance = tolerance)
    differences <- c(differences, if (!isTRUE(inner)) inner)
  }
  if (length(differences) > 0) differences else TRUE
}

compare_settings <- function(target, current, tolerance, call = rlang::caller_env()) {
  pair <- list(one = target, other = current, tolerance = tolerance)
  differing <- call_python("r.inspection.differing_settings", pair, call = call)
  ours <- as.list(target)
  theirs <- as.list(current)
  unlist(lapply(as.character(differing), function(name) {
    if (is_same_function(ours[[name]], theirs[[name]])) {
      NULL
    } else if (name %in% names(ours)) {
      sprintf("`%s`: %s", name, tell_apart(ours[[name]], theirs[[name]], tolerance))
    } else {
      sprintf("%s differ", name)
    }
  }))
}

#' Python sees two wrappers of one R function as two functions
#' @noRd
is_same_function <- function(one, other) {
  are_of_r <- is.function(one) && is.function(other) &&
    !is_python_object(one) && !is_python_object(other)
  are_of_r && identical(one, other, ignore.bytecode = TRUE, ignore.srcref = TRUE)
}

#' Describe how two settings differ
#' @noRd
tell_apart <- function(one, other, tolerance) {
  if (is_our_schedule(one) && identical(class(one), class(other))) {
    arguments <- all.equal(one, other, tolerance = tolerance)
    if (is.character(arguments)) {
      return(arguments)
    }
  }
  formatted <- c(format_setting(one), format_setting(other))
  if (formatted[[1]] != formatted[[2]]) {
    return(sprintf("%s is not %s", formatted[[1]], formatted[[2]]))
  }
  sprintf("two different %s", formatted[[1]])
}

compare_state <- function(target, current, tolerance, call = rlang::caller_env()) {
  pair <- list(one = target, other = current, tolerance = tolerance)
  differing <- call_python("r.inspection.differing_state", pair, call = call)
  vapply(names(differing), function(role) {
    difference <- differing[[role]]
    if (is.null(difference)) {
      sprintf("state `%s`: only one of the two has it with this shape", role)
    } else {
      sprintf("state `%s`: mean relative difference %s", role, format(difference, digits = 7))
    }
  }, "", USE.NAMES = FALSE)
}

#' The values that `waldo::compare()` and `testthat::expect_equal()` compare, instead of pointers
#' @noRd
proxy_of_optimizer <- function(x, path = "x") {
  check_live(x)
  list(object = values_of_optimizer(x), path = sprintf("summary(%s)", path))
}

values_of_optimizer <- function(x, call = rlang::caller_env()) {
  described <- optimizer_description(x, call = call)
  exclusions <- lapply(described[c("patterns", "excluded")], function(x) sort(as.character(x)))
  exclusions$rank_below <- described$rank_below
  list(
    class = class(x)[[1]],
    settings = lapply(as.list(x), plain_value, call = call),
    groups = lapply(described$groups, values_of_group, call = call),
    state = c(exclusions, watched_settings(described), state_arrays(x, call = call))
  )
}

#' Whether updates are measured and skipped, without the counts, which are state
#' @noRd
watched_settings <- function(described) {
  list(
    track_statistics = described$statistics[c("per_variable", "every")],
    skip_nonfinite = !is.null(described$skipping)
  )
}

#' The values of a setting that is an optimizer or a schedule
#' @noRd
plain_value <- function(x, call = rlang::caller_env()) {
  if (is_optimizer(x)) {
    values_of_optimizer(x, call = call)
  } else if (is_schedule(x)) {
    values_of_schedule(x, call = call)
  } else {
    x
  }
}

state_arrays <- function(x, call = rlang::caller_env()) {
  arrays <- call_python("r.inspection.state_as_doubles", list(optimizer = x), call = call)
  lapply(arrays[sort(names(arrays))], function(array) {
    values <- readBin(array[[1]], "double", n = length(array[[1]]) / 8, endian = "little")
    shape <- as.double(unlist(array[[2]]))
    if (length(shape) > 1) array(values, shape) else values
  })
}

# Changing settings -------------------------------------------------------------------------------

update_optimizer <- function(object, ..., keep_state = FALSE) {
  check_live(object)
  given <- given_arguments()[-1]
  changes <- given[setdiff(names(given), "keep_state")]
  known <- names_of_settings(object)
  check_argument_names(setdiff(names(changes), known), c(known, "keep_state"))
  call_python(
    "r.inspection.updated",
    list(optimizer = object, changes = changes, keep_state = keep_state),
    received = given
  )
}

set_on_optimizer <- function(x, name, value) {
  rlang::local_error_call(
    call("<-", call("$", quote(optimizer), as.name(name)), substitute(value))
  )
  check_live(x)
  if (name == "learning_rate") {
    if (!set_plain_number(x, value)) {
      set_attribute(x, name, value, received = list(learning_rate = value))
    }
    return(invisible(x))
  }
  check_attribute(x, name)
  frame <- environment()
  # If that fails, set it again through the bridge, which gives a condition of this package
  tryCatch(NextMethod(), error = function(error) {
    set_attribute(x, name, value, received = list(), call = frame)
    x
  })
}

#' Set the learning rate without the bridge, in half the time, if it is a plain number
#'
#' The bridge returns warnings and errors as data. Our class warns of no number in this range, which
#' is well within that of float32. The result says whether the rate is set; for any other value, and
#' after an error, the bridge has to do it.
#' @noRd
set_plain_number <- function(x, value) {
  is_plain <- class(x)[[1]] == "kerasgd.SGD" && is.double(value) && length(value) == 1 &&
    is.null(attributes(value))
  is_plain && isTRUE(value > 1e-30 && value < 1e30) && tryCatch(
    {
      reticulate::py_set_attr(x, "learning_rate", value)
      TRUE
    },
    error = function(error) FALSE
  )
}

#' Refuse to set an argument, on which the state depends, or an unknown attribute
#'
#' A user's subclass may have its own attributes.
#' @noRd
check_attribute <- function(x, name, call = rlang::caller_env()) {
  settings <- names_of_settings(x)
  if (name %in% settings) abort_fixed_argument(name, call = call)
  is_private <- startsWith(name, "_")
  # The class too, because a property may be unavailable
  is_known <- reticulate::py_has_attr(x, name) ||
    reticulate::py_has_attr(reticulate::py_get_attr(x, "__class__"), name)
  if (is_our_class(x) && !is_private && !is_known) {
    abort_unknown_attribute(
      "The optimizer", name, meant_argument(name, settings)$name,
      hint = paste(
        "Only `learning_rate` can be set;",
        "`update()` creates an optimizer with other settings."
      ),
      call = call
    )
  }
}

names_of_settings <- function(x) {
  constructors <- c(
    list(optimizer_sgd), if (inherits(x, wrapper_classes)) list(optimizer_loss_scale)
  )
  setdiff(unlist(lapply(constructors, function(fn) names(formals(fn)))), "...")
}

is_our_class <- function(x) class(x)[[1]] %in% c(our_classes, keras_wrapper)

# Attributes and Python methods -------------------------------------------------------------------

# Methods from Keras and from kerasgd; their errors and warnings become conditions of this package
documented_methods <- c(
  "apply", "apply_gradients", "build", "exclude_from_weight_decay", "finalize_variable_values",
  "get_config", "set_group", "set_learning_rate_factor", "skip_nonfinite", "swap_ema_weights",
  "track_statistics"
)

get_from_optimizer <- function(x, name) {
  rlang::local_error_call(call("$", quote(optimizer), as.name(name)))
  check_live(x)
  frame <- environment()
  found <- tryCatch(NextMethod(), error = function(error) {
    ask_again(x, name, "The optimizer", c(names_of_settings(x), names_to_complete), call = frame)
  })
  if (name %in% documented_methods) with_conditions(found) else found
}

#' Read an attribute through the bridge, so that its error is a condition of this package
#'
#' For an unknown name, the error suggests a known name if one is similar.
#' @noRd
ask_again <- function(x, name, what, known, call = rlang::caller_env()) {
  suggest <- function(error) {
    meant <- if (error$type == "AttributeError") meant_argument(name, known)
    is_unknown <- endsWith(conditionMessage(error), sprintf("has no attribute '%s'", name))
    if (!is.null(meant) || is_unknown) {
      abort_unknown_attribute(what, name, meant$name, call = call)
    }
  }
  withCallingHandlers(
    call_python_function(reticulate::import_builtins()$getattr, list(x, name), call = call),
    kerasgd_python_error = suggest
  )
}

names_to_complete <- c(
  "built", "iterations", "skipped", "skipped_in_a_row", "statistics", "variables",
  documented_methods
)

#' Wrap a Python method, so that its errors and warnings are conditions with the user's call
#'
#' The attributes keep it a Python object, which can be passed to Python again.
#' @noRd
with_conditions <- function(method) {
  called <- function(...) call_python_function(method, list(...))
  attributes(called) <- attributes(method)
  called
}

complete_names <- function(x, pattern = "") {
  if (!is_live_python_object(x)) {
    return(character())
  }
  # Python's own completion reads every attribute, and so calls a learning-rate function
  settings <- names(as.list(x))
  known <- sort(c(settings, names_to_complete))
  known[grepl(pattern, known)]
}

#' Read a Python attribute, without the methods above
#' @noRd
py_get <- function(x, name) {
  reticulate::py_to_r(reticulate::py_get_attr(x, name))
}

# Conversion to numbers ---------------------------------------------------------------------------

#' @rawNamespace
#' S3method(as.double, keras.src.backend.common.variables.Variable, doubles_of_python)
#' S3method(as.double, tensorflow.python.framework.tensor.Tensor, doubles_of_python)
#' S3method(as.double, jax.jaxlib._jax.Array, doubles_of_python)
#' S3method(as.double, torch.Tensor, doubles_of_python)
#' S3method(as.integer, keras.src.backend.common.variables.Variable, integers_of_python)
#' S3method(as.integer, tensorflow.python.framework.tensor.Tensor, integers_of_python)
#' S3method(as.integer, jax.jaxlib._jax.Array, integers_of_python)
#' S3method(as.integer, torch.Tensor, integers_of_python)
NULL

doubles_of_python <- function(x, ...) {
  check_live(x)
  doubles_from_python(x)
}

integers_of_python <- function(x, ...) {
  as.integer(as.double(x))
}

#' Register methods for JAX arrays under the names that keras3 uses, unless it is installed
#'
#' If two packages register the same method, `library()` reports that one overwrites the other.
#' @noRd
register_for_jax <- function(keras3_is_there = nzchar(system.file(package = "keras3"))) {
  if (!keras3_is_there) {
    for (class in c("jax.Array", "jaxlib._jax.ArrayImpl")) {
      register_method("as.double", class, doubles_of_python)
      register_method("as.integer", class, integers_of_python)
    }
  }
}

#' Register a method, unless another package already did
#' @noRd
register_method <- function(generic, class, method, of_package = "base") {
  where <- asNamespace(of_package)
  if (is.null(utils::getS3method(generic, class, optional = TRUE, envir = where))) {
    registerS3method(generic, class, method, envir = where)
  }
}

# Keras' own wrapper ------------------------------------------------------------------------------

# Under the policy mixed_float16, `compile()` wraps our optimizer in this class. The class belongs
# to Keras, so our methods apply only to wrappers of our optimizers, and only if no other package
# has methods for it.
keras_wrapper <- "keras.src.optimizers.loss_scale_optimizer.LossScaleOptimizer"
wrapper_classes <- c("kerasgd.LossScaleOptimizer", keras_wrapper)

register_for_keras_wrapper <- function() {
  methods <- list(
    format = format_optimizer, print = print_optimizer, summary = summarise_optimizer,
    as.list = list_settings, all.equal = compare_optimizers,
    as.character = label_as_character, as.data.frame = tabulate_settings,
    `$<-` = set_on_optimizer, `[[<-` = set_on_optimizer
  )
  for (generic in names(methods)) {
    register_method(generic, keras_wrapper, for_keras_wrapper(methods[[generic]]))
  }
  register_method("str", keras_wrapper, for_keras_wrapper(str_object), "utils")
  register_method("update", keras_wrapper, for_keras_wrapper(update_optimizer), "stats")
}

#' Restrict a method to wrappers of our optimizers; others go to the next method
#' @noRd
for_keras_wrapper <- function(method) {
  body(method) <- call(
    "{",
    call("if", call("!", call("wraps_ours", as.name(names(formals(method))[[1]]))),
      quote(return(NextMethod()))
    ),
    body(method)
  )
  method
}

wraps_ours <- function(x) {
  is_live_python_object(x) && is_optimizer(reticulate::py_get_attr(x, "inner_optimizer"))
}

# Checks ------------------------------------------------------------------------------------------

our_classes <- c("kerasgd.SGD", "kerasgd.LossScaleOptimizer")

is_optimizer <- function(x) inherits(x, our_classes)

check_live <- function(x, call = rlang::caller_env()) {
  if (!is_live_python_object(x)) {
    abort_earlier_session(x, call = call)
  }
}

#' reticulate calls this before it converts an object, as in `compile(optimizer = optimizer)`
#' @noRd
refuse_empty <- function(x, convert = FALSE) {
  check_live(x, call = frame_of_conversion())
  x
}

#' Refuse a call whose argument `optimizer` is missing or not an optimizer
#' @noRd
check_optimizer <- function(given, requirement = either_optimizer, call = rlang::caller_env()) {
  check_given(given, "optimizer", requirement, call = call)
  if (!is_optimizer(given$optimizer)) {
    hint <- hint_for_optimizer(given$optimizer)
    abort_argument(given$optimizer, requirement, hint, arg = "optimizer", call = call)
  }
  check_live(given$optimizer, call = call)
}

hint_for_optimizer <- function(x) {
  if (is_constructor(x)) {
    sprintf("Call it: %s.", forgotten_call(x))
  } else if (is_live_python_object(x) && is_keras_sgd(x)) {
    "`from_keras_optimizer()` converts Keras' SGD."
  }
}

is_keras_sgd <- function(x) {
  any(grepl("^keras[.].*[.]SGD$|^keras[.].*torch_sgd[.]", class(x)))
}

either_optimizer <- "an optimizer made by `optimizer_sgd()` or `optimizer_loss_scale()`"
