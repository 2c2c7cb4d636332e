"""Finds a learning rate by training with a growing rate (contract 17)."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from kerasgd import arguments
from kerasgd.arguments import ArgumentRule
from kerasgd.errors import ArgumentTypeError, ArgumentValueError, StateError, UnknownArgumentError
from kerasgd.loss_scale_optimizer import scale_of, without_wrapper
from kerasgd.sgd import SGD
from kerasgd.tools.preserving import preserved
from kerasgd.trainer import LossTotal, bring_state_back
from kerasgd.variables import value_of

# The rate is stored as float32, which limits its range.
_RATE = arguments.number("a number from 1e-37 to 1e+38", lambda x: 1e-37 <= x <= 1e38)
RULES: Mapping[str, ArgumentRule[Any]] = {
    "lowest_rate": _RATE,
    "highest_rate": _RATE,
    "steps": arguments.whole_number(at_least=10),
}
# The arguments of `fit()` that are accepted. Keras checks those without a rule here.
OF_FIT_RULES: Mapping[str, ArgumentRule[Any]] = {
    "batch_size": arguments.optional(arguments.whole_number(at_least=1)),
    "shuffle": arguments.flag(),
}
OF_FIT = (*OF_FIT_RULES, "sample_weight", "class_weight", "verbose")
# The reason why other arguments of `fit()` are refused.
_LENGTH = "Set `steps` to the number of batches."
_VALIDATION = "Leave it out: the search does not validate."
REASONS = {
    "epochs": _LENGTH,
    "initial_epoch": _LENGTH,
    "steps_per_epoch": _LENGTH,
    "callbacks": "Leave it out: only the search's own callback runs.",
    "validation_data": _VALIDATION,
    "validation_split": _VALIDATION,
    "validation_steps": _VALIDATION,
    "validation_batch_size": _VALIDATION,
    "validation_freq": _VALIDATION,
}
NAME = "`find_learning_rate()`"
# The weight of the old smoothed loss at each batch.
SMOOTHING = 0.9
# The search ends when the smoothed loss exceeds its minimum by this factor.
DIVERGED = 4
# The smoothed loss must fall by this many standard deviations; noise often causes smaller falls.
SURE = 3
# The relative change of a float32 loss that rounding alone can cause.
ROUNDING = 1e-6


@dataclass(frozen=True)
class RateSearch:
    """The result of `find_learning_rate()`.

    Attributes:
        rows: a dict for each batch: `step`, `learning_rate`, `loss`, `smoothed_loss`.
        suggestion: suggested rates by name; empty if no rate made the loss fall.
            `steepest`: where the smoothed loss falls most steeply over the logarithm of the rate.
            `minimum`: a tenth of the rate with the lowest smoothed loss.
    """

    rows: list[dict[str, Any]] = field(repr=False)
    suggestion: dict[str, float]

    def __str__(self) -> str:
        searched = f"{len(self.rows)} batches with rates from {self._rate(0)} to {self._rate(-1)}"
        if not self.suggestion:
            return f"{searched}: no rate made the loss fall."
        found = ", ".join(f"{name} {rate:.2g}" for name, rate in self.suggestion.items())
        return f"{searched}: {found}"

    def _rate(self, index: int) -> str:
        return f"{self.rows[index]['learning_rate']:.2g}"

    def plot(self) -> Any:
        """Plot the loss over the rate, with the suggestions, and return matplotlib's axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot
        except ImportError:
            raise ImportError(
                "`plot()` draws with matplotlib, which is not installed: `pip install matplotlib`."
            ) from None
        _, axes = pyplot.subplots()
        rates = [row["learning_rate"] for row in self.rows]
        axes.plot(rates, [row["loss"] for row in self.rows], color="0.7", label="loss")
        smoothed = [row["smoothed_loss"] for row in self.rows]
        axes.plot(rates, smoothed, color="C0", label="smoothed loss")
        for name, rate in self.suggestion.items():
            loss = np.interp(np.log(rate), np.log(rates), smoothed)
            axes.plot(rate, loss, "o", label=f"{name}: {rate:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.legend()
        return axes


def find_learning_rate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    lowest_rate: Any = 1e-7,
    highest_rate: Any = 10,
    steps: Any = 100,
    progress: Callable[[int, int], object] | None = None,
    **fit: Any,
) -> RateSearch:
    """Suggest a learning rate: train with a rate that grows, and record the loss.

    The rate of batch `i` of `n` is ``lowest_rate * (highest_rate / lowest_rate) ^ (i / (n - 1))``,
    with `i` from 0. The search ends early when the smoothed loss exceeds 4 times its minimum or is
    not finite. The search trains with a copy of the optimizer, whose settings are the same and
    whose velocities start at 0.

    Afterwards the weights, the optimizer and its state, metrics, seed generators and the global
    random state are restored bit for bit, even after an error or an interrupt. The state of the
    data, such as a `tf.data.Dataset` that shuffles, cannot be restored.

    Args:
        model: a compiled model, whose optimizer is one of kerasgd with any rate, or another Keras
            optimizer whose rate is a number.
        x: the inputs, as in `fit()`, but not a generator, which the search cannot rewind.
        y: the targets, as in `fit()`.
        lowest_rate: the first rate, a number from 1e-37 to 1e+38.
        highest_rate: the last rate, a larger number.
        steps: the number of batches, a whole number >= 10; data with fewer batches are repeated.
            With momentum, use more than 100: each gradient then affects many later batches, during
            which the rate should grow only a little.
        progress: a function that is called after each batch with the number of batches so far and
            `steps`; or None.
        **fit: further arguments of `fit()`: `batch_size`, `sample_weight`, `class_weight`,
            `shuffle`, `verbose`.

    Returns:
        A `RateSearch`.

    Raises:
        ArgumentError: an argument is invalid.
        StateError: the model is not compiled, has no variables yet, or its rate cannot be set.

    Source: Smith (2017), Cyclical learning rates for training neural networks, section 3.3.

    Example:
        >>> import keras, numpy, kerasgd
        >>> from kerasgd.tools import find_learning_rate
        >>> keras.utils.set_random_seed(1)
        >>> x = numpy.linspace(-1, 1, 64, dtype="float32").reshape(-1, 1)
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(kerasgd.SGD(), loss="mse")
        >>> search = find_learning_rate(model, x, 3 * x, batch_size=16)
        >>> 0.01 < search.suggestion["steepest"] < 1
        True
        >>> model.optimizer.built
        False
    """
    checked: Any = arguments.check_all(
        {"lowest_rate": lowest_rate, "highest_rate": highest_rate, "steps": steps}, RULES
    )
    lowest, highest = checked["lowest_rate"], checked["highest_rate"]
    if not lowest < highest:
        requirement = f"larger than `lowest_rate`, which is {lowest:g}"
        raise ArgumentValueError("highest_rate", requirement, highest_rate)
    _check(model, x)
    fit = _checked_for_fit(fit)
    _check_progress(progress)
    recorder = _Recorder(np.geomspace(lowest, highest, checked["steps"]).tolist(), progress)
    with preserved(model):
        _train(model, x, y, recorder, fit)
    return RateSearch(recorder.rows, suggestions(recorder.rows))


def _check(model: Any, x: Any) -> None:
    if not isinstance(model, keras.Model):
        raise ArgumentTypeError("model", "a compiled model", model)
    if getattr(model, "optimizer", None) is None:
        raise StateError("The model is not compiled: call `compile()` first.")
    if not model.built:
        raise StateError("The model has no variables yet: call it on data, or give it an `Input`.")
    if inspect.isgenerator(x):
        requirement = "arrays, a `tf.data.Dataset` or a `PyDataset`"
        hint = "A generator gives its data only once, and the search may need them again."
        raise ArgumentTypeError("x", requirement, x, hint)


def _checked_for_fit(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments for `fit()`: only those in `OF_FIT` are accepted."""
    for name, value in fit.items():
        if name in REASONS:
            raise UnknownArgumentError(name, value, NAME, None, REASONS[name])
    unknown = {name: value for name, value in fit.items() if name not in OF_FIT}
    arguments.check_no_unknown(unknown, NAME, OF_FIT)
    rules = {name: rule for name, rule in OF_FIT_RULES.items() if name in fit}
    checked = arguments.check_all({name: fit[name] for name in rules}, rules)
    return {**fit, **checked}


def _check_progress(progress: object) -> None:
    if progress is not None and not callable(progress):
        requirement = "a function of two numbers, or {null}"
        raise ArgumentTypeError("progress", requirement, progress)


def _train(model: Any, x: Any, y: Any, recorder: _Recorder, fit: Mapping[str, Any]) -> None:
    model.optimizer = _new_optimizer(model.optimizer, recorder.rates[0])
    model.train_function = None
    model.steps_per_execution = 1
    epochs = len(recorder.rates)  # enough, because each epoch has at least one batch
    with warnings.catch_warnings():
        # With a `tf.data.Dataset`, Keras warns about its own default.
        warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
        model.fit(x, y, epochs=epochs, callbacks=[recorder], **{"verbose": 0, **fit})


def _new_optimizer(optimizer: Any, rate: float) -> Any:
    """A new optimizer with the same settings and another rate.

    Its velocities start at 0: those of a higher rate would move the weights more than this rate
    does.
    """
    inner = without_wrapper(optimizer)
    if isinstance(inner, SGD):
        new = inner.update(learning_rate=rate)
        # Keep the step count for factors that depend on it, but start a new accumulation window.
        steps = int(value_of(inner._iterations, inner))
        new._iterations.assign(steps - steps % new.window)
        return _wrapped(optimizer, new) if inner is not optimizer else new
    if not isinstance(inner._learning_rate, keras.Variable):
        raise StateError(
            f"The `learning_rate` of this {type(inner).__name__} is a schedule, which cannot be "
            "set. Compile the model with a number as its `learning_rate`."
        )
    new = type(optimizer).from_config(optimizer.get_config())
    new.learning_rate = rate
    return new


def _wrapped(wrapper: Any, inner: SGD) -> Any:
    """Wrap the optimizer in a loss-scale optimizer like this one, with its current scale."""
    return type(wrapper)(
        inner,
        initial_scale=scale_of(wrapper),
        dynamic_growth_steps=wrapper.dynamic_growth_steps,
        name=wrapper.name,
    )


class _Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the rate of each batch and records the loss."""

    def __init__(
        self, rates: Sequence[float], progress: Callable[[int, int], object] | None
    ) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.rates = rates
        self._progress = progress
        self._losses = LossTotal()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._losses = LossTotal()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        bring_state_back(self.model)
        self.model.optimizer.learning_rate = float(self.rates[len(self.rows)])

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        bring_state_back(self.model)
        before, self._losses = self._losses, LossTotal.of(self.model)
        mean = self._losses.mean_since(before)
        loss = math.nan if mean is None else mean
        step = len(self.rows)
        average = SMOOTHING * self._average() + (1 - SMOOTHING) * loss
        # Without this bias correction the first values would be too close to 0.
        smoothed = average / (1 - SMOOTHING ** (step + 1))
        self.rows.append(
            {
                "step": step,
                "learning_rate": float(self.rates[step]),
                "loss": loss,
                "smoothed_loss": smoothed,
            }
        )
        least = min(row["smoothed_loss"] for row in self.rows)
        diverged = not math.isfinite(smoothed) or smoothed > least + (DIVERGED - 1) * abs(least)
        if diverged or len(self.rows) == len(self.rates):
            self.model.stop_training = True
        if self._progress is not None:
            self._progress(len(self.rows), len(self.rates))

    def _average(self) -> float:
        """The smoothed loss so far, without the bias correction."""
        if not self.rows:
            return 0.0
        last: float = self.rows[-1]["smoothed_loss"]
        return last * (1 - SMOOTHING ** len(self.rows))


def suggestions(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The suggested rates; empty if the loss did not fall significantly (contract 17.3)."""
    rows = [row for row in rows if math.isfinite(row["smoothed_loss"])]
    if len(rows) < 3:
        return {}
    smoothed = np.array([row["smoothed_loss"] for row in rows])
    rates = np.array([row["learning_rate"] for row in rows])
    beginning = max(5, len(rows) // 5)
    # Earlier averages are of few batches, and one easy batch makes them low.
    least = beginning + int(np.argmin(smoothed[beginning:])) if len(rows) > beginning else 0
    level, noise = _at_the_beginning([row["loss"] for row in rows[:beginning]])
    by_chance = SURE * noise + ROUNDING * abs(level)
    not_yet = np.flatnonzero(smoothed[: least + 1] >= level - by_chance)
    begins = int(not_yet[-1]) + 1 if len(not_yet) else 0
    if begins == 0 or begins > least:
        return {}
    steepest = _steepest(smoothed, np.log(rates), begins, least)
    minimum = max(rates[least] / 10, rates[begins])
    return {"steepest": float(rates[steepest]), "minimum": float(minimum)}


def _steepest(
    losses: np.ndarray[Any, Any], log_rates: np.ndarray[Any, Any], begins: int, least: int
) -> int:
    """The batch between `begins` and `least` where the loss falls most.

    Lines fitted to a tenth of all batches give the slope; single batches would mostly show noise.
    """
    half = max(2, len(losses) // 20)
    middles = range(max(begins, half), least - half + 1)
    if not middles:
        return (begins + least) // 2
    slopes = []
    for middle in middles:
        around = slice(middle - half, middle + half + 1)
        slopes.append(np.polyfit(log_rates[around], losses[around], 1)[0])
    return middles[int(np.argmin(slopes))]


def _at_the_beginning(losses: Sequence[float]) -> tuple[float, float]:
    """Level and noise of the smoothed loss while the rate is too low to matter."""
    # The share of independent noise that remains in the smoothed loss and in this mean.
    left = math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING) + 1 / len(losses))
    return float(np.mean(losses)), float(np.std(losses, ddof=1)) * left
