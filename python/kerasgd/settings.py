"""The settings that a step reads, from the arguments of the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasgd.state import Tensor, Variable


@dataclass(frozen=True)
class GroupSettings:
    """The settings that some variables share, resolved from every `Group` they are in.

    Attributes:
        momentum: the momentum; 0 for none.
        weight_decay: the weight decay; 0 for none.
        factor_index: the index in `Rates.factors` of the factor of their rate; None for none.
    """

    momentum: float
    weight_decay: float
    factor_index: int | None = None


@dataclass(frozen=True)
class Settings:
    """The arguments in the form that a step reads.

    An object is never modified: setting `loss_scale_factor` replaces the whole object. Equal
    settings make equal steps, so they serve as the key for compiled steps.

    Attributes:
        groups: the distinct combinations of settings, to which `ParameterState.group` refers (not
            one for each `set_group()`).
        nesterov: whether to use the Nesterov rule.
        clipnorm: the limit, or None.
        clipvalue: the limit, or None.
        global_clipnorm: the limit, or None.
        use_ema: whether averages of the weights are kept.
        ema_momentum: the weight of the old average in an update.
        ema_overwrite_frequency: the averages overwrite the weights every so many updates; None for
            not during training.
        loss_scale_factor: the factor that multiplied the loss; 1 for none.
        window: the number of steps per update.
        skip_nonfinite: whether updates with non-finite gradients are skipped.
        statistics_every: one update in this many is measured; None for none.
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
