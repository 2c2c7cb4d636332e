"""Checks of contract 13: the behaviour that Keras expects of an optimizer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import Comparisons, check, close, equal, refused
from kerasgd.conformance.files import folder
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    TRACED,
    Problem,
    all_ways,
    compiled,
    fit,
    fit_options,
    follows_reference,
    model_of,
    output_as_loss,
    random_problem,
    scalar,
    tensor,
    value,
    values,
    variables_of,
)


@check("13.1")
def is_an_sgd(subject: Subject) -> Comparisons:
    """It inherits from `keras.optimizers.SGD`."""
    yield equal("isinstance()", True, isinstance(subject(), keras.optimizers.SGD))


@check("13.1")
def custom_loops(subject: Subject) -> Comparisons:
    """`apply()` without variables, `apply_gradients()`, and `stateless_apply()` where it works."""
    variables = variables_of(Problem([[0.0], [0.0]], []))
    optimizer = subject(learning_rate=1.0)
    optimizer.build(variables)
    optimizer.apply([tensor([1.0]), tensor([2.0])])
    optimizer.apply_gradients([(tensor([1.0]), variables[0])])
    yield close("w", [-2.0, -2.0], np.ravel(values(variables)))
    yield equal("iterations", 2, int(value(optimizer.iterations)))
    yield from follows_reference(
        subject,
        random_problem(steps=4),
        [TRACED[keras.config.backend()]],
        learning_rate=0.25,
        momentum=0.5,
        use_ema=True,
        ema_momentum=0.5,
        gradient_accumulation_steps=2,
    )


@check("13.1")
def values_for_gradients(subject: Subject) -> Comparisons:
    """A float8 scale takes its gradient as its value, and the largest one in a window."""
    for steps, expected in ((None, [2.0, 5.0, 1.0, 4.0]), (2, [9.0, 5.0, 5.0, 4.0])):
        scale, weight = variables_of(Problem([[9.0], [0.0]], []))
        scale.overwrite_with_gradient = True
        optimizer = subject(
            learning_rate=1.0, momentum=0.5, weight_decay=0.5, gradient_accumulation_steps=steps
        )
        actual = []
        for gradient in (2.0, 5.0, 1.0, 4.0):
            optimizer.apply([tensor([gradient]), tensor([1.0])], [scale, weight])
            actual.append(value(scale).item())
        yield close(f"gradient_accumulation_steps={steps}", expected, actual)


@check("13.1")
def rate_callbacks(subject: Subject) -> Comparisons:
    """`LearningRateScheduler` and `ReduceLROnPlateau` read and set the rate."""
    one_step = scalar(0.0, [1.0])
    for name, options in fit_options().items():
        model = compiled(subject(learning_rate=1.0), one_step, **options)
        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        fit(model, one_step, [halve], epochs=3)
        yield close(f"{name}, scheduler", [-0.875], values(model.trainable_variables)[0])
    model = compiled(subject(learning_rate=1.0), one_step)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1)
    fit(model, scalar(0.0, [0.0]), [plateau], epochs=3)
    yield close("plateau", 0.25, value(model.optimizer.learning_rate))


class Crash(keras.callbacks.Callback):  # type: ignore[misc]
    """Fails in the third epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Fail."""
        if epoch == 2:
            raise RuntimeError("crash")


@check("13.1")
def backup_and_restore(subject: Subject) -> Comparisons:
    """Training that crashed continues as if it had not crashed."""
    problem = random_problem(steps=3)
    arguments = {"learning_rate": 0.25, "momentum": 0.5, "gradient_accumulation_steps": 2}
    expected = compiled(subject(**arguments), problem)
    fit(expected, problem, epochs=4)
    with folder() as path:
        backup = str(path / "backup")
        model = compiled(subject(**arguments), problem)
        try:
            fit(model, problem, [keras.callbacks.BackupAndRestore(backup), Crash()], epochs=4)
        except RuntimeError:
            keras.utils.clear_session(free_memory=False)
        model = compiled(subject(**arguments), problem)
        fit(model, problem, [keras.callbacks.BackupAndRestore(backup)], epochs=4)
    for one, other in zip(expected.trainable_variables, model.trainable_variables, strict=True):
        yield close(one.path, value(one), value(other))


@check("13.1")
def in_keras_loss_scale_optimizer(subject: Subject) -> Comparisons:
    """Keras' own wrapper, which `compile()` makes under mixed_float16."""
    problem = scalar(0.0, [1.0, np.inf, 2.0])
    for way in all_ways()[1:]:
        wrapped = keras.optimizers.LossScaleOptimizer(subject(learning_rate=1.0), initial_scale=8.0)
        yield close(way.name, [-3.0], way.train(wrapped, problem).final[0])


@check("13.1")
def in_a_model_of_layers(subject: Subject) -> Comparisons:
    """A least-squares fit finds the line."""
    x = np.tile(np.linspace(-1.0, 1.0, 8), 60).reshape(-1, 1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=subject(learning_rate=0.5, momentum=0.5), loss="mse")
    model.fit(x, 2 * x + 1, batch_size=8, shuffle=False, verbose=0)
    kernel, bias = values(model.trainable_variables)
    yield close("slope and intercept", [2.0, 1.0], [kernel.item(), bias.item()], 1e-4)


@check("13.1")
def a_class_is_no_optimizer(subject: Subject) -> Comparisons:
    """`compile(optimizer=SGD)` without the call is refused."""
    model = model_of(scalar(0.0, []))
    yield refused(
        "compile()",
        lambda: model.compile(optimizer=subject.optimizer, loss=output_as_loss),
        "optimizer",
    )


@check("13.2", deviations=("D16",))
def named_alike_on_every_backend(subject: Subject) -> Comparisons:
    """A file names the class in the same way on every backend."""
    optimizer = subject()
    yield equal("the class that was called", subject.optimizer.__name__, type(optimizer).__name__)
    record = keras.saving.serialize_keras_object(optimizer)
    for entry in ("module", "class_name", "registered_name"):
        word = str(record[entry])
        named = [b for b in ("tensorflow", "jax", "torch") if b in word.lower()]
        yield equal(f"backends in {entry} {word!r}", [], named)
