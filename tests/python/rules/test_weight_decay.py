"""The variables that are excluded from weight decay (contract 3.2 to 3.4)."""

import pickle

import keras
import pytest
from conftest import numbers

import kerasgd


def variables(*names):
    return [keras.Variable([1.0], name=name) for name in names]


def decaying(**exclusions):
    optimizer = kerasgd.SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(**exclusions)
    return optimizer


def test_a_pattern_that_selects_nothing_is_an_error_at_build():
    # contract 14.6
    optimizer = decaying(var_names=["bias", "bais"])
    weights = variables("kernel", "bias", "gamma", "beta")
    with pytest.raises(kerasgd.ArgumentValueError) as refusal:
        optimizer.build(weights)
    assert str(refusal.value) == (
        "`var_names` must be regular expressions that each match the path of a variable, not "
        '"bais". Correct the call to `exclude_from_weight_decay()`. The 4 paths begin with '
        "`kernel`, `bias`, `gamma`."
    )
    # nothing is built (12.7), so that the user can correct the call
    assert not optimizer.built
    assert len(optimizer.variables) == 2
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([keras.ops.zeros(1)] * 4, weights)
    assert [w.numpy().tolist() for w in weights] == [[0.75], [1.0], [0.75], [0.75]]


def test_a_list_that_selects_nothing_is_an_error_at_build():
    # contract 14.6
    optimizer = decaying(var_list=variables("other"))
    with pytest.raises(kerasgd.ArgumentValueError, match=r"`var_list`.*not `other`.*`kernel`"):
        optimizer.apply([keras.ops.zeros(1)], variables("kernel"))
    assert not optimizer.built


def test_the_error_is_raised_through_the_wrapper_and_fit():
    # contract 6.3, 14.6
    for wrap in (lambda inner: inner, kerasgd.LossScaleOptimizer):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(wrap(decaying(var_names=["bais"])), "mse")
        with pytest.raises(kerasgd.ArgumentValueError, match=r'"bais".*dense'):
            model.fit(keras.ops.ones((2, 1)), keras.ops.ones((2, 1)), verbose=0)
        assert not model.optimizer.built


def test_a_list_may_hold_variables_that_are_not_trained():
    # contract 3.2, 3.3: those of a whole model, say, and the optimizer can be saved
    kernel, bias, other = variables("kernel", "bias", "other")
    optimizer = decaying(var_list=[bias, other])
    optimizer.apply([keras.ops.zeros(1)] * 2, [kernel, bias])
    assert [w.numpy().tolist() for w in (kernel, bias)] == [[0.75], [1.0]]
    assert optimizer.get_config()["weight_decay_exclusions"]["indices"] == [1]


def test_all_variables_or_none_can_be_excluded():
    # contract 3.4
    for exclusions in ({"var_names": [".*"]}, {"var_names": "kernel|bias"}):
        weights = variables("kernel", "bias")
        decaying(**exclusions).apply([keras.ops.zeros(1)] * 2, weights)
        assert [w.numpy().tolist() for w in weights] == [[1.0], [1.0]]
    for nothing in ({"var_names": []}, {"var_list": []}, {}):
        weights = variables("kernel")
        decaying(**nothing).apply([keras.ops.zeros(1)], weights)
        assert weights[0].numpy().tolist() == [0.75]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"var_names": ""}, r"not ''\. An empty pattern matches everything"),
        ({"var_names": ["a", ""]}, r"`var_names\[1\]` is ''\. An empty pattern"),
        ({"var_names": ["a", 3]}, r"`var_names\[1\]` is 3\."),
        ({"var_names": ["a", "("]}, r"`var_names\[1\]` is '\('\. This is not a valid"),
        ({"var_names": 3}, r"`var_names` must be regular expressions, or None, not 3\."),
        ({"var_list": [keras.Variable(1.0), 3]}, r"`var_list\[1\]` is 3\."),
    ],
)
def test_bad_exclusions_are_refused(given, words):
    # contract 12
    with pytest.raises(kerasgd.ArgumentError, match=words):
        decaying(**given)


def test_exclusions_are_saved():  # contract 3.3
    trained = variables("a", "b")
    optimizer = kerasgd.SGD(0.5, weight_decay=1)
    optimizer.exclude_from_weight_decay([trained[0]], ["^a$"])
    optimizer.build(trained)
    for again in (
        kerasgd.SGD.from_config(optimizer.get_config()),
        pickle.loads(pickle.dumps(optimizer)),
    ):
        new = variables("a", "b")
        again.apply([keras.ops.zeros(1)] * 2, new)
        assert [numbers(v) for v in new] == [[1.0], [0.5]]


@pytest.mark.parametrize(
    "exclusions",
    [
        True,
        -1,
        0.5,
        2**40,
        "a",
        "",
        [],
        [1, 2],
        {"a": 1},
        {"class_name": "os>system"},
        {"indices": [], "patterns": "a"},
        {"indices": [-1], "patterns": []},
        {"indices": [0.5], "patterns": []},
        {"indices": [], "patterns": [1]},
        {"indices": [], "patterns": [], "paths": [1]},
        {"indices": [], "patterns": [], "others": []},
        {"patterns": []},
    ],
)
def test_exclusions_in_a_configuration_are_checked(exclusions):  # contract 3.3
    config = {**kerasgd.SGD().get_config(), "weight_decay_exclusions": exclusions}
    with pytest.raises(kerasgd.KerasgdError, match="weight_decay_exclusions"):
        kerasgd.SGD.from_config(config)


def test_an_excluded_index_that_no_variable_has_is_refused_at_build():
    exclusions = {"indices": [7], "patterns": []}
    config = {**kerasgd.SGD(weight_decay=0.1).get_config(), "weight_decay_exclusions": exclusions}
    optimizer = kerasgd.SGD.from_config(config)
    with pytest.raises(kerasgd.StateError, match="7"):
        optimizer.build([keras.Variable([0.0])])
    assert not optimizer.built
