"""Checks of contract 5: the exponential moving average of the weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import (
    Comparison,
    Comparisons,
    check,
    close,
    describe,
    equal,
    refused,
    same_bits,
    warned,
)
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    Problem,
    Recorder,
    compiled,
    fit,
    fit_options,
    follows_reference,
    random_problem,
    reference_run,
    scalar,
    tensor,
    value,
    values,
    variables_of,
)


def averaging(subject: Subject, **arguments: Any) -> Any:
    """An optimizer with an EMA whose momentum is 1/2."""
    return subject(learning_rate=1.0, use_ema=True, ema_momentum=0.5, **arguments)


# The average -----------------------------------------------------------------------------------


@check("5.1", deviations=("D1",))
def follows_updates(subject: Subject) -> Comparisons:
    """Four updates take 10 to 9, 8, 7, 6, with average 6.875; other steps do not change it."""
    for steps in (16, 18):
        yield from follows_reference(
            subject,
            scalar(10.0, [1.0] * steps),
            learning_rate=1.0,
            use_ema=True,
            ema_momentum=0.5,
            gradient_accumulation_steps=4,
        )


@check("5.1")
def follows_every_update(subject: Subject) -> Comparisons:
    """Without accumulation, from the first update on, also at both ends of the range."""
    for momentum in (0.0, 0.9, 1.0):
        yield from follows_reference(
            subject,
            random_problem(steps=4),
            learning_rate=0.25,
            momentum=0.5,
            use_ema=True,
            ema_momentum=momentum,
        )


@check("5.2", deviations=("D1",))
def overwrites_at_updates(subject: Subject) -> Comparisons:
    """Weights are overwritten after every second update, here every fourth step."""
    yield from follows_reference(
        subject,
        random_problem(steps=9),
        learning_rate=0.25,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
        gradient_accumulation_steps=2,
    )


@check("5.2")
def overwrites_when_due(subject: Subject) -> Comparisons:
    """Weights are overwritten after the third and the sixth update."""
    yield from follows_reference(
        subject,
        random_problem(steps=7),
        learning_rate=0.25,
        momentum=0.5,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=3,
    )


@check("5.2", deviations=("D22",))
def infinite_weights_stay(subject: Subject) -> Comparisons:
    """Weights that are not overwritten are not multiplied by zero, which would make them NaN."""
    yield from follows_reference(
        subject,
        Problem([[np.inf, 1.0]], [[[0.0, 1.0]]] * 4),
        learning_rate=1.0,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
    )


@check("5.3", deviations=("D7",))
def after_constraints(subject: Subject) -> Comparisons:
    """The average of a weight with a non-negative constraint is not negative."""
    yield from follows_reference(
        subject,
        scalar(1.0, [1.0, 1.0, 4.0, 2.0], non_negative=(0,)),
        learning_rate=1.0,
        use_ema=True,
        ema_momentum=0.5,
    )


# Writing the averages --------------------------------------------------------------------------

# Two variables, and their averages after two updates.
PAIR = Problem([[8.0], [80.0]], [[[2.0], [20.0]], [[2.0], [20.0]]])
RAW, AVERAGES = [4.0, 40.0], [5.0, 50.0]


def trained_pair(subject: Subject) -> tuple[Any, list[Any]]:
    """The optimizer and the variables after two updates."""
    optimizer, variables = averaging(subject), variables_of(PAIR)
    for gradients in PAIR.gradients:
        optimizer.apply([tensor(gradient) for gradient in gradients], variables)
    return optimizer, variables


@check("5.4", deviations=("D8",))
def nothing_before_the_first_update(subject: Subject) -> Comparisons:
    """There is no average yet, and zeros do not replace it."""
    variables = variables_of(PAIR)
    averaging(subject).finalize_variable_values(variables)
    yield same_bits("unbuilt", [8.0, 80.0], np.ravel(values(variables)))


@check("5.4", deviations=("D8",))
def nothing_before_the_first_update_once_built(subject: Subject) -> Comparisons:
    """Nothing is written in the first accumulation window either."""
    variables = variables_of(PAIR)
    optimizer = averaging(subject, gradient_accumulation_steps=2)
    optimizer.build(variables)
    optimizer.finalize_variable_values(variables)
    yield same_bits("built", [8.0, 80.0], np.ravel(values(variables)))
    optimizer.apply([tensor(gradient) for gradient in PAIR.gradients[0]], variables)
    optimizer.finalize_variable_values(variables)
    yield same_bits("in the first window", [8.0, 80.0], np.ravel(values(variables)))


class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]
    """Ctrl-C before the first batch."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Interrupt."""
        raise KeyboardInterrupt


@check("5.4", deviations=("D9",))
def interrupted_before_the_first_batch(subject: Subject) -> Comparisons:
    """The weights are unchanged."""
    for name, options in fit_options().items():
        model = compiled(averaging(subject), PAIR, **options)
        try:
            fit(model, PAIR, [Interrupt()])
        except KeyboardInterrupt:
            yield same_bits(name, [8.0, 80.0], np.ravel(values(model.trainable_variables)))
        else:
            yield Comparison(name, "an interruption", "none", False)


@check("5.4", deviations=("D10",))
def each_variable_its_own(subject: Subject) -> Comparisons:
    """Each variable gets its own average, in any order and for any number of variables."""
    optimizer, variables = trained_pair(subject)
    optimizer.finalize_variable_values(variables[::-1])
    yield close("in reverse order", AVERAGES, np.ravel(values(variables)))
    optimizer, variables = trained_pair(subject)
    optimizer.finalize_variable_values(variables[1:])
    yield close("the second only", [RAW[0], AVERAGES[1]], np.ravel(values(variables)))


@check("5.4", deviations=("D10",))
def frozen_and_trained_on(subject: Subject) -> Comparisons:
    """If the first weight is frozen between two `fit()`, the second still gets its own average.

    JAX cannot continue with other variables, and raises an error.
    """
    for name, options in fit_options().items():
        optimizer = averaging(subject)
        model = compiled(optimizer, PAIR, **options)
        fit(model, PAIR)
        model.layers[-1].parts[0].trainable = False
        model.compile(optimizer=optimizer, loss=model.loss, **options)
        if keras.config.backend() == "jax":
            yield refused(name, partial(fit, model, PAIR), "new optimizer")
            continue
        fit(model, PAIR)
        # The second continues from 50 to 30 and 10, and its average from 50 to 40 and 25.
        yield close(name, [5.0, 25.0], np.ravel(values(model.layers[-1].parts)))


@check("5.4", deviations=("D23",))
def all_by_default(subject: Subject) -> Comparisons:
    """Without an argument all variables are written, as documented."""
    for given in ((), (None,)):
        optimizer, variables = trained_pair(subject)
        optimizer.finalize_variable_values(*given)
        yield close(f"finalize_variable_values{given}", AVERAGES, np.ravel(values(variables)))


@check("5.4")
def variables_without_an_average(subject: Subject) -> Comparisons:
    """Such a variable is unchanged, with a warning that names it; an error if all are such."""
    optimizer, variables = trained_pair(subject)
    stranger = keras.Variable([7.0], name="stranger")
    finalize = optimizer.finalize_variable_values
    yield warned("one stranger", partial(finalize, [stranger, *variables]), "stranger")
    yield close("w and the stranger", [*AVERAGES, 7.0], np.ravel(values([*variables, stranger])))
    yield refused("only a stranger", partial(finalize, [stranger]), "stranger")


@check("5.4")
def when_fit_ends(subject: Subject) -> Comparisons:
    """The averages are written after the last epoch, not after each."""
    twice = Problem(PAIR.weights, [*PAIR.gradients, *PAIR.gradients])
    expected = reference_run(twice, learning_rate=1.0, use_ema=True, ema_momentum=0.5)
    for name, options in fit_options().items():
        recorder = Recorder()
        model = compiled(averaging(subject), PAIR, **options)
        fit(model, PAIR, [recorder], epochs=2)
        yield close(f"{name}, steps", np.squeeze(expected.weights), np.squeeze(recorder.weights))
        outcome = np.ravel(values(model.trainable_variables))
        yield close(f"{name}, end", np.ravel(expected.final), outcome)


# Arguments and Keras' callback -----------------------------------------------------------------


@check("5.5", deviations=("D21",))
def frequency_is_checked(subject: Subject) -> Comparisons:
    """The frequency must be a whole number >= 1, with `use_ema` or without."""
    for use_ema in (True, False):
        for frequency in (0, -1, 1.5, np.nan, True, "1"):
            yield refused(
                f"ema_overwrite_frequency={frequency!r}, use_ema={use_ema}",
                partial(subject, use_ema=use_ema, ema_overwrite_frequency=frequency),
                "ema_overwrite_frequency",
            )
        subject(use_ema=use_ema, ema_overwrite_frequency=2.0)


@check("5.5")
def momentum_is_checked(subject: Subject) -> Comparisons:
    """`ema_momentum` must be from 0 to 1, with `use_ema` or without."""
    for use_ema in (True, False):
        for momentum in (-0.1, 1.1, np.nan, None, True, "1"):
            yield refused(
                f"ema_momentum={momentum!r}, use_ema={use_ema}",
                partial(subject, use_ema=use_ema, ema_momentum=momentum),
                "ema_momentum",
            )
        for momentum in (0, 1, 0.5):
            subject(use_ema=use_ema, ema_momentum=momentum)


@check("5.5")
def no_effect_without_use_ema(subject: Subject) -> Comparisons:
    """The weights are never overwritten."""
    yield from follows_reference(
        subject,
        scalar(0.0, [1.0] * 4),
        learning_rate=1.0,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
    )


# On TensorFlow the callback swaps by adding and subtracting, which rounds.
SWAP_BOUND = 1e-5


@check("5.6")
def swapped_for_evaluation(subject: Subject) -> Comparisons:
    """A model is evaluated with its averages, and then has its weights again."""
    optimizer = averaging(subject)
    model = compiled(optimizer, PAIR)
    for gradients in PAIR.gradients:
        optimizer.apply([tensor(gradient) for gradient in gradients], model.trainable_variables)
    swap = keras.callbacks.SwapEMAWeights()
    loss = model.evaluate(np.ones((1, 2)), np.zeros(1), callbacks=[swap], verbose=0)
    yield close("evaluate()", sum(AVERAGES), loss, SWAP_BOUND)
    yield close("weights", RAW, np.ravel(values(model.trainable_variables)), SWAP_BOUND)


@check("5.6")
def swapped_after_each_epoch(subject: Subject) -> Comparisons:
    """Training continues from the weights, and ends with the averages."""
    twice = Problem(PAIR.weights, [*PAIR.gradients, *PAIR.gradients])
    expected = reference_run(twice, learning_rate=1.0, use_ema=True, ema_momentum=0.5)
    for name, options in fit_options().items():
        model = compiled(averaging(subject), PAIR, **options)
        fit(model, PAIR, [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], epochs=2)
        outcome = np.ravel(values(model.trainable_variables))
        yield close(name, np.ravel(expected.final), outcome, SWAP_BOUND)


@check("5.6")
def half_precision_on_tensorflow(subject: Subject) -> Comparisons:
    """On TensorFlow the callback cannot use a float32 average; the error names the alternative."""
    problem = Problem([[8.0]], [[[2.0]], [[2.0]]], dtype="float16")
    model = compiled(averaging(subject), problem)
    for gradients in problem.gradients:
        model.optimizer.apply([tensor(gradients[0], "float16")], model.trainable_variables)
    swap = keras.callbacks.SwapEMAWeights()
    evaluate = partial(model.evaluate, np.ones((1, 1)), np.zeros(1), callbacks=[swap], verbose=0)
    if keras.config.backend() == "tensorflow":
        yield _names_the_exact_way(evaluate)
    else:
        yield close("evaluate()", 5.0, evaluate())
    yield close("weights", [4.0], value(model.trainable_variables[0]))


def _names_the_exact_way(evaluate: Any) -> Comparison:
    where, expected = "evaluate()", "an error that names swap_ema_weights"
    try:
        loss = evaluate()
    except Exception as error:
        return Comparison(where, expected, describe(error), "swap_ema_weights" in str(error))
    return Comparison(where, expected, f"evaluated to {loss}", False)


@check("5.6")
def refused_without_averages(subject: Subject) -> Comparisons:
    """The callback says that it needs `use_ema`."""
    model = compiled(subject(learning_rate=1.0), PAIR)
    swap = keras.callbacks.SwapEMAWeights()
    evaluate = partial(model.evaluate, np.ones((1, 2)), np.zeros(1), callbacks=[swap], verbose=0)
    yield refused("evaluate()", evaluate, "use_ema")
    yield equal("built", True, isinstance(model.optimizer, subject.optimizer))
