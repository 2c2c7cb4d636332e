"""Checks of contract 12: the values that each argument accepts."""

from __future__ import annotations

import inspect
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
    text,
)
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import Problem, tensor, value, values, variables_of

# The values that every argument is tested with.
WALK: dict[str, Any] = {
    "None": None,
    "nan": np.nan,
    "inf": np.inf,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "True": True,
    "'1'": "1",
    "''": "",
    "[1, 2]": [1, 2],
    "[]": [],
    "{}": {},
    "(1+2j)": 1 + 2j,
    "a function": lambda x: x,
}

# The values that each argument accepts.
ACCEPTED = {
    "learning_rate": ["0", "1.5"],
    "momentum": ["0", "1.5"],
    "nesterov": ["True"],
    "weight_decay": ["None", "0", "1.5"],
    "clipnorm": ["None", "1.5"],
    "clipvalue": ["None", "1.5"],
    "global_clipnorm": ["None", "1.5"],
    "use_ema": ["True"],
    "ema_momentum": ["0"],
    "ema_overwrite_frequency": ["None"],
    "name": ["'1'"],
    "loss_scale_factor": ["None", "1.5"],
    "gradient_accumulation_steps": ["None"],
}


@check("12")
def bad_input_walk(subject: Subject) -> Comparisons:
    """Each refusal names the argument and the received value."""
    for argument, accepted in ACCEPTED.items():
        actual = [word for word, given in WALK.items() if _accepts(subject, argument, given)]
        yield equal(f"{argument}, accepted", text(accepted), text(actual))
    for argument, accepted in ACCEPTED.items():
        for word, given in WALK.items():
            if word not in accepted:
                yield _well_refused(subject, argument, word, given)


def _accepts(subject: Subject, argument: str, given: Any) -> bool:
    try:
        subject(**{argument: given})
    except (ValueError, TypeError):
        return False
    return True


def _well_refused(subject: Subject, argument: str, word: str, given: Any) -> Comparison:
    where, expected = f"{argument}={word}", f"an error that names {argument} and {word}"
    received = "" if word == "a function" else word
    try:
        subject(**{argument: given})
    except (ValueError, TypeError) as error:
        named = argument in str(error) and received in str(error)
        return Comparison(where, expected, describe(error), named)
    return Comparison(where, expected, "no error", False)


WHOLE = ("ema_overwrite_frequency", "gradient_accumulation_steps")
LARGEST = 2**31 - 1


@check("12.1")
def whole_numbers(subject: Subject) -> Comparisons:
    """Accepted whole numbers become integers."""
    for argument in WHOLE:
        for given in (2, 2.0, np.int64(2), np.float32(2), LARGEST, float(LARGEST)):
            config = subject(**{argument: given}).get_config()
            yield equal(f"{argument}={given!r}", int(given), config[argument])
        for bad in (2.5, LARGEST + 1, 2.0**40, 0, -1):
            yield refused(f"{argument}={bad!r}", partial(subject, **{argument: bad}), argument)


NUMBERS = (
    "learning_rate",
    "momentum",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "ema_momentum",
    "loss_scale_factor",
)


@check("12.2")
def integers_are_numbers(subject: Subject) -> Comparisons:
    """An integer of Python or NumPy is a number: 1 means 1.0."""
    for argument in NUMBERS:
        for one in (1, np.int32(1), np.float32(1), np.float64(1)):
            config = subject(**{argument: one}).get_config()
            yield equal(f"{argument}={one!r}", 1.0, config[argument])


OPTIONAL = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


@check("12.3")
def missing_values(subject: Subject) -> Comparisons:
    """Optional arguments accept None; no argument accepts NaN."""
    for argument in OPTIONAL:
        config = subject(**{argument: None}).get_config()
        yield equal(f"{argument}=None", None, config[argument])
    for argument in (name for name in ACCEPTED if name not in OPTIONAL):
        yield refused(f"{argument}=None", partial(subject, **{argument: None}), argument)
    for argument in ACCEPTED:
        yield refused(f"{argument}=nan", partial(subject, **{argument: np.nan}), argument)


@check("12.4")
def flags(subject: Subject) -> Comparisons:
    """Truthy and falsy values are refused."""
    for argument in ("nesterov", "use_ema"):
        for given in (True, False, np.True_):
            config = subject(**{argument: given}).get_config()
            yield equal(f"{argument}={given!r}", bool(given), config[argument])
        for bad in (1, 0, 1.0, "no", "True", None, np.nan, [True]):
            yield refused(f"{argument}={bad!r}", partial(subject, **{argument: bad}), argument)


@check("12.5")
def names(subject: Subject) -> Comparisons:
    """The optimizer has the given name, and the paths of the velocities begin with it."""
    yield equal("default", "SGD", subject().name)
    optimizer = subject(name="mine", momentum=0.5)
    optimizer.build(variables_of(Problem([[1.0], [2.0]], [])))
    yield equal("name", "mine", optimizer.name)
    paths = [v.path for v in optimizer.variables if v.shape == (1,)]
    yield equal("velocities", 2, len(paths))
    for path in paths:
        yield equal(path, "mine/", path[:5])
    for bad in ("a/b", "", None, 1, ["a"]):
        yield refused(f"name={bad!r}", partial(subject, name=bad), "name")


@check("12.6")
def unknown_arguments(subject: Subject) -> Comparisons:
    """The error suggests the argument that was probably meant."""
    for typed, meant in (
        ("lr", "learning_rate"),
        ("learn", "learning_rate"),
        ("decay", "weight_decay"),
        ("momentun", "momentum"),
        ("clip_norm", "clipnorm"),
        ("nestrov", "nesterov"),
    ):
        call = partial(subject, **{typed: 0.1})
        yield refused(f"{typed}=0.1", call, typed)
        yield refused(f"{typed}=0.1, suggestion", call, f"{meant}`?")
    yield refused("nonsense=1", partial(subject, nonsense=1), "nonsense")
    unnamed = partial(subject, 0.1, 0.0, False, None, None, None, None, False, 0.9, None, "mine")
    yield refused("a name without its keyword", unnamed, "positional")


@check("12.6")
def arguments_beyond_ours(subject: Subject) -> Comparisons:
    """Further arguments of the installed `keras.optimizers.SGD` are accepted."""
    parameters = inspect.signature(keras.optimizers.SGD).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    beyond = {p.name: p.default for p in parameters if p.kind in named and p.name not in ACCEPTED}
    accepted = [name for name, default in beyond.items() if _accepts(subject, name, default)]
    yield equal("accepted", list(beyond), accepted)


@check("12.7")
def nothing_left_of_a_refused_rate(subject: Subject) -> Comparisons:
    """The old rate stays after a refusal."""
    optimizer = subject(learning_rate=0.5)
    refusable: tuple[Any, ...] = (-1.0, np.nan, "1", None, lambda step: 0.1)
    for bad in refusable:
        yield refused(f"learning_rate = {bad!r}", partial(_set, optimizer, bad), "learning_rate")
        yield close("the rate", 0.5, value(optimizer.learning_rate))


def _set(optimizer: Any, rate: Any) -> None:
    optimizer.learning_rate = rate


@check("12.7")
def nothing_left_of_a_refused_step(subject: Subject) -> Comparisons:
    """A refusal leaves weights, state and counter unchanged, and an unbuilt optimizer unbuilt."""
    stranger = keras.Variable([1.0], name="stranger")
    one, two = tensor([1.0]), tensor([1.0, 1.0])
    for name, steps, gradients, naming in (
        ("wrong shape", 2, [two, two], "grad"),
        ("wrong number", 2, [two], "grad"),
        ("all None", None, [None, None], "grad"),
        ("unknown variable", 2, [two, one], "stranger"),
    ):
        make = partial(subject, learning_rate=1.0, gradient_accumulation_steps=steps)
        variables = variables_of(Problem([[1.0, 2.0], [3.0]], []))
        built = make(momentum=0.5)
        built.apply([two, one], variables)
        given = [variables[0], stranger] if naming == "stranger" else variables
        before = values([*variables, *built.variables])
        yield refused(name, partial(built.apply, gradients, given), naming)
        for was, now in zip(before, values([*variables, *built.variables]), strict=True):
            yield same_bits(f"{name}, unchanged", was, now)
        if given is variables:
            unbuilt = make()
            yield refused(f"{name}, unbuilt", partial(unbuilt.apply, gradients, given), naming)
            yield equal(f"{name}, unbuilt, built", False, bool(unbuilt.built))


@check("12.7")
def nothing_left_of_refused_exclusions(subject: Subject) -> Comparisons:
    """The old exclusions stay after a refusal."""
    optimizer = subject(learning_rate=1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["w0"])
    refusable = partial(optimizer.exclude_from_weight_decay, var_names=["("])
    yield refused("no regular expression", refusable, "var_names")
    variables = variables_of(Problem([[1.0], [1.0]], []))
    optimizer.apply([tensor([0.0]), tensor([0.0])], variables)
    yield close("w", [1.0, 0.5], np.ravel(values(variables)))


@check("12.7")
def nothing_left_of_a_refused_wrapper(subject: Subject) -> Comparisons:
    """The inner optimizer keeps its loss scale if the wrapper is refused."""
    inner, wrapper = subject(loss_scale_factor=8.0), subject.loss_scale_optimizer
    for bad in (-1, 0, np.nan, "1"):
        wrap = partial(wrapper, inner, initial_scale=bad)
        yield refused(f"initial_scale={bad!r}", wrap, "initial_scale")
        yield equal("loss_scale_factor", 8.0, inner.loss_scale_factor)
