"""The Keras class: constructor, build, configuration, and the methods that training calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from kerasgd import (
    alignment,
    arguments,
    attributes,
    backends,
    building,
    configuration,
    ema,
    gradients,
    selection,
    subclasses,
    update,
    watching,
)
from kerasgd import groups as groups_of_variables
from kerasgd.current_rate import CurrentRate
from kerasgd.errors import KerasgdWarning, StateError, in_words
from kerasgd.files import rates, roles
from kerasgd.files import state as saved_state
from kerasgd.keras_internals import no_automatic_dependency_tracking
from kerasgd.selection import EXCLUDE, Selection
from kerasgd.settings import GroupSettings, Settings
from kerasgd.state import DynamicScale, ParameterState, Rates, State, Tensor, Updates
from kerasgd.variables import checked_list

# The arguments that are plain attributes, which are checked when they are set.
CHECKED = {
    argument: rule_of
    for argument, rule_of in arguments.RULES.items()
    if argument not in {"learning_rate", "loss_scale_factor"}
}


@keras.saving.register_keras_serializable(package="kerasgd", name="SGD")
class SGD(keras.optimizers.SGD):  # type: ignore[misc]
    """Stochastic gradient descent, optionally with momentum; a `keras.optimizers.SGD`.

    With the gradient `g` of the weights `w`::

        w <- w - learning_rate * g                              (momentum = 0)

        velocity <- momentum * velocity - learning_rate * g     (momentum > 0)
        w        <- w + velocity                                (without nesterov)
        w        <- w + momentum * velocity - learning_rate * g (with nesterov)

    `velocity` has the shape of `w` and starts at 0. A *step* is one call that passes gradients to
    the optimizer, such as one batch of `fit()`. An *update* is a step that changes the weights:
    every step, or with `gradient_accumulation_steps = n` the last step of each *accumulation
    window* of n steps.

    Args:
        learning_rate: a finite number >= 0; a `keras.optimizers.schedules.LearningRateSchedule`,
            which is called with the number of steps so far; or a function without arguments, which
            is called once per step.
        momentum: a finite number >= 0.
        nesterov: whether to use Nesterov's rule above (Sutskever et al. 2013).
        weight_decay: a number >= 0 or None: ``w <- w - learning_rate * weight_decay * w`` before
            each update (decoupled, Loshchilov & Hutter 2019).
        clipnorm: a number > 0 or None: the maximum L2 norm of each variable's gradient
            (Pascanu et al. 2013).
        clipvalue: a number > 0 or None: each element of a gradient is clipped to
            [-clipvalue, clipvalue].
        global_clipnorm: a number > 0 or None: the maximum L2 norm of all gradients together. At
            most one of the three clips can be set.
        use_ema: whether to keep an exponential moving average of the weights (Polyak & Juditsky
            1992): ``average <- ema_momentum * average + (1 - ema_momentum) * w`` after each update.
            Callbacks see the weights, not the averages. To use the averages in `ModelCheckpoint` or
            in an `EarlyStopping` that restores the best weights, put Keras'
            `SwapEMAWeights(swap_on_epoch=True)` before them.
        ema_momentum: a number from 0 to 1.
        ema_overwrite_frequency: a whole number f >= 1 or None: the averages overwrite the weights
            after every f-th update; with None, only when `fit()` ends or
            `finalize_variable_values()` is called.
        name: a non-empty string without "/".
        loss_scale_factor: a number > 0 or None: `scale_loss()` multiplies the loss by it, and each
            step divides the gradients by it.
        gradient_accumulation_steps: a whole number n >= 1 or None: the weights change only at every
            n-th step, by the mean of the n gradients. Learning-rate schedules count steps, the
            moving average counts updates.
        **kwargs: further arguments of the installed `keras.optimizers.SGD`.

    Raises:
        ArgumentTypeError, ArgumentValueError: an argument is invalid; the error names it.
        UnknownArgumentError: there is no argument of this name; the error suggests the closest one.

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

    # Declared by the base class, which has no types.
    built: bool
    _learning_rate: Any

    # The velocities, under Keras' name; empty before `build()`.
    momentums: Sequence[Any] = ()

    _skips_nonfinite = False
    # One update in this many is measured; None for none.
    _statistics_every: int | None = None
    _statistics_per_variable = False
    _groups: tuple[groups_of_variables.Group, ...] = ()
    _state: State | None = None
    _settings: Settings | None = None
    # A copy of the averages, while weights and averages are swapped.
    _swapped: list[Any] | None = None
    # State from a pickle or a file, until the variables are known.
    _pending: saved_state.Pending | None = None
    _pending_weights: list[Any] | None = None
    # The restored state of a subclass, for variables that it adds later.
    _restored_own: Any = None

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
        arguments.check_not_called_by_keras(type(self))
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
        super().__init__(
            learning_rate=rate if isinstance(rate, float) else 0.0, name=settings["name"], **beyond
        )
        self.backend = backends.current()
        self._rate = CurrentRate(self, self._learning_rate)
        self._exclusions = Selection(EXCLUDE)
        # Descriptions of the state that was left out when a file was loaded.
        self._left_out: list[str] = []
        # The variables of a subclass.
        self._own = subclasses.OwnVariables()
        for argument, value in settings.items():
            setattr(self, argument, value)
        self._rate.set(rate)
        self._constructed = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        subclasses.check_hooks(cls, SGD)

    def __setattr__(self, name: str, value: Any) -> None:
        attributes.check_can_be_set(self, name)
        if name in CHECKED:
            value = attributes.checked(self, name, value, CHECKED)
        elif type(self) is SGD:
            attributes.check_known(self, name, value, arguments.RULES)
        super().__setattr__(name, value)

    # -- variables ---------------------------------------------------------------------------

    @no_automatic_dependency_tracking  # type: ignore[untyped-decorator]
    def build(self, variables: Iterable[Any]) -> None:
        """Create the state for these trainable variables; a second call changes nothing.

        An empty list builds nothing: Keras passes one for a model whose variables are all frozen.
        """
        if self.built:
            return
        variables = checked_list(variables, "variables", "a list of variables")
        if not variables:
            self._own.mark()
            return
        for variable in self._own.pop_since_mark():  # the subclass will add them again
            self._untrack_variable(variable)
        saved_state.check_pending(self, variables)
        self._state, self._settings = building.build(self, variables)
        self._trainable_variables = variables
        self._trainable_variables_indices = {
            self._var_key(variable): i for i, variable in enumerate(variables)
        }
        velocities = [parameter.velocity for parameter in self._state.parameters]
        self.momentums = velocities if any(v is not None for v in velocities) else []
        self.built = True
        # `fit()` may be tracing its step, where an assignment would run at every step.
        with self.backend.colocated_with(self, self._iterations):
            saved_state.restore_pending(self)
            saved_state.restore_pending_weights(self)

    def _add_numbers(
        self,
        role: str,
        shape: tuple[int, ...] = (),
        dtype: str = "int32",
        initializer: Any = "zeros",
    ) -> Any:
        """Add a state variable that belongs to no trainable variable."""
        with self.backend.colocated_with(self, self._iterations):
            return super().add_variable(
                shape=shape,
                initializer=initializer,
                dtype=dtype,
                name=role,
                aggregation="only_first_replica",
            )

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        """Add a state variable in the `build()` of a subclass; it is saved under its name."""
        variable = super().add_variable(*args, **kwargs)
        self._keep(variable, kwargs.get("name") or variable.name)
        return variable

    def add_variable_from_reference(
        self, reference_variable: Any, name: Any = None, initializer: Any = "zeros"
    ) -> Any:
        """Add a state variable with the shape of another variable, and save it with that one."""
        with self._own.belonging_to(self, reference_variable, name or "var"):
            return super().add_variable_from_reference(
                reference_variable, name=name, initializer=initializer
            )

    def _keep(self, variable: Any, name: str) -> None:
        role = self._own.add(variable, name)
        if self._state is not None:
            self._state = replace(self._state, own=self._own.variables())
            saved_state.restore_late(self, role, variable)

    def state(self) -> State:
        """Everything that a step reads and writes.

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
        """The number of steps per update."""
        return self.gradient_accumulation_steps or 1

    def _own_rule(self) -> Callable[[Any, Any, Any], None] | None:
        """The `update_step()` of a subclass that overrides it, or None for the documented rule."""
        return None if type(self).update_step is SGD.update_step else self.update_step

    @property
    def iterations(self) -> Any:
        """The number of updates so far, including skipped ones.

        After `t` steps this is ``t // gradient_accumulation_steps``. Steps that a dynamic loss
        scale skips do not count.
        """
        return self._iterations if self.window == 1 else self._iterations // self.window

    # -- the step ----------------------------------------------------------------------------

    def apply(self, grads: Iterable[Any], trainable_variables: Iterable[Any] | None = None) -> None:
        """Take one step: update the variables by their gradients.

        Args:
            grads: for each variable, a gradient of its shape, or None. An empty list changes
                nothing.
            trainable_variables: the variables; None means those of `build()`. The first call
                builds the optimizer.

        Raises:
            ArgumentTypeError: an argument is not a list, or the two are in the wrong order.
            ArgumentValueError: all gradients are None, or the number or a shape does not fit.
            StateError: a variable is not among those that the optimizer was built with.
        """
        self.step(grads, trainable_variables)

    @backends.without_graph
    def step(
        self,
        grads: Iterable[Any],
        trainable_variables: Iterable[Any] | None,
        dynamic_scale: DynamicScale | None = None,
    ) -> None:
        """Like `apply()`; `dynamic_scale`, if given, is the scale that multiplied the loss."""
        if dynamic_scale is None and self._repeated(grads, trainable_variables):
            return
        grads = gradients.listed_gradients(grads, trainable_variables)
        if grads:
            ema.check_not_swapped(self)
            aligned = alignment.aligned(self, grads, trainable_variables)
            state = self.state()
            if dynamic_scale is not None:
                state = replace(state, dynamic_scale=dynamic_scale)
            assert self._settings is not None  # the optimizer is built by now
            step = self.backend.without_autograph(update.step)
            step(self._settings, self.backend, state, aligned, self._rates_of_this_step)

    def _repeated(self, grads: Any, trainable_variables: Any) -> bool:
        """Repeat the previous step with new gradients if the backend can; return whether it did."""
        if self._state is None or self._settings is None or self._swapped is not None:
            return False
        # A rate function may change anything, even what the backend has already checked.
        return not self._rate.is_function() and self.backend.repeat(
            self._state, self._settings, grads, trainable_variables, self._rates_of_this_step
        )

    def stateless_apply(
        self, optimizer_variables: Any, grads: Any, trainable_variables: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """`apply()` without side effects: return the new values of the variables and of the state.

        Args:
            optimizer_variables: the values of the optimizer's `variables`.
            grads: for each variable, a gradient or None.
            trainable_variables: the values of the variables of `build()`.

        Raises:
            StateError: the optimizer was built with another number of variables.
        """
        if not (self.built or trainable_variables):
            return [], list(optimizer_variables)
        alignment.check_number(self, trainable_variables)
        alignment.check_is_traced_model(self)
        return super().stateless_apply(  # type: ignore[no-any-return]
            optimizer_variables, grads, trainable_variables
        )

    def settings_of(self, parameter: ParameterState) -> GroupSettings:
        """The momentum, decay and factor of a variable's group."""
        assert self._settings is not None  # there are parameters once the optimizer is built
        return self._settings.groups[parameter.group]

    def parameter_of(self, variable: Any) -> ParameterState | None:
        """The state of this variable, or None if it is not among those of `build()`."""
        index = self._trainable_variables_indices.get(self._var_key(variable))
        return None if index is None else self.state().parameters[index]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Apply the update rule to one variable; a subclass may override it with its own rule.

        Everything else happens outside this method. Before it, the step unscales, accumulates and
        clips the gradient and decays the weights; after it, the step applies constraints and
        averages the weights.

        Args:
            gradient: the gradient of the update, with the variable's shape.
            variable: the weights.
            learning_rate: the rate of this step, a number or a scalar tensor.
        """
        kept = self.state().parameters[alignment.index_of(self, variable)]
        backend = self.backend.of_this_trace()
        parameter = backend.parameter_in_step(kept, variable)
        ready = backend.prepare_gradients([gradient], [parameter], lambda parameter: False)
        momentum = self.settings_of(parameter).momentum
        backend.apply_rule(Updates([parameter], ready, 1.0), learning_rate, momentum, self.nesterov)

    # -- the learning rate -------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next step.

        If the rate is a function, this is its last value; before the first step, reading it calls
        the function.

        It can be set to a number, which takes effect at once. It can also be set to a schedule or a
        function, unless a training step that is already compiled would ignore it.

        Raises:
            StateError: the new rate would have no effect: a compiled step would keep the old one,
                or `fit()` is running on JAX and would lose it.
        """
        return self._rate.of_next_step()

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        self._rate.replace(rate)

    def _rates_of_this_step(self) -> Rates:
        """The rate of the current step, and the factors of the groups."""
        rate = self._rate.of_this_step()
        if not self.groups:
            return Rates(rate)
        step, is_eager = self._iterations, self.backend.is_eager()
        groups = groups_of_variables.with_factor(self.groups)
        return Rates(rate, tuple(group.factor_at(step, is_eager) for group in groups))

    # -- loss scale --------------------------------------------------------------------------

    @property
    def loss_scale_factor(self) -> float | None:
        """The factor by which `scale_loss()` multiplies the loss."""
        return self._loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: Any) -> None:
        before = getattr(self, "_loss_scale_factor", None)
        self._loss_scale_factor: float | None = arguments.check(  # type: ignore[assignment]
            "loss_scale_factor", factor
        )
        if self._settings is not None:
            new = self._loss_scale_factor or 1.0
            self._settings = replace(self._settings, loss_scale_factor=new)
        if before is not None and factor is None:
            warnings.warn(
                f"`loss_scale_factor = {before:g}` no longer applies: a dynamic loss scale has "
                "replaced it. If you wrap the optimizer yourself, leave the factor out. If "
                "`compile()` wraps it, as it does under the policy mixed_float16, either call "
                "`compile()` with `auto_scale_loss` off, which keeps the factor, or wrap the "
                "optimizer in kerasgd's `LossScaleOptimizer` (`optimizer_loss_scale()` in R), "
                "which is also right on several devices.",
                KerasgdWarning,
                stacklevel=4,
            )

    # -- weight decay and averages -------------------------------------------------------------

    def exclude_from_weight_decay(
        self, var_list: Any = None, var_names: Any = None, rank_below: Any = None
    ) -> None:
        """Exclude variables from weight decay; a second call replaces the first.

        Args:
            var_list: a list of variables, or a layer or model for its trainable variables.
            var_names: a list of regular expressions, searched in each variable's path.
            rank_below: a whole number >= 1: variables with fewer dimensions are excluded. With 2
                these are scalars and vectors, such as biases and the scales of normalisation.

        Raises:
            StateError: the optimizer is already built.
            ArgumentError: an argument is invalid.
        """
        self._check_not_built("exclude_from_weight_decay()")
        rank: Any = arguments.check("rank_below", rank_below, arguments.RANK_BELOW)
        self._exclusions = selection.for_exclusion(var_list, var_names, rank)

    def set_group(self, select: Any, **settings: Any) -> SGD:
        """Give variables their own learning-rate factor, momentum or weight decay.

        At each step, the rate of a variable is ``learning_rate * learning_rate_factor``. With a
        factor of 0, the variable and its velocity do not change. A variable may be in several
        groups: each setting comes from the last group that sets it. Clipping comes first and
        ignores groups.

        Args:
            select: a layer or a model, for its trainable variables; one or more regular
                expressions, searched in each variable's path; a list of variables; or a function
                that returns True or False, which `build()` calls once with each variable.
            **settings: at least one of `learning_rate_factor`, a finite number >= 0 or a
                learning-rate schedule, which is called with the number of steps so far; `momentum`,
                a finite number >= 0; and `weight_decay`, a finite number >= 0 or None for no decay.

        Returns:
            The optimizer, so that calls can be chained.

        Raises:
            StateError: the optimizer is already built.
            ArgumentError: an argument is invalid, or not a setting of a group. Later, `build()`
                raises it if the group has no variables.

        Example:
            >>> import keras, kerasgd
            >>> base, head = keras.Variable([1.0], name="base"), keras.Variable([1.0], name="head")
            >>> optimizer = kerasgd.SGD(0.5).set_group("base", learning_rate_factor=0.5)
            >>> optimizer.apply([keras.ops.ones(1), keras.ops.ones(1)], [base, head])
            >>> float(base.numpy()[0]), float(head.numpy()[0])
            (0.75, 0.5)
        """
        self._check_not_built("set_group()")
        checked = groups_of_variables.checked_settings(settings)
        group = groups_of_variables.Group(self, selection.for_group(select), checked)
        self._groups = (*self._groups, group)
        return self

    @property
    def groups(self) -> tuple[groups_of_variables.Group, ...]:
        """The groups, in the order of the calls of `set_group()`."""
        return self._groups

    def set_learning_rate_factor(self, group: Any, factor: Any) -> None:
        """Change the learning-rate factor of a group, even during training.

        Args:
            group: the number of the group, from 0 in the order of `set_group()`; or the pattern
                that selected it.
            factor: a finite number >= 0, or a learning-rate schedule. A number that replaces a
                number takes effect at once; any other change is refused if a compiled step would
                ignore it.

        Raises:
            ArgumentError: there is no such group, or the factor is invalid.
            StateError: there are no groups, or the new factor would have no effect.
        """
        groups_of_variables.find(self.groups, group).set_factor(factor, "factor")

    # -- watching ------------------------------------------------------------------------------

    def track_statistics(self, per_variable: Any = False, every: Any = 1) -> SGD:
        """Measure updates: the gradient, the effect of clipping and the change of the weights.

        `statistics` has the numbers of the last measured update; `kerasgd.callbacks.Statistics`
        collects them in `fit()`.

        Args:
            per_variable: whether to measure each variable too; True or False.
            every: a whole number n >= 1: every n-th update is measured.

        Returns:
            The optimizer, so that calls can be chained.

        Raises:
            StateError: the optimizer is already built.
            ArgumentError: an argument is invalid.

        Example:
            >>> import keras, kerasgd
            >>> w = keras.Variable([3.0, 4.0])
            >>> optimizer = kerasgd.SGD(0.5, global_clipnorm=1).track_statistics()
            >>> optimizer.apply([keras.ops.convert_to_tensor([0.0, 2.0])], [w])
            >>> statistics = optimizer.statistics
            >>> [statistics[name] for name in ("gradient_norm", "clip_coefficient", "update_ratio")]
            [2.0, 0.5, 0.1]
        """
        self._check_not_built("track_statistics()")
        checked: Any = arguments.check_all(
            {"per_variable": per_variable, "every": every}, arguments.STATISTICS_RULES
        )
        self._statistics_per_variable = checked["per_variable"]
        self._statistics_every = checked["every"]
        return self

    @property
    def statistics(self) -> dict[str, Any] | None:
        """The statistics of the last measured update; None before the first one.

        `learning_rate`; `gradient_norm`, the norm of the gradient before clipping;
        `clip_coefficient`, the norm after clipping divided by `gradient_norm`, 1 for a norm of 0;
        `update_norm`, the norm of the change of the weights; `weight_norm`, the norm of the weights
        before it; `update_ratio`, `update_norm / weight_norm`, 0 for weights of 0; `nonfinite`, the
        number of gradient elements that are NaN or infinite; `loss_scale`; `updates`, the number of
        updates done. All norms are over all variables. With `per_variable` there is also
        `variables`, a list of dicts.

        Raises:
            StateError: `track_statistics()` was not called, or `fit()` is running on JAX; use
                `kerasgd.callbacks.Statistics` there.
        """
        return watching.statistics(self)

    def skip_nonfinite(self) -> SGD:
        """Skip updates whose gradient has a NaN or an infinity.

        A skipped update changes no weight, velocity or average, and begins a new accumulation
        window. The step is still counted, so a learning-rate schedule advances. `skipped` is the
        number of skipped updates, `skipped_in_a_row` the number since the last update that was not
        skipped. `kerasgd.callbacks.StopOnNonfinite` stops `fit()` after such updates.

        Returns:
            The optimizer, so that calls can be chained.

        Raises:
            StateError: the optimizer is already built.

        Example:
            >>> import keras, kerasgd
            >>> w = keras.Variable([1.0])
            >>> optimizer = kerasgd.SGD(0.5).skip_nonfinite()
            >>> for gradient in (float("nan"), 1.0):
            ...     optimizer.apply([keras.ops.convert_to_tensor([gradient])], [w])
            >>> w.numpy().tolist(), optimizer.skipped, optimizer.skipped_in_a_row
            ([0.5], 1, 0)
        """
        self._check_not_built("skip_nonfinite()")
        self._skips_nonfinite = True
        return self

    @property
    def skipped(self) -> int:
        """The number of updates that `skip_nonfinite()` has skipped."""
        return watching.skipped(self)

    @property
    def skipped_in_a_row(self) -> int:
        """The number of updates skipped by `skip_nonfinite()` since the last one that was not."""
        return watching.skipped_in_a_row(self)

    def is_frozen(self, parameter: ParameterState) -> bool:
        """Whether the variable's learning-rate factor was 0 at the last update.

        Before the first update, this is whether it will be 0 at that update. If the factor is a
        number, its current value counts.
        """
        factor_index = self.settings_of(parameter).factor_index
        return groups_of_variables.factor_of_last_update(self, factor_index) == 0

    def _check_not_built(self, method: str) -> None:
        if self.built:
            raise StateError(
                in_words(
                    f"`{self.name}` is already built. Call `{method}` before the first step and "
                    "before `build()`, or on the new optimizer that {update} creates."
                )
            )

    def finalize_variable_values(self, var_list: Iterable[Any] | None = None) -> None:
        """Overwrite the weights with their averages, as `fit()` does when it ends.

        Without `use_ema`, and before the first update, this changes nothing.

        Args:
            var_list: the variables to write; None means all that the optimizer was built with.

        Raises:
            ArgumentTypeError: `var_list` is not a list of variables.
            StateError: none of the variables has an average.
        """
        ema.finalize(self, var_list)

    def swap_ema_weights(self) -> None:
        """Swap the weights and their averages, for evaluation; a second call swaps them back.

        The second call restores both exactly. Without `use_ema`, and before the first update, this
        changes nothing. While they are swapped, the optimizer cannot train or be saved.
        """
        ema.swap(self)

    @property
    def _model_variables_moving_average(self) -> list[Any]:
        """The averages under Keras' name, by which its callback `SwapEMAWeights` finds them."""
        return ema.for_callback(self)

    # -- configuration and state ---------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """All settings, as JSON-compatible values; the inverse of `from_config()`.

        Raises:
            StateError: the learning rate is a function, and Keras is saving a model.
        """
        return configuration.of(self, self._rate.as_argument())

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> SGD:
        """Create an optimizer with the settings that `get_config()` returned."""
        optimizer: SGD = configuration.to_optimizer(cls, config, custom_objects)
        return optimizer

    def check_can_be_saved(self) -> None:
        """Refuse to save settings that a file cannot hold.

        Raises:
            StateError: the learning rate is a function, or a file cannot name a group's variables.
        """
        rates.check_can_be_saved(self._rate.setting)
        groups_of_variables.check_can_be_saved(self.groups)

    def __reduce__(self) -> tuple[Any, ...]:
        self.check_can_be_saved()
        return (type(self).from_config, (self.get_config(),), saved_state.stored(self))

    def __setstate__(self, store: dict[str, Any]) -> None:
        saved_state.load_strictly(self, store)

    def __deepcopy__(self, memo: dict[int, Any]) -> SGD:
        return self.update(keep_state=True)

    def update(self, *, keep_state: bool = False, **changes: Any) -> SGD:
        """Create an optimizer with some settings changed; this one does not change.

        Args:
            keep_state: whether the new optimizer continues from this one's state: the step count,
                velocities, averages and an incomplete accumulation window. It restores them when it
                is built. State that the new settings do not use is left out with a warning.
            **changes: the arguments of `SGD` to change.

        Raises:
            ArgumentError: as from the constructor.

        Example:
            >>> import kerasgd
            >>> kerasgd.SGD(0.1, momentum=0.9).update(learning_rate=0.5).get_config()["momentum"]
            0.9
        """
        new: SGD = configuration.with_changes(self, changes)
        if keep_state:
            state = saved_state.current(self)
            if "learning_rate" in changes:
                state = state.only(lambda role: role not in saved_state.RATE)
            saved_state.hand_over(new, state)
        return new

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Write all state into `store` (see `files/saved.py`).

        Raises:
            StateError: weights and averages are swapped.
        """
        ema.check_not_swapped(self)
        saved_state.save(self, store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restore the state in `store` that fits, with one warning about the rest.

        If the optimizer is not built yet, the state waits for `build()`.

        Raises:
            StateError: the state is damaged. Nothing is changed in that case.
        """
        saved_state.load(self, store)

    def _by_role(self) -> dict[str, Any]:
        """All variables of the state, by the name under which each is saved."""
        return roles.by_role(self)

    def _kinds(self) -> set[str]:
        """The kinds of state that the arguments require for each variable."""
        return roles.kinds(self)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the values of `variables`, in their order.

        Before `build()`, only the step count and the rate are set; `build()` sets the rest, if it
        fits. Keras calls this method for legacy `.h5` files.

        Raises:
            StateError: the number or a shape differs.
        """
        if not self.built:
            saved_state.hold_weights(self, weights)
            return
        shapes = [tuple(variable.shape) for variable in self.variables]
        given = [tuple(getattr(weight, "shape", ())) for weight in weights]
        if shapes != given:
            raise StateError(
                f"`weights` must have the shapes of `{self.name}.variables`, {shapes}, not {given}."
            )
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)
        self._rate.was_loaded()
        for group in self.groups:
            group.was_loaded()


# The class names the package as its module: R registers its methods for `kerasgd.SGD`, and files
# name the same module on every backend (13.2).
SGD.__module__ = "kerasgd"
