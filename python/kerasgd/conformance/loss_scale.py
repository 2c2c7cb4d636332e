"""Checks of contract 6: fixed and dynamic loss scales."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    only_on,
    refused,
    unexpected,
    warned,
)
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Problem,
    Run,
    agree,
    all_ways,
    follows_reference,
    output_as_loss,
    random_problem,
    scalar,
    tensor,
    tensors,
    times,
    value,
    values,
    variables_of,
    ways_of_apply,
)
from kerasgd.reference import ReferenceLossScale, ReferenceSGD, SparseRows


@check("6.1")
def divided_out(subject: Subject) -> Comparisons:
    """The factor cancels, whether it is a power of two or not."""
    for factor, ways in ((1000, all_ways()), (8.0, [APPLY]), (0.3, [APPLY])):
        yield from follows_reference(
            subject,
            random_problem(steps=4),
            ways,
            learning_rate=0.25,
            momentum=0.5,
            clipnorm=1.0,
            loss_scale_factor=factor,
        )
    yield close("scale_loss(2)", 16.0, value(subject(loss_scale_factor=8).scale_loss(2.0)))
    yield close("scale_loss(2), no factor", 2.0, value(subject().scale_loss(2.0)))


@check("6.1", deviations=("D6",))
def sparse_gradients_too(subject: Subject) -> Comparisons:
    """The sparse gradients of an embedding on TensorFlow are divided too."""
    only_on("tensorflow", "only TensorFlow has sparse gradients")
    gradient = SparseRows(values=[[1.0], [2.0], [4.0]], indices=[2, 0, 2])
    yield from follows_reference(
        subject,
        Problem([[[0.0], [0.0], [0.0]]], [[gradient]] * 2),
        ways_of_apply(),
        learning_rate=1.0,
        loss_scale_factor=8.0,
    )


@check("6.1")
def factors_that_make_no_sense(subject: Subject) -> Comparisons:
    """Zero, negative and other invalid factors are refused."""
    for factor in (0, -1.0, np.nan, np.inf, True, "1"):
        yield refused(
            f"loss_scale_factor={factor!r}",
            partial(subject, loss_scale_factor=factor),
            "loss_scale_factor",
        )


@check("6.2", deviations=("D15",))
def replaced_by_compile(subject: Subject) -> Comparisons:
    """Only a user who set a factor is warned, once."""
    keras.config.set_dtype_policy("mixed_float16")
    for factor, count in ((8.0, 1), (None, 0)):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        optimizer = subject(loss_scale_factor=factor)
        compile_it = partial(model.compile, optimizer=optimizer, loss="mse")
        where = f"compile() with loss_scale_factor={factor}"
        yield warned(where, compile_it, "loss_scale_factor", count)


# The dynamic scale -----------------------------------------------------------------------------


def scaling(subject: Subject, inner: Any, initial_scale: float, growth_steps: int) -> Any:
    """The subject's loss-scale optimizer around `inner`."""
    return subject.loss_scale_optimizer(
        inner, initial_scale=initial_scale, dynamic_growth_steps=growth_steps
    )


def reference_with_scale(
    problem: Problem, initial_scale: float, growth_steps: int, **arguments: Any
) -> tuple[Run, ReferenceLossScale]:
    """Train the reference on the problem, with a dynamic scale."""
    inner = ReferenceSGD(**arguments).build(problem.weights)
    scaler = ReferenceLossScale(inner, initial_scale, growth_steps)
    weights = [
        scaler.step([times(scaler.scale, g) for g in gradients]) for gradients in problem.gradients
    ]
    inner.finalize_variable_values()
    return Run(weights, inner.weights), scaler


OVERFLOWING = scalar(0.0, [1.0, np.inf, 1.0, 2.0, 3.0, np.nan, -np.inf, 1.0])


@check("6.3", deviations=("D15",))
def dynamic_scale_in_eager_code(subject: Subject) -> Comparisons:
    """The scale halves at a non-finite gradient, and doubles after two finite ones."""
    optimizer = scaling(subject, subject(learning_rate=1.0), 8.0, 2)
    inner = ReferenceSGD(learning_rate=1.0).build(OVERFLOWING.weights)
    scaler = ReferenceLossScale(inner, 8.0, 2)
    variables = variables_of(OVERFLOWING)
    for t, gradients in enumerate(OVERFLOWING.gradients):
        optimizer.apply(tensors(optimizer, gradients, OVERFLOWING), variables)
        expected = scaler.step([times(scaler.scale, gradient) for gradient in gradients])
        yield close(f"step {t}, weight", expected[0], value(variables[0]))
        yield close(f"step {t}, next scale", scaler.scale, value(optimizer.scale_loss(1.0)))
        yield equal(f"step {t}, steps that count", inner.steps, int(value(optimizer.iterations)))


@check("6.3")
def dynamic_scale_when_compiled(subject: Subject) -> Comparisons:
    """A dynamic scale works with all settings of the inner optimizer."""
    arguments = {
        "learning_rate": 1.0,
        "momentum": 0.5,
        "weight_decay": 0.25,
        "clipnorm": 1.0,
        "use_ema": True,
        "ema_momentum": 0.5,
        "gradient_accumulation_steps": 2,
    }
    expected, scaler = reference_with_scale(OVERFLOWING, 8.0, 2, **arguments)
    for way in [*all_ways()[1:], ways_of_apply()[1]]:
        optimizer = scaling(subject, subject(**arguments), 8.0, 2)
        try:
            run = way.train(optimizer, OVERFLOWING)
        except Exception as error:
            yield unexpected(way.name, error)
            return
        yield from agree(way.name, expected, run)
        yield close(f"{way.name}, next scale", scaler.scale, value(optimizer.scale_loss(1.0)))


@check("6.3", deviations=("D15",))
def exclusions_reach_the_inner_optimizer(subject: Subject) -> Comparisons:
    """Decay exclusions set on the wrapper act on the inner optimizer."""
    optimizer = scaling(subject, subject(learning_rate=1.0, weight_decay=0.5), 1.0, 2)
    optimizer.exclude_from_weight_decay(var_names=["w0"])
    variables = variables_of(Problem([[1.0], [1.0]], []))
    optimizer.build(variables)
    optimizer.inner_optimizer.apply([tensor([0.0]), tensor([0.0])], variables)
    yield close("w0 is excluded", [1.0, 0.5], np.ravel(values(variables)))


@check("6.3")
def not_wrapped_again(subject: Subject) -> Comparisons:
    """`compile()` does not wrap it again, because it is a Keras `LossScaleOptimizer`."""
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    optimizer = scaling(subject, subject(), 8.0, 2)
    model.compile(optimizer=optimizer, loss=output_as_loss)
    yield equal("compile() takes it as it is", True, model.optimizer is optimizer)
    keras_class = keras.optimizers.LossScaleOptimizer
    yield equal("is a LossScaleOptimizer", True, isinstance(optimizer, keras_class))
    defaults = subject.loss_scale_optimizer(subject()).get_config()
    yield close("initial_scale", 32768, defaults["initial_scale"])
    yield close("dynamic_growth_steps", 2000, defaults["dynamic_growth_steps"])
