"""Checks of contract 14: groups of variables with their own settings."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from kerasgd.conformance.checks import (
    Comparisons,
    check,
    close,
    equal,
    refused,
    same_bits,
)
from kerasgd.conformance.files import saved_and_loaded, unchanged
from kerasgd.conformance.learning_rate import HALVING_SCHEDULE
from kerasgd.conformance.subjects import Subject
from kerasgd.conformance.training import (
    APPLY,
    Group,
    Problem,
    Rate,
    agree,
    all_ways,
    compiled,
    fit,
    fit_options,
    follows_reference,
    optimizer_for,
    output_as_loss,
    random_problem,
    reference_of,
    reference_run,
    scalar,
    synchronise,
    tensor,
    values,
    variables_of,
)
from kerasgd.conformance.weight_decay import decayed, halving
from kerasgd.reference import Schedule

THREE_SHAPES = ((3,), (2, 2), (2,))


def only_at_odd_updates() -> Any:
    """A schedule with the factors 1, 0, 1."""
    return keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [1.0, 0.0, 1.0])


FROZEN_AT_TIMES = Rate(only_at_odd_updates, lambda: Schedule(lambda t: float(t != 1)))


# Selections ------------------------------------------------------------------------------------


def dense(name: str) -> Any:
    """A layer with one weight of 1."""
    return keras.layers.Dense(1, name=name, use_bias=False, kernel_initializer="ones")


def nested_model() -> Any:
    """A model with the layers `first` and `second` in a nested model, and `head` after it."""
    base = keras.Sequential([keras.Input((1,)), dense("first"), dense("second")], name="base")
    return keras.Sequential([keras.Input((1,)), base, dense("head")])


def selections(model: Any) -> dict[str, tuple[Any, list[float]]]:
    """Selections from `nested_model()`, and the weights after a step with a factor of 1/2."""
    base = model.layers[0]
    return {
        "a layer": (base.layers[0], [0.5, 0.0, 0.0]),
        "a model": (base, [0.5, 0.5, 0.0]),
        "a pattern": ("first/kern.l", [0.5, 0.0, 0.0]),
        "patterns": (["^.*first", "head/"], [0.5, 0.0, 0.5]),
        "a list": (base.trainable_variables[1:], [0.0, 0.5, 0.0]),
        "a predicate": (lambda variable: "first" not in variable.path, [0.0, 0.5, 0.5]),
    }


def apply_ones(optimizer: Any, variables: Sequence[Any]) -> list[float]:
    """The weights, which have one element each, after a step with gradients of 1."""
    optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    return [float(weights.item()) for weights in values(variables)]


@check("14.1")
def every_kind_of_selection(subject: Subject) -> Comparisons:
    """A rate of 1 and a gradient of 1 take weights from 1 to 0; half the rate takes them to 1/2."""
    for kind in selections(nested_model()):
        keras.utils.clear_session(free_memory=False)
        model = nested_model()
        select, expected = selections(model)[kind]
        optimizer = subject(learning_rate=1.0).set_group(select, learning_rate_factor=0.5)
        yield close(kind, expected, apply_ones(optimizer, model.trainable_variables))


@check("14.1")
def predicate_is_called_once(subject: Subject) -> Comparisons:
    """The predicate is called once for each variable, when the optimizer is built."""
    called: list[str] = []

    def noted(variable: Any) -> bool:
        called.append(variable.path)
        return True

    optimizer = subject().set_group(noted, learning_rate_factor=0.5)
    yield equal("before build()", [], called)
    variables = variables_of(Problem([[0.0], [0.0]], []))
    for _ in range(2):
        apply_ones(optimizer, variables)
    yield equal("after two steps", ["w0", "w1"], called)


@check("14.1")
def layers_are_excluded(subject: Subject) -> Comparisons:
    """`exclude_from_weight_decay()` takes a layer or a model too."""
    for kind, expected in (("layer", [1.0, 0.5, 0.5]), ("model", [1.0, 1.0, 0.5])):
        model = nested_model()
        base = model.layers[0]
        optimizer = halving(subject)
        optimizer.exclude_from_weight_decay(base if kind == "model" else base.layers[0])
        yield close(kind, expected, decayed(optimizer, model.trainable_variables))


@check("14.6")
def nothing_selected(subject: Subject) -> Comparisons:
    """The error quotes the selection and three paths; the optimizer is not built."""
    other = dense("elsewhere")
    other.build((None, 1))
    for quoted, select in {
        "nowhere": ["w0", "nowhere"],
        "elsewhere": other,
        "elsewhere/kernel": list(other.trainable_variables),
    }.items():
        optimizer = subject().set_group(select, learning_rate_factor=0.5)
        variables = variables_of(Problem([[0.0]] * 4, []))
        before = len(optimizer.variables)
        for naming in (quoted, "w0", "w1", "w2"):
            where = f"build() with {quoted}"
            yield refused(where, partial(optimizer.build, variables), naming)
        yield equal(f"{quoted}, built", False, optimizer.built)
        yield equal(f"{quoted}, variables of the optimizer", before, len(optimizer.variables))


@check("14.6")
def too_late(subject: Subject) -> Comparisons:
    """A group cannot be set after the optimizer is built."""
    optimizer = subject()
    optimizer.build(variables_of(scalar(0.0, [])))
    yield refused("built", partial(optimizer.set_group, "w0", momentum=0.5), "set_group")


# Settings --------------------------------------------------------------------------------------

# The values that each setting accepts, and those that it refuses.
SETTINGS: dict[str, tuple[list[Any], list[Any]]] = {
    "learning_rate_factor": ([0, 0.5, 2], [-1, np.nan, np.inf, None, True, "1", [1.0]]),
    "momentum": ([0, 0.5], [-0.1, np.nan, np.inf, None, True, "1"]),
    "weight_decay": ([None, 0, 0.5], [-1, np.nan, np.inf, True, "1"]),
}
OTHER_SETTINGS: dict[str, Any] = {
    "learning_rate": 0.1,
    "nesterov": True,
    "clipnorm": 1.0,
    "use_ema": True,
    "gradient_accumulation_steps": 2,
}


@check("14.2")
def settings_are_checked(subject: Subject) -> Comparisons:
    """The rules of the arguments apply; other settings, and a group without one, are refused."""
    for setting, (good, bad) in SETTINGS.items():
        for given in good:
            optimizer = subject()
            yield equal(
                f"set_group({setting}={given}) returns the optimizer",
                True,
                optimizer.set_group("w0", **{setting: given}) is optimizer,
            )
        for given in bad:
            call = partial(subject().set_group, "w0", **{setting: given})
            yield refused(f"{setting}={given!r}", call, setting)
    for setting, given in OTHER_SETTINGS.items():
        call = partial(subject().set_group, "w0", **{setting: given})
        yield refused(f"set_group({setting}={given})", call, setting)
    yield refused("no setting", partial(subject().set_group, "w0"), "learning_rate_factor")


@check("14.2")
def none_is_no_decay(subject: Subject) -> Comparisons:
    """`weight_decay=None` and 0 both switch decay off for the variables of the group."""
    for decay in (None, 0):
        optimizer = halving(subject).set_group("w1", weight_decay=decay)
        variables = variables_of(Problem([[1.0], [1.0]], []))
        yield close(f"weight_decay={decay}", [0.5, 1.0], decayed(optimizer, variables))


@check("14.3")
def settings_of_their_own(subject: Subject) -> Comparisons:
    """Groups with other rates, momenta and decays follow the reference."""
    groups = [
        Group((0,), {"learning_rate_factor": 0.5, "momentum": 0.75}),
        Group((1,), {"learning_rate_factor": 2.0, "momentum": 0.0, "weight_decay": 0.5}),
    ]
    yield from follows_reference(
        subject,
        random_problem(steps=6, shapes=THREE_SHAPES, non_negative=(1,), groups=groups),
        learning_rate=0.125,
        momentum=0.5,
        nesterov=True,
        weight_decay=0.25,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=2,
    )


@check("14.3")
def rates_of_all_groups(subject: Subject) -> Comparisons:
    """The optimizer's schedule acts on every group, and a group's factor may be a schedule too."""
    groups = [
        Group((0,), {"learning_rate_factor": 0.5}),
        Group((1,), {"learning_rate_factor": HALVING_SCHEDULE}),
    ]
    yield from follows_reference(
        subject,
        random_problem(steps=4, shapes=THREE_SHAPES, groups=groups),
        learning_rate=HALVING_SCHEDULE,
        gradient_accumulation_steps=2,
    )


@check("14.3")
def another_rate(subject: Subject) -> Comparisons:
    """`optimizer.learning_rate = 0.5` acts on all groups, also in a compiled `fit()`."""
    problem = Problem([[0.0], [0.0]], [[[1.0], [1.0]]])
    for name, options in fit_options().items():
        optimizer = subject(learning_rate=1.0).set_group("w1", learning_rate_factor=0.5)
        model = compiled(optimizer, problem, **options)
        fit(model, problem)
        model.optimizer.learning_rate = 0.5
        fit(model, problem)
        weights = np.ravel(values(model.trainable_variables))
        yield close(name, [-1.5, -0.75], weights)


@check("14.3")
def frozen(subject: Subject) -> Comparisons:
    """No decay, constraint or average changes a single bit; the other variables are trained."""
    weights = [[-1 / 3, 0.1], [1.0]]
    problem = Problem(weights, [[[1.0, 2.0], [1.0]]] * 3, non_negative=(0,))
    for way in all_ways():
        optimizer = subject(
            learning_rate=0.5,
            momentum=0.5,
            weight_decay=0.5,
            use_ema=True,
            ema_momentum=0.5,
            ema_overwrite_frequency=1,
        )
        run = way.train(optimizer.set_group("w0", learning_rate_factor=0), problem)
        for step, [actual, _] in enumerate([*run.weights, run.final]):
            where = f"{way.name}, after {step + 1} steps" if step < 3 else f"{way.name}, in the end"
            yield same_bits(where, np.asarray(weights[0], "float32"), actual)
        yield equal(f"{way.name}, the other moves", True, bool(run.final[1][0] < 1.0))


@check("14.3")
def frozen_at_times(subject: Subject) -> Comparisons:
    """With a schedule that is 0 at the second update, the velocity is unchanged too."""
    groups = [Group((1,), {"learning_rate_factor": FROZEN_AT_TIMES})]
    yield from follows_reference(
        subject,
        random_problem(steps=3, shapes=THREE_SHAPES, groups=groups),
        learning_rate=0.25,
        momentum=0.5,
        weight_decay=0.5,
    )


@check("14.4")
def several_groups(subject: Subject) -> Comparisons:
    """The second group changes the decay of variable 1, and keeps its factor."""
    groups = [
        Group((0, 1), {"learning_rate_factor": 0.5, "weight_decay": 0.5}),
        Group((1, 2), {"weight_decay": 0.0, "momentum": 0.75}),
    ]
    yield from follows_reference(
        subject,
        random_problem(steps=4, shapes=THREE_SHAPES, groups=groups),
        learning_rate=0.25,
        momentum=0.25,
    )


@check("14.4")
def exclusions_win(subject: Subject) -> Comparisons:
    """Exclusions win in either order of the calls."""
    for order in ("group first", "exclusion first"):
        optimizer = halving(subject)
        calls = [
            partial(optimizer.set_group, "w", weight_decay=0.25),
            partial(optimizer.exclude_from_weight_decay, var_names=["w0"]),
        ]
        for call in calls if order == "group first" else calls[::-1]:
            call()
        variables = variables_of(Problem([[1.0], [1.0]], []))
        yield close(order, [1.0, 0.75], decayed(optimizer, variables))


@check("14.5")
def clips_act_first(subject: Subject) -> Comparisons:
    """The global norm includes the gradients of all groups, also of frozen ones."""
    groups = [
        Group((0,), {"learning_rate_factor": 0.0}),
        Group((1,), {"learning_rate_factor": 4.0}),
    ]
    problem = random_problem(steps=3, shapes=THREE_SHAPES, groups=groups)
    for clip, ways in (("global_clipnorm", all_ways()), ("clipnorm", [APPLY])):
        arguments: dict[str, Any] = {"learning_rate": 0.25, clip: 1.0}
        yield from follows_reference(subject, problem, ways, **arguments)


# Factors that change ---------------------------------------------------------------------------

FACTORS = [1.0, 0.5, 0.0, 0.0, 2.0]
# One variable without a group, and one in the group whose factor changes.
UNFREEZING = random_problem(
    steps=len(FACTORS), shapes=((2,), (3,)), groups=[Group((1,), {"learning_rate_factor": 1.0})]
)
UNFREEZING_ARGUMENTS = {"learning_rate": 0.25, "momentum": 0.5, "weight_decay": 0.25}

SetFactor = Callable[[Any, float], object]


def by_number(optimizer: Any, factor: float) -> None:
    """Set the factor by the number of the group."""
    optimizer.set_learning_rate_factor(0, factor)


def by_pattern(optimizer: Any, factor: float) -> None:
    """Set the factor by the pattern that selected the group."""
    optimizer.set_learning_rate_factor(UNFREEZING.groups[0].pattern, factor)


def by_attribute(optimizer: Any, factor: float) -> None:
    """Set the factor as an attribute of the group."""
    optimizer.groups[0].learning_rate_factor = factor


class ChangeFactor(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets a factor before each batch, and records the weights after it."""

    def __init__(self, set_factor: SetFactor) -> None:
        super().__init__()
        self.set_factor = set_factor
        self.weights: list[list[Any]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the factor."""
        synchronise(self.model)
        self.set_factor(self.model.optimizer, FACTORS[batch])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the weights."""
        synchronise(self.model)
        self.weights.append(values(self.model.trainable_variables))


def weights_with_changing_factor() -> list[list[Any]]:
    """The weights of the reference after each step."""
    sgd = reference_of(UNFREEZING, UNFREEZING_ARGUMENTS)
    history = []
    for factor, gradients in zip(FACTORS, UNFREEZING.gradients, strict=True):
        sgd.set_learning_rate_factor(0, factor)
        history.append(sgd.step(gradients))
    return history


def _same_history(where: str, expected: Sequence[Any], actual: Sequence[Any]) -> Comparisons:
    for step, weights in enumerate(zip(expected, actual, strict=True)):
        one, other = (np.concatenate([np.ravel(w) for w in each]) for each in weights)
        yield close(f"{where}, step {step + 1}", one, other)


@check("14.7")
def factor_changes_in_apply(subject: Subject) -> Comparisons:
    """Each factor acts at the next step."""
    expected = weights_with_changing_factor()
    for set_factor in (by_number, by_pattern, by_attribute):
        variables = variables_of(UNFREEZING)
        optimizer = optimizer_for(UNFREEZING, subject, UNFREEZING_ARGUMENTS)
        history = []
        for factor, gradients in zip(FACTORS, UNFREEZING.gradients, strict=True):
            set_factor(optimizer, factor)
            optimizer.apply([tensor(gradient) for gradient in gradients], variables)
            history.append(values(variables))
        yield from _same_history(f"apply(), {set_factor.__name__}", expected, history)


@check("14.7")
def factor_changes_in_fit(subject: Subject) -> Comparisons:
    """A callback sets the factor before each batch of one compiled `fit()`."""
    expected = weights_with_changing_factor()
    for name, options in fit_options().items():
        optimizer = optimizer_for(UNFREEZING, subject, UNFREEZING_ARGUMENTS)
        model = compiled(optimizer, UNFREEZING, **options)
        callback = ChangeFactor(by_number)
        fit(model, UNFREEZING, [callback])
        yield from _same_history(name, expected, callback.weights)


@check("14.7")
def groups_that_there_are_not(subject: Subject) -> Comparisons:
    """A wrong number or pattern, or a bad factor, is refused and changes nothing."""
    optimizer = subject().set_group("w1", learning_rate_factor=0.5)
    for group in (1, -1, "nowhere"):
        call = partial(optimizer.set_learning_rate_factor, group, 1.0)
        yield refused(f"group {group!r}", call, str(group))
    for factor in (-1, np.nan, "1"):
        call = partial(optimizer.set_learning_rate_factor, 0, factor)
        yield refused(f"factor {factor!r}", call, "factor")
    yield equal("factor", 0.5, optimizer.groups[0].learning_rate_factor)


# Files -----------------------------------------------------------------------------------------

SAVED_GROUPS = [
    Group((0,), {"learning_rate_factor": 0.5, "momentum": 0.75}),
    Group((1,), {"learning_rate_factor": HALVING_SCHEDULE, "weight_decay": 0.5}),
]


@check("14.8")
def groups_from_a_file(subject: Subject) -> Comparisons:
    """A model saved with a changed factor continues like one that was not saved."""
    whole = random_problem(steps=4, shapes=THREE_SHAPES, groups=SAVED_GROUPS)
    parts = [Problem(whole.weights, whole.gradients[i : i + 2]) for i in (0, 2)]
    arguments = {"learning_rate": 0.25, "momentum": 0.25}
    outcomes = []
    for between in (unchanged, saved_and_loaded):
        keras.utils.clear_session(free_memory=False)
        model = compiled(optimizer_for(whole, subject, arguments), whole)
        fit(model, parts[0])
        model.optimizer.set_learning_rate_factor(0, 2.0)
        model = between(model)
        groups = model.optimizer.groups
        yield equal(f"groups, {between.__name__}", len(SAVED_GROUPS), len(groups))
        yield equal(f"factor, {between.__name__}", 2.0, groups[0].learning_rate_factor)
        fit(model, parts[1])
        outcomes.append(values(model.trainable_variables))
    for i, (expected, actual) in enumerate(zip(*outcomes, strict=True)):
        yield same_bits(f"w{i}", expected, actual)


def through_config(optimizer: Any) -> Any:
    """The optimizer after a round trip through its configuration."""
    return type(optimizer).from_config(optimizer.get_config())


def through_pickle(optimizer: Any) -> Any:
    """The optimizer after a round trip through a pickle."""
    return pickle.loads(pickle.dumps(optimizer))


@check("14.8")
def groups_in_config_and_pickle(subject: Subject) -> Comparisons:
    """An unbuilt optimizer is copied; the copy then trains like the reference."""
    problem = random_problem(steps=3, shapes=THREE_SHAPES, groups=SAVED_GROUPS)
    arguments = {"learning_rate": 0.25, "momentum": 0.25}
    expected = reference_run(problem, **arguments)
    for through in (through_config, through_pickle, copy.deepcopy):
        run = APPLY.train(through(optimizer_for(problem, subject, arguments)), problem)
        yield from agree(through.__name__, expected, run)


@check("14.8")
def groups_of_objects(subject: Subject) -> Comparisons:
    """A predicate can be saved only after it has selected variables; `deepcopy` keeps it."""

    def is_w1(variable: Any) -> bool:
        return bool(variable.path == "w1")

    optimizer = subject(learning_rate=1.0).set_group(is_w1, learning_rate_factor=0.5)
    yield refused("pickle, not built", partial(pickle.dumps, optimizer), "function")
    copied = copy.deepcopy(optimizer)
    variables = variables_of(Problem([[1.0], [1.0]], []))
    yield close("deepcopy", [0.0, 0.5], apply_ones(copied, variables))
    optimizer.build(variables_of(Problem([[1.0], [1.0]], [])))
    variables = variables_of(Problem([[1.0], [1.0]], []))
    yield close("pickle, built", [0.0, 0.5], apply_ones(through_pickle(optimizer), variables))


# Exclusion by rank -----------------------------------------------------------------------------


def normalised_model() -> Any:
    """A model with a kernel, a bias, and the scale and shift of a normalisation; all are 1."""
    return keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones"),
            keras.layers.LayerNormalization(beta_initializer="ones"),
        ]
    )


@check("14.11")
def excluded_by_rank(subject: Subject) -> Comparisons:
    """Only the kernel decays, also after saving and loading."""
    expected = [0.5, 1.0, 1.0, 1.0]
    for through in (unchanged, through_config):
        optimizer = halving(subject)
        optimizer.exclude_from_weight_decay(rank_below=2)
        variables = normalised_model().trainable_variables
        yield close(through.__name__, expected, decayed(through(optimizer), variables))
    model = normalised_model()
    optimizer = halving(subject)
    optimizer.exclude_from_weight_decay(rank_below=2)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss=output_as_loss)
    loaded = saved_and_loaded(model)
    outcome = decayed(loaded.optimizer, loaded.trainable_variables)
    yield close(".keras file", expected, outcome)


@check("14.11")
def ranks_are_checked(subject: Subject) -> Comparisons:
    """A rank is a whole number >= 1."""
    for rank in (0, -1, 1.5, True, "2"):
        call = partial(subject().exclude_from_weight_decay, rank_below=rank)
        yield refused(f"rank_below={rank!r}", call, "rank_below")
    optimizer = halving(subject)
    optimizer.exclude_from_weight_decay(rank_below=1)
    variables = variables_of(Problem([1.0, [1.0]], []))
    yield close("rank_below=1", [1.0, 0.5], decayed(optimizer, variables))
