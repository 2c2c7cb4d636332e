"""The functions by which R shows, compares and updates optimizers."""

import pickle

import keras
import numpy as np
import pytest

import kerasgd
from kerasgd.r import inspection


def stepped(**settings):
    optimizer = kerasgd.SGD(0.5, **settings)
    weights = keras.Variable([1.0, 2.0])
    for _ in range(3):
        optimizer.apply([keras.ops.ones(2)], [weights])
    return optimizer


def test_settings_make_the_same_optimizer():
    # contract 9.3
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    for rate in (0.1, schedule, lambda: 0.1):
        optimizer = kerasgd.SGD(rate, clipnorm=1, weight_decay=0.1)
        again = kerasgd.SGD(**inspection.settings(optimizer))
        assert inspection.differing_settings(optimizer, again, tolerance=0) == []


def test_changed_settings_are_those_given():
    optimizer = kerasgd.SGD(momentum=0.9, name="mine")
    assert inspection.changed_settings(optimizer) == {"momentum": 0.9, "name": "mine"}
    scaled = kerasgd.LossScaleOptimizer(optimizer, initial_scale=2)
    assert inspection.changed_settings(scaled) == {"initial_scale": 2.0}


def test_a_subclass_has_its_own_defaults_and_those_it_does_not_name():
    # contract 13.3
    class Hidden(kerasgd.SGD):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)

    class Faster(kerasgd.SGD):
        def __init__(self, momentum, learning_rate=0.5, **kwargs):
            super().__init__(learning_rate, momentum, **kwargs)

    assert inspection.changed_settings(Hidden(momentum=0.5)) == {"momentum": 0.5}
    assert inspection.changed_settings(Faster(0.0)) == {}
    assert inspection.default_settings(Faster(0.0))["learning_rate"] == 0.5
    assert inspection.changed_settings(Faster(0.9, 0.01)) == {
        "learning_rate": 0.01,
        "momentum": 0.9,
    }


def test_the_description_counts_steps_updates_and_bytes():
    # contract 7.2
    described = inspection.description(
        stepped(momentum=0.5, gradient_accumulation_steps=2, use_ema=True)
    )
    assert (described["steps"], described["updates"], described["rate"]) == (3.0, 1.0, 0.5)
    assert described["bytes"] == 3 * 2 * 4  # velocity, average and sum of two float32 weights


def test_the_description_does_not_call_a_rate():
    def rate():
        raise AssertionError

    assert inspection.description(kerasgd.SGD(rate))["rate"] is None


def test_update_returns_a_new_checked_optimizer():
    optimizer = stepped(weight_decay=0.1)
    new = inspection.updated(optimizer, {"learning_rate": 0.25})
    assert inspection.differing_settings(optimizer, new, 0) == ["learning_rate"]
    assert not new.built
    with pytest.raises(kerasgd.ArgumentError, match="momentum"):
        inspection.updated(optimizer, {"momentum": -1})


def test_update_keeps_excluded_variables():
    # contract 3.2
    weights = keras.Variable([1.0])
    optimizer = kerasgd.SGD(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([weights])
    new = inspection.updated(optimizer, {"weight_decay": 0.25})
    new.apply([keras.ops.zeros(1)], [weights])
    assert weights.numpy().tolist() == [1.0]


def test_update_reaches_the_inner_optimizer():
    scaled = kerasgd.LossScaleOptimizer(kerasgd.SGD(), initial_scale=2)
    new = inspection.updated(scaled, {"initial_scale": 4, "momentum": 0.5})
    assert (new.initial_scale, new.inner_optimizer.momentum) == (4.0, 0.5)
    assert scaled.inner_optimizer.momentum == 0.0


def test_differing_state_is_named():
    one, other = stepped(momentum=0.5), stepped(momentum=0.5)
    assert inspection.differing_state(one, other, tolerance=0) == {}
    other.momentums[0].assign([-0.5, -1.5])
    # After three steps the velocity is -0.5 * (1 + 0.5 + 0.25).
    expected = (0.375 + 0.625) / (2 * 0.875)
    assert inspection.differing_state(one, other, 0) == {"velocity_0": pytest.approx(expected)}
    assert inspection.differing_state(one, kerasgd.SGD(), 0)["velocity_0"] is None


def test_the_description_includes_the_loss_scale():
    # contract 6.3
    weights = keras.Variable([1.0, 2.0])
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.5), 8, dynamic_growth_steps=3)
    described = inspection.description(optimizer)
    assert (described["scale"], described["steps_to_growth"], described["steps"]) == (8.0, 3.0, 0.0)
    for gradient in (1.0, float("inf"), 1.0, 1.0):
        optimizer.apply([keras.ops.full((2,), gradient)], [weights])
    described = inspection.description(optimizer)
    assert (described["scale"], described["steps_to_growth"], described["steps"]) == (4.0, 1.0, 3.0)
    assert "scale" not in inspection.description(optimizer.inner_optimizer)

    # read from a file, and not built yet
    again = pickle.loads(pickle.dumps(optimizer))
    described = inspection.description(again)
    assert (described["scale"], described["steps_to_growth"]) == (4.0, 1.0)


def test_the_description_names_the_variables_that_do_not_decay():
    # contract 3.2
    weights = [keras.Variable([1.0], name=name) for name in ("kernel", "bias", "gamma")]
    optimizer = kerasgd.SGD(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay([weights[2]], ["bias"])
    described = inspection.description(optimizer)
    assert (described["patterns"], described["excluded"]) == (["bias"], ["gamma"])
    optimizer.build(weights)
    assert inspection.description(optimizer)["excluded"] == ["bias", "gamma"]


def test_the_description_names_what_a_rank_and_a_layer_exclude():
    # contract 14.1, 14.11
    layer = keras.layers.Dense(1, name="dense")
    layer.build((None, 1))
    by_layer, by_rank = kerasgd.SGD(), kerasgd.SGD()
    by_layer.exclude_from_weight_decay(layer)
    assert inspection.description(by_layer)["excluded"] == [layer.bias.path, layer.kernel.path]
    by_rank.exclude_from_weight_decay(rank_below=2)
    assert inspection.description(by_rank)["rank_below"] == 2
    assert inspection.differing_settings(by_rank, kerasgd.SGD(), 0) == ["weight decay exclusions"]
    by_rank.build([layer.kernel, layer.bias])
    assert inspection.description(by_rank)["excluded"] == [layer.bias.path]


def test_the_description_has_the_groups():
    # contract 14.8
    weights = [keras.Variable([1.0], name=name) for name in ("kernel", "bias", "gamma")]
    layer = keras.layers.Dense(1, name="dense")

    def predicate(variable):
        return True

    optimizer = kerasgd.SGD().set_group(["bias", "gam"], learning_rate_factor=0.1, weight_decay=0)
    optimizer.set_group(predicate, momentum=0.5).set_group(weights[:2], momentum=0.9)
    before = inspection.description(kerasgd.SGD().set_group(layer, momentum=0.5))["groups"]
    assert before == [
        {
            "patterns": [],
            "layers": ["dense"],
            "function": None,
            "variables": [],
            "size": None,
            "settings": {"momentum": 0.5},
        }
    ]
    assert inspection.description(optimizer)["groups"][1]["function"] is predicate
    optimizer.build(weights)
    groups = inspection.description(kerasgd.LossScaleOptimizer(optimizer))["groups"]
    assert [group["size"] for group in groups] == [2.0, 3.0, 2.0]
    assert groups[0]["patterns"] == ["bias", "gam"]
    assert groups[0]["settings"] == {"learning_rate_factor": 0.1, "weight_decay": 0.0}
    assert groups[2]["variables"] == ["bias", "kernel"]


def test_a_factor_is_no_state_to_compare():
    # contract 14.8
    weights = keras.Variable([1.0], name="w")
    built = [kerasgd.SGD().set_group("w", learning_rate_factor=factor) for factor in (0.1, 0.2)]
    for optimizer in built:
        optimizer.build([weights])
    assert inspection.differing_state(*built, tolerance=0) == {}


def test_the_description_shows_a_rate_that_float32_turned_into_0():
    # contract 2.7
    with pytest.warns(kerasgd.KerasgdWarning, match="rounds to 0"):
        optimizer = kerasgd.SGD(1e-60)
    assert inspection.description(optimizer)["rate"] == 0.0


def test_the_loss_scale_wrapper_of_keras_is_inspected_as_ours():
    # contract 6.2
    wrapper = keras.optimizers.LossScaleOptimizer(kerasgd.SGD(0.5, momentum=0.5))
    assert inspection.changed_settings(wrapper) == {}
    assert inspection.settings(wrapper)["inner_optimizer"] is wrapper.inner_optimizer
    weights = keras.Variable([1.0])
    wrapper.build([weights])
    # Keras' own `apply()` does not work outside of fit() on JAX.
    wrapper.inner_optimizer.apply([keras.ops.ones(1)], [weights])
    wrapper.step_counter.assign(1)
    described = inspection.description(wrapper)
    assert (described["steps"], described["scale"]) == (1.0, 2.0**15)
    assert described["steps_to_growth"] == 1999.0
    assert inspection.differing_state(wrapper, wrapper, 0) == {}

    new = inspection.updated(wrapper, {"momentum": 0.25, "initial_scale": 4})
    assert isinstance(new, kerasgd.LossScaleOptimizer)
    assert (new.inner_optimizer.momentum, new.initial_scale) == (0.25, 4.0)
    with pytest.raises(kerasgd.ArgumentError, match="initial_scale"):
        inspection.updated(wrapper, {"initial_scale": 0})


def test_pending_state_is_compared():
    # contract 9.4
    optimizer = stepped(momentum=0.5)
    waiting = pickle.loads(pickle.dumps(optimizer))
    assert inspection.differing_state(waiting, optimizer, 0) == {}
    assert inspection.differing_state(optimizer, waiting, 0) == {}
    optimizer.apply([keras.ops.ones(2)], optimizer._trainable_variables)
    assert "velocity_0" in inspection.differing_state(waiting, optimizer, 0)


def test_state_goes_to_r_as_doubles():
    state = inspection.state_as_doubles(stepped(momentum=0.5))
    data, shape = state["velocity_0"]
    assert (np.frombuffer(data, "<f8").tolist(), shape) == ([-0.875, -0.875], [2.0])


def test_the_description_says_what_is_measured_and_skipped():
    # contract 15.1, 16.1
    optimizer = kerasgd.SGD(0.5).track_statistics(every=2).skip_nonfinite()
    weights = keras.Variable([1.0])
    for gradient in (1.0, float("nan"), float("inf")):
        optimizer.apply([keras.ops.convert_to_tensor([gradient])], [weights])
    described = inspection.description(optimizer)
    assert described["statistics"] == {"per_variable": False, "every": 2.0, "measured": 1.0}
    assert described["skipping"] == {"skipped": 2.0, "in_a_row": 2.0}
    assert (described["steps"], described["updates"]) == (3.0, 1.0)

    plain = inspection.description(kerasgd.SGD())
    assert plain["statistics"] is None
    assert plain["skipping"] is None


def test_what_is_measured_and_skipped_is_a_setting():
    # contract 9.3
    optimizer = kerasgd.SGD().track_statistics(every=2).skip_nonfinite()
    again = inspection.updated(optimizer, {})
    assert inspection.differing_settings(optimizer, again, 0) == []
    other = kerasgd.SGD().track_statistics(every=3)
    assert inspection.differing_settings(optimizer, other, 0) == [
        "settings of `track_statistics()`",
        "settings of `skip_nonfinite()`",
    ]
