"""Contract 12: what each argument accepts, in one walk over good and bad input."""

import copy
import fractions
import inspect
import math
import pickle
import re
import warnings

import keras
import numpy as np
import pytest
from conftest import KEYWORD_ONLY, SIGNATURE, floatx

import kerasgd
from kerasgd import arguments
from kerasgd.errors import Described
from kerasgd.functions import ForeignFunction

SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)


def no_rate():
    return 0.1


# Everything that a user may hand over by mistake; NA and its like come from R.
WALK = {
    "none": None,
    "NA": Described("`NA`"),
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "minus one": -1,
    "zero": 0,
    "tiny": 1e-300,
    "half": 0.5,
    "one": 1,
    "one and a half": 1.5,
    "two as a float": 2.0,
    "2^31": 2**31,
    "huge": 10**400,
    "true": True,
    "false": False,
    "numpy true": np.True_,
    "text": "1",
    "empty text": "",
    "path": "a/b",
    "bytes": b"1",
    "pair": [1, 2],
    "one in a list": [1],
    "empty list": [],
    "dict": {"a": 1},
    "complex": 1 + 2j,
    "numpy complex": np.complex64(1),
    "function": no_rate,
    "function of a step": lambda step: step,
    "schedule": SCHEDULE,
    "schedule class": keras.optimizers.schedules.ExponentialDecay,
    "numpy vector": np.array([1.0, 2.0]),
    "object": object(),
}
NUMBERS = {"zero", "tiny", "half", "one", "one and a half", "two as a float", "2^31"}
POSITIVE = NUMBERS - {"zero"}
COUNTS = {"one", "two as a float"}
FLAGS = {"true", "false", "numpy true"}
ACCEPTED = {
    "learning_rate": NUMBERS | {"function", "schedule"},
    "momentum": NUMBERS,
    "nesterov": FLAGS,
    "weight_decay": NUMBERS | {"none"},
    "clipnorm": POSITIVE | {"none"},
    "clipvalue": POSITIVE | {"none"},
    "global_clipnorm": POSITIVE | {"none"},
    "use_ema": FLAGS,
    "ema_momentum": {"zero", "tiny", "half", "one"},
    "ema_overwrite_frequency": COUNTS | {"none"},
    "name": {"text"},
    "loss_scale_factor": POSITIVE | {"none"},
    "gradient_accumulation_steps": COUNTS | {"none"},
}
PAIRS = [(argument, key) for argument in ACCEPTED for key in WALK]


def make(**given):
    return kerasgd.SGD(**given)


@pytest.mark.parametrize(("argument", "key"), PAIRS, ids=[f"{a}-{k}" for a, k in PAIRS])
@pytest.mark.filterwarnings("ignore::kerasgd.errors.KerasgdWarning")
def test_each_argument_accepts_what_its_rule_says(argument, key):  # contract 12, 2.1, 4.1, 5.5
    value = WALK[key]
    if key in ACCEPTED[argument]:
        assert_kept(make(**{argument: value}), argument, value)
        return
    with pytest.raises(kerasgd.ArgumentError) as caught:
        make(**{argument: value})
    error = caught.value
    assert (error.argument, error.requirement) == (argument, arguments.RULES[argument].requirement)
    assert error.received is value
    assert isinstance(error, TypeError) != isinstance(error, ValueError)
    assert str(error).startswith(f"`{argument}` must be ")
    assert "{" not in str(error).replace("{'a': 1}", "")


def assert_kept(optimizer, argument, value):
    if argument == "learning_rate" and callable(value):
        assert optimizer._learning_rate is value
        return
    kept = optimizer.get_config()[argument]
    assert kept == value
    whole = {"ema_overwrite_frequency", "gradient_accumulation_steps"}
    kind = int if argument in whole else bool if isinstance(value, bool | np.bool_) else float
    assert value is None or isinstance(value, str) or type(kept) is kind


def test_every_argument_is_walked():
    assert set(ACCEPTED) == set(arguments.RULES)


def test_numbers_of_every_kind_are_accepted():  # contract 2.1, 12.1, 12.2
    kinds = [1, 1.0, np.float32(1), np.float16(1), np.float64(1), np.int8(1), np.array(1.0)]
    kinds += [fractions.Fraction(1), keras.ops.convert_to_tensor(1.0)]
    kinds += [keras.ops.cast(1.0, "bfloat16")]
    for number in kinds:
        config = make(
            learning_rate=number, momentum=number, gradient_accumulation_steps=number
        ).get_config()
        assert (config["learning_rate"], config["momentum"]) == (1.0, 1.0)
        assert config["gradient_accumulation_steps"] == 1


def test_whole_numbers_end_at_the_largest_of_r():  # contract 12.1
    largest = 2**31 - 1
    assert make(gradient_accumulation_steps=float(largest)).gradient_accumulation_steps == largest
    for value in (2.5, 2.0**31, math.nextafter(2, 3)):
        with pytest.raises(kerasgd.ArgumentValueError):
            make(gradient_accumulation_steps=value)


def test_at_most_one_clip_is_set():  # contract 4.1
    with pytest.raises(kerasgd.ArgumentValueError, match="At most one") as caught:
        make(clipnorm=1, global_clipnorm=2)
    assert caught.value.argument == "global_clipnorm"
    assert caught.value.received == 2


def test_momentum_above_one_warns_once():  # contract 1.5
    with pytest.warns(kerasgd.KerasgdWarning, match="`momentum` is 1.5") as caught:
        make(momentum=1.5)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    make(momentum=1)


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
def test_what_float32_turns_into_0_or_infinity_is_not_silent(argument, value, becomes):
    # contract 2.1, 3.1
    words = rf"`{argument}` is {value:g}, which float32 rounds to {becomes}"
    with pytest.warns(kerasgd.KerasgdWarning, match=re.escape(words)):
        kerasgd.SGD(**{argument: value})
    with floatx("float64"), warnings.catch_warnings():
        warnings.simplefilter("error", kerasgd.KerasgdWarning)
        kerasgd.SGD(**{argument: value})


def test_small_and_large_numbers_of_float32_are_silent(recwarn):
    kerasgd.SGD(1e-44, weight_decay=3e38, clipnorm=1e-44)
    kerasgd.SGD(0.0, weight_decay=0)
    assert not recwarn.list


def test_ema_arguments_are_checked_without_ema():  # contract 5.5
    with pytest.raises(kerasgd.ArgumentValueError):
        make(use_ema=False, ema_momentum=1.5)
    with pytest.raises(kerasgd.ArgumentValueError):
        make(use_ema=False, ema_overwrite_frequency=0)
    assert make(ema_overwrite_frequency=3).ema_overwrite_frequency == 3


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
        make(**{typed: 1})
    error = caught.value
    assert (error.argument, error.suggestion, error.received) == (typed, meant, 1)
    assert f"`{typed}` is not an argument of SGD." in str(error)
    if meant:
        assert f"Did you mean `{meant}`?" in str(error)


def test_decay_is_told_from_a_schedule():  # contract 12.6
    with pytest.raises(kerasgd.UnknownArgumentError, match="give a schedule"):
        make(decay=0.1)


def test_functions_with_arguments_are_refused_at_construction():  # contract 2.5
    def asks(step, scale=2):
        return step

    for function in (asks, ForeignFunction(no_rate, ["step"])):
        with pytest.raises(kerasgd.ArgumentTypeError, match="asks for `step`"):
            make(learning_rate=function)
    with pytest.raises(kerasgd.ArgumentTypeError, match="call it with its arguments first"):
        make(learning_rate=keras.optimizers.schedules.CosineDecay)
    make(learning_rate=lambda *args, **kwargs: 0.1)
    make(learning_rate=lambda scale=2: 0.1)


def test_an_error_leaves_nothing_behind():  # contract 12.7
    optimizer = make(learning_rate=0.25)
    for value in (-1, math.nan, "a", lambda step: step):
        with pytest.raises(kerasgd.ArgumentError):
            optimizer.learning_rate = value
    assert optimizer.get_config()["learning_rate"] == 0.25
    with pytest.raises(kerasgd.ArgumentValueError):
        optimizer.loss_scale_factor = 0
    assert optimizer.loss_scale_factor is None


def test_name_begins_the_paths():  # contract 12.5
    optimizer = make(name="fast", momentum=0.9)
    optimizer.build([keras.Variable([1.0], name="w")])
    assert optimizer.name == "fast"
    assert make().name == "SGD"
    (velocity,) = optimizer.momentums
    assert velocity.path == "fast/w_velocity"
    assert velocity.name == "w_velocity"


@pytest.mark.parametrize("given", [{"momentum": -1}, {"lr": 1}], ids=["value", "name"])
def test_errors_survive_pickling(given):
    with pytest.raises(kerasgd.ArgumentError) as caught:
        make(**given)
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.argument) == (str(error), error.argument)
    assert str(copy.copy(error)) == str(error)


# The entrance for R ---------------------------------------------------------------------------
