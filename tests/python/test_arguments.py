"""The values that each argument accepts and refuses, for all test values (contract 12)."""

import copy
import fractions
import inspect
import math
import pickle
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
import pytest
from bad_inputs import (
    ANY_NUMBER,
    ANY_NUMBERS,
    ANY_TEXT,
    AT_LEAST_ONE,
    COUNTS,
    COUNTS_FROM_ZERO,
    FLAGS,
    NAMES,
    NUMBERS,
    POSITIVE,
    SEVERAL_COUNTS,
    UP_TO_ONE,
    WALK,
    no_rate,
)
from conftest import KEYWORD_ONLY, SIGNATURE, floatx

import kerasgd
from kerasgd import arguments, schedules
from kerasgd.callbacks import Backup, LearningRateFunction, StopOnNonfinite
from kerasgd.functions import ForeignFunction
from kerasgd.selection import SELECT


@dataclass(frozen=True)
class Subject:
    """A function or class that takes arguments.

    Attributes:
        make: is called with arguments by name.
        requirements: the requirement of each argument, in the words of its rule.
        accepted: the keys of `WALK` that each argument accepts.
        others: its required arguments.
        config: its configuration, if it has one.
        attributes: the arguments that can be set as attributes later.
        unfit: values that an argument accepts, but not together with `others`.
    """

    make: Callable
    requirements: Mapping[str, str]
    accepted: Mapping[str, set]
    others: Mapping[str, object] = field(default_factory=dict)
    config: Mapping[str, object] | None = None
    attributes: Collection[str] = ()
    unfit: Mapping[str, set] = field(default_factory=dict)

    def ways_to_give(self, argument):
        """Functions that pass a value to the argument."""
        ways = [lambda value: self.make(**{**self.others, argument: value})]
        if self.config is not None:
            ways.append(lambda value: self.make.from_config({**self.config, argument: value}))
        if argument in self.attributes:
            ways.append(lambda value: self.with_attribute(argument, value))
        return ways

    def with_attribute(self, argument, value):
        made = self.make(**self.others)
        setattr(made, argument, value)
        return made

    def of_right_kind(self, argument):
        """The keys whose refusal is a `ValueError`, not a `TypeError`."""
        accepted = self.accepted[argument] | self.unfit.get(argument, set())
        kinds = [
            (COUNTS, ANY_NUMBER),
            ({"tiny"}, ANY_NUMBER),
            (SEVERAL_COUNTS, ANY_NUMBERS),
            (NAMES, ANY_TEXT),
            ({"function of a step"}, {"function"}),  # which fails when it gets a step
        ]
        return set().union(*(kind for some, kind in kinds if some & accepted))


def requirements_of(rules, names=None):
    return {name: rules[name].requirement for name in names or rules}


def sgd():
    everything = {"momentum": 0.9, "use_ema": True, "gradient_accumulation_steps": 2}
    optimizer = kerasgd.SGD(WALK["schedule"], weight_decay=0.1, **everything)
    optimizer.exclude_from_weight_decay(var_names=["a"])
    accepted = {
        "learning_rate": NUMBERS | {"function", "schedule"},
        "momentum": NUMBERS,
        "nesterov": FLAGS,
        "weight_decay": NUMBERS | {"none"},
        "clipnorm": POSITIVE | {"none"},
        "clipvalue": POSITIVE | {"none"},
        "global_clipnorm": POSITIVE | {"none"},
        "use_ema": FLAGS,
        "ema_momentum": UP_TO_ONE,
        "ema_overwrite_frequency": COUNTS | {"none"},
        "name": NAMES,
        "loss_scale_factor": POSITIVE | {"none"},
        "gradient_accumulation_steps": COUNTS | {"none"},
    }
    return Subject(
        kerasgd.SGD,
        requirements_of(arguments.RULES),
        accepted,
        config=optimizer.get_config(),
        attributes=accepted,
    )


def loss_scale_optimizer():
    accepted = {
        "initial_scale": POSITIVE - {"tiny"},
        "dynamic_growth_steps": COUNTS,
        "name": NAMES | {"none"},
    }
    return Subject(
        kerasgd.LossScaleOptimizer,
        requirements_of(arguments.LOSS_SCALE_RULES),
        accepted,
        others={"inner_optimizer": kerasgd.SGD()},
        config=kerasgd.LossScaleOptimizer(kerasgd.SGD()).get_config(),
        attributes=["initial_scale", "dynamic_growth_steps"],
    )


OF_SCHEDULES = {
    "initial_learning_rate": NUMBERS,
    "end_learning_rate": NUMBERS,
    "peak_learning_rate": NUMBERS,
    "warmup_target": NUMBERS | {"none"},
    "learning_rate": NUMBERS | {"schedule"},
    "decay_steps": COUNTS,
    "first_decay_steps": COUNTS,
    "total_steps": COUNTS,
    "warmup_steps": COUNTS_FROM_ZERO,
    "stable_steps": COUNTS_FROM_ZERO,
    "alpha": UP_TO_ONE,
    "t_mul": AT_LEAST_ONE,
    "m_mul": NUMBERS,
    "decay_rate": NUMBERS,
    "power": NUMBERS,
    "staircase": FLAGS,
    "cycle": FLAGS,
    "boundaries": (COUNTS_FROM_ZERO | SEVERAL_COUNTS) - {"equal pair", "falling pair"},
    "values": NUMBERS | SEVERAL_COUNTS | {"half in a list"},
    "warmup_fraction": {"tiny", "half"},
    "initial_divisor": AT_LEAST_ONE,
    "end_divisor": AT_LEAST_ONE,
    "name": NAMES,
}
SCHEDULES = {
    schedules.CosineDecay: {"initial_learning_rate": 0.1, "decay_steps": 10},
    schedules.CosineDecayRestarts: {"initial_learning_rate": 0.1, "first_decay_steps": 10},
    schedules.ExponentialDecay: {
        "initial_learning_rate": 0.1,
        "decay_steps": 10,
        "decay_rate": 0.5,
    },
    schedules.InverseTimeDecay: {
        "initial_learning_rate": 0.1,
        "decay_steps": 10,
        "decay_rate": 0.5,
    },
    schedules.PiecewiseConstantDecay: {"boundaries": [5], "values": [0.1, 0.2]},
    schedules.PolynomialDecay: {"initial_learning_rate": 0.1, "decay_steps": 10},
    schedules.LinearWarmup: {"learning_rate": 0.1, "warmup_steps": 10},
    schedules.WarmupStableDecay: {
        "peak_learning_rate": 0.1,
        "warmup_steps": 10,
        "stable_steps": 10,
        "decay_steps": 10,
    },
    schedules.OneCycle: {"peak_learning_rate": 0.1, "total_steps": 10},
    schedules.Table: {"values": [0.1]},
}
# One boundary lies between two values.
UNFIT = {
    schedules.PiecewiseConstantDecay: {
        "boundaries": {"pair", "numpy vector"},
        "values": NUMBERS | {"one in a list", "half in a list"},
    }
}


def schedule(cls, others):
    made, unfit = cls(**others), UNFIT.get(cls, {})
    return Subject(
        cls,
        requirements_of(schedules.RULES, made.settings),
        {
            argument: OF_SCHEDULES[argument] - unfit.get(argument, set())
            for argument in made.settings
        },
        others,
        config=made.get_config(),
        unfit=unfit,
    )


def with_three_groups():
    optimizer = kerasgd.SGD()
    for pattern in ("a", "b", WALK["word"]):
        optimizer.set_group(pattern, learning_rate_factor=1)
    return optimizer


def set_group(**given):
    kerasgd.SGD().set_group(**given)


def layer_decay(decay):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    kerasgd.layer_decay(kerasgd.SGD(), model, decay)


OF_GROUPS = {
    "set_group": Subject(
        set_group,
        {"select": SELECT, **requirements_of(arguments.GROUP_RULES)},
        {
            "select": NAMES
            | {"path", "word in a list", "function", "function of a step", "schedule"},
            "learning_rate_factor": NUMBERS | {"schedule"},
            "momentum": NUMBERS,
            "weight_decay": NUMBERS | {"none"},
        },
        others={"select": "a", "learning_rate_factor": 1},
        unfit={"select": {"empty list"}},
    ),
    "set_learning_rate_factor": Subject(
        lambda **given: with_three_groups().set_learning_rate_factor(**given),
        {
            "group": "the number of a group (0 to 2), or the pattern that selects it",
            "factor": arguments.GROUP_RULES["learning_rate_factor"].requirement,
        },
        {
            "group": {"zero", "one", "two as a float", "word"},
            "factor": NUMBERS | {"schedule"},
        },
        others={"group": 0, "factor": 1},
    ),
    "exclude_from_weight_decay": Subject(
        lambda **given: kerasgd.SGD().exclude_from_weight_decay(**given),
        {"rank_below": arguments.RANK_BELOW.requirement},
        {"rank_below": COUNTS | {"none"}},
    ),
    "layer_decay": Subject(
        layer_decay,
        {"decay": arguments.LAYER_DECAY.requirement},
        {"decay": UP_TO_ONE - {"zero"}},
    ),
}
STEPS = "whole numbers from 0 to 2147483647"
SUBJECTS = {
    "SGD": sgd(),
    "LossScaleOptimizer": loss_scale_optimizer(),
    **{cls.__name__: schedule(cls, others) for cls, others in SCHEDULES.items()},
    **OF_GROUPS,
    "Table.of_function": Subject(
        schedules.Table.of_function,
        requirements_of(schedules.TABLE_RULES),
        {"fn": {"function of a step", "schedule"}, "steps": COUNTS, "name": NAMES},
        others={"fn": lambda step: 0.1, "steps": 3},
    ),
    "a schedule at a step": Subject(
        lambda step: schedules.CosineDecay(0.1, 10)(step),
        {"step": STEPS},
        {"step": COUNTS_FROM_ZERO | SEVERAL_COUNTS | {"empty list"}},
    ),
    "evaluate": Subject(
        schedules.evaluate,
        {"steps": STEPS},
        {"steps": COUNTS_FROM_ZERO | SEVERAL_COUNTS | {"empty list"}},
        others={"schedule": schedules.CosineDecay(0.1, 10)},
    ),
    "LearningRateFunction": Subject(
        LearningRateFunction,
        {"learning_rate": arguments.RATE_FUNCTION.requirement},
        {"learning_rate": {"function"}},
    ),
    "Backup": Subject(
        Backup,
        {"backup_dir": "the path of a folder", "delete_checkpoint": arguments.flag().requirement},
        {"backup_dir": NAMES | {"path"}, "delete_checkpoint": FLAGS},
        others={"backup_dir": "backup"},
    ),
    "StopOnNonfinite": Subject(
        StopOnNonfinite,
        {"max_in_a_row": arguments.STATISTICS_RULES["every"].requirement},
        {"max_in_a_row": COUNTS},
    ),
    "track_statistics": Subject(
        lambda **given: kerasgd.SGD().track_statistics(**given),
        requirements_of(arguments.STATISTICS_RULES),
        {"per_variable": FLAGS, "every": COUNTS},
    ),
    "track_statistics, scaled": Subject(
        lambda **given: kerasgd.LossScaleOptimizer(kerasgd.SGD()).track_statistics(**given),
        requirements_of(arguments.STATISTICS_RULES),
        {"per_variable": FLAGS, "every": COUNTS},
    ),
}


@pytest.mark.parametrize("key", WALK)
@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.filterwarnings("ignore::kerasgd.errors.KerasgdWarning")
def test_each_argument_accepts_what_its_rule_says(name, key):
    # contract 12, 2.1, 2.5, 3.1, 4.1, 5.5, 9.3, 13.3, 14.2, 14.7
    subject, value = SUBJECTS[name], WALK[key]
    for argument, accepted in subject.accepted.items():
        for give in subject.ways_to_give(argument):
            if key in accepted:
                assert_kept(give(value), argument, value)
            elif key not in subject.unfit.get(argument, ()):
                error = refusal(give, value, argument)
                assert error.argument == argument
                assert error.requirement == subject.requirements[argument]
                # Keras and TensorFlow wrap a list or dict that is set as an attribute.
                is_attribute = argument in subject.attributes
                assert error.received is value or (
                    is_attribute and len(error.received) == len(value)
                )
                assert isinstance(error, ValueError) is (key in subject.of_right_kind(argument))
                assert isinstance(error, TypeError) != isinstance(error, ValueError)
                assert str(error).startswith(f"`{argument}` must be ")
                assert "{" not in str(error).replace("{'a': 1}", "")


def refusal(give, value, argument):
    try:
        give(value)
    except kerasgd.ArgumentError as error:
        return error
    pytest.fail(f"`{argument}` accepts {value!r}")


WHOLE = {argument for argument in OF_SCHEDULES if argument.endswith("_steps")} | {
    "ema_overwrite_frequency",
    "gradient_accumulation_steps",
    "dynamic_growth_steps",
}


def assert_kept(made, argument, value):
    config = made.get_config() if hasattr(made, "get_config") else {}
    if argument not in config or (argument == "name" and value is None):
        return
    if argument == "learning_rate" and callable(value):
        kept = made._learning_rate if isinstance(made, kerasgd.SGD) else made.learning_rate
        assert kept is value
        return
    kept = config[argument]
    if argument in ("boundaries", "values"):
        assert kept == np.ravel(value).tolist()
        return
    assert kept == value
    kind = int if argument in WHOLE else bool if isinstance(value, bool | np.bool_) else float
    assert value is None or isinstance(value, str) or type(kept) is kind


def test_every_argument_is_walked():
    assert set(SUBJECTS["SGD"].accepted) == set(arguments.RULES)
    assert set(SUBJECTS["LossScaleOptimizer"].accepted) == set(arguments.LOSS_SCALE_RULES)
    assert set(SUBJECTS["set_group"].accepted) == {"select", *arguments.GROUP_RULES}
    assert set(SUBJECTS["track_statistics"].accepted) == set(arguments.STATISTICS_RULES)
    assert set(SUBJECTS["Table.of_function"].accepted) == set(schedules.TABLE_RULES)
    assert {cls.__name__ for cls in SCHEDULES} | {"Schedule"} == {
        name for name in schedules.__all__ if isinstance(getattr(schedules, name), type)
    }
    walked = {argument for cls in SCHEDULES for argument in SUBJECTS[cls.__name__].accepted}
    assert walked == set(schedules.RULES)


def test_numbers_of_every_kind_are_accepted():  # contract 2.1, 12.1, 12.2
    kinds = [1, 1.0, np.float32(1), np.float16(1), np.float64(1), np.int8(1), np.array(1.0)]
    kinds += [fractions.Fraction(1), keras.ops.convert_to_tensor(1.0)]
    kinds += [keras.ops.cast(1.0, "bfloat16")]
    for number in kinds:
        config = kerasgd.SGD(
            learning_rate=number, momentum=number, gradient_accumulation_steps=number
        ).get_config()
        assert (config["learning_rate"], config["momentum"]) == (1.0, 1.0)
        assert config["gradient_accumulation_steps"] == 1


def test_whole_numbers_end_at_the_largest_of_r():  # contract 12.1
    largest = 2**31 - 1
    assert (
        kerasgd.SGD(gradient_accumulation_steps=float(largest)).gradient_accumulation_steps
        == largest
    )
    for value in (2.5, 2.0**31, math.nextafter(2, 3)):
        with pytest.raises(kerasgd.ArgumentValueError):
            kerasgd.SGD(gradient_accumulation_steps=value)


def test_at_most_one_clip_is_set():  # contract 4.1
    with pytest.raises(kerasgd.ArgumentValueError, match="At most one") as caught:
        kerasgd.SGD(clipnorm=1, global_clipnorm=2)
    assert caught.value.argument == "global_clipnorm"
    assert caught.value.received == 2


def test_momentum_above_one_warns_once():  # contract 1.5
    with pytest.warns(kerasgd.KerasgdWarning, match="`momentum` is 1.5") as caught:
        kerasgd.SGD(momentum=1.5)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    kerasgd.SGD(momentum=1)


@pytest.mark.parametrize(
    ("argument", "value", "becomes"),
    [
        ("learning_rate", 1e-60, "0"),
        ("weight_decay", 1e300, "infinity"),
        ("weight_decay", 1e-60, "0"),
        ("clipnorm", 1e-50, "0"),
        ("loss_scale_factor", 1e39, "infinity"),
    ],
)
def test_numbers_that_float32_rounds_to_0_or_infinity_warn(argument, value, becomes):
    # contract 2.1, 3.1
    words = rf"`{argument}` is {value:g}, which float32 rounds to {becomes}"
    with pytest.warns(kerasgd.KerasgdWarning, match=re.escape(words)):
        kerasgd.SGD(**{argument: value})
    with floatx("float64"), warnings.catch_warnings():
        warnings.simplefilter("error", kerasgd.KerasgdWarning)
        kerasgd.SGD(**{argument: value})


def test_numbers_within_float32_do_not_warn(recwarn):
    kerasgd.SGD(1e-44, weight_decay=3e38, clipnorm=1e-44)
    kerasgd.SGD(0.0, weight_decay=0)
    assert not recwarn.list


def test_ema_arguments_are_checked_without_ema():  # contract 5.5
    with pytest.raises(kerasgd.ArgumentValueError):
        kerasgd.SGD(use_ema=False, ema_momentum=1.5)
    with pytest.raises(kerasgd.ArgumentValueError):
        kerasgd.SGD(use_ema=False, ema_overwrite_frequency=0)
    assert kerasgd.SGD(ema_overwrite_frequency=3).ema_overwrite_frequency == 3


def test_signature_is_the_documented_one():  # contract, signature
    ours = inspect.signature(kerasgd.SGD.__init__).parameters
    defaults = {name: p.default for name, p in ours.items() if name not in ("self", "kwargs")}
    assert defaults == SIGNATURE
    keyword_only = [n for n, p in ours.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keyword_only == KEYWORD_ONLY


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("decay", "weight_decay"),
        ("clip_norm", "clipnorm"),
        ("momentun", "momentum"),
        ("nestrov", "nesterov"),
        ("ema_frequency", "ema_overwrite_frequency"),
        ("gradient_accumulation", "gradient_accumulation_steps"),
        ("qqq", None),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(typed, meant):  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError) as caught:
        kerasgd.SGD(**{typed: 1})
    error = caught.value
    assert (error.argument, error.suggestion, error.received) == (typed, meant, 1)
    assert f"`{typed}` is not an argument of SGD." in str(error)
    if meant:
        assert f"Did you mean `{meant}`?" in str(error)


def test_decay_is_answered_with_a_schedule():  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError, match="pass a schedule"):
        kerasgd.SGD(decay=0.1)


def test_functions_with_arguments_are_refused_at_construction():  # contract 2.5
    def asks(step, scale=2):
        return step

    for function in (asks, ForeignFunction(no_rate, ["step"])):
        with pytest.raises(kerasgd.ArgumentTypeError, match="requires `step`"):
            kerasgd.SGD(learning_rate=function)
    with pytest.raises(kerasgd.ArgumentTypeError, match="call it with its arguments first"):
        kerasgd.SGD(learning_rate=keras.optimizers.schedules.CosineDecay)
    kerasgd.SGD(learning_rate=lambda *args, **kwargs: 0.1)
    kerasgd.SGD(learning_rate=lambda scale=2: 0.1)


def test_an_error_leaves_nothing_behind():  # contract 12.7
    optimizer = kerasgd.SGD(learning_rate=0.25)
    for value in (-1, math.nan, "a", lambda step: step):
        with pytest.raises(kerasgd.ArgumentError):
            optimizer.learning_rate = value
    assert optimizer.get_config()["learning_rate"] == 0.25
    with pytest.raises(kerasgd.ArgumentValueError):
        optimizer.loss_scale_factor = 0
    assert optimizer.loss_scale_factor is None


def test_name_begins_the_paths():  # contract 12.5
    optimizer = kerasgd.SGD(name="fast", momentum=0.9)
    optimizer.build([keras.Variable([1.0], name="w")])
    assert optimizer.name == "fast"
    assert kerasgd.SGD().name == "SGD"
    (velocity,) = optimizer.momentums
    assert velocity.path == "fast/w_velocity"
    assert velocity.name == "w_velocity"


@pytest.mark.parametrize("given", [{"momentum": -1}, {"lr": 1}], ids=["value", "name"])
def test_errors_survive_pickling(given):
    with pytest.raises(kerasgd.ArgumentError) as caught:
        kerasgd.SGD(**given)
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.argument) == (str(error), error.argument)
    assert str(copy.copy(error)) == str(error)


# The entrance for R ---------------------------------------------------------------------------
