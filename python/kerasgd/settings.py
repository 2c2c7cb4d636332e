"""What the arguments of an optimizer say about its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasgd.state import Tensor, Variable


@dataclass(frozen=True)
class GroupSettings:
    """The settings that the variables of one group share.

    Attributes:
        momentum: 0 without.
        weight_decay: 0 without.
        factor_index: which of `Rates.factors` multiplies their rate; None for none.
    """

    momentum: float
    weight_decay: float
    factor_index: int | None = None


@dataclass(frozen=True)
class Settings:
    """The arguments in the form in which a step reads them; fixed once the optimizer is built.

    Equal settings make equal steps: compiled steps are kept by them.

    Attributes:
        groups: the settings of each group of variables (see `ParameterState.group`).
        nesterov: whether the rule looks ahead.
        clipnorm: the limit, or None.
        clipvalue: the limit, or None.
        global_clipnorm: the limit, or None.
        use_ema: whether averages of the weights are kept.
        ema_momentum: how much of the average stays at an update.
        ema_overwrite_frequency: after how many updates averages overwrite the weights, or None.
        loss_scale_factor: what the loss was multiplied by; 1 without.
        window: how many steps make an update.
        skip_nonfinite: whether an update whose gradient is not finite is skipped.
        statistics_every: every so many updates one is measured; None for none.
        own_rule: the `update_step()` of a subclass that overrides it, or None.
    """

    groups: tuple[GroupSettings, ...]
    nesterov: bool
    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None
    use_ema: bool
    ema_momentum: float
    ema_overwrite_frequency: int | None
    loss_scale_factor: float
    window: int
    skip_nonfinite: bool = False
    statistics_every: int | None = None
    own_rule: Callable[[Tensor, Variable, Any], None] | None = None
