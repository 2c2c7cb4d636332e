"""The Keras class: constructor, build, configuration, and what Keras calls during training."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kerasgd import arguments, backends, ema, gradients, rule, update
from kerasgd import learning_rate as rates
from kerasgd import state as saved_state
from kerasgd.backends import DynamicScale, Slot, State, Tensor
from kerasgd.errors import KerasgdWarning, StateError
from kerasgd.keras_internals import no_automatic_dependency_tracking, rename
from kerasgd.variables import checked_list, path_of, shape_of, value_of
from kerasgd.weight_decay import Exclusions

SETTINGS = tuple(
    argument for argument in arguments.RULES if argument not in {"learning_rate", "name"}
)
# Not by its name, which Keras would look up for each of thousands of variables.
ZEROS = keras.initializers.Zeros()


@keras.saving.register_keras_serializable(package="kerasgd", name="SGD")
class SGD(keras.optimizers.SGD):  # type: ignore[misc]
    """Gradient descent, with momentum if wanted; a `keras.optimizers.SGD`.

    With gradient `g` of the weights `w`::

        w <- w - learning_rate * g                              (momentum = 0)

        velocity <- momentum * velocity - learning_rate * g     (momentum > 0)
        w        <- w + velocity
        w        <- w + momentum * velocity - learning_rate * g (instead, with nesterov)

    `velocity` has the shape of `w` and starts at 0. A *step* is one call that hands gradients to
    the optimizer; an *update* is a step that changes the weights.

    Args:
        learning_rate: a finite number >= 0; a `keras.optimizers.schedules.LearningRateSchedule`,
            which is called with the number of steps so far; or a function without arguments, which
            is called once a step.
        momentum: a finite number >= 0.
        nesterov: whether to look ahead, see above (Sutskever et al. 2013).
        weight_decay: a number >= 0 or None: ``w <- w - learning_rate * weight_decay * w`` before
            each update (decoupled, Loshchilov & Hutter 2019).
        clipnorm: a number > 0 or None: the largest L2 norm of each variable's gradient
            (Pascanu et al. 2013).
        clipvalue: a number > 0 or None: each element of a gradient is clipped to
            [-clipvalue, clipvalue].
        global_clipnorm: a number > 0 or None: the largest L2 norm over all gradients together. At
            most one of the three clips can be set.
        use_ema: whether to keep an exponential moving average of the weights
            (Polyak & Juditsky 1992):
            ``average <- ema_momentum * average + (1 - ema_momentum) * w`` after each update.
            Callbacks see the weights, not the averages: put Keras'
            `SwapEMAWeights(swap_on_epoch=True)` before an `EarlyStopping` that restores the best
            weights, and before `ModelCheckpoint`.
        ema_momentum: a number from 0 to 1.
        ema_overwrite_frequency: a whole number >= 1 or None: the weights are overwritten with their
            averages at every so many updates. With None they are when `fit()` ends, or by
            `finalize_variable_values()`.
        name: a non-empty string without "/".
        loss_scale_factor: a number > 0 or None: `scale_loss()` multiplies the loss by it, and each
            step divides the gradients by it again.
        gradient_accumulation_steps: a whole number >= 1 or None: weights change only at every so
            many steps, with the mean of their gradients. Schedules count steps, EMA counts updates.
        **kwargs: arguments beyond these that the installed `keras.optimizers.SGD` has.

    Raises:
        ArgumentTypeError, ArgumentValueError: an argument is none of the above; the error names it.
        UnknownArgumentError: a name is no argument; the error suggests the closest one.

    Source: the documentation of `keras.optimizers.SGD`, https://keras.io/api/optimizers/sgd/.

    Example:
        >>> import keras, kerasgd
        >>> w = keras.Variable([1.0, 2.0])
        >>> optimizer = kerasgd.SGD(learning_rate=0.5, momentum=0.5)
        >>> for _ in range(2):
        ...     optimizer.apply([keras.ops.ones(2)], [w])
        >>> [float(x) for x in w.numpy()]
        [-0.25, 0.75]
    """

    # Of the base class, which has no types.
    built: bool
    _learning_rate: Any

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: Any = 0.0,
        nesterov: Any = False,
        weight_decay: Any = None,
        clipnorm: Any = None,
        clipvalue: Any = None,
        global_clipnorm: Any = None,
        use_ema: Any = False,
        ema_momentum: Any = 0.99,
        ema_overwrite_frequency: Any = None,
        *,
        name: Any = "SGD",
        loss_scale_factor: Any = None,
        gradient_accumulation_steps: Any = None,
        **kwargs: Any,
    ) -> None:
        given = {
            "learning_rate": learning_rate,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
            "use_ema": use_ema,
            "ema_momentum": ema_momentum,
            "ema_overwrite_frequency": ema_overwrite_frequency,
            "name": name,
            "loss_scale_factor": loss_scale_factor,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        beyond = arguments.beyond_ours(kwargs, keras.optimizers.SGD)
        unknown = {key: value for key, value in kwargs.items() if key not in beyond}
        arguments.check_no_unknown(unknown, "SGD", arguments.RULES)
        settings = arguments.check_sgd(given)
        rate = settings.pop("learning_rate")
        # Keras creates the variable of the rate; we keep it whatever the rate is, so that each
        # kind of rate can take the place of another (2.7).
        super().__init__(
            learning_rate=rate if isinstance(rate, float) else 0.0, name=settings["name"], **beyond
        )
        self.backend = backends.current()
        self._rate_variable = self._learning_rate
        self._given_rate: float | None = None
        self._compiled = False
        self._exclusions = Exclusions()
        self._excluded_indices: list[int] = []
        self._state: State | None = None
        # The averages as numbers, while the weights and they are exchanged.
        self._swapped: list[Any] | None = None
        # State from a pickle or a file, until the variables are known.
        self._pending: dict[str, Any] | None = None
        for argument, value in settings.items():
            setattr(self, argument, value)
        self._set_rate(rate)

    # -- variables ---------------------------------------------------------------------------

    @no_automatic_dependency_tracking  # type: ignore[untyped-decorator]
    def build(self, variables: Iterable[Any]) -> None:
        """Create the state for these trainable variables; a second call changes nothing."""
        if self.built:
            return
        variables = checked_list(variables, "variables", "a list of variables")
        if self._pending is not None:
            saved_state.check_fits(self, variables, self._pending)
        exclusions = self._exclusions
        exclusions.variables += [variables[i] for i in self._excluded_indices]
        self._excluded_indices = []
        slots = [self._slot(variable, exclusions) for variable in variables]
        self._state = State(
            iterations=self._iterations,
            averaging=self._counter("averaging", ()) if self.use_ema else None,
            in_window=self._counter("in_window", (len(slots),)) if self.window > 1 else None,
            slots=slots,
        )
        self._trainable_variables = variables
        self._trainable_variables_indices = {
            self._var_key(variable): i for i, variable in enumerate(variables)
        }
        # Keras' name for the velocities.
        self.momentums = [slot.velocity for slot in slots] if self.momentum else []
        self.built = True
        # `fit()` may be tracing its step: there an assignment would be done at every step.
        with self.backend.beside(self, self._iterations):
            saved_state.take_pending(self)

    def _slot(self, variable: Any, exclusions: Exclusions) -> Slot:
        takes_value = bool(getattr(variable, "overwrite_with_gradient", False))
        dtype = keras.backend.standardize_dtype(variable.dtype)
        wide = rule.wide(dtype)  # 8.1: sums and averages in half precision would stall
        moves = not takes_value

        def beside(role: str, dtype: str, initializer: Any = ZEROS) -> Any:
            return self._beside(variable, role, dtype, initializer)

        def first_average(shape: Any, dtype: str) -> Tensor:
            # To exchange weights and averages before the first update must change nothing. The copy
            # is needed: the two must not share memory.
            return np.array(keras.ops.convert_to_numpy(variable), dtype)

        return Slot(
            variable=variable,
            velocity=beside("velocity", dtype) if moves and self.momentum else None,
            average=beside("average", wide, first_average) if moves and self.use_ema else None,
            accumulator=beside("accumulator", wide) if self.window > 1 else None,
            constraint=getattr(variable, "constraint", None) if moves else None,
            decays=moves and not exclusions.cover(variable),
            takes_gradient_as_value=takes_value,
        )

    def _beside(self, variable: Any, role: str, dtype: str, initializer: Any) -> Any:
        """A variable for `variable`, of its shape and on its devices."""
        with self.backend.beside(self, variable):
            created = self.add_variable(
                shape=shape_of(variable),
                initializer=initializer,
                dtype=dtype,
                layout=getattr(variable, "_layout", None),
                # Each new name of a variable costs TensorFlow more than all else here.
                name=role,
            )
        rename(created, f"{path_of(variable).replace('/', '_').replace(':', '_')}_{role}")
        return created

    def _counter(self, role: str, shape: tuple[int, ...]) -> Any:
        with self.backend.beside(self, self._iterations):
            return self.add_variable(
                shape=shape, dtype="int32", name=role, aggregation="only_first_replica"
            )

    def state(self) -> State:
        """All that a step reads and writes.

        Raises:
            StateError: the optimizer is not built.
        """
        if self._state is None:
            raise StateError(
                f"`{self.name}` is not built. Call `build()` with the trainable variables first."
            )
        return self._state

    @property
    def window(self) -> int:
        """How many steps make an update."""
        return self.gradient_accumulation_steps or 1

    def settings(self) -> tuple[Any, ...]:
        """The arguments that decide what a step does with gradients and rate."""
        return tuple([getattr(self, argument) for argument in SETTINGS])

    @property
    def iterations(self) -> Any:
        """The number of updates so far, ``t // gradient_accumulation_steps`` (contract 7.2)."""
        return self._iterations if self.window == 1 else self._iterations // self.window

    # -- the step ----------------------------------------------------------------------------

    def apply(self, grads: Iterable[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """Do one step: update the variables by their gradients.

        Args:
            grads: a gradient, or None, for each variable; of the variable's shape. An empty list
                changes nothing.
            trainable_variables: the variables; None means those of `build()`. The first call
                builds the optimizer.

        Raises:
            ArgumentTypeError: an argument is not a list, or they are in the wrong order.
            ArgumentValueError: all gradients are None, or their number or a shape does not fit.
            StateError: a variable is not among those that the optimizer was built with.
        """
        self.step(grads, trainable_variables)

    def step(
        self,
        grads: Iterable[Any],
        trainable_variables: Iterable[Any] | None,
        dynamic_scale: DynamicScale | None = None,
    ) -> None:
        """As `apply()`, for a loss that was multiplied by a dynamic scale if there is one."""
        grads = gradients.listed_gradients(grads, trainable_variables)
        if grads:
            ema.check_not_swapped(self)
            aligned = self._aligned(grads, trainable_variables)
            state = self.state()
            if dynamic_scale is not None:
                state = replace(state, dynamic_scale=dynamic_scale)
            self.backend.as_is(update.step)(self, state, aligned)

    def stateless_apply(
        self, optimizer_variables: Any, grads: Any, trainable_variables: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`apply()` as a function of values: the new `trainable_variables` and the new state.

        Args:
            optimizer_variables: the values of `variables`.
            grads: a gradient, or None, for each variable.
            trainable_variables: the values of the variables of `build()`.

        Raises:
            StateError: the optimizer was built with another number of variables.
        """
        check_number(self, trainable_variables)
        return super().stateless_apply(  # type: ignore[no-any-return]
            optimizer_variables, grads, trainable_variables
        )

    def _aligned(self, grads: list[Any], variables: Iterable[Any] | None) -> list[Any]:
        """The gradients in the order of `build()`, None where a variable has none."""
        if variables is None:
            variables = [slot.variable for slot in self.state().slots]
        variables = gradients.listed_variables(variables, grads)
        as_built = self._is_built_with(variables)
        if not as_built:
            gradients.check_variables(variables, grads)
        gradients.check(grads, variables)
        if self.window == 1:
            gradients.warn_of_missing(grads, variables)
        self.build(variables)
        if as_built or self._is_built_with(variables):
            return grads
        aligned: list[Any] = [None] * len(self._trainable_variables)
        for gradient, variable in zip(grads, variables, strict=True):
            aligned[self._index_of(variable)] = gradient
        return aligned

    def _is_built_with(self, variables: Sequence[Any]) -> bool:
        """Whether these are the variables of `build()`, in the same order."""
        built = self._trainable_variables
        return len(variables) == len(built) and all(map(operator.is_, variables, built))

    def _index_of(self, variable: Any) -> int:
        try:
            return int(self._trainable_variables_indices[self._var_key(variable)])
        except KeyError:
            raise StateError(
                f"`{path_of(variable)}` is not among the variables that `{self.name}` was built "
                "with. A new set of variables needs a new optimizer."
            ) from None

    def slot_of(self, variable: Any) -> Slot | None:
        """What belongs to this variable, if it is among those of `build()`."""
        index = self._trainable_variables_indices.get(self._var_key(variable))
        return None if index is None else self.state().slots[index]

    def rate_of_this_step(self) -> Tensor | float:
        """The learning rate of the step that begins; a function is called."""
        if not self._compiled and not self.backend.is_eager():
            self._compiled = True
        return rates.at_step(self._learning_rate, self._iterations, self.backend)

    # -- the learning rate -------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The rate now; can be set to a number, a schedule or a function (contract 2.7)."""
        if isinstance(self._learning_rate, keras.Variable):
            return self._learning_rate
        if isinstance(self._learning_rate, rates.Schedule):
            return self._learning_rate(self._iterations)
        return rates.value_of(self._learning_rate)

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        was_number = self._learning_rate is self._rate_variable
        self._set_rate(arguments.check("learning_rate", rate))
        is_number = self._learning_rate is self._rate_variable
        if self._compiled and not (was_number and is_number):
            warnings.warn(
                "A compiled training step keeps the old `learning_rate`. "
                "Call the model's `compile()` again.",
                KerasgdWarning,
                stacklevel=2,
            )

    def _set_rate(self, rate: Any) -> None:
        if isinstance(rate, float):
            self._rate_variable.assign(rate)
            self._given_rate = rate
            rate = self._rate_variable
        self._learning_rate = rate

    def rate_setting(self) -> Any:
        """The rate as an argument: a number, a schedule or a function, which is not called."""
        if self._learning_rate is not self._rate_variable:
            return self._learning_rate
        return rates.exact(self._given_rate, value_of(self._rate_variable, self))

    # -- loss scale --------------------------------------------------------------------------

    @property
    def loss_scale_factor(self) -> float | None:
        """What `scale_loss()` multiplies the loss by."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: Any) -> None:
        before = getattr(self, "_loss_scale_factor", None)
        self._loss_scale_factor: float | None = arguments.check(  # type: ignore[assignment]
            "loss_scale_factor", factor
        )
        if before is not None and factor is None:
            warnings.warn(
                f"`loss_scale_factor = {before:g}` no longer applies: a dynamic loss scale has "
                "taken its place, as `compile()` puts it there under the policy mixed_float16. "
                "To keep the factor, call `compile()` with `auto_scale_loss` off. To choose the "
                "dynamic scale yourself, wrap the optimizer in kerasgd's `LossScaleOptimizer` "
                "(`optimizer_loss_scale()` in R), which is right on several devices too.",
                KerasgdWarning,
                stacklevel=4,
            )

    # -- weight decay and averages -------------------------------------------------------------

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Leave variables out of weight decay; a second call replaces the first.

        Args:
            var_list: a list of variables.
            var_names: a list of regular expressions, searched in each variable's path.

        Raises:
            StateError: the optimizer is built already.
            ArgumentError: an argument is something else.
        """
        if self.built:
            raise StateError(
                f"`{self.name}` is built already. Call `exclude_from_weight_decay()` before the "
                "first step, and before `build()`."
            )
        self._exclusions = Exclusions(var_list, var_names)
        self._excluded_indices = []

    def finalize_variable_values(self, var_list: Iterable[Any] | None = None) -> None:
        """Write the averages of the weights into the weights (contract 5.4).

        Without `use_ema`, and before the first update, this changes nothing.

        Args:
            var_list: the variables to write; None means all that the optimizer was built with.

        Raises:
            ArgumentTypeError: `var_list` is no list of variables.
            StateError: none of the variables has an average.
        """
        ema.finalize(self, var_list)

    def swap_ema_weights(self) -> None:
        """Exchange the weights and their averages, to evaluate with these; again: swap back.

        Both come back exactly. Without `use_ema`, and before the first update, this changes
        nothing. While they are exchanged the optimizer cannot be trained or saved.
        """
        ema.swap(self)

    @property
    def _model_variables_moving_average(self) -> list[Any]:
        """The averages under Keras' name, by which its callback `SwapEMAWeights` finds them."""
        return ema.for_callback(self)

    # -- configuration and state ---------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """All arguments, in values that JSON can hold; the reverse of `from_config()`.

        Raises:
            StateError: the learning rate is a function that Keras cannot save.
        """
        config = {
            argument: getattr(self, argument)
            for argument in arguments.RULES
            if argument != "learning_rate"
        }
        config["learning_rate"] = self._rate_config()
        exclusions = self._exclusions.get_config(self._trainable_variables)
        if any(exclusions.values()) or self._excluded_indices:
            exclusions["indices"] += self._excluded_indices
            config["weight_decay_exclusions"] = exclusions
        return config

    def _rate_config(self) -> Any:
        rate = self.rate_setting()
        if isinstance(rate, float):
            return rate
        if isinstance(rate, rates.Schedule):
            return keras.saving.serialize_keras_object(rate)
        return rates.serialized(rate)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> SGD:
        """An optimizer with the arguments that `get_config()` gave."""
        config = dict(config)
        exclusions = config.pop("weight_decay_exclusions", {"indices": [], "patterns": []})
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = keras.saving.deserialize_keras_object(
                config["learning_rate"], custom_objects=custom_objects
            )
        optimizer = cls(**config)
        optimizer._exclusions = Exclusions(patterns=exclusions["patterns"])
        optimizer._excluded_indices = list(exclusions["indices"])
        return optimizer

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self).from_config, (self.get_config(),), saved_state.stored(self))

    def __setstate__(self, store: dict[str, Any]) -> None:
        self._pending = store

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Write all state into `store` (see `state.py`).

        Raises:
            StateError: weights and averages are exchanged.
        """
        ema.check_not_swapped(self)
        saved_state.save(self, store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Set all state from `store`, or none of it.

        Raises:
            StateError: the state does not fit; the error names what differs.
        """
        saved_state.load(self, store)

    def _by_role(self) -> dict[str, Any]:
        """All variables of the state, each under the name it is saved with."""
        roles = {"iterations": self._iterations, "learning_rate": self._rate_variable}
        if not self.built:
            return roles
        state = self.state()
        roles |= {"averaging": state.averaging, "in_window": state.in_window}
        for i, slot in enumerate(state.slots):
            roles |= {
                f"velocity_{i}": slot.velocity,
                f"average_{i}": slot.average,
                f"accumulator_{i}": slot.accumulator,
            }
        return {role: variable for role, variable in roles.items() if variable is not None}

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of `variables`, in their order.

        Raises:
            StateError: the optimizer is not built, or number or shapes differ.
        """
        self.state()
        shapes = [tuple(variable.shape) for variable in self.variables]
        given = [tuple(getattr(weight, "shape", ())) for weight in weights]
        if shapes != given:
            raise StateError(
                f"`weights` must have the shapes of `{self.name}.variables`, {shapes}, not {given}."
            )
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)


def check_number(optimizer: Any, variables: Sequence[Any]) -> None:
    """Refuse values of more or fewer variables than the optimizer was built with.

    Raises:
        StateError: there are more or fewer.
    """
    built = len(optimizer._trainable_variables) if optimizer.built else len(variables)
    if len(variables) != built:
        raise StateError(
            f"`{optimizer.name}` was built with {built} trainable variables, and gets "
            f"{len(variables)}. A new set of variables needs a new optimizer: give `compile()` one."
        )


# The class is known by its package: R registers its methods for `kerasgd.SGD`, and a file names
# the same module on every backend (13.2).
SGD.__module__ = "kerasgd"
