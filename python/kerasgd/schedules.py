"""Learning-rate schedules: the rate as a function of the step.

The schedules are the six of Keras, with checked arguments, and four more. Calling one with numbers
computes the rates in double precision; training calls it with a tensor and computes in the
precision of the rate. A schedule cannot be changed, and two schedules with the same arguments are
equal.

    >>> from kerasgd.schedules import CosineDecay, LinearWarmup
    >>> schedule = LinearWarmup(CosineDecay(0.5, decay_steps=2), warmup_steps=2)
    >>> schedule([0, 1, 2, 3, 4])
    [0.0, 0.25, 0.5, 0.25, 0.0]
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras.optimizers import schedules as keras_schedules

from kerasgd import arguments
from kerasgd.arguments import ArgumentRule, ElementError
from kerasgd.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    Element,
    KerasgdWarning,
    with_full_stop,
)
from kerasgd.functions import describe_failure, describe_result
from kerasgd.rules.precision import wide

_registered = keras.saving.register_keras_serializable(package="kerasgd")

# NumPy or `keras.ops`.
Functions = Any


def _sequence(
    rule: ArgumentRule[Any], requirement: str, at_least: int = 1
) -> ArgumentRule[tuple[Any, ...]]:
    """A sequence whose elements follow one rule; a single value is accepted (R has no scalars)."""

    def convert(value: object) -> tuple[Any, ...]:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if not isinstance(value, list | tuple | range):
            return (rule.convert(value),)
        if len(value) < at_least:
            raise ValueError
        return tuple(_convert_element(value, index, rule) for index in range(len(value)))

    return ArgumentRule(requirement, convert)


def _convert_element(values: Sequence[object], index: int, rule: ArgumentRule[Any]) -> object:
    try:
        return rule.convert(values[index])
    except (TypeError, ValueError, OverflowError) as error:
        raise ElementError(Element(index), error) from None


def _increasing(rule: ArgumentRule[tuple[Any, ...]]) -> ArgumentRule[tuple[Any, ...]]:
    def convert(value: object) -> tuple[Any, ...]:
        result = rule.convert(value)
        for index, (earlier, later) in enumerate(pairwise(result)):
            if later <= earlier:
                raise ElementError(Element(index + 1, larger_than=index), ValueError())
        return result

    return ArgumentRule(rule.requirement, convert)


def _rate_or_schedule() -> ArgumentRule[object]:
    def convert(value: object) -> object:
        if isinstance(value, keras_schedules.LearningRateSchedule):
            return value
        return arguments.RATE.convert(value)

    return ArgumentRule(f"{arguments.RATE.requirement}, or a learning-rate schedule", convert)


def _function_of_the_step() -> ArgumentRule[Callable[[int], object]]:
    def convert(value: object) -> Callable[[int], object]:
        if not callable(value) or isinstance(value, type):
            raise TypeError
        return value

    return ArgumentRule("a function of the step that returns finite numbers >= 0", convert)


_COUNT = arguments.whole_number(at_least=0)
_POSITIVE_COUNT = arguments.whole_number(at_least=1)
_AT_LEAST_ONE = arguments.number("a finite number >= 1", lambda x: x >= 1)
_STEPS = _sequence(_COUNT, "whole numbers from 0 to 2147483647", at_least=0)
_RATES = _sequence(arguments.RATE, "finite numbers >= 0")
_FUNCTION = _function_of_the_step()

RULES: Mapping[str, ArgumentRule[Any]] = {
    "initial_learning_rate": arguments.RATE,
    "end_learning_rate": arguments.RATE,
    "peak_learning_rate": arguments.RATE,
    "warmup_target": arguments.optional(arguments.RATE),
    "learning_rate": _rate_or_schedule(),
    "decay_steps": _POSITIVE_COUNT,
    "first_decay_steps": _POSITIVE_COUNT,
    "total_steps": _POSITIVE_COUNT,
    "warmup_steps": _COUNT,
    "stable_steps": _COUNT,
    "alpha": arguments.number("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "t_mul": _AT_LEAST_ONE,
    "m_mul": arguments.NOT_NEGATIVE,
    "decay_rate": arguments.NOT_NEGATIVE,
    "power": arguments.NOT_NEGATIVE,
    "staircase": arguments.flag(),
    "cycle": arguments.flag(),
    "boundaries": _increasing(_sequence(_COUNT, "increasing whole numbers from 0 to 2147483647")),
    "values": _RATES,
    "warmup_fraction": arguments.number("a number between 0 and 1", lambda x: 0 < x < 1),
    "initial_divisor": _AT_LEAST_ONE,
    "end_divisor": _AT_LEAST_ONE,
    "name": arguments.label(),
}

# The rules for `Table.of_function()`.
TABLE_RULES: Mapping[str, ArgumentRule[Any]] = {
    "fn": _FUNCTION,
    "steps": _POSITIVE_COUNT,
    "name": RULES["name"],
}


class Schedule(keras_schedules.LearningRateSchedule):  # type: ignore[misc]
    """Base class of the schedules: checks the arguments, and can be called on numbers or tensors.

    A schedule is a dataclass of its arguments; its method `at()` is the formula.
    """

    name: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Schedule:
        """Refuse unknown arguments, with a suggestion."""
        known = [argument.name for argument in fields(cls)]
        unknown = {name: value for name, value in kwargs.items() if name not in known}
        arguments.check_no_unknown(unknown, cls.__name__, known)
        return super().__new__(cls)  # type: ignore[no-any-return]

    def __post_init__(self) -> None:
        # Keras' constructors are not called: they only store the arguments.
        for name, value in arguments.check_all(self.settings, RULES).items():
            object.__setattr__(self, name, value)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments by name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def get_config(self) -> dict[str, Any]:
        """The arguments in a form that can be saved."""
        return {name: _as_saved(value) for name, value in self.settings.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """The schedule with these arguments."""
        return cls(**{name: _as_given(value) for name, value in config.items()})

    def __call__(self, step: Any) -> Any:
        """The rate at a step.

        Args:
            step: a tensor or variable; or a whole number >= 0, or several of them.

        Returns:
            A tensor for a tensor; otherwise a float, a list of floats or an array, to match `step`.

        Raises:
            ArgumentTypeError, ArgumentValueError: `step` is invalid.
        """
        if keras.ops.is_tensor(step) or isinstance(step, keras.Variable | keras.KerasTensor):
            with keras.name_scope(self.name):
                t = keras.ops.cast(step, wide(keras.config.floatx()))
                return self.at(t, keras.ops)
        rates = _at_numbers(self, step, "step")
        if isinstance(step, np.ndarray):
            return rates.reshape(step.shape)
        return rates.tolist() if isinstance(step, list | tuple | range) else float(rates[0])

    def at(self, t: Any, xp: Functions) -> Any:
        """The rate at steps `t`, an array or a tensor; `xp` is NumPy or `keras.ops`."""
        raise NotImplementedError

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`, in notation that R and Python share."""
        raise NotImplementedError

    @property
    def span(self) -> int:
        """The number of steps that a plot of the schedule should show."""
        raise NotImplementedError


def _as_saved(value: Any) -> Any:
    if isinstance(value, keras_schedules.LearningRateSchedule):
        return keras.saving.serialize_keras_object(value)
    return list(value) if isinstance(value, tuple) else value


def _as_given(value: Any) -> Any:
    is_saved = isinstance(value, Mapping) and "class_name" in value
    return keras.saving.deserialize_keras_object(value) if is_saved else value


def _at_numbers(schedule: Any, steps: object, argument: str) -> Any:
    """The rates at `steps`, in double precision if the schedule is one of ours."""
    flat = np.ravel(steps) if isinstance(steps, np.ndarray) else steps
    checked = arguments.check(argument, flat, _STEPS)
    return _rates(schedule, np.asarray(checked, "float64"), np)


def _rates(rate: Any, t: Any, xp: Functions) -> Any:
    """The values at `t` of a number or of any schedule, including Keras' and the user's own."""
    if isinstance(rate, Schedule):
        return rate.at(t, xp)
    if not isinstance(rate, keras_schedules.LearningRateSchedule):
        return xp.zeros_like(t) + rate
    if xp is not np:
        return xp.cast(rate(t), t.dtype)
    values = [keras.ops.convert_to_numpy(rate(keras.ops.convert_to_tensor(step))) for step in t]
    return np.asarray(values, "float64").reshape(t.shape)


def evaluate(schedule: Any, steps: Any) -> list[float]:
    """Return the rates of any Keras learning-rate schedule at the given steps.

    Args:
        schedule: any `keras.optimizers.schedules.LearningRateSchedule`.
        steps: one or several whole numbers >= 0.

    Raises:
        ArgumentTypeError, ArgumentValueError: an argument is invalid.

    Example:
        >>> import keras
        >>> from kerasgd.schedules import evaluate
        >>> evaluate(keras.optimizers.schedules.InverseTimeDecay(0.5, 1, 1.0), [0, 1, 3])
        [0.5, 0.25, 0.125]
    """
    if not isinstance(schedule, keras_schedules.LearningRateSchedule):
        raise ArgumentTypeError("schedule", "a learning-rate schedule", schedule)
    rates: list[float] = _at_numbers(schedule, steps, "steps").tolist()
    return rates


# On PyTorch, Keras' `minimum()` and `floor()` turn float64 into float32. So `clip` replaces minima
# and maxima, and a zero is added to the argument of `floor` and `ceil`.


def _at_least_zero(x: Any, xp: Functions) -> Any:
    return xp.clip(x, 0.0, math.inf)


def _floor(x: Any, xp: Functions) -> Any:
    return xp.floor(x) + xp.zeros_like(x)


def _ceil(x: Any, xp: Functions) -> Any:
    return xp.ceil(x) + xp.zeros_like(x)


# Steps are whole numbers. Adding (or subtracting) half a step does not change `floor` (or `ceil`)
# of the quotient, and protects it against rounding: XLA multiplies by 1 / decay_steps.


def _completed(t: Any, decay_steps: int, staircase: bool, xp: Functions) -> Any:
    return _floor((t + 0.5) / decay_steps, xp) if staircase else t / decay_steps


def _half_cosine(fraction: Any, xp: Functions) -> Any:
    """Half a cosine, which falls from 1 to 0 as `fraction` goes from 0 to 1."""
    return 0.5 * (1.0 + xp.cos(math.pi * fraction))


def _rise(t: Any, low: float, high: Any, steps: float) -> Any:
    """A linear rise from `low` to `high` over `steps`; `high` if `steps` is 0."""
    return low + (high - low) * (t / (steps or 1))


@_registered
@dataclass(frozen=True)
class CosineDecay(Schedule, keras_schedules.CosineDecay):  # type: ignore[misc]
    """Cosine decay, after an optional linear warm-up.

    ::

        rate(t) = peak * ((1 - alpha) * (1 + cos(pi * f)) / 2 + alpha)
        f       = min(t, decay_steps) / decay_steps

    Without a warm-up, `peak` is `initial_learning_rate`. With a `warmup_target`, the rate first
    rises linearly from `initial_learning_rate` to `warmup_target` in `warmup_steps` steps. After
    that, `peak` is `warmup_target`, and `t` counts from the end of the warm-up.

    Args:
        initial_learning_rate: a finite number >= 0.
        decay_steps: the number of decay steps; a whole number >= 1.
        alpha: the final rate as a fraction of the peak; a number from 0 to 1.
        name: a non-empty string without "/".
        warmup_target: the rate at the end of the warm-up, a finite number >= 0; or None for no
            warm-up.
        warmup_steps: the number of warm-up steps; a whole number >= 0.

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: Loshchilov & Hutter (2017), SGDR: Stochastic gradient descent with warm restarts; for
    the warm-up, Goyal et al. (2017), Accurate, large minibatch SGD.

    Example:
        >>> from kerasgd.schedules import CosineDecay
        >>> CosineDecay(0.5, decay_steps=2, alpha=0.5)([0, 1, 2, 3])
        [0.5, 0.375, 0.25, 0.25]
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps > 0 and self.warmup_target is None:
            warnings.warn(
                f"`warmup_steps` is {self.warmup_steps}, but there is no warm-up without a "
                "`warmup_target`.",
                KerasgdWarning,
                stacklevel=3,
            )

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        if self.warmup_target is None:
            return self._fall(t, self.initial_learning_rate, xp)
        rise = _rise(t, self.initial_learning_rate, self.warmup_target, self.warmup_steps)
        fall = self._fall(_at_least_zero(t - self.warmup_steps, xp), self.warmup_target, xp)
        return xp.where(t < self.warmup_steps, rise, fall)

    def _fall(self, t: Any, peak: float, xp: Functions) -> Any:
        cosine = _half_cosine(xp.clip(t, 0.0, self.decay_steps) / self.decay_steps, xp)
        return peak * ((1 - self.alpha) * cosine + self.alpha)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        cosine = "((1 - alpha) * (1 + cos(pi * min({t}, decay_steps) / decay_steps)) / 2 + alpha)"
        if self.warmup_target is None:
            return "initial_learning_rate * " + cosine.format(t="t")
        return (
            "initial_learning_rate + (warmup_target - initial_learning_rate) * t / warmup_steps "
            "for t < warmup_steps, then warmup_target * " + cosine.format(t="t - warmup_steps")
        )

    @property
    def span(self) -> int:
        """The warm-up and the decay."""
        return self.decay_steps + (0 if self.warmup_target is None else self.warmup_steps)


@_registered
@dataclass(frozen=True)
class CosineDecayRestarts(Schedule, keras_schedules.CosineDecayRestarts):  # type: ignore[misc]
    """Cosine decay with warm restarts.

    In each period, the rate falls along half a cosine; then it jumps up again. Period `i` = 0, 1,
    ... takes `first_decay_steps * t_mul^i` steps; when a fraction `f` of it has passed::

        rate(t) = initial_learning_rate * ((1 - alpha) * m_mul^i * (1 + cos(pi * f)) / 2 + alpha)

    Args:
        initial_learning_rate: a finite number >= 0.
        first_decay_steps: the number of steps in the first period; a whole number >= 1.
        t_mul: the length of a period divided by that of the period before; a finite number >= 1.
        m_mul: the height of a peak divided by that of the peak before, for `alpha = 0`; a finite
            number >= 0.
        alpha: the rate at the end of a period, as a fraction of `initial_learning_rate`; a number
            from 0 to 1.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: Loshchilov & Hutter (2017), SGDR: Stochastic gradient descent with warm restarts.

    Example:
        >>> from kerasgd.schedules import CosineDecayRestarts
        >>> CosineDecayRestarts(0.5, first_decay_steps=2, m_mul=0.5)([0, 1, 2, 4, 6])
        [0.5, 0.25, 0.25, 0.125, 0.125]
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "SGDRDecay"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        period, fraction = self._place(t, xp)
        cosine = self.m_mul**period * _half_cosine(fraction, xp)
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)

    def _place(self, t: Any, xp: Functions) -> tuple[Any, Any]:
        """The number of the period, and the fraction of it that has passed."""
        periods = t / self.first_decay_steps
        if self.t_mul == 1:
            period = _floor((t + 0.5) / self.first_decay_steps, xp)
            return period, periods - period
        growth = self.t_mul - 1
        # The computed logarithm may be just below a whole number, which would delay the restart.
        period = _floor(xp.log1p(periods * growth) / math.log(self.t_mul) + 1e-5, xp)
        length = self.t_mul**period
        return period, (periods - (length - 1) / growth) / length

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        return (
            "initial_learning_rate * ((1 - alpha) * m_mul^i * (1 + cos(pi * f)) / 2 + alpha), "
            "f from 0 to 1 in period i = 0, 1, ... of first_decay_steps * t_mul^i steps"
        )

    @property
    def span(self) -> int:
        """Three periods."""
        return math.ceil(self.first_decay_steps * (1 + self.t_mul + self.t_mul**2))


@_registered
@dataclass(frozen=True)
class ExponentialDecay(Schedule, keras_schedules.ExponentialDecay):  # type: ignore[misc]
    """Exponential decay: multiplies the rate by `decay_rate` every `decay_steps` steps.

    ::

        rate(t) = initial_learning_rate * decay_rate^(t / decay_steps)

    With `staircase` the exponent is ``floor(t / decay_steps)``.

    Args:
        initial_learning_rate: a finite number >= 0.
        decay_steps: a whole number >= 1.
        decay_rate: a finite number >= 0.
        staircase: whether the rate changes only at multiples of `decay_steps`.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: the documentation of `keras.optimizers.schedules.ExponentialDecay`.

    Example:
        >>> from kerasgd.schedules import ExponentialDecay
        >>> ExponentialDecay(1, decay_steps=2, decay_rate=0.25)([0, 1, 2])
        [1.0, 0.5, 0.25]
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        exponent = _completed(t, self.decay_steps, self.staircase, xp)
        return self.initial_learning_rate * self.decay_rate**exponent

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        exponent = "floor(t / decay_steps)" if self.staircase else "(t / decay_steps)"
        return f"initial_learning_rate * decay_rate^{exponent}"

    @property
    def span(self) -> int:
        """Five times `decay_steps`."""
        return 5 * self.decay_steps


@_registered
@dataclass(frozen=True)
class InverseTimeDecay(Schedule, keras_schedules.InverseTimeDecay):  # type: ignore[misc]
    """Inverse time decay: divides the rate by a number that grows linearly with the step.

    ::

        rate(t) = initial_learning_rate / (1 + decay_rate * t / decay_steps)

    With `staircase`, ``floor(t / decay_steps)`` replaces ``t / decay_steps``.

    Args:
        initial_learning_rate: a finite number >= 0.
        decay_steps: a whole number >= 1.
        decay_rate: a finite number >= 0.
        staircase: whether the rate changes only at multiples of `decay_steps`.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: the documentation of `keras.optimizers.schedules.InverseTimeDecay`; the theory behind
    this decay: Robbins & Monro (1951), A stochastic approximation method.

    Example:
        >>> from kerasgd.schedules import InverseTimeDecay
        >>> InverseTimeDecay(1, decay_steps=2, decay_rate=1)([0, 2, 6])
        [1.0, 0.5, 0.25]
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        completed = _completed(t, self.decay_steps, self.staircase, xp)
        return self.initial_learning_rate / (1 + self.decay_rate * completed)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        completed = "floor(t / decay_steps)" if self.staircase else "t / decay_steps"
        return f"initial_learning_rate / (1 + decay_rate * {completed})"

    @property
    def span(self) -> int:
        """Five times `decay_steps`."""
        return 5 * self.decay_steps


@_registered
@dataclass(frozen=True)
class PiecewiseConstantDecay(Schedule, keras_schedules.PiecewiseConstantDecay):  # type: ignore[misc]
    """A rate that is constant between boundaries.

    ::

        rate(t) = values[0]  for t <= boundaries[0]
                  values[i]  for boundaries[i - 1] < t <= boundaries[i]
                  values[-1] for t > boundaries[-1]

    Args:
        boundaries: increasing whole numbers >= 0.
        values: finite numbers >= 0, one more than `boundaries`.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: the documentation of `keras.optimizers.schedules.PiecewiseConstantDecay`.

    Example:
        >>> from kerasgd.schedules import PiecewiseConstantDecay
        >>> PiecewiseConstantDecay(5, [0.5, 0.25])([0, 5, 6])
        [0.5, 0.5, 0.25]
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]
    name: str = "PiecewiseConstant"

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = len(self.boundaries) + 1
        if len(self.values) != wanted:
            requirement = f"{wanted} numbers, one more than `boundaries`"
            raise ArgumentValueError("values", requirement, self.values)

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        passed = xp.expand_dims(t, -1) > xp.array(self.boundaries, dtype=t.dtype)
        return _look_up(self.values, xp.sum(passed, axis=-1), t, xp)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        return "the first of values while t <= boundaries, and the next one after each of these"

    @property
    def span(self) -> int:
        """A quarter more steps than the last boundary."""
        return math.ceil(1.25 * self.boundaries[-1]) + 1


def _look_up(values: Sequence[float], index: Any, t: Any, xp: Functions) -> Any:
    whole = index.astype("int32") if xp is np else xp.cast(index, "int32")
    return xp.take(xp.array(values, dtype=t.dtype), whole, axis=0)


@_registered
@dataclass(frozen=True)
class PolynomialDecay(Schedule, keras_schedules.PolynomialDecay):  # type: ignore[misc]
    """Polynomial decay: the rate falls to `end_learning_rate` in `decay_steps` steps.

    ::

        rate(t) = end + (initial - end) * (1 - min(t, decay_steps) / decay_steps)^power

    With `cycle`, the smallest positive multiple of `decay_steps` that is at least `t` replaces
    `decay_steps`. So the rate jumps up after each multiple, to ever lower peaks.

    Args:
        initial_learning_rate: a finite number >= 0.
        decay_steps: a whole number >= 1.
        end_learning_rate: a finite number >= 0.
        power: a finite number >= 0; 1 makes the decay linear.
        cycle: whether to start again after `decay_steps`.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: the documentation of `keras.optimizers.schedules.PolynomialDecay`.

    Example:
        >>> from kerasgd.schedules import PolynomialDecay
        >>> PolynomialDecay(1, decay_steps=4, end_learning_rate=0.5)([0, 2, 4, 5])
        [1.0, 0.75, 0.5, 0.5]
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        steps: Any = self.decay_steps
        if self.cycle:
            steps = steps * xp.clip(_ceil((t - 0.5) / steps, xp), 1.0, math.inf)
        # 1 - t / steps might round to a negative number, whose root is NaN.
        left = _at_least_zero(steps - t, xp) / steps
        span = self.initial_learning_rate - self.end_learning_rate
        return self.end_learning_rate + span * left**self.power

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        fraction = "t / s" if self.cycle else "min(t, decay_steps) / decay_steps"
        falling = (
            "end_learning_rate + (initial_learning_rate - end_learning_rate) * "
            f"(1 - {fraction})^power"
        )
        if self.cycle:
            return f"{falling}, s = decay_steps * max(1, ceil(t / decay_steps))"
        return falling

    @property
    def span(self) -> int:
        """The decay; three of them with `cycle`."""
        return 3 * self.decay_steps if self.cycle else self.decay_steps


@_registered
@dataclass(frozen=True)
class LinearWarmup(Schedule):
    """A linear warm-up before another schedule or a constant rate.

    ::

        rate(t) = initial + (schedule(0) - initial) * t / warmup_steps  for t < warmup_steps
                  schedule(t - warmup_steps)                            after that

    Args:
        learning_rate: the rate after the warm-up: a finite number >= 0, or any learning-rate
            schedule.
        warmup_steps: a whole number >= 0.
        initial_learning_rate: a finite number >= 0.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: Goyal et al. (2017), Accurate, large minibatch SGD: Training ImageNet in 1 hour,
    section 2.2.

    Example:
        >>> from kerasgd.schedules import LinearWarmup
        >>> LinearWarmup(0.5, warmup_steps=2)([0, 1, 2, 3])
        [0.0, 0.25, 0.5, 0.5]
    """

    learning_rate: Any
    warmup_steps: int
    initial_learning_rate: float = 0.0
    name: str = "LinearWarmup"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        after = _rates(self.learning_rate, _at_least_zero(t - self.warmup_steps, xp), xp)
        peak = _rates(self.learning_rate, xp.zeros_like(t), xp)
        rise = _rise(t, self.initial_learning_rate, peak, self.warmup_steps)
        return xp.where(t < self.warmup_steps, rise, after)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        is_schedule = isinstance(self.learning_rate, keras_schedules.LearningRateSchedule)
        peak = "learning_rate(0)" if is_schedule else "learning_rate"
        after = "learning_rate(t - warmup_steps)" if is_schedule else "learning_rate"
        return (
            f"initial_learning_rate + ({peak} - initial_learning_rate) * t / warmup_steps "
            f"for t < warmup_steps, then {after}"
        )

    @property
    def span(self) -> int:
        """The warm-up and the span of the schedule after it."""
        return self.warmup_steps + getattr(self.learning_rate, "span", 3 * self.warmup_steps + 1)


@_registered
@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """A linear warm-up, a constant rate, and a linear decay.

    ::

        rate(t) = initial + (peak - initial) * t / warmup_steps    for t < warmup_steps
                  peak                                             for the next stable_steps
                  peak + (end - peak) * u / decay_steps            for the next decay_steps, where
                                                                   u counts them from 0
                  end                                              after that

    Args:
        peak_learning_rate: a finite number >= 0.
        warmup_steps: a whole number >= 0.
        stable_steps: a whole number >= 0.
        decay_steps: a whole number >= 1.
        initial_learning_rate: a finite number >= 0.
        end_learning_rate: a finite number >= 0.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: Hu et al. (2024), MiniCPM: Unveiling the potential of small language models with
    scalable training strategies, section 4; Hägele et al. (2024), Scaling laws and compute-optimal
    training beyond fixed training durations.

    Example:
        >>> from kerasgd.schedules import WarmupStableDecay
        >>> WarmupStableDecay(0.5, warmup_steps=2, stable_steps=3, decay_steps=2)(list(range(8)))
        [0.0, 0.25, 0.5, 0.5, 0.5, 0.5, 0.25, 0.0]
    """

    peak_learning_rate: float
    warmup_steps: int
    stable_steps: int
    decay_steps: int
    initial_learning_rate: float = 0.0
    end_learning_rate: float = 0.0
    name: str = "WarmupStableDecay"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        peak = self.peak_learning_rate
        rise = _rise(t, self.initial_learning_rate, peak, self.warmup_steps)
        left = xp.clip(self.span - t, 0.0, self.decay_steps)
        fall = _rise(left, self.end_learning_rate, peak, self.decay_steps)
        return xp.where(t < self.warmup_steps, rise, fall)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        return (
            "in straight lines from initial_learning_rate to peak_learning_rate in warmup_steps, "
            "constant for stable_steps, to end_learning_rate in decay_steps"
        )

    @property
    def span(self) -> int:
        """The three parts together."""
        return self.warmup_steps + self.stable_steps + self.decay_steps


@_registered
@dataclass(frozen=True)
class OneCycle(Schedule):
    """One cycle: rises to the peak along half a cosine, and falls to a very low rate along another.

    ::

        rate(t) = low + (peak - low) * (1 - cos(pi * t / rise)) / 2           for t < rise
                  end + (peak - end) * (1 + cos(pi * (t - rise) / fall)) / 2  after that

    ``rise = warmup_fraction * total_steps`` and ``fall = total_steps - rise`` are the lengths of
    the two parts, ``low = peak / initial_divisor`` and ``end = peak / end_divisor``. From step
    `total_steps` on the rate is `end`.

    Args:
        peak_learning_rate: a finite number >= 0.
        total_steps: a whole number >= 1.
        warmup_fraction: a number between 0 and 1.
        initial_divisor: a finite number >= 1.
        end_divisor: a finite number >= 1.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Source: Smith & Topin (2018), Super-convergence: Very fast training of neural networks using
    large learning rates. The paper uses straight lines; half cosines and these default divisors are
    common practice today.

    Example:
        >>> from kerasgd.schedules import OneCycle
        >>> OneCycle(1, total_steps=4, warmup_fraction=0.5, initial_divisor=2)([0, 1, 2])
        [0.5, 0.75, 1.0]
    """

    peak_learning_rate: float
    total_steps: int
    warmup_fraction: float = 0.3
    initial_divisor: float = 25.0
    end_divisor: float = 1e5
    name: str = "OneCycle"

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        peak = self.peak_learning_rate
        low, end = peak / self.initial_divisor, peak / self.end_divisor
        rising = self.warmup_fraction * self.total_steps
        falling = self.total_steps - rising
        fallen = xp.clip(t - rising, 0.0, falling) / falling
        rise = peak - (peak - low) * _half_cosine(t / rising, xp)
        fall = end + (peak - end) * _half_cosine(fallen, xp)
        return xp.where(t < rising, rise, fall)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        return (
            "along half cosines from peak_learning_rate / initial_divisor to peak_learning_rate in "
            "warmup_fraction * total_steps, to peak_learning_rate / end_divisor at total_steps"
        )

    @property
    def span(self) -> int:
        """The whole cycle."""
        return self.total_steps


@_registered
@dataclass(frozen=True)
class Table(Schedule):
    """A table of rates, one for each step; after the last one, the rate stays constant.

    ::

        rate(t) = values[min(t, len(values) - 1)]

    Args:
        values: the rates of steps 0, 1, 2, ...; finite numbers >= 0.
        name: a non-empty string without "/".

    Raises:
        ArgumentTypeError, ArgumentValueError, UnknownArgumentError: an argument is refused.

    Example:
        >>> from kerasgd.schedules import Table
        >>> Table([0.5, 0.25])([0, 1, 2])
        [0.5, 0.25, 0.25]
        >>> Table.of_function(lambda step: 0.5**step, steps=3)([0, 1, 2, 3])
        [1.0, 0.5, 0.25, 0.25]
    """

    values: tuple[float, ...] = field(repr=False)
    name: str = "Table"

    @classmethod
    def of_function(cls, fn: Any, steps: Any, name: Any = "Table", **kwargs: Any) -> Table:
        """Create a table from a function of the step, for compiled training and saved models.

        Args:
            fn: a function of the step that returns a finite number >= 0. It is called at once for
                each of the steps 0, 1, ..., steps - 1.
            steps: a whole number >= 1.
            name: a non-empty string without "/".
            **kwargs: none.

        Raises:
            ArgumentTypeError, ArgumentValueError: an argument is invalid, or `fn` fails;
                the error names the step.
            UnknownArgumentError: there is no argument of this name.
        """
        arguments.check_no_unknown(kwargs, "Table.of_function", TABLE_RULES)
        checked: Any = arguments.check_all({"fn": fn, "steps": steps, "name": name}, TABLE_RULES)
        values = [_value_at(step, checked["fn"]) for step in range(checked["steps"])]
        return cls(tuple(values), name=checked["name"])

    def at(self, t: Any, xp: Functions) -> Any:
        """See the formula of the class."""
        return _look_up(self.values, xp.clip(t, 0.0, len(self.values) - 1), t, xp)

    @property
    def formula(self) -> str:
        """The rate as a function of the step `t`."""
        return f"values at steps 0 to {len(self.values) - 1}, then the last of them"

    @property
    def span(self) -> int:
        """The number of values."""
        return len(self.values)


def _value_at(step: int, function: Callable[[int], object]) -> float:
    """The rate that `function` returns at `step`; an invalid value is an error about `fn`."""
    try:
        value = function(step)
    except Exception as error:
        failed = with_full_stop(f"At step {step} it failed{describe_failure(function, error)}")
        raise ArgumentValueError("fn", _FUNCTION.requirement, function, failed) from error
    try:
        return arguments.RATE.convert(value)
    except (TypeError, ValueError, OverflowError):
        returned = with_full_stop(f"At step {step} it returned {describe_result(function, value)}")
        raise ArgumentValueError("fn", _FUNCTION.requirement, function, returned) from None


__all__ = [
    "RULES",
    "TABLE_RULES",
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LinearWarmup",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Schedule",
    "Table",
    "WarmupStableDecay",
    "evaluate",
]
