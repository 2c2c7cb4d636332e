"""Groups of variables: their settings, factors during training, errors and files (contract 14).

Random groups against the reference are in `test_differential.py`.
"""

import copy
import doctest
import json
import pickle
import re

import keras
import numpy as np
import pytest
from conftest import BACKEND, WAYS_TO_COMPILE, numbers
from watched import WAYS, copies_in, program, step_of

import kerasgd
from kerasgd import groups
from kerasgd.reference import ReferenceGroup, ReferenceSGD

ROWS = np.ones((4, 1), "float32")


def variables(*names, value=1.0):
    return [keras.Variable([value, 2 * value], name=name) for name in names]


def ones(count):
    return [keras.ops.ones(2) for _ in range(count)]


def in_bytes(variable):
    return keras.ops.convert_to_numpy(variable).tobytes()


def model_of_two(optimizer, **options):
    """A base and a head with one weight each, which starts at 0 and has the input as gradient."""

    class Sum(keras.layers.Layer):
        def __init__(self, name):
            super().__init__(name=name)
            self.weight = self.add_weight(shape=(1,), initializer="zeros", name="weight")

        def call(self, x):
            return x[:, :1] * self.weight

    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Add()([Sum("base")(x), Sum("head")(x)]))
    model.compile(optimizer, loss=lambda y, output: output[..., 0], **options)
    return model


def fit(model, steps, **options):
    """The weights of base and head after `steps` steps with gradients of 1."""
    x = np.ones((steps, 1), "float32")
    model.fit(x, x, batch_size=1, shuffle=False, verbose=0, **options)
    return [numbers(v)[0] for v in model.trainable_variables]


def test_doctests():
    result = doctest.testmod(groups)
    assert result.attempted > 0
    assert result.failed == 0


def test_doctest_of_set_group():
    # `module=False`, because the class names another module as its own.
    (example,) = doctest.DocTestFinder().find(kerasgd.SGD.set_group, module=False, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
    assert example.examples


# -- settings (14.2) -------------------------------------------------------------------------------


def test_calls_chain_and_settings_are_kept():
    optimizer = kerasgd.SGD()
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 10)
    assert optimizer.set_group("a", learning_rate_factor=schedule) is optimizer
    optimizer.set_group("b", momentum=1).set_group("c", weight_decay=None)
    assert [group.settings() for group in optimizer.groups] == [
        {"learning_rate_factor": schedule},
        {"momentum": 1.0},
        {"weight_decay": 0.0},
    ]


@pytest.mark.parametrize("name", groups.REASONS)
def test_an_argument_of_the_optimizer_is_no_setting(name):
    with pytest.raises(kerasgd.UnknownArgumentError) as caught:
        kerasgd.SGD().set_group("a", learning_rate_factor=1, **{name: 1})
    assert caught.value.argument == name
    assert str(caught.value) == (
        f"`{name}` is not an argument of `set_group()`. {groups.REASONS[name]}"
    )


def test_every_argument_is_a_setting_or_says_why_not():
    from kerasgd import arguments

    assert set(groups.REASONS) | {"momentum", "weight_decay"} == set(arguments.RULES)


def test_a_misspelt_setting_is_refused_with_a_suggestion():
    with pytest.raises(kerasgd.UnknownArgumentError) as caught:
        kerasgd.SGD().set_group("a", learning_rate_facto=1)
    assert caught.value.suggestion == "learning_rate_factor"


def test_a_group_without_settings_is_refused():
    optimizer = kerasgd.SGD()
    with pytest.raises(kerasgd.ArgumentValueError, match=r"`set_group\(\)` needs at least one of"):
        optimizer.set_group("a")
    assert optimizer.groups == ()


def test_an_incomplete_call_is_an_error_that_can_be_pickled():
    with pytest.raises(kerasgd.ArgumentValueError) as caught:
        kerasgd.SGD().set_group("a")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) != ""


@pytest.mark.parametrize("setting", ["momentum", "weight_decay"])
def test_only_the_factor_of_a_group_can_be_set(setting):
    group = kerasgd.SGD().set_group("a", momentum=0.5, weight_decay=0.5).groups[0]
    with pytest.raises(AttributeError, match=f"`{setting}` of a group cannot be changed"):
        setattr(group, setting, 0.1)
    assert getattr(group, setting) == 0.5


def test_momentum_above_one_warns():  # contract 1.5
    with pytest.warns(kerasgd.KerasgdWarning, match=r"`momentum` is 1.5"):
        kerasgd.SGD().set_group("a", momentum=1.5)


@pytest.mark.parametrize("setting", ["momentum", "weight_decay"])
def test_what_is_fixed_can_only_be_read(setting):
    optimizer = kerasgd.SGD().set_group("a", momentum=0.5, weight_decay=0.5)
    assert getattr(optimizer.groups[0], setting) == 0.5
    with pytest.raises(AttributeError):
        setattr(optimizer.groups[0], setting, 0.25)
    with pytest.raises(AttributeError):
        optimizer.groups[0].factor = 0.25
    with pytest.raises(AttributeError):
        optimizer.groups = ()


def test_groups_are_set_before_the_optimizer_is_built():
    for wrap in (lambda o: o, kerasgd.LossScaleOptimizer):
        optimizer = wrap(kerasgd.SGD())
        optimizer.build(variables("a"))
        with pytest.raises(kerasgd.StateError, match=r"`set_group\(\)` before the first step"):
            optimizer.set_group("a", momentum=0.5)
        assert optimizer.groups == ()


# -- effects (14.3 to 14.5) ------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_group_has_rate_momentum_and_decay_of_its_own(way):
    base, head = trained = variables("base", "head")
    optimizer = kerasgd.SGD(0.5, momentum=0.25, weight_decay=0.5)
    optimizer.set_group("base", learning_rate_factor=0.5, momentum=0.5, weight_decay=1)
    step = step_of(way, optimizer, trained)
    for _ in range(2):
        step(ones(2))
    # base: rate 0.25. 1 - 0.25 - 0.25 = 0.5; 0.5 - 0.125 + (0.5 * -0.25 - 0.25)
    np.testing.assert_allclose(numbers(base)[0], 0.0, atol=1e-7)
    # head: rate 0.5. 1 - 0.25 - 0.5 = 0.25; 0.25 - 0.0625 + (0.25 * -0.5 - 0.5)
    np.testing.assert_allclose(numbers(head)[0], -0.4375, rtol=1e-6)


def test_each_setting_comes_from_the_last_group_that_names_it():  # contract 14.4
    trained = variables("a", "b", "c")
    optimizer = kerasgd.SGD(0.5, weight_decay=0.25)
    optimizer.set_group("a|b", learning_rate_factor=0.5, weight_decay=0.5)
    optimizer.set_group("b|c", learning_rate_factor=0.25)
    optimizer.exclude_from_weight_decay(var_names="c")
    optimizer.build(trained)
    rows = kerasgd.variable_groups(optimizer, trained)
    assert [row["learning_rate_factor"] for row in rows] == [0.5, 0.25, 0.25]
    assert [row["weight_decay"] for row in rows] == [0.5, 0.5, 0.0]
    optimizer.apply([keras.ops.zeros(2)] * 3, trained)
    # w - rate * factor * decay * w
    expected = [1 - 0.5 * 0.5 * 0.5, 1 - 0.5 * 0.25 * 0.5, 1.0]
    assert [numbers(v)[0] for v in trained] == expected


@pytest.mark.parametrize("way", WAYS)
def test_a_global_clip_is_over_all_groups(way):  # contract 14.5
    a, b = trained = [keras.Variable([0.0], name=name) for name in "ab"]
    optimizer = kerasgd.SGD(1.0, global_clipnorm=1.0).set_group("a", learning_rate_factor=0)
    gradients = [keras.ops.convert_to_tensor([g]) for g in (4.0, 3.0)]
    step_of(way, optimizer, trained)(gradients)
    assert numbers(a) == [0.0]  # but its gradient counts in the norm
    np.testing.assert_allclose(numbers(b), [-0.6], rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_factor_of_0_leaves_all_alone_bit_for_bit(way, window, dtype):
    # contract 14.3: decay, rule, constraint, overwriting, finalizing
    trained = [keras.Variable([1.0, 1 / 3], dtype=dtype, name=name) for name in "ab"]
    trained[0].constraint = keras.constraints.NonNeg()
    arguments = {"momentum": 0.5, "weight_decay": 0.1, "use_ema": True, "ema_momentum": 0.5}
    optimizer = kerasgd.SGD(
        0.1, **arguments, ema_overwrite_frequency=2, gradient_accumulation_steps=window
    )
    optimizer.set_group("a", learning_rate_factor=1)
    step = step_of(way, optimizer, trained)

    def update():
        for _ in range(window or 1):
            step([keras.ops.ones(2, dtype), keras.ops.ones(2, dtype)])

    update()
    (a, velocity), (b, _) = [(p.variable, p.velocity) for p in optimizer.state().parameters]
    a.assign([-1.0, -0.0])  # violates the constraint
    optimizer.set_learning_rate_factor("a", 0)
    before, other = (in_bytes(a), in_bytes(velocity)), in_bytes(b)
    for _ in range(2):  # the weights are overwritten at one of them
        update()
    optimizer.finalize_variable_values()
    assert (in_bytes(a), in_bytes(velocity)) == before
    assert in_bytes(b) != other
    optimizer.set_learning_rate_factor("a", 1)
    optimizer.finalize_variable_values()
    assert in_bytes(a) != before[0]


def test_a_constraint_waits_for_a_factor_that_is_not_0():  # contract 14.3
    (w,) = trained = [keras.Variable([-1.0], name="w", constraint=None)]
    w.constraint = keras.constraints.NonNeg()
    optimizer = kerasgd.SGD(0.5).set_group("w", learning_rate_factor=0)
    optimizer.apply([keras.ops.ones(1)], trained)
    assert numbers(w) == [-1.0]
    optimizer.set_learning_rate_factor(0, 1)
    optimizer.apply([keras.ops.ones(1)], trained)
    assert numbers(w) == [0.0]


def test_a_rate_of_0_is_no_factor_of_0():  # contract 14.3
    (w,) = trained = variables("w")
    optimizer = kerasgd.SGD(0.5, momentum=0.5).set_group("w", learning_rate_factor=0.5)
    optimizer.apply(ones(1), trained)
    optimizer.learning_rate = 0
    optimizer.apply(ones(1), trained)
    assert numbers(w)[0] == 1 - 0.25 - 0.125  # the velocity still acts


@pytest.mark.parametrize("way", WAYS)
def test_a_frozen_variable_counts_as_one_without_average_changes(way):
    # contract 14.3, 5.1: averages still follow frozen weights
    (w,) = trained = variables("w")
    optimizer = kerasgd.SGD(0.5, use_ema=True, ema_momentum=0.5)
    optimizer.set_group("w", learning_rate_factor=1)
    step = step_of(way, optimizer, trained)
    step(ones(1))
    step(ones(1))
    optimizer.set_learning_rate_factor(0, 0)
    step(ones(1))
    # weights 0.5, 0, 0: averages 0.5, 0.25, 0.125
    assert numbers(optimizer.state().parameters[0].average)[0] == 0.125
    assert numbers(w)[0] == 0.0


def test_groups_can_be_counted_from_1():
    optimizer = kerasgd.SGD().set_group("a", momentum=0.5).set_group("b", momentum=0.5)
    first, second = optimizer.groups
    assert groups.find(optimizer.groups, 1, first=1) is first
    assert groups.find(optimizer.groups, 2.0, first=1) is second
    with pytest.raises(kerasgd.ArgumentValueError, match=r"\(1 to 2\).* not 0"):
        groups.find(optimizer.groups, 0, first=1)
    with pytest.raises(kerasgd.ArgumentValueError, match=r"\(1 to 2\).* not 3"):
        groups.find(optimizer.groups, 3, first=1)


class Overwritten(keras.Variable):
    overwrite_with_gradient = True


def test_a_factor_of_0_keeps_the_scales_of_float8():  # contract 13.1, 14.3
    scale, w = Overwritten([1.0], name="scale"), keras.Variable([1.0], name="w")
    optimizer = kerasgd.SGD(0.5).set_group("scale", learning_rate_factor=0)
    optimizer.apply([keras.ops.ones(1) * 4, keras.ops.ones(1)], [scale, w])
    assert (numbers(scale), numbers(w)) == ([1.0], [0.5])
    optimizer.set_learning_rate_factor(0, 0.5)
    optimizer.apply([keras.ops.ones(1) * 4, keras.ops.ones(1)], [scale, w])
    assert numbers(scale) == [4.0]


def thirds(step):
    """0, 1, 2, 0, 1, 2, ..."""
    return keras.ops.cast(step % 3, "float32")


@keras.saving.register_keras_serializable("test_groups")
class Thirds(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return thirds(step)

    def get_config(self):
        return {}


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("window", [None, 2])
def test_a_schedule_of_factors_is_called_with_t(options, window):  # contract 14.2, 7.2
    optimizer = kerasgd.SGD(0.5, gradient_accumulation_steps=window)
    model = model_of_two(optimizer.set_group("base", learning_rate_factor=Thirds()), **options)
    # Factors 0, 1, 2, 0 at t = 0, 1, 2, 3.
    assert fit(model, 4) == ([-1.5, -2.0] if window is None else [-0.5, -1.0])


@pytest.mark.parametrize(
    ("window", "steps", "is_frozen"),
    # Factors are 0 at t = 0, 3, 6. With a window of 2 updates are at t = 1, 3, 5.
    [(None, 1, True), (None, 2, False), (None, 4, True), (2, 4, True), (2, 5, True), (2, 6, False)],
)
def test_the_factor_of_the_last_update_decides_on_finalizing(window, steps, is_frozen):
    # contract 14.3
    (w,) = trained = variables("w")
    optimizer = kerasgd.SGD(0.5, use_ema=True, gradient_accumulation_steps=window)
    optimizer.set_group("w", learning_rate_factor=Thirds())
    for _ in range(steps):
        optimizer.apply(ones(1), trained)
    average = optimizer.state().parameters[0].average
    average.assign([7.0, 7.0])
    optimizer.finalize_variable_values()
    assert (numbers(w) != numbers(average)) is is_frozen


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_schedule_of_bad_factors_is_refused_in_eager_code(bad):  # contract 2.8
    class Bad(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return keras.ops.convert_to_tensor(bad)

    (w,) = trained = variables("w")
    optimizer = kerasgd.SGD(0.5).set_group("w", learning_rate_factor=Bad())
    with pytest.raises(kerasgd.LearningRateError, match="at step 0") as caught:
        optimizer.apply(ones(1), trained)
    assert caught.value.argument == "learning_rate_factor"
    assert numbers(w) == [1.0, 2.0]
    assert int(optimizer.iterations) == 0


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_callbacks_of_keras_act_on_all_groups(options):  # contract 14.3
    optimizer = kerasgd.SGD(1.0).set_group("base", learning_rate_factor=0.5)
    model = model_of_two(optimizer, **options)
    rates = [1.0, 0.5]
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch])
    assert fit(model, 1, epochs=2, callbacks=[scheduler]) == [-0.75, -1.5]
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, mode="max")
    fit(model, 1, epochs=2, callbacks=[plateau])
    rows = kerasgd.variable_groups(optimizer, model)
    assert [row["learning_rate"] for row in rows] == [0.125, 0.25]


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.skipif(BACKEND == "jax", reason="a compiled JAX step takes no function")
def test_a_function_of_rates_acts_on_all_groups(options):  # contract 14.3, 2.3
    rates = iter([1.0, 0.5, 0.25])
    optimizer = kerasgd.SGD(lambda: next(rates)).set_group("base", learning_rate_factor=0.5)
    assert fit(model_of_two(optimizer, **options), 3) == [-0.875, -1.75]


@pytest.mark.parametrize("way", WAYS)
def test_an_update_step_of_a_subclass_gets_rate_and_momentum_of_the_group(way):  # contract 13.3
    class Recorded(kerasgd.SGD):
        def build(self, variables):
            if not self.built:
                super().build(variables)
                self.rates = [self.add_variable((), name="rate") for _ in variables]

        def update_step(self, gradient, variable, learning_rate):
            self.assign(self.rates[self._get_variable_index(variable)], learning_rate)
            super().update_step(gradient, variable, learning_rate)

    trained = variables("a", "b", "c")
    optimizer = Recorded(0.5, momentum=0.5)
    optimizer.set_group("a", learning_rate_factor=0.5, momentum=0.25)
    optimizer.set_group("c", learning_rate_factor=0)
    step = step_of(way, optimizer, trained)
    for _ in range(2):
        step(ones(3))
    assert list(map(numbers, optimizer.rates)) == [0.25, 0.5, 0.0]  # c: never called
    # a: 1 - 0.25 - (0.0625 + 0.25); b: 1 - 0.5 - (0.25 + 0.5)
    assert [numbers(v)[0] for v in trained] == [0.4375, -0.25, 1.0]


@pytest.mark.parametrize("way", WAYS)
def test_groups_act_below_a_dynamic_loss_scale(way):  # contract 6.3, 14.3
    trained = variables("a", "b")
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5), 4.0, 2)
    assert optimizer.set_group("a", learning_rate_factor=0.5) is optimizer
    step = step_of(way, optimizer, trained)
    for gradient in (4.0, np.inf, 2.0):
        step([gradient * g for g in ones(2)])
    assert [numbers(v)[0] for v in trained] == [0.5, 0.0]
    optimizer.set_learning_rate_factor("a", 0)
    assert optimizer.groups[0].learning_rate_factor == 0.0
    assert int(optimizer.iterations) == 2


@pytest.mark.parametrize("clip", [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 0.5}])
@pytest.mark.parametrize("way", WAYS)
def test_all_at_once_follows_the_reference(way, clip):  # contract 0, 14
    arguments = {
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "loss_scale_factor": 4.0,
        "gradient_accumulation_steps": 2,
        **clip,
    }
    generator = np.random.default_rng(0)
    first = [generator.normal(size=(2, 3)).astype("float32") for _ in range(4)]
    trained = [keras.Variable(w, name=name) for w, name in zip(first, "abcd", strict=True)]
    optimizer = kerasgd.SGD(0.1, **arguments)
    optimizer.set_group("a|b", learning_rate_factor=0.5, momentum=0.5)
    optimizer.set_group("b|c", weight_decay=0.3).set_group("d", learning_rate_factor=0)
    step = step_of(way, optimizer, trained)
    reference = ReferenceSGD(0.1, **arguments).build(
        first,
        groups=[
            ReferenceGroup({0, 1}, 0.5, 0.5),
            ReferenceGroup({1, 2}, weight_decay=0.3),
            ReferenceGroup({3}, 0.0),
        ],
    )
    for t in range(8):
        if t == 4:
            optimizer.set_learning_rate_factor("d", 2)
            optimizer.set_learning_rate_factor(0, 0.25)
            reference.set_learning_rate_factor(2, 2.0)
            reference.set_learning_rate_factor(0, 0.25)
        gradients = [generator.normal(size=(2, 3)).astype("float32") for _ in range(4)]
        step(list(map(keras.ops.convert_to_tensor, gradients)))
        reference.step(gradients)
    for variable, expected in zip(trained, reference.weights, strict=True):
        error = np.max(np.abs(keras.ops.convert_to_numpy(variable) - expected))
        assert error <= 2e-6 * np.max(np.abs(expected))


# -- factors during training (14.7) ----------------------------------------------------------------


class SetFactor(keras.callbacks.Callback):
    """Set the factor after the second step."""

    def __init__(self, set_factor):
        super().__init__()
        self.set_factor = set_factor

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.set_factor(self.model.optimizer)


def by_number(optimizer):
    optimizer.set_learning_rate_factor(0, 0.5)


def by_pattern(optimizer):
    optimizer.set_learning_rate_factor("^base", 0.5)


def by_attribute(optimizer):
    optimizer.groups[0].learning_rate_factor = 0.5


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("set_factor", [by_number, by_pattern, by_attribute])
@pytest.mark.parametrize("wrap", [lambda o: o, kerasgd.LossScaleOptimizer])
def test_a_factor_that_is_set_acts_at_the_next_step_of_fit(options, set_factor, wrap):
    # gradual unfreezing without compile()
    model = model_of_two(
        wrap(kerasgd.SGD(1.0)).set_group("^base", learning_rate_factor=0), **options
    )
    weights = fit(model, 4, callbacks=[SetFactor(set_factor)])
    assert weights == [-1.0, -4.0]
    assert model.optimizer.groups[0].learning_rate_factor == 0.5
    by_attribute(model.optimizer)
    model.optimizer.groups[0].learning_rate_factor = 0
    assert fit(model, 1) == [-1.0, -5.0]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs of TensorFlow")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_that_builds_follows_a_factor(jit_compile):
    import tensorflow as tf

    trained = variables("a", "b")
    optimizer = kerasgd.SGD(0.5).set_group("a", learning_rate_factor=1)
    optimizer.build(trained)
    step = tf.function(lambda: optimizer.apply(ones(2), trained), jit_compile=jit_compile)
    step()
    optimizer.set_learning_rate_factor(0, 0)
    step()
    assert [numbers(v)[0] for v in trained] == [0.5, 0.0]
    optimizer.set_learning_rate_factor(0, 2)
    step()
    assert [numbers(v)[0] for v in trained] == [-0.5, -0.5]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="graphs of TensorFlow")
def test_a_factor_outlasts_a_build_in_the_step():
    import tensorflow as tf

    trained = variables("a")
    optimizer = kerasgd.SGD(0.5).set_group("a", learning_rate_factor=1)
    step = tf.function(lambda: optimizer.apply(ones(1), trained))
    step()
    optimizer.set_learning_rate_factor(0, 0)
    step()
    assert numbers(trained[0])[0] == 0.5


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's trainer takes the values away")
def test_a_factor_that_would_be_lost_is_refused():  # contract 2.7, 14.7
    optimizer = kerasgd.SGD(1.0).set_group("base", learning_rate_factor=1)
    model = model_of_two(optimizer)

    class Closes(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 1:
                optimizer.set_learning_rate_factor(0, 0.5)

    with pytest.raises(kerasgd.StateError, match=r"through `self.model.optimizer`"):
        fit(model, 3, callbacks=[Closes()])


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled")
def test_a_compiled_step_follows_a_number_in_place_of_a_number_only(options):  # contract 14.7
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 10)
    for first, second in [(0.5, schedule), (schedule, 0.5), (schedule, Thirds())]:
        optimizer = kerasgd.SGD(1.0).set_group("base", learning_rate_factor=first)
        model = model_of_two(optimizer, **options)
        fit(model, 1)
        with pytest.raises(kerasgd.StateError, match=r"`optimizer.update\(\)`, call `set_group"):
            optimizer.set_learning_rate_factor(0, second)
        assert optimizer.groups[0].learning_rate_factor is first or first == 0.5


@pytest.mark.parametrize(
    ("first", "second", "factor"),
    [(0.5, Thirds(), 1.0), (Thirds(), 0.5, 0.5), (0.5, 0.25, 0.25), (Thirds(), Thirds(), 1.0)],
)
def test_any_factor_can_replace_any_other_in_eager_code(first, second, factor):
    (w,) = trained = [keras.Variable([0.0], name="w")]
    optimizer = kerasgd.SGD(1.0).set_group("w", learning_rate_factor=first)
    optimizer.apply([keras.ops.ones(1)], trained)
    before = numbers(w)[0]
    optimizer.set_learning_rate_factor(0, second)
    optimizer.apply([keras.ops.ones(1)], trained)  # t is 1
    assert before - numbers(w)[0] == factor


class PlainThirds(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of Python numbers, whose tensors have another dtype than the factor's variable."""

    def __call__(self, step):
        return float(keras.ops.convert_to_numpy(step)) % 3


def test_a_schedule_of_python_numbers_takes_the_place_of_a_number():
    (w,) = trained = [keras.Variable([0.0], name="w")]
    optimizer = kerasgd.SGD(1.0).set_group("w", learning_rate_factor=0.5)
    optimizer.apply([keras.ops.ones(1)], trained)
    optimizer.set_learning_rate_factor(0, PlainThirds())
    optimizer.apply([keras.ops.ones(1)], trained)
    assert numbers(w) == [-1.5]


def test_a_factor_may_be_changed_before_build():
    optimizer = kerasgd.SGD(0.5).set_group("w", learning_rate_factor=0.5)
    optimizer.set_learning_rate_factor("w", 0.25)
    (w,) = trained = variables("w")
    optimizer.apply(ones(1), trained)
    assert numbers(w)[0] == 0.875


def test_a_factor_that_was_none_cannot_be_made_after_build():
    optimizer = kerasgd.SGD(0.5).set_group("w", momentum=0.5)
    optimizer.build(variables("w"))
    with pytest.raises(kerasgd.StateError, match=r"no `learning_rate_factor`.*`set_group\(\)`"):
        optimizer.set_learning_rate_factor(0, 0.5)
    assert optimizer.groups[0].learning_rate_factor is None


def test_groups_that_are_not_there_are_refused():  # contract 14.7
    with pytest.raises(kerasgd.StateError, match="There are no groups"):
        kerasgd.SGD().set_learning_rate_factor(0, 1)
    one = kerasgd.SGD().set_group(["a", "b"], learning_rate_factor=1)
    with pytest.raises(kerasgd.ArgumentValueError) as caught:
        one.set_learning_rate_factor(1, 1)
    assert str(caught.value) == (
        "`group` must be the number of a group (0), or the pattern that selects it, not 1."
    )
    one.set_learning_rate_factor("b", 0.5)
    assert one.groups[0].learning_rate_factor == 0.5
    one.set_group("b", learning_rate_factor=1)
    with pytest.raises(kerasgd.ArgumentValueError, match="More than one group has this pattern"):
        one.set_learning_rate_factor("b", 1)
    with pytest.raises(kerasgd.ArgumentValueError, match=r"\(0 to 1\)"):
        one.set_learning_rate_factor("c", 1)


def test_a_bad_factor_changes_nothing():  # contract 12.7
    optimizer = kerasgd.SGD().set_group("w", learning_rate_factor=0.1)
    optimizer.build(variables("w"))
    for bad in (-1, float("nan"), "1", None, lambda: 0.1, True):
        with pytest.raises(kerasgd.ArgumentError, match="`factor` must be"):
            optimizer.set_learning_rate_factor(0, bad)
        with pytest.raises(kerasgd.ArgumentError, match="`learning_rate_factor` must be"):
            optimizer.groups[0].learning_rate_factor = bad
    assert optimizer.groups[0].learning_rate_factor == 0.1  # exactly (2.6)


# -- configuration and files (14.8) ----------------------------------------------------------------


def grouped(wrap=lambda optimizer: optimizer):
    optimizer = kerasgd.SGD(0.5, momentum=0.5, weight_decay=0.1)
    optimizer.set_group("^base", learning_rate_factor=0.1, momentum=0.25)
    optimizer.set_group("head", learning_rate_factor=Thirds(), weight_decay=None)
    return wrap(optimizer)


def settings(optimizer):
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return [{**group.settings(), "paths": group.selection.patterns} for group in inner.groups]


def described(optimizer):
    """The settings, with schedules by their class."""
    return [
        {k: type(v).__name__ if k == groups.FACTOR and callable(v) else v for k, v in each.items()}
        for each in settings(optimizer)
    ]


def through_pickle(optimizer):
    return pickle.loads(pickle.dumps(optimizer))


def through_config(optimizer):
    return type(optimizer).from_config(json.loads(json.dumps(optimizer.get_config())))


def through_update(optimizer):
    return optimizer.update(keep_state=True)


WRAPS = [lambda optimizer: optimizer, kerasgd.LossScaleOptimizer]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize(
    "again", [through_config, through_pickle, copy.deepcopy, through_update, copy.copy]
)
@pytest.mark.parametrize("built", [False, True])
def test_groups_come_back(wrap, again, built):
    optimizer = grouped(wrap)
    trained = variables("base", "head")
    if built:
        optimizer.apply(ones(2), trained)
    optimizer.set_learning_rate_factor(0, 0.3)
    new = again(optimizer)
    assert described(new) == described(optimizer)
    assert settings(new)[0]["learning_rate_factor"] == 0.3
    rows = [kerasgd.variable_groups(o, trained) for o in (optimizer, new)]
    if again is not through_config or not built:  # of which a configuration has no step count
        assert rows[1] == rows[0]


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("again", [through_pickle, copy.deepcopy, through_update])
def test_a_copy_continues_with_the_factor_of_training(wrap, again):
    trained, others = variables("base", "head"), variables("base", "head")
    optimizer = grouped(wrap)
    optimizer.apply(ones(2), trained)
    optimizer.set_learning_rate_factor(0, 0.3)
    new = again(optimizer)
    for there, here in zip(trained, others, strict=True):
        here.assign(there)
    for _ in range(2):
        optimizer.apply(ones(2), trained)
        new.apply(ones(2), others)
    assert list(map(in_bytes, others)) == list(map(in_bytes, trained))


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_model_file_continues(wrap, tmp_path):  # contract 9.1, 14.8
    def model_of_layers(optimizer):
        base = keras.layers.Dense(2, name="base", kernel_initializer="ones")
        head = keras.layers.Dense(1, name="head", kernel_initializer="ones")
        model = keras.Sequential([keras.Input((1,)), base, head])
        model.compile(optimizer, loss="mse")
        return model

    optimizer = wrap(kerasgd.SGD(0.1, momentum=0.5))
    model = model_of_layers(optimizer.set_group("base", learning_rate_factor=0.5))
    model.optimizer.set_group("kernel", weight_decay=0.1)
    model.fit(ROWS, ROWS, verbose=0)
    model.optimizer.set_learning_rate_factor(0, 0.3)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras.saving.load_model(tmp_path / "model.keras")
    other = wrap(kerasgd.SGD(0.1, momentum=0.5))
    by_weights = model_of_layers(other.set_group("base", learning_rate_factor=0.5))
    by_weights.optimizer.set_group("kernel", weight_decay=0.1)
    by_weights.load_weights(tmp_path / "model.weights.h5")
    for each in (model, again, by_weights):
        each.fit(ROWS, ROWS, epochs=2, verbose=0)
    for each in (again, by_weights):
        assert each.optimizer.groups[0].learning_rate_factor == pytest.approx(0.3)
        assert list(map(in_bytes, each.weights)) == list(map(in_bytes, model.weights))


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("strict", [True, False])
def test_snapshots_continue(wrap, strict, tmp_path):
    file = str(tmp_path / "optimizer")
    trained, others = variables("base", "head"), variables("base", "head")
    optimizer = grouped(wrap)
    optimizer.apply(ones(2), trained)
    optimizer.set_learning_rate_factor(0, 0)
    kerasgd.save_optimizer(optimizer, file)
    for there, here in zip(trained, others, strict=True):
        here.assign(there)
    new = kerasgd.load_optimizer(file, others, strict)
    assert described(new) == described(optimizer)
    for _ in range(2):
        optimizer.apply(ones(2), trained)
        new.apply(ones(2), others)
    assert list(map(in_bytes, others)) == list(map(in_bytes, trained))


def in_the_head(variable):
    return "head" in variable.path


SELECTIONS = {
    "a function": lambda model: in_the_head,
    "the layer `head`": lambda model: model.layers[-1],
    "a list of variables": lambda model: [model.layers[-1].kernel],
}


def small_model():
    layers = [keras.layers.Dense(1, name="base"), keras.layers.Dense(1, name="head")]
    return keras.Sequential([keras.Input((1,)), *layers])


@pytest.mark.parametrize("what", SELECTIONS)
@pytest.mark.parametrize("wrap", WRAPS)
def test_what_has_no_path_yet_is_kept_by_copies_but_not_by_files(what, wrap, tmp_path):
    model = small_model()
    optimizer = wrap(kerasgd.SGD(0.5))
    optimizer.set_group(SELECTIONS[what](model), learning_rate_factor=0.5)
    words = rf"selected by {re.escape(what)} cannot be saved before the optimizer is built"
    model.compile(optimizer, "mse")
    with pytest.raises(kerasgd.StateError, match=words):
        pickle.dumps(optimizer)
    with pytest.raises(kerasgd.StateError, match=words):
        kerasgd.save_optimizer(optimizer, str(tmp_path / "optimizer"))
    with pytest.raises(kerasgd.StateError, match=words):
        model.save(tmp_path / "model.keras")
    assert not (tmp_path / "optimizer").exists()
    from_config = type(optimizer).from_config(optimizer.get_config())
    for new in (copy.deepcopy(optimizer), optimizer.update(), from_config):
        rows = kerasgd.variable_groups(new, model)
        bias = [] if what == "a list of variables" else [0]
        assert [row["groups"] for row in rows] == [[], [], [0], bias]


@pytest.mark.parametrize("what", SELECTIONS)
def test_what_is_built_is_kept_by_indices(what, tmp_path):
    model = small_model()
    optimizer = kerasgd.SGD(0.5).set_group(SELECTIONS[what](model), learning_rate_factor=0.5)
    model.compile(optimizer, "mse")
    model.fit(ROWS, ROWS, verbose=0)
    model.save(tmp_path / "model.keras")
    file = str(tmp_path / "optimizer")
    kerasgd.save_optimizer(optimizer, file)
    expected = [row["groups"] for row in kerasgd.variable_groups(optimizer, model)]
    assert sum(map(len, expected)) == (1 if what == "a list of variables" else 2)
    again = keras.saving.load_model(tmp_path / "model.keras")
    trained = again.trainable_variables
    for new in (again.optimizer, kerasgd.load_optimizer(file, trained), through_pickle(optimizer)):
        assert [row["groups"] for row in kerasgd.variable_groups(new, trained)] == expected


def test_a_copy_may_train_another_model():
    first, second = small_model(), small_model()
    optimizer = kerasgd.SGD(0.5).set_group(first.layers[-1], learning_rate_factor=0)
    first.compile(optimizer, "mse")
    first.fit(ROWS, ROWS, verbose=0)
    second.compile(optimizer.update(), "mse")
    before = [in_bytes(v) for v in second.weights]
    second.fit(ROWS, ROWS, verbose=0)
    changed = [in_bytes(v) != b for v, b in zip(second.weights, before, strict=True)]
    assert changed == [True, True, False, False]


def test_what_is_selected_without_build_survives_a_configuration_of_the_session():
    config = kerasgd.SGD().set_group(in_the_head, momentum=0.5).get_config()
    assert json.loads(json.dumps(config))["groups"][0]["select"] == "<a function of this session>"
    again = kerasgd.SGD.from_config(config)
    assert again.groups[0].selection.predicate is in_the_head
    with pytest.raises(kerasgd.ArgumentValueError, match="groups"):
        kerasgd.SGD.from_config(json.loads(json.dumps(config)))


@pytest.mark.parametrize(
    "damaged",
    [
        True,
        "a",
        {"select": "a"},
        [1],
        [{}],
        [{"select": 1, "momentum": 0.5}],
        [{"select": {"indices": [], "patterns": ["a"]}, "clipnorm": 1}],
        [{"select": {"indices": [], "patterns": ["a"]}, "momentum": -1}],
        [{"select": {"indices": [], "patterns": ["("]}, "momentum": 0.5}],
        [{"select": {"indices": [], "patterns": ["a"]}, "learning_rate_factor": "x"}],
    ],
)
def test_groups_in_a_configuration_are_checked(damaged):
    config = {**kerasgd.SGD().get_config(), "groups": damaged}
    with pytest.raises(kerasgd.KerasgdError, match=r"groups|momentum|learning_rate_factor"):
        kerasgd.SGD.from_config(config)


def test_factors_of_groups_that_are_not_there_are_left_out():  # contract 9.4a
    trained = variables("a", "b")
    store = {}
    optimizer = kerasgd.SGD(0.5).set_group("a", learning_rate_factor=0.5)
    optimizer.apply(ones(2), trained)
    optimizer.save_own_variables(store)
    other = kerasgd.SGD(0.5)
    other.build(trained)
    with pytest.warns(kerasgd.KerasgdWarning, match=r"`learning_rate_factor` of group 0, which"):
        other.load_own_variables(store)


def test_a_velocity_without_a_place_is_left_out_with_a_warning():  # contract 9.4a
    trained = variables("a", "b")
    store = {}
    optimizer = kerasgd.SGD(0.5, momentum=0.5)
    optimizer.apply(ones(2), trained)
    optimizer.save_own_variables(store)
    other = kerasgd.SGD(0.5, momentum=0.5).set_group("a", momentum=0)
    other.build(trained)
    with pytest.warns(kerasgd.KerasgdWarning, match="velocity of 1 variable.*`a`"):
        other.load_own_variables(store)
    assert numbers(other.state().parameters[1].velocity) == [-0.5, -0.5]


def test_weights_of_a_list_set_the_factor():  # contract 9.4a: legacy files
    trained = variables("a")
    optimizer = kerasgd.SGD(0.5).set_group("a", learning_rate_factor=0.1)
    optimizer.build(trained)
    optimizer.set_learning_rate_factor(0, 0.3)
    weights = [keras.ops.convert_to_numpy(v) for v in optimizer.variables]
    for built in (True, False):
        new = kerasgd.SGD(0.5).set_group("a", learning_rate_factor=0.1)
        if built:
            new.build(trained)
        new.set_weights(weights)
        new.build(trained)
        assert new.groups[0].learning_rate_factor == 0.3


# -- speed (14.12) ---------------------------------------------------------------------------------


def traced(optimizer):
    """The number of operations of each kind in a compiled step."""
    from collections import Counter

    trained = variables("a", "b", "c")
    optimizer.build(trained)
    if BACKEND == "jax":
        import jax

        state = [v.value for v in optimizer.variables]
        weights = [v.value for v in trained]
        jaxpr = jax.make_jaxpr(optimizer.stateless_apply)(state, ones(3), weights)
        return Counter(str(equation.primitive) for equation in jaxpr.eqns)
    import tensorflow as tf

    step = tf.function(lambda gs: optimizer.apply(gs, trained), autograph=False)
    graph = step.get_concrete_function(ones(3)).graph
    return Counter(operation.type for operation in graph.get_operations())


# For three variables: with only a rate, and with momentum and decay.
OPERATIONS = {
    "tensorflow": [
        {
            "Placeholder": 8,
            "Const": 3,
            "ReadVariableOp": 1,
            "Mul": 1,
            "ResourceApplyGradientDescent": 3,
            "AssignAddVariableOp": 1,
        },
        {
            "Placeholder": 11,
            "Const": 4,
            "ReadVariableOp": 5,
            "Mul": 5,
            "Sub": 3,
            "AssignVariableOp": 3,
            "ResourceApplyKerasMomentum": 3,
            "AssignAddVariableOp": 1,
        },
    ],
    "jax": [{"mul": 6, "sub": 3, "add": 1}, {"mul": 15, "sub": 6, "add": 4}],
}


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is traced")
def test_without_groups_there_is_no_operation_of_them():
    plain, all_settings = OPERATIONS[BACKEND]
    assert traced(kerasgd.SGD(0.5)) == plain
    assert traced(kerasgd.SGD(0.5, momentum=0.5, weight_decay=0.1)) == all_settings
    # nor of groups without a factor
    grouped = kerasgd.SGD(0.5).set_group(".*", momentum=0.5, weight_decay=0.1)
    assert traced(grouped) == all_settings


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is traced")
def test_without_groups_overwriting_asks_for_no_factor():
    arguments = {"use_ema": True, "ema_overwrite_frequency": 2}
    with_group = kerasgd.SGD(0.5, **arguments).set_group("a", weight_decay=None)
    assert traced(kerasgd.SGD(0.5, **arguments)) == traced(with_group)


@pytest.mark.skipif(BACKEND == "torch", reason="XLA copies what a fusion reads after it is written")
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_factor_copies_no_weights(nesterov):  # contract 14.3
    weights = keras.Variable(np.ones((64, 64), "float32"))
    optimizer = kerasgd.SGD(0.1, 0.9, nesterov, weight_decay=0.1, use_ema=True)
    optimizer.set_group([weights], learning_rate_factor=0.5)
    assert copies_in(program(optimizer, weights), weights) == []
