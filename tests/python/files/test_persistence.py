"""State in files, configurations and pickles (contract 9)."""

import json
import pickle

import keras
import numpy as np
import pytest
from conftest import numbers

import kerasgd
from kerasgd.files.state import load_strictly

EVERYTHING = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.01,
    "global_clipnorm": 0.5,
    "use_ema": True,
    "ema_momentum": 0.9,
    "ema_overwrite_frequency": 2,
    "gradient_accumulation_steps": 2,
}


def variables():
    return [keras.Variable([1.0, 2.0], name="a"), keras.Variable([[3.0]], name="b")]


def train(optimizer, trained, steps, first=0):
    for t in range(first, first + steps):
        gradients = [np.array([1.0, -2.0]) / (t + 1), np.array([[0.5 * t]])]
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients], trained)


def schedule():
    return keras.optimizers.schedules.InverseTimeDecay(0.3, 3, 0.5)


@pytest.fixture(params=["plain", "dynamic scale"])
def make(request):
    def plain(**changes):
        return kerasgd.SGD(schedule(), **{**EVERYTHING, **changes})

    def scaled(**changes):
        return kerasgd.LossScaleOptimizer(plain(**changes), 4, 3)

    return plain if request.param == "plain" else scaled


def after_seven_steps(optimizer):
    trained = variables()
    train(optimizer, trained, 7)
    return [numbers(v) for v in trained]


@pytest.mark.parametrize("interrupted", [0, 2, 3])
def test_a_pickled_optimizer_goes_on(make, interrupted):  # contract 9.5
    optimizer, trained = make(), variables()
    train(optimizer, trained, interrupted)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(optimizer))))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    train(again, trained, 7 - interrupted, first=interrupted)
    assert [numbers(v) for v in trained] == after_seven_steps(make())


def test_state_goes_on_bit_for_bit(make):  # contract 9.1
    optimizer, trained = make(), variables()
    train(optimizer, trained, 3)
    stores = states_of(optimizer)
    again = make()
    again.build(trained)
    for own, store in zip(parts_of(again), stores, strict=True):
        own.load_own_variables(store)
    train(again, trained, 4, first=3)
    assert [numbers(v) for v in trained] == after_seven_steps(make())


def parts_of(optimizer):
    inner = getattr(optimizer, "inner_optimizer", None)
    return [optimizer] if inner is None else [optimizer, inner]


def states_of(optimizer):
    stores = []
    for part in parts_of(optimizer):
        stores.append({})
        part.save_own_variables(stores[-1])
    return stores


def test_configuration_comes_back_exactly():  # contract 9.3
    given = {"learning_rate": 0.1, **EVERYTHING, "name": "mine", "loss_scale_factor": 1 / 3}
    config = json.loads(json.dumps(kerasgd.SGD(**given).get_config()))
    assert {name: config[name] for name in given} == given
    assert kerasgd.SGD.from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"momentum": 0}, "`momentum`"),
        ({"use_ema": False}, "`use_ema`"),
        ({"gradient_accumulation_steps": None}, "`gradient_accumulation_steps`"),
    ],
    ids=["momentum", "use_ema", "gradient_accumulation_steps"],
)
@pytest.mark.parametrize("direction", ["lacks", "has"])
def test_state_of_other_arguments_is_refused(change, words, direction):  # contract 9.4b
    saved, into = kerasgd.SGD(**EVERYTHING), kerasgd.SGD(**{**EVERYTHING, **change})
    if direction == "has":
        saved, into = into, saved
    trained = variables()
    train(saved, trained, 2)
    (store,) = states_of(saved)
    into.build(trained)
    before = [numbers(v) for v in into.variables]
    with pytest.raises(kerasgd.StateError, match=words):
        load_strictly(into, store)
    assert [numbers(v) for v in into.variables] == before


def test_state_of_other_variables_is_refused():  # contract 9.4b
    saved, trained = kerasgd.SGD(momentum=0.9), variables()
    train(saved, trained, 1)
    (store,) = states_of(saved)
    other = kerasgd.SGD(momentum=0.9)
    other.build(trained[:1])
    with pytest.raises(kerasgd.StateError, match=r"2 variables, but `SGD` has 1.*`b`"):
        load_strictly(other, store)
    other = kerasgd.SGD(momentum=0.9)
    other.build([keras.Variable([1.0, 2.0, 3.0], name="c"), trained[1]])
    with pytest.raises(kerasgd.StateError, match=r"`c` has shape \(3,\).*`a` of shape \(2,\)"):
        load_strictly(other, store)
    foreign = {"0": np.zeros(())}
    with pytest.raises(kerasgd.StateError, match="was not saved by kerasgd"):
        load_strictly(other, foreign)


def test_state_of_an_unbuilt_optimizer_restores_its_counters():  # contract 9.4
    (store,) = states_of(kerasgd.SGD(0.125, momentum=0.9))
    optimizer, trained = kerasgd.SGD(0.5, momentum=0.9), variables()
    train(optimizer, trained, 2)
    velocity = numbers(optimizer.momentums[0])
    optimizer.load_own_variables(store)
    assert float(optimizer.learning_rate) == 0.125
    assert int(optimizer.iterations) == 0
    assert numbers(optimizer.momentums[0]) == velocity


def test_functions_are_saved_only_by_name():  # contract 9.3
    with pytest.raises(kerasgd.StateError, match="register it with"):
        pickle.dumps(kerasgd.SGD(lambda: 0.1))
    config = kerasgd.SGD(tenth).get_config()
    assert kerasgd.SGD.from_config(config)._learning_rate is tenth


@keras.saving.register_keras_serializable("test_persistence")
def tenth():
    return 0.1


def test_exclusions_are_saved():  # contract 3.3
    trained = variables()
    optimizer = kerasgd.SGD(0.5, weight_decay=1)
    optimizer.exclude_from_weight_decay([trained[0]], ["^a$"])
    optimizer.build(trained)
    for again in (
        kerasgd.SGD.from_config(optimizer.get_config()),
        pickle.loads(pickle.dumps(optimizer)),
    ):
        new = variables()
        again.apply([keras.ops.zeros(2), keras.ops.zeros((1, 1))], new)
        assert [numbers(v) for v in new] == [[1.0, 2.0], [[1.5]]]


def test_weights_that_do_not_fit_are_refused():  # contract 9.4, 13.1
    optimizer, trained = kerasgd.SGD(momentum=0.9), variables()
    optimizer.build(trained)
    weights = [numbers(v) for v in optimizer.variables]
    with pytest.raises(kerasgd.StateError, match="must have the shapes"):
        optimizer.set_weights([np.zeros(5)] * len(weights))
    optimizer.set_weights([np.ones(v.shape) for v in optimizer.variables])
    assert numbers(optimizer.momentums[0]) == [1.0, 1.0]
