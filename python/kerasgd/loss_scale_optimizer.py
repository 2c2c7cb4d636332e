"""The Keras optimizer class with a dynamic loss scale (contract 6.3)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

import keras

from kerasgd import alignment, arguments, attributes, gradients
from kerasgd.errors import ArgumentTypeError, StateError, UnknownArgumentError
from kerasgd.files import state
from kerasgd.keras_internals import no_automatic_dependency_tracking
from kerasgd.sgd import SGD
from kerasgd.state import DynamicScale
from kerasgd.variables import checked_list, value_of


@keras.saving.register_keras_serializable(package="kerasgd", name="LossScaleOptimizer")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):  # type: ignore[misc]
    """Dynamic loss scaling for `SGD`: keeps small gradients from vanishing in half precision.

    The loss is multiplied by `scale`, and the gradients are divided by it::

        all gradients finite: the inner optimizer takes its step;
                              after dynamic_growth_steps of them in a row  scale <- 2 * scale
        otherwise:            the step is skipped and not counted;         scale <- scale / 2

    On several replicas, the gradients are checked after they are summed, so a non-finite gradient
    on one replica skips the step on all of them.

    Args:
        inner_optimizer: a `kerasgd.SGD`. If it has a `loss_scale_factor`, the dynamic scale
            replaces it, with a warning.
        initial_scale: the initial value of `scale`; a number from 2^-126 to 2^126.
        dynamic_growth_steps: the number of consecutive steps with finite gradients after which the
            scale doubles; a whole number >= 1.
        name: a non-empty string without "/", or None for "loss_scale_optimizer".

    Raises:
        ArgumentTypeError, ArgumentValueError: an argument is invalid.
        UnknownArgumentError: there is no argument of this name.

    Source: Micikevicius et al. (2018), Mixed precision training, section 3.2;
    the documentation of `keras.optimizers.LossScaleOptimizer`.

    Example:
        >>> import keras, kerasgd
        >>> w = keras.Variable([1.0])
        >>> optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5), initial_scale=4)
        >>> optimizer.build([w])
        >>> float(optimizer.scale_loss(1.0))
        4.0
        >>> optimizer.apply([keras.ops.convert_to_tensor([4.0])], [w])  # a gradient of 1, scaled
        >>> w.numpy().tolist()
        [0.5]
        >>> optimizer.apply([keras.ops.convert_to_tensor([float("inf")])], [w])
        >>> w.numpy().tolist(), float(optimizer.dynamic_scale)
        ([0.5], 2.0)
    """

    built: bool

    def __init__(
        self,
        inner_optimizer: Any,
        initial_scale: Any = 2.0**15,
        dynamic_growth_steps: Any = 2000,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_inner(inner_optimizer)
        _check_no_unknown(kwargs)
        settings = arguments.check_all(
            {
                "initial_scale": initial_scale,
                "dynamic_growth_steps": dynamic_growth_steps,
                "name": name,
            },
            arguments.LOSS_SCALE_RULES,
        )
        settings["name"] = settings["name"] or "loss_scale_optimizer"
        super().__init__(inner_optimizer, **settings)
        # The rate is the inner optimizer's.
        self._rate = None
        # State from a pickle or a file, until the variables are known.
        self._pending: state.Pending | None = None
        self._restored_own: Any = None
        # Descriptions of the state that was left out when a file was loaded.
        self._left_out: list[str] = []
        self.dynamic_scale: Any = None
        self.step_counter: Any = None
        self._constructed = True

    def __setattr__(self, name: str, value: Any) -> None:
        attributes.check_can_be_set(self, name)
        if name in arguments.LOSS_SCALE_RULES and name != "name":
            value = attributes.checked(self, name, value, arguments.LOSS_SCALE_RULES)
        elif name == "inner_optimizer" and vars(self).get("_constructed"):
            _check_inner(value)
        elif name in arguments.RULES and name not in ("learning_rate", "name"):
            attributes.check_is_of_wrapper(self, name, value)
        elif type(self) is LossScaleOptimizer:
            attributes.check_known(self, name, value, arguments.RULES)
        super().__setattr__(name, value)

    @no_automatic_dependency_tracking  # type: ignore[untyped-decorator]
    def build(self, variables: Iterable[Any]) -> None:
        """Create the state for these trainable variables; a second call changes nothing."""
        if self.built:
            return
        variables = checked_list(variables, "variables", "a list of variables")
        if not variables:
            return
        inner = self.inner_optimizer
        _check_inner(inner)  # `skip_nonfinite()` may have been called on it since
        inner.build(variables)
        with inner.backend.colocated_with(self, inner._iterations):
            self.step_counter = self.add_variable(shape=(), dtype="int32", name="step_counter")
            self.dynamic_scale = self.add_variable(
                shape=(),
                dtype="float32",
                initializer=keras.initializers.Constant(self.initial_scale),
                name="dynamic_scale",
            )
        self._trainable_variables = inner._trainable_variables
        self._trainable_variables_indices = inner._trainable_variables_indices
        self.built = True
        # `fit()` may be tracing its step, where an assignment would run at every step.
        with inner.backend.colocated_with(self, inner._iterations):
            state.restore_pending(self)

    def apply(self, grads: Iterable[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """Take or skip one step with gradients of the scaled loss; see `SGD.apply()`."""
        grads = gradients.listed_gradients(grads, trainable_variables)
        if trainable_variables is not None:
            trainable_variables = gradients.listed_variables(trainable_variables, grads)
            if grads and not self.built:  # 12.7: an error must leave the optimizer unbuilt
                gradients.check_variables(trainable_variables, grads)
                gradients.check(grads, trainable_variables)
            self.build(trainable_variables)
        self.inner_optimizer.step(
            grads,
            trainable_variables,
            DynamicScale(self.dynamic_scale, self.step_counter, self.dynamic_growth_steps),
        )

    def stateless_apply(
        self, optimizer_variables: Any, grads: Any, trainable_variables: Any
    ) -> tuple[list[Any], list[Any]]:
        """See `SGD.stateless_apply()`."""
        if not (self.built or trainable_variables):
            return [], list(optimizer_variables)
        alignment.check_number(self, trainable_variables)
        alignment.check_is_traced_model(self.inner_optimizer)
        # Keras' wrapper splits the step into parts; the base class runs `apply()`.
        return keras.optimizers.Optimizer.stateless_apply(  # type: ignore[no-any-return]
            self, optimizer_variables, grads, trainable_variables
        )

    def exclude_from_weight_decay(
        self, var_list: Any = None, var_names: Any = None, rank_below: Any = None
    ) -> None:
        """See `SGD.exclude_from_weight_decay()`."""
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names, rank_below)

    def set_group(self, select: Any, **settings: Any) -> LossScaleOptimizer:
        """See `SGD.set_group()`."""
        self.inner_optimizer.set_group(select, **settings)
        return self

    def set_learning_rate_factor(self, group: Any, factor: Any) -> None:
        """See `SGD.set_learning_rate_factor()`."""
        self.inner_optimizer.set_learning_rate_factor(group, factor)

    @property
    def groups(self) -> tuple[Any, ...]:
        """The groups of the inner optimizer."""
        return self.inner_optimizer.groups  # type: ignore[no-any-return]

    def track_statistics(self, per_variable: Any = False, every: Any = 1) -> LossScaleOptimizer:
        """See `SGD.track_statistics()`."""
        self.inner_optimizer.track_statistics(per_variable, every)
        return self

    @property
    def statistics(self) -> dict[str, Any] | None:
        """See `SGD.statistics`."""
        return self.inner_optimizer.statistics  # type: ignore[no-any-return]

    def skip_nonfinite(self) -> LossScaleOptimizer:
        """Refuse the call: the loss scale already skips steps with non-finite gradients.

        Raises:
            StateError: always.
        """
        raise _already_skips_error()

    def finalize_variable_values(self, var_list: Iterable[Any] | None = None) -> None:
        """See `SGD.finalize_variable_values()`."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def swap_ema_weights(self) -> None:
        """See `SGD.swap_ema_weights()`."""
        self.inner_optimizer.swap_ema_weights()

    def get_config(self) -> dict[str, Any]:
        """The configuration: the inner optimizer and the arguments of this one."""
        return _own_settings(super().get_config())

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> LossScaleOptimizer:
        """The inverse of `get_config()`."""
        own: LossScaleOptimizer = super().from_config(_own_settings(config), custom_objects)
        return own

    def __reduce__(self) -> tuple[Any, ...]:
        settings = (self.inner_optimizer, self.initial_scale, self.dynamic_growth_steps, self.name)
        return (type(self), settings, state.stored(self))

    def __setstate__(self, store: dict[str, Any]) -> None:
        state.load_strictly(self, store)

    def __deepcopy__(self, memo: dict[int, Any]) -> LossScaleOptimizer:
        return self.update(keep_state=True)

    def update(self, *, keep_state: bool = False, **changes: Any) -> LossScaleOptimizer:
        """Create an optimizer with some settings changed; see `SGD.update()`.

        Args:
            keep_state: whether the new optimizer continues from this one's state.
            **changes: arguments of `LossScaleOptimizer`, and of `SGD` for the inner optimizer.
        """
        settings = {name: getattr(self, name) for name in arguments.LOSS_SCALE_RULES}
        own = {k: v for k, v in changes.items() if k in settings or k == "inner_optimizer"}
        for_inner = {k: v for k, v in changes.items() if k not in own}
        inner = own.pop("inner_optimizer", self.inner_optimizer)
        _check_inner(inner)
        inner = inner.update(keep_state=keep_state, **for_inner)
        new = type(self)(inner, **{**settings, **own})
        if keep_state:
            state.hand_over(new, state.current(self))
        return new

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Write the scale into `store`; Keras saves the inner optimizer separately."""
        state.save(self, store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restore the scale from `store`; see `SGD.load_own_variables()`.

        Raises:
            StateError: the state is damaged. Nothing is changed in that case.
        """
        state.load(self, store)

    def _by_role(self) -> dict[str, Any]:
        """See `SGD._by_role()`; only the state of the scale."""
        if not self.built:
            return {}
        return {"dynamic_scale": self.dynamic_scale, "step_counter": self.step_counter}

    def _kinds(self) -> set[str]:
        """See `SGD._kinds()`; the scale keeps no state for each variable."""
        return set()


def without_wrapper(optimizer: Any) -> Any:
    """The inner optimizer of a loss-scale optimizer (ours or Keras'), else the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def scale_of(wrapper: Any) -> float:
    """The scale of a loss-scale optimizer (ours or Keras') at the next step."""
    if not wrapper.built:
        return float(wrapper.initial_scale)
    return float(value_of(wrapper.dynamic_scale, wrapper))


def _check_no_unknown(extra: Mapping[str, Any]) -> None:
    # Posit's keras3 passes None in `optimizer_loss_scale()` for every setting that is not given.
    extra = {k: v for k, v in extra.items() if not (k in arguments.RULES and v is None)}
    for name, value in extra.items():
        if name in arguments.RULES:
            hint = "Pass it to the inner optimizer."
            raise UnknownArgumentError(name, value, "LossScaleOptimizer", None, hint)
    known = ["inner_optimizer", *arguments.LOSS_SCALE_RULES]
    arguments.check_no_unknown(extra, "LossScaleOptimizer", known)


def _own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the arguments of every optimizer, which Keras 3.10 adds."""
    return {k: v for k, v in config.items() if k == "name" or k not in arguments.RULES}


def _already_skips_error() -> StateError:
    return StateError(
        "A dynamic loss scale already skips steps whose gradients are not finite: leave out "
        "`skip_nonfinite()`."
    )


def _check_inner(inner_optimizer: Any) -> None:
    if isinstance(inner_optimizer, SGD):
        if inner_optimizer._skips_nonfinite:
            raise _already_skips_error()
        return
    hint = None
    if isinstance(inner_optimizer, LossScaleOptimizer):
        hint = "It already has a loss scale."
    elif isinstance(inner_optimizer, keras.optimizers.Optimizer):
        hint = (
            "For Keras' own optimizers use `keras.optimizers.LossScaleOptimizer`, "
            "which is `keras3::optimizer_loss_scale()` in R."
        )
    elif inspect.isroutine(inner_optimizer) or isinstance(inner_optimizer, type):
        hint = "Call this function or class to create the optimizer: add `()`."
    raise ArgumentTypeError("inner_optimizer", "an optimizer made by {sgd}", inner_optimizer, hint)


LossScaleOptimizer.__module__ = "kerasgd"
