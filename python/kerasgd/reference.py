"""SGD as documented, in plain NumPy and float64.

This module is the contract of `optimizer_sgd()` as a program. It shares no code with the optimizer
and imports only NumPy, so that it can judge any implementation; `ReferenceSGD.step_replicas` and
`ReferenceSGD.update` show the order of one step. It is written for readability, not for speed, and
expects valid input.

Shapes: a model has variables numbered 0, 1, ...; weights, gradients, velocities, averages and
constraints are lists with one entry per variable. A gradient is an array of its variable's shape,
`SparseRows`, or None. No array is changed in place, so the arrays that a step returns stay valid.

Units: if the loss has unit L and a weight has unit W, its gradient and a clip limit have unit L/W,
the learning rate W^2/L, and `weight_decay` L/W^2; everything else is dimensionless.

Minimise `loss(w) = (w - 3)^2 / 2`, whose gradient is `w - 3`:

>>> sgd = ReferenceSGD(learning_rate=0.5, momentum=0.5).build([0.0])
>>> for _ in range(4):
...     w = sgd.weights[0]
...     print(f"w {w:.4f}  loss {(w - 3) ** 2 / 2:.4f}")
...     _ = sgd.step([w - 3])
w 0.0000  loss 4.5000
w 1.5000  loss 1.1250
w 3.0000  loss 0.0000
w 3.7500  loss 0.2812
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

__all__ = ["ReferenceGroup", "ReferenceLossScale", "ReferenceSGD", "Schedule", "SparseRows"]

Array = npt.NDArray[np.float64]
Arrays = Sequence[Array | None]
Constraint = Callable[[Array], npt.ArrayLike]


@dataclass(frozen=True)
class Schedule:
    """A rate, or a factor of one, that depends on the step: `function(t)` (contract 2.2, 14.2).

    >>> halving = Schedule(lambda t: 0.5**t)
    >>> sgd = ReferenceSGD(learning_rate=halving).build([0.0])
    >>> [float(sgd.step([1.0])[0]) for _ in range(4)]
    [-1.0, -1.5, -1.75, -1.875]
    """

    function: Callable[[int], float]


@dataclass(frozen=True)
class ReferenceGroup:
    """Variables, by index, with settings of their own (contract 14.2); None means not set here.

    `learning_rate_factor` multiplies the rate of the optimizer (14.3). `momentum` and
    `weight_decay` replace the optimizer's; a `weight_decay` of 0 means no decay.

    >>> slow = ReferenceGroup({1, 2}, learning_rate_factor=0.5)
    >>> frozen = ReferenceGroup({2}, learning_rate_factor=0.0)
    >>> sgd = ReferenceSGD(1.0).build([0.0, 0.0, 0.0], groups=[slow, frozen])
    >>> [float(w) for w in sgd.step([1.0, 1.0, 1.0])]
    [-1.0, -0.5, 0.0]
    """

    variables: Collection[int]
    learning_rate_factor: float | Schedule | None = None
    momentum: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class SparseRows:
    """A gradient that is zero except in some rows (TensorFlow's `IndexedSlices`).

    `values` has shape `(m, *variable.shape[1:])`; row `values[j]` belongs to row `indices[j]` of
    the variable. If an index occurs more than once, its rows are added.

    >>> sgd = ReferenceSGD(learning_rate=1.0).build([[[0.0], [0.0], [0.0]]])
    >>> sgd.step([SparseRows(values=[[1.0], [2.0], [4.0]], indices=[2, 0, 2])])[0].tolist()
    [[-2.0], [0.0], [-5.0]]
    """

    values: npt.ArrayLike
    indices: npt.ArrayLike


Gradient = npt.ArrayLike | SparseRows | None
Gradients = Sequence[Gradient]


def divide(gradient: npt.ArrayLike | SparseRows, factor: float) -> Array | SparseRows:
    """`gradient / factor`, as the same type and in float64."""
    if isinstance(gradient, SparseRows):
        return SparseRows(np.asarray(gradient.values, np.float64) / factor, gradient.indices)
    return np.asarray(gradient, np.float64) / factor


def to_dense(gradient: npt.ArrayLike | SparseRows, shape: tuple[int, ...]) -> Array:
    """A dense copy of `gradient`, in which rows with the same index are summed."""
    if not isinstance(gradient, SparseRows):
        return np.array(gradient, np.float64)
    dense = np.zeros(shape)
    # `dense[indices] += values` would keep only one of several rows with the same index.
    np.add.at(dense, np.asarray(gradient.indices), np.asarray(gradient.values, np.float64))
    return dense


def scaled_norm(arrays: Arrays) -> tuple[float, int]:
    """The joint L2 norm `sqrt(sum over all elements of x^2)` as `(m, e)`, which means `m * 2^e`.

    Squares can overflow or underflow even if the norm does not (4.3). Scaling by a power of two
    avoids this without rounding, so that a norm exactly at a limit is recognised as such (4.4). If
    elements are not finite, the norm is NaN or infinite.
    """
    present = [a for a in arrays if a is not None]
    largest = np.max([np.max(np.abs(a), initial=0.0) for a in present], initial=0.0)
    if not np.isfinite(largest):
        return float(largest), 0
    exponent = int(np.frexp(largest)[1])
    return float(np.sqrt(sum(np.sum(np.ldexp(a, -exponent) ** 2) for a in present))), exponent


def norm(arrays: Arrays) -> float:
    """The joint L2 norm of all elements; None counts as zero."""
    return float(np.ldexp(*scaled_norm(arrays)))


def clip_by_norm(gradients: Arrays, limit: float) -> list[Array | None]:
    """Scale `gradients` so that their joint L2 norm is at most `limit` (contract 4.1).

        g <- g * limit / norm  if norm > limit

    If any element is infinite or NaN, all become NaN (4.5). Pascanu, Mikolov and Bengio (2013),
    *On the difficulty of training recurrent neural networks*.

    >>> clip_by_norm([np.array([3.0, 0.0]), None, np.array([4.0])], limit=1.0)
    [array([0.6, 0. ]), None, array([0.8])]
    """
    scaled, exponent = scaled_norm(gradients)
    if not np.isfinite(scaled):
        return [None if g is None else np.full_like(g, np.nan) for g in gradients]
    if np.ldexp(scaled, exponent) <= limit:
        return list(gradients)
    return [None if g is None else np.ldexp(g, -exponent) * (limit / scaled) for g in gradients]


def norms_of_update(gradients: Arrays, changes: Arrays, weights: Arrays) -> dict[str, float]:
    """The norms of one variable or of all (15.2), and `update_norm / weight_norm`.

    The ratio is 0 if the weights have norm 0, as a new bias does, so that its means stay finite.
    """
    update_norm, weight_norm = norm(changes), norm(weights)
    return {
        "gradient_norm": norm(gradients),
        "update_norm": update_norm,
        "weight_norm": weight_norm,
        "update_ratio": update_norm / weight_norm if weight_norm != 0 else 0.0,
    }


@dataclass(eq=False)
class ReferenceSGD:
    """Stochastic gradient descent as documented for `optimizer_sgd()`.

    With the gradient `g` of an update, a weight `w` and its velocity `v`, which starts at 0:

        momentum 0:   w <- w - learning_rate * g
        momentum > 0: v <- momentum * v - learning_rate * g
                      w <- w + v                                        (nesterov False)
                      w <- w + momentum * v - learning_rate * g         (nesterov True)

    Sutskever, Martens, Dahl and Hinton (2013), *On the importance of initialization and momentum in
    deep learning*. The arguments have the documented names, order and defaults. `learning_rate` is
    a number, a `Schedule`, or a function without arguments that is called once per step (2.3). It
    may be replaced at any time (2.7).

    State: `weights`, `velocities`, `averages` (None before the first update), `accumulators` (None
    for a variable without a gradient in this window), `steps` (t, from 0), `updates` (k, the
    number of updates done so far), `skipped` and `skipped_in_a_row` (16.1), `statistics` and
    `statistics_per_variable` of the last measured update (see `measure`; empty before it).

    >>> sgd = ReferenceSGD(0.5, clipvalue=1.0, weight_decay=0.5).build([[4.0, 8.0], [3.0]])
    >>> [w.tolist() for w in sgd.step([[0.5, -4.0], None])]
    [[2.75, 6.5], [3.0]]
    """

    learning_rate: float | Schedule | Callable[[], float] = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | None = None
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None
    _: KW_ONLY
    name: str = "SGD"
    loss_scale_factor: float | None = None
    gradient_accumulation_steps: int | None = None

    def __post_init__(self) -> None:
        self.build([])

    def build(
        self,
        weights: Sequence[npt.ArrayLike],
        *,
        constraints: Sequence[Constraint | None] | None = None,
        exclude_from_weight_decay: Collection[int] = (),
        overwrite_with_gradient: Collection[int] = (),
        groups: Sequence[ReferenceGroup] = (),
        statistics_every: int | None = None,
        skip_nonfinite: bool = False,
    ) -> ReferenceSGD:
        """Set the variables to train, reset all state, and return self.

        A constraint maps a weight to an allowed one (None: no constraint). Variables are excluded
        from weight decay by index (3.2). A variable in `overwrite_with_gradient` takes its gradient
        as its new value, and nothing else acts on it (13.1: the scales of float8 layers). Every
        `statistics_every`-th update is measured (15.1); None measures no update.
        """
        self.steps = 0
        self.updates = 0
        self.skipped = 0
        self.skipped_in_a_row = 0
        self.statistics: dict[str, float] = {}
        self.statistics_per_variable: list[dict[str, float]] = []
        self.weights = [np.array(w, np.float64) for w in weights]
        self.velocities = [np.zeros_like(w) for w in self.weights]
        self.averages: list[Array | None] = [None] * len(self.weights)
        self.accumulators: list[Array | None] = [None] * len(self.weights)
        self.constraints = constraints or [None] * len(self.weights)
        self.exclude_from_weight_decay = frozenset(exclude_from_weight_decay)
        self.overwrite_with_gradient = frozenset(overwrite_with_gradient)
        self.groups = list(groups)
        self.statistics_every = statistics_every
        self.skip_nonfinite = skip_nonfinite
        return self

    def set_learning_rate_factor(self, group: int, factor: float | Schedule) -> None:
        """Change the factor of a group from the next update on (14.7)."""
        self.groups[group] = replace(self.groups[group], learning_rate_factor=factor)

    @property
    def iterations(self) -> int:
        """`t // n`, where n is the number of steps in an accumulation window (7.2)."""
        return self.steps // self.window

    @property
    def window(self) -> int:
        """The number of steps per update (7.1)."""
        return self.gradient_accumulation_steps or 1

    @property
    def has_gradient(self) -> list[bool]:
        """For each variable, whether it has had a gradient in this accumulation window (7.4)."""
        return [accumulator is not None for accumulator in self.accumulators]

    # One step (contract 0) --------------------------------------------------------------------

    def step(self, gradients: Gradients) -> list[Array]:
        """Take one step on one device, and return the weights."""
        return self.step_replicas([gradients])

    # The contract covers infinities and NaN (4.5), so NumPy need not warn about them.
    @np.errstate(invalid="ignore", over="ignore", under="ignore")
    def step_replicas(self, replicas: Sequence[Gradients]) -> list[Array]:
        """Take one step on one list of gradients per replica, and return the weights.

        >>> sgd = ReferenceSGD(1.0, clipvalue=1.0).build([0.0])
        >>> [float(w) for w in sgd.step_replicas([[0.75], [0.5]])]  # clipped is the sum, 1.25
        [-1.0]
        """
        if nothing_given(replicas):
            return list(self.weights)
        require_a_gradient(replicas)
        rate = self.current_rate()
        summed = self.sum_over_replicas(
            self.sum_duplicate_rows(self.unscale(gradients)) for gradients in replicas
        )
        self.accumulate(summed)
        if self.window_is_complete():
            gradients = self.average_over_window()
            if self.skip_nonfinite and not all_finite([gradients]):
                self.skip_update(gradients, rate)
            else:
                self.update(gradients, rate)
        self.steps += 1
        return list(self.weights)

    def update(self, given: Arrays, rate: float) -> None:
        """Change the weights by the gradient `given` for one update (4.2)."""
        self.updates += 1
        self.skipped_in_a_row = 0
        before = list(self.weights)
        factors = self.learning_rate_factors(self.steps)
        rates = [rate * factor for factor in factors]
        self.overwrite_with_gradients(given, factors)
        gradients = self.clip(self.not_overwritten(given))
        gradients = self.leave_frozen_alone(gradients, factors)
        self.decay_weights(gradients, rates)
        self.apply_rule(gradients, rates)
        self.apply_constraints(gradients)
        self.measure(given, rate, before)
        self.average_weights()
        self.overwrite_weights_if_due(factors)

    def skip_update(self, given: Arrays, rate: float) -> None:
        """Leave weights, velocities, averages and `updates` unchanged, and count the skip (16.1).

        The gradient of a frozen variable can be the cause (14.3), and so can the value for a
        variable in `overwrite_with_gradient`, as in 6.3.

        >>> sgd = ReferenceSGD(1.0).build([0.0], skip_nonfinite=True)
        >>> [float(sgd.step([g])[0]) for g in (1.0, np.nan, 1.0)], sgd.steps, sgd.updates
        ([-1.0, -1.0, -2.0], 3, 2)
        """
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.measure(given, rate, before=self.weights)

    # The parts of a step, in its order --------------------------------------------------------

    def current_rate(self) -> float:
        """The rate of this step (2.1 to 2.3); calls the function, if the rate is one."""
        if isinstance(self.learning_rate, Schedule):
            return float(self.learning_rate.function(self.steps))
        if callable(self.learning_rate):
            return float(self.learning_rate())
        return float(self.learning_rate)

    def scale_loss(self, loss: float) -> float:
        """The scaled loss, whose gradients `step` expects: `loss * loss_scale_factor` (6.1)."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def unscale(self, gradients: Gradients) -> list[Gradient]:
        """Undo `scale_loss`: `g <- g / loss_scale_factor` (6.1).

        Micikevicius et al. (2018), *Mixed precision training*.
        """
        factor = self.loss_scale_factor or 1.0
        return [
            g if g is None or i in self.overwrite_with_gradient else divide(g, factor)
            for i, g in enumerate(gradients)
        ]

    def sum_duplicate_rows(self, gradients: Gradients) -> list[Array | None]:
        """Turn every gradient into a dense one (11.1)."""
        return [
            None if g is None else to_dense(g, w.shape)
            for g, w in zip(gradients, self.weights, strict=True)
        ]

    def sum_over_replicas(self, replicas: Iterable[list[Array | None]]) -> list[Array | None]:
        """Sum the gradients of each variable over the replicas; None counts as zero there."""
        return [self.merge(i, parts) for i, parts in enumerate(zip(*replicas, strict=True))]

    def accumulate(self, gradients: Arrays) -> None:
        """Add the gradients of this step to those of the window; None counts as zero (7.4)."""
        self.accumulators = [
            self.merge(i, pair)
            for i, pair in enumerate(zip(self.accumulators, gradients, strict=True))
        ]

    def merge(self, index: int, parts: Iterable[Array | None]) -> Array | None:
        """The sum of one variable's gradients; None if there are none.

        A variable in `overwrite_with_gradient` takes the elementwise maximum instead: the
        "gradients" of float8 layers are scales and largest magnitudes, whose sum has no meaning.
        """
        present = [part for part in parts if part is not None]
        operation = np.maximum if index in self.overwrite_with_gradient else np.add
        return reduce(operation, present) if present else None

    def window_is_complete(self) -> bool:
        """Whether this step is an update: every n-th is (7.1)."""
        return (self.steps + 1) % self.window == 0

    def average_over_window(self) -> list[Array | None]:
        """The mean over all n steps of the window (7.1); the next window starts empty (7.4)."""
        means = [
            a if a is None or i in self.overwrite_with_gradient else a / self.window
            for i, a in enumerate(self.accumulators)
        ]
        self.accumulators = [None] * len(self.weights)
        return means

    def learning_rate_factors(self, t: int) -> list[float]:
        """The factor of each variable's rate at step `t` (14.3); 1 if no group sets one."""
        factors = (group.learning_rate_factor for group in self.groups)
        values = (f.function(t) if isinstance(f, Schedule) else f for f in factors)
        return self.setting_of_groups(1.0, values)

    def setting_of_groups(self, default: float, values: Iterable[float | None]) -> list[float]:
        """The value for each variable: from the last group that sets it (14.4), or the default."""
        of_variables = dict.fromkeys(range(len(self.weights)), float(default))
        for group, value in zip(self.groups, values, strict=True):
            if value is not None:
                of_variables.update(dict.fromkeys(group.variables, float(value)))
        return list(of_variables.values())

    def overwrite_with_gradients(self, given: Arrays, factors: Sequence[float]) -> None:
        """Write the variables in `overwrite_with_gradient` (13.1), except frozen ones (14.3)."""
        for i in self.overwrite_with_gradient:
            written = given[i]
            if written is not None and factors[i] != 0:
                self.weights[i] = written

    def not_overwritten(self, values: Arrays) -> list[Array | None]:
        """The same values, with None for each variable in `overwrite_with_gradient`."""
        return [None if i in self.overwrite_with_gradient else v for i, v in enumerate(values)]

    def clip(self, gradients: Arrays) -> list[Array | None]:
        """Limit each element, each gradient's norm, or the norm of all gradients (4.1, 4.2)."""
        if self.clipvalue is not None:
            x = self.clipvalue
            return [None if g is None else np.clip(g, -x, x) for g in gradients]
        if self.clipnorm is not None:
            return [clipped for g in gradients for clipped in clip_by_norm([g], self.clipnorm)]
        if self.global_clipnorm is not None:
            return clip_by_norm(gradients, self.global_clipnorm)
        return list(gradients)

    def leave_frozen_alone(self, gradients: Arrays, factors: Sequence[float]) -> list[Array | None]:
        """The same gradients, with None where the factor is 0, so that nothing changes (14.3).

        Clips have seen these gradients (14.5). At a rate of 0 the rule still acts, unlike at a
        factor of 0.
        """
        return [None if f == 0 else g for g, f in zip(gradients, factors, strict=True)]

    def decay_weights(self, gradients: Arrays, rates: Sequence[float]) -> None:
        """`w <- w - learning_rate * weight_decay * w` (3.1).

        Variables without a gradient (1.6) and excluded variables (3.2) are left unchanged; an
        exclusion takes precedence over groups (14.4). Loshchilov and Hutter (2019), *Decoupled
        weight decay regularization*.
        """
        by_group = (group.weight_decay for group in self.groups)
        decays = self.setting_of_groups(self.weight_decay or 0.0, by_group)
        for i, (g, rate, decay) in enumerate(zip(gradients, rates, decays, strict=True)):
            if g is not None and decay != 0 and i not in self.exclude_from_weight_decay:
                self.weights[i] = self.weights[i] - rate * decay * self.weights[i]

    def apply_rule(self, gradients: Arrays, rates: Sequence[float]) -> None:
        """Apply the update rule (1.1 to 1.3), except to variables without a gradient (1.6)."""
        by_group = (group.momentum for group in self.groups)
        momenta = self.setting_of_groups(self.momentum, by_group)
        for i, (g, rate, momentum) in enumerate(zip(gradients, rates, momenta, strict=True)):
            if g is None:
                continue
            # Rule 1.1 is a separate case: 0 * velocity would be NaN for an infinite velocity.
            if momentum == 0:
                self.weights[i] = self.weights[i] - rate * g
                continue
            velocity = momentum * self.velocities[i] - rate * g
            move = momentum * velocity - rate * g if self.nesterov else velocity
            self.velocities[i] = velocity
            self.weights[i] = self.weights[i] + move

    def apply_constraints(self, gradients: Arrays) -> None:
        """`w <- constraint(w)` for the variables just updated (7.3)."""
        for i, (constraint, g) in enumerate(zip(self.constraints, gradients, strict=True)):
            if constraint is not None and g is not None:
                self.weights[i] = np.array(constraint(self.weights[i]), np.float64)

    def measure(self, given: Arrays, rate: float, before: Sequence[Array]) -> None:
        """Write the statistics (15.2) of every `statistics_every`-th update, skipped ones included.

        `learning_rate` is the optimizer's, without factors. `loss_scale` is 1 without a loss scale;
        under `ReferenceLossScale` it is the scale of this step. `updates` is k, and includes this
        update unless it is skipped. Values for `overwrite_with_gradient` count only in `nonfinite`.
        All other variables count in `weight_norm`, with or without a gradient. The `update_norm` of
        unchanged variables is 0; a skipped update leaves all of them unchanged.

        >>> sgd = ReferenceSGD(0.5, clipvalue=4.0).build([[6.0, 8.0]], statistics_every=1)
        >>> _ = sgd.step([[0.0, 8.0]])
        >>> {name: sgd.statistics[name] for name in ("clip_coefficient", "update_ratio")}
        {'clip_coefficient': 0.5, 'update_ratio': 0.2}
        """
        every = self.statistics_every
        if every is None or (self.updates + self.skipped) % every != 0:
            return
        # No array is changed in place, so an unchanged variable still holds the same array.
        changes = [None if w is b else w - b for w, b in zip(self.weights, before, strict=True)]
        parts = [self.not_overwritten(part) for part in (given, changes, before)]
        counts = [count_nonfinite(g) for g in given]
        self.statistics = {
            "learning_rate": rate,
            "clip_coefficient": self.clip_coefficient(parts[0]),
            **norms_of_update(*parts),
            "nonfinite": sum(counts),
            "loss_scale": self.loss_scale_factor or 1.0,
            "updates": self.updates,
        }
        self.statistics_per_variable = [
            {**norms_of_update([g], [change], [w]), "nonfinite": count}
            for g, change, w, count in zip(*parts, counts, strict=True)
        ]

    def clip_coefficient(self, gradients: Arrays) -> float:
        """The norm after the clip divided by the norm before; 1 if that is 0, NaN unless finite."""
        before = norm(gradients)
        if before == 0:
            return 1.0
        return norm(self.clip(gradients)) / before if np.isfinite(before) else np.nan

    def average_weights(self) -> None:
        """`average <- ema_momentum * average + (1 - ema_momentum) * w` (5.1, 5.3).

        The average starts as the weights after the first update. Every update changes it, even for
        variables without a gradient, because it averages weights, not gradients.
        Polyak and Juditsky (1992), *Acceleration of stochastic approximation by averaging*.

        >>> sgd = ReferenceSGD(1.0, use_ema=True, ema_momentum=0.5).build([10.0])
        >>> for _ in range(3):
        ...     _ = sgd.step([1.0])
        ...     print(sgd.weights[0], sgd.averages[0])
        9.0 9.0
        8.0 8.5
        7.0 7.75
        """
        if not self.use_ema:
            return
        m = self.ema_momentum
        for i, (w, average) in enumerate(zip(self.weights, self.averages, strict=True)):
            if i not in self.overwrite_with_gradient:
                self.averages[i] = w if average is None else m * average + (1 - m) * w

    def overwrite_weights_if_due(self, factors: Sequence[float]) -> None:
        """`w <- average` after every `ema_overwrite_frequency`-th update (5.2)."""
        if self.ema_overwrite_frequency and self.updates % self.ema_overwrite_frequency == 0:
            self.write_averages(range(len(self.weights)), factors)

    def write_averages(self, indices: Iterable[int], factors: Sequence[float]) -> None:
        """`w <- average`, except for frozen variables (14.3) and those without an average."""
        for i in indices:
            average = self.averages[i]
            if average is not None and factors[i] != 0:
                self.weights[i] = average

    # After training ---------------------------------------------------------------------------

    def finalize_variable_values(self, indices: Iterable[int] | None = None) -> None:
        """Write the averages into these variables; None means all variables (5.4).

        Before the first update there are no averages, and nothing changes. A variable without an
        average (`overwrite_with_gradient`) is left unchanged, and so is a frozen one (14.3), whose
        factor is 0: its number now, or the value of its schedule at the last update.
        """
        if self.updates == 0:
            return
        indices = range(len(self.weights)) if indices is None else indices
        last_update = self.iterations * self.window - 1
        self.write_averages(indices, self.learning_rate_factors(last_update))


@dataclass(eq=False)
class ReferenceLossScale:
    """Dynamic loss scaling around a `ReferenceSGD` (contract 6.3).

    A step with a non-finite gradient on any replica halves the scale and is skipped: nothing else
    changes, and `t` does not grow. After `dynamic_growth_steps` finite steps in a row the scale
    doubles. The scale replaces the inner optimizer's `loss_scale_factor`; an inner optimizer that
    skips updates itself is refused (16.1).

    >>> scaler = ReferenceLossScale(ReferenceSGD(1.0).build([0.0]), 8.0, dynamic_growth_steps=2)
    >>> for g in (8.0, np.inf, 4.0, 4.0, 8.0):
    ...     w = float(scaler.step([g])[0])
    ...     print(f"gradient {g}  w {w}  next scale {scaler.scale}")
    gradient 8.0  w -1.0  next scale 8.0
    gradient inf  w -1.0  next scale 4.0
    gradient 4.0  w -2.0  next scale 4.0
    gradient 4.0  w -3.0  next scale 8.0
    gradient 8.0  w -4.0  next scale 8.0
    """

    inner: ReferenceSGD
    initial_scale: float = 32768.0
    dynamic_growth_steps: int = 2000

    def __post_init__(self) -> None:
        if self.inner.skip_nonfinite:
            raise ValueError("`inner` must not skip updates: `ReferenceLossScale` does.")
        self.scale = self.initial_scale
        self.finite_steps = 0

    def scale_loss(self, loss: float) -> float:
        """The loss whose gradients the next step expects."""
        return loss * self.scale

    def step(self, gradients: Gradients) -> list[Array]:
        """Take or skip a step on one device, and return the weights."""
        return self.step_replicas([gradients])

    def step_replicas(self, replicas: Sequence[Gradients]) -> list[Array]:
        """Take or skip one step on one list of gradients per replica, and return the weights."""
        if nothing_given(replicas):
            return list(self.inner.weights)
        if not all_finite(replicas):
            self.inner.current_rate()  # Skipped steps call a rate function too (2.3).
            self.scale = self.scale / 2
            self.finite_steps = 0
            return list(self.inner.weights)
        self.inner.loss_scale_factor = self.scale
        weights = self.inner.step_replicas(replicas)
        self.finite_steps += 1
        if self.finite_steps == self.dynamic_growth_steps:
            self.scale = self.scale * 2
            self.finite_steps = 0
        return weights


def nothing_given(replicas: Sequence[Gradients]) -> bool:
    """Whether the lists are empty: such a step is a no-op and not counted (1.6)."""
    return all(len(gradients) == 0 for gradients in replicas)


def require_a_gradient(replicas: Sequence[Gradients]) -> None:
    """Refuse a step whose gradients are all None (1.6)."""
    if all(g is None for gradients in replicas for g in gradients):
        raise ValueError("At least one gradient must not be None.")


def all_finite(replicas: Sequence[Gradients]) -> bool:
    """Whether the gradients of all replicas are finite (6.3, 16.1)."""
    return not any(count_nonfinite(g) for gradients in replicas for g in gradients)


def count_nonfinite(gradient: Gradient) -> int:
    """The number of elements that are infinite or NaN (15.2)."""
    if gradient is None:
        return 0
    values = gradient.values if isinstance(gradient, SparseRows) else gradient
    return int(np.sum(~np.isfinite(np.asarray(values, np.float64))))
