"""Checks of contract 13.3 and 13.4: subclasses, attributes, and a second model."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from kerasgd.conformance.checks import (
    Comparison,
    Comparisons,
    check,
    close,
    describe,
    equal,
    only_of_kerasgd,
    refused,
    stopped,
)
from kerasgd.conformance.files import folder
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    all_ways,
    compiled,
    fit,
    scalar,
    tensor,
    value,
    variables_of,
)

# Subclasses ------------------------------------------------------------------------------------


def slow_subclass(base: Any) -> Any:
    """A subclass of `base` whose steps are a tenth as long."""

    class Slow(base):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, 0.1 * learning_rate)

    return Slow


@check("13.3")
def own_rule(subject: Subject) -> Comparisons:
    """An overridden `update_step()` updates the weights."""
    problem = scalar(0.0, [1.0, 1.0])
    for way in all_ways():
        optimizer = slow_subclass(subject.optimizer)(1.0)
        yield close(way.name, [-0.2], way.train(optimizer, problem).final[0])


@check("13.3")
def own_rule_in_a_step(subject: Subject) -> Comparisons:
    """Clip, decay and accumulation act around it, and `super()` has the variable's momentum."""
    for way in all_ways():
        optimizer = slow_subclass(subject.optimizer)(
            1.0, momentum=0.5, weight_decay=0.5, clipvalue=0.5, gradient_accumulation_steps=2
        )
        run = way.train(optimizer, scalar(0.0, [1.0] * 4))
        # First -0.1 * 0.5; then half of the weight decays, and half of the velocity remains
        history = [float(weights[0][0]) for weights in run.weights]
        yield close(way.name, [0.0, -0.05, -0.05, -0.025 - 0.075], history)


def counting_subclass(base: Any) -> Any:
    """A subclass of `base` with its own variables: sums of gradients, and a count of steps."""

    class Counting(base):  # type: ignore[misc]
        def build(self, variables: Any) -> None:
            if self.built:
                return
            super().build(variables)
            self.sums = self.add_optimizer_variables(variables, "sum")
            self.steps = self.add_variable((), name="steps")

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            self.assign_add(self.sums[self._get_variable_index(variable)], gradient)
            self.assign_add(self.steps, keras.ops.ones(()))
            super().update_step(gradient, variable, learning_rate)

    return Counting


def _through_a_file(model: Any, subclass: type) -> Any:
    with folder() as path, keras.saving.custom_object_scope({"Counting": subclass}):
        model.save(path / "model.keras")
        return keras.saving.load_model(path / "model.keras")


def _through_weights(model: Any, subclass: type) -> Any:
    again = compiled(subclass(0.5, momentum=0.5), scalar(0.0, []))
    again.optimizer.build(again.trainable_variables)
    with folder() as path:
        model.save_weights(path / "model.weights.h5")
        again.load_weights(path / "model.weights.h5")
    return again


@check("13.3")
def own_variables(subject: Subject) -> Comparisons:
    """The variables of a subclass are saved with the rest of the state."""
    subclass = counting_subclass(subject.optimizer)
    for name, through in ((".keras file", _through_a_file), ("weights file", _through_weights)):
        model = compiled(subclass(0.5, momentum=0.5), scalar(0.0, []))
        fit(model, scalar(0.0, [1.0, 2.0, 4.0]))
        again = through(model, subclass).optimizer
        yield close(f"{name}, of a variable", [7.0], value(again.sums[0]))
        yield close(f"{name}, of the optimizer", 3.0, value(again.steps))


# Methods of Keras' step that a subclass may override.
HOOKS = (
    "_clip_gradients",
    "_apply_weight_decay",
    "_backend_apply_gradients",
    "_backend_update_step",
    "_update_model_variables_moving_average",
    "_overwrite_model_variables_with_average_value",
)


def hooked_subclass(base: Any, hook: str, calls: list[str]) -> Any:
    """A subclass of `base` that records each call of a method."""

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(hook)
        return getattr(super(subclass, self), hook)(*args, **kwargs)

    subclass = type("Hooked", (base,), {hook: noted})
    return subclass


@check("13.3")
def no_hook_is_ignored(subject: Subject) -> Comparisons:
    """Each method of Keras' step is called, or a subclass that overrides it is refused."""
    for hook in HOOKS:
        calls: list[str] = []
        expected = f"calls, or an error that names {hook}"
        try:
            subclass = hooked_subclass(subject.optimizer, hook, calls)
        except TypeError as error:
            yield Comparison(hook, expected, describe(error), hook in str(error))
            continue
        optimizer = subclass(
            0.5, clipnorm=1.0, weight_decay=0.5, use_ema=True, ema_overwrite_frequency=1
        )
        APPLY.train(optimizer, scalar(0.0, [1.0, 1.0]))
        yield Comparison(hook, expected, f"{len(calls)} calls", bool(calls))


# Attributes ------------------------------------------------------------------------------------

# A value for each setting that its rule accepts.
SETTINGS: dict[str, Any] = {
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.5,
    "clipnorm": 1.0,
    "clipvalue": 1.0,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2,
}


@check("13.3")
def attributes_are_checked(subject: Subject) -> Comparisons:
    """The rule of the argument applies; an accepted value acts like one in the constructor."""
    for setting, good in SETTINGS.items():
        optimizer = subject()
        yield refused(f"{setting} = -1", partial(setattr, optimizer, setting, -1), setting)
        setattr(optimizer, setting, good)
        yield equal(f"{setting} = {good}", good, optimizer.get_config()[setting])
    optimizer = subject(learning_rate=1.0)
    optimizer.momentum = 0.5
    run = APPLY.train(optimizer, scalar(0.0, [1.0, 1.0]))
    yield close("trained with momentum = 0.5", [-2.5], run.final[0])


@check("13.3")
def attributes_are_fixed_once_built(subject: Subject) -> Comparisons:
    """Another value is an error that names `update()`; the same value is accepted."""
    for setting, other in SETTINGS.items():
        optimizer = subject()
        optimizer.build(variables_of(scalar(0.0, [])))
        before = getattr(optimizer, setting)
        for naming in (setting, "update"):
            change = partial(setattr, optimizer, setting, other)
            yield refused(f"{setting} = {other}, built", change, naming)
        setattr(optimizer, setting, before)
        yield equal(f"{setting} afterwards", before, getattr(optimizer, setting))


@check("13.3")
def unknown_attributes(subject: Subject) -> Comparisons:
    """An unknown attribute is an error that suggests an argument; subclasses may add attributes."""
    yield refused("lr = 0.1", partial(setattr, subject(), "lr", 0.1), "learning_rate")
    yield refused("decay = 0.1", partial(setattr, subject(), "decay", 0.1), "weight_decay")
    own = slow_subclass(subject.optimizer)()
    own.lr = 0.1
    yield equal("lr of a subclass", 0.1, own.lr)


# A second model --------------------------------------------------------------------------------


def _way_out(subject: Subject) -> str:
    """The solution that the refusal of a second model names."""
    return "update" if subject.is_of_kerasgd else "optimizer"


@check("13.4")
def second_model(subject: Subject) -> Comparisons:
    """A second model is refused at its first step."""
    for way in all_ways():
        optimizer = subject(learning_rate=0.5, momentum=0.5)
        train = partial(way.train, optimizer, scalar(0.0, [1.0]))
        train()
        yield stopped(f"{way.name}, second model", train, naming=_way_out(subject))


@check("13.4")
def nothing_has_changed(subject: Subject) -> Comparisons:
    """The refusal leaves weights and step count unchanged."""
    optimizer = subject(learning_rate=0.5, momentum=0.5)
    APPLY.train(optimizer, scalar(0.0, [1.0]))
    count = int(value(optimizer.iterations))
    others = variables_of(scalar(2.0, []))
    step = partial(optimizer.apply, [tensor([1.0])], others)
    yield refused("apply()", step, naming=_way_out(subject))
    yield close("weight", [2.0], value(others[0]))
    yield equal("iterations", count, int(value(optimizer.iterations)))


@check("13.4")
def updated_for_another_model(subject: Subject) -> Comparisons:
    """`update()` creates an optimizer for another model, which starts without state."""
    only_of_kerasgd(subject, "update")
    for way in all_ways():
        optimizer = subject(learning_rate=0.5, momentum=0.5)
        way.train(optimizer, scalar(0.0, [1.0]))
        run = way.train(optimizer.update(), scalar(0.0, [1.0]))
        yield close(way.name, [-0.5], run.final[0])
