"""Test values for every argument, most of them invalid, and sets of valid ones by kind.

Everything that takes arguments is tested with all values.
"""

import math

import keras
import numpy as np

from kerasgd.errors import Described
from kerasgd.schedules import CosineDecay


def no_rate():
    return 0.1


# `NA` comes from R.
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
    "word": "yes",
    "empty text": "",
    "path": "a/b",
    "bytes": b"1",
    "pair": [1, 2],
    "equal pair": [3, 3],
    "falling pair": [4, 3],
    "one in a list": [1],
    "half in a list": [0.5],
    "minus one in a list": [-1],
    "word in a list": ["a"],
    "list in a list": [[1]],
    "nan in a pair": [math.nan, 1],
    "minus one in a pair": [0, -1],
    "true in a pair": [True, 1],
    "empty list": [],
    "dict": {"a": 1},
    "complex": 1 + 2j,
    "numpy complex": np.complex64(1),
    "function": no_rate,
    "function of a step": lambda step: step,
    "schedule": keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5),
    "schedule class": keras.optimizers.schedules.ExponentialDecay,
    "schedule class of ours": CosineDecay,
    "class": dict,
    "numpy vector": np.array([1.0, 2.0]),
    "object": object(),
}

NUMBERS = {"zero", "tiny", "half", "one", "one and a half", "two as a float", "2^31"}
POSITIVE = NUMBERS - {"zero"}
AT_LEAST_ONE = POSITIVE - {"tiny", "half"}
UP_TO_ONE = {"zero", "tiny", "half", "one"}
COUNTS = {"one", "two as a float"}
COUNTS_FROM_ZERO = COUNTS | {"zero"}
SEVERAL_COUNTS = {"pair", "equal pair", "falling pair", "one in a list", "numpy vector"}
FLAGS = {"true", "false", "numpy true"}
NAMES = {"text", "word"}
NO_RATES = [key for key in WALK if key not in NUMBERS]

# Values of the right type, some of them out of range.
ANY_NUMBER = NUMBERS | {"nan", "inf", "-inf", "minus one", "huge"}
ANY_NUMBERS = SEVERAL_COUNTS | {
    "half in a list",
    "minus one in a list",
    "nan in a pair",
    "minus one in a pair",
    "empty list",
}
ANY_TEXT = NAMES | {"empty text", "path"}
