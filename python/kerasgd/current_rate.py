"""The current learning rate of an optimizer, and its replacement during training (2.7)."""

from __future__ import annotations

from typing import Any

import keras

from kerasgd import arguments
from kerasgd.errors import StateError, in_words
from kerasgd.rules import learning_rate as rule
from kerasgd.state import Tensor
from kerasgd.variables import check_can_be_set, value_of


class CurrentRate:
    """The learning rate of an optimizer: a number, a schedule or a function.

    Args:
        optimizer: the optimizer.
        variable: the variable that Keras created for the rate. It always exists, so that any kind
            of rate can replace any other.

    Attributes:
        setting: the variable if the rate is a number, else the schedule or function.
        given: the number set last, exact; the variable rounds it.
        replaced: a variable that is 1 once a number has replaced a schedule or function; compiled
            steps read it. None if the rate has always been a number.
        last: the value that the function returned last.
        is_compiled: whether a compiled step reads the rate.
    """

    def __init__(self, optimizer: Any, variable: Any) -> None:
        self._optimizer = optimizer
        self.variable = variable
        self.setting: Any = variable
        self.given: float | None = None
        self.replaced: Any = None
        self.last: float | None = None
        self.is_compiled = False

    def is_number(self) -> bool:
        """Whether the rate is a number, rather than a schedule or function."""
        return self.setting is self.variable

    def is_function(self) -> bool:
        """Whether the rate is a function, which a step calls."""
        return not (self.is_number() or isinstance(self.setting, rule.Schedule))

    # -- reading -----------------------------------------------------------------------------

    def of_this_step(self) -> Tensor | float:
        """The rate of the current step; calls the function, if the rate is one."""
        backend = self._optimizer.backend
        if not (self.is_compiled or backend.is_eager()):
            self.is_compiled = True
        if self.is_number():
            return backend.read_rate(self.variable)
        if isinstance(self.setting, rule.Schedule):
            return self._scheduled()
        return backend.call_each_time(RateOfRun(self))

    def _scheduled(self) -> Tensor:
        """The rate of the schedule; a compiled step also follows a number that replaces it."""
        is_eager = self._optimizer.backend.is_eager()
        scheduled = rule.of_schedule(self.setting, self._optimizer._iterations, is_eager)
        if is_eager:
            return scheduled
        number = keras.ops.convert_to_tensor(self.variable)
        is_replaced = keras.ops.convert_to_tensor(self.replaced) > 0
        return keras.ops.where(is_replaced, number, keras.ops.cast(scheduled, number.dtype))

    def of_run(self) -> float:
        """The current rate as a number, for a compiled step whose rate was a function."""
        if self.is_number():
            return float(keras.ops.convert_to_numpy(self.variable))
        rate = rule.value_of(self.setting)
        if rate != self.last:
            self.variable.assign(rate)  # for metrics, which are compiled too
            self.last = rate
        return rate

    def of_next_step(self) -> Any:
        """The displayed rate: that of the next step.

        For a function it is the last value or, before the first step, the value of one call.
        """
        if self.is_number():
            return self.variable
        if isinstance(self.setting, rule.Schedule):
            return self._scheduled()
        if not self._optimizer.backend.is_eager():
            return keras.ops.convert_to_tensor(self.variable)
        return rule.value_of(self.setting) if self.last is None else self.last

    def as_argument(self) -> Any:
        """The rate as an argument: a number, a schedule, or a function (which is not called)."""
        if not self.is_number():
            return self.setting
        return rule.exact(self.given, value_of(self.variable, self._optimizer))

    # -- replacing ---------------------------------------------------------------------------

    def replace(self, rate: Any) -> None:
        """Replace the rate from the next step on.

        Raises:
            ArgumentError: `rate` is not a learning rate.
            StateError: the new rate would have no effect.
        """
        if rate is self.setting:
            return
        rate = arguments.check("learning_rate", rate)
        check_can_be_set(self.variable, "learning_rate")
        if self.is_compiled and not isinstance(rate, float):
            raise StateError(
                in_words(
                    "A compiled training step would ignore another schedule or function: now only "
                    "a number can replace the `learning_rate`. To use another schedule or "
                    "function, create an optimizer with {update}, which keeps the state if "
                    "`keep_state` is {true}, and pass it to `compile()`."
                )
            )
        self.set(rate)

    def set(self, rate: Any) -> None:
        """Set a rate that has been checked."""
        if isinstance(rate, float):
            self.variable.assign(rate)
            self.given = rate
            self._use(self.variable)
        else:
            self.last = None
            self._use(rate)
            if self.replaced is None:
                self.replaced = self._optimizer._add_numbers("rate_replaced")
        if self.replaced is not None:
            self.replaced.assign(int(self.is_number()))

    def _use(self, setting: Any) -> None:
        self.setting = setting
        self._optimizer._learning_rate = setting  # Keras' own code reads this

    def was_loaded(self) -> None:
        """Use the loaded number if the loaded flag says that it replaced a schedule."""
        if self.replaced is not None and int(keras.ops.convert_to_numpy(self.replaced)) > 0:
            self._use(self.variable)


class RateOfRun:
    """`CurrentRate.of_run()` as a function, which a compiled step calls each time it runs.

    Two instances for the same optimizer are equal, so that a graph calls the function once per run.
    """

    description = "a function"

    def __init__(self, rate: CurrentRate) -> None:
        self._rate = rate

    def __call__(self) -> float:
        """The rate of the running step."""
        return self._rate.of_run()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RateOfRun) and other._rate is self._rate

    def __hash__(self) -> int:
        return id(self._rate)
