"""The variables that `set_group()` and `exclude_from_weight_decay()` select (3.2, 14.1, 14.6).

`rules/test_weight_decay.py` tests the effect of exclusions.
"""

import keras
import numpy as np
import pytest
from conftest import numbers

import kerasgd
from kerasgd.errors import describe
from kerasgd.selection import SELECT


def variables(*names):
    return [keras.Variable([1.0], name=name) for name in names]


def selected(select, trained):
    """The selected variables, according to `variable_groups()` and after `build()`."""
    optimizer = kerasgd.SGD().set_group(select, momentum=0.5)
    before = kerasgd.variable_groups(optimizer, trained)
    optimizer.build(trained)
    assert kerasgd.variable_groups(optimizer, trained) == before
    momenta = [parameter.velocity is not None for parameter in optimizer.state().parameters]
    assert momenta == [row["groups"] == [0] for row in before]
    return [v.name for v, is_selected in zip(trained, momenta, strict=True) if is_selected]


def nested_model():
    """A nested model, whose name is in no path."""
    x = keras.Input((2,))
    base = keras.Model(x, keras.layers.Dense(2, name="a")(x), name="base")
    return base, keras.Model(x, keras.layers.Dense(1, name="b")(base(x)))


def test_patterns_are_searched_in_paths():
    trained = variables("dense_kernel", "dense_bias", "head_bias")
    assert selected("bias$", trained) == ["dense_bias", "head_bias"]
    assert selected(["^head", "_kernel"], trained) == ["dense_kernel", "head_bias"]
    assert selected(("^head",), trained) == ["head_bias"]
    assert selected({".*"}, trained) == [v.name for v in trained]


def test_a_list_means_its_variables():
    trained = variables("w", "w", "other")
    assert selected(trained[1:], trained) == ["w", "other"]
    # It may contain variables that are not trained.
    assert selected([*variables("elsewhere"), trained[2]], trained) == ["other"]


def test_a_layer_or_model_means_its_trainable_variables():
    base, model = nested_model()
    trained = model.trainable_variables
    assert all("base" not in v.path for v in base.variables)
    for select, expected in [(base, trained[:2]), (model.layers[-1], trained[2:])]:
        optimizer = kerasgd.SGD().set_group(select, momentum=0.5)
        rows = kerasgd.variable_groups(optimizer, model)
        assert [r["path"] for r in rows if r["groups"]] == [v.path for v in expected]


def test_a_layer_is_resolved_at_build():  # layers that are frozen by then are not selected
    base, model = nested_model()
    optimizer = kerasgd.SGD().set_group(model, momentum=0.5)
    base.trainable = False
    rows = kerasgd.variable_groups(optimizer, model)
    assert [row["groups"] for row in rows] == [[0], [0]]


def test_a_predicate_is_called_once_for_each_variable_at_build():
    calls = []

    def is_bias(variable):
        calls.append(variable.name)
        return np.bool_(variable.name == "bias")

    trained = variables("kernel", "bias")
    optimizer = kerasgd.SGD(0.5).set_group(is_bias, learning_rate_factor=0)
    assert calls == []
    for _ in range(2):
        optimizer.apply([keras.ops.ones(1)] * 2, trained)
    assert calls == ["kernel", "bias"]
    assert [numbers(v) for v in trained] == [[0.0], [1.0]]


def test_a_predicate_may_choose_none():  # contract 14.6 names patterns, layers and lists
    assert selected(lambda variable: False, variables("w")) == []


def fails(variable):
    raise OSError("no disk")


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        (fails, "one that fails for `w`: no disk"),
        (lambda variable: 1, "one that returns 1 for `w`"),
        (lambda variable: None, "one that returns None for `w`"),
    ],
)
def test_a_bad_predicate_is_refused_at_build(predicate, words):
    optimizer = kerasgd.SGD().set_group(predicate, momentum=0.5)
    with pytest.raises(kerasgd.ArgumentValueError) as caught:
        optimizer.build(variables("w"))
    assert caught.value.argument == "select"
    assert str(caught.value) == (
        f"`select` must be a function of a variable that returns True or False, not {words}."
    )
    assert not optimizer.built


@pytest.mark.parametrize("bad", [[], (), set()])
def test_an_empty_list_is_refused(bad):
    with pytest.raises(kerasgd.ArgumentValueError) as caught:
        kerasgd.SGD().set_group(bad, momentum=0.5)
    assert str(caught.value) == f"`select` must be {SELECT}, not {describe(bad)}."


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("(", r"not '\('\. This is not a valid"),
        (["a", "("], r"`select\[1\]` is '\('\. This is not a valid"),
        (["a", 3], r"`select\[1\]` is 3\."),
        (
            "",
            r"not ''\. An empty pattern matches everything: to select all variables, write `\.\*`",
        ),
        (keras.Variable(1.0), "Put a single variable into a list"),
        ([keras.Variable(1.0), 3], r"`select\[1\]` is 3\."),
        (keras.layers.Dense, "not the class Dense"),
    ],
)
def test_bad_selections_are_refused(bad, words):  # contract 12
    optimizer = kerasgd.SGD()
    with pytest.raises(kerasgd.ArgumentError, match=words) as caught:
        optimizer.set_group(bad, momentum=0.5)
    assert (caught.value.argument, caught.value.requirement) == ("select", SELECT)
    assert optimizer.groups == ()


def select_nothing():
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)], name="other")
    return {
        '"hed"': ("hed", "regular expressions that each match the path of a variable"),
        "`other`": (other, "a layer or model with a variable that the optimizer trains"),
        "`elsewhere`": (variables("elsewhere"), "a list with a variable that the optimizer trains"),
    }


@pytest.mark.parametrize("received", ['"hed"', "`other`", "`elsewhere`"])
@pytest.mark.parametrize("wrap", [lambda o: o, kerasgd.LossScaleOptimizer])
def test_what_selects_nothing_is_an_error_at_build(received, wrap):  # contract 14.6, 12.7
    select, requirement = select_nothing()[received]
    trained = variables("kernel", "bias", "head", "gamma")
    optimizer = wrap(kerasgd.SGD(0.5))
    optimizer.set_group("head", learning_rate_factor=0.5).set_group(select, momentum=0.5)
    before = len(optimizer.variables)
    words = (
        f"`select` must be {requirement}, not {received}. Correct the call to `set_group()`. The 4 "
        "paths begin with `kernel`, `bias`, `head`."
    )
    for attempt in (
        lambda: kerasgd.variable_groups(optimizer, trained),
        lambda: optimizer.build(trained),
        lambda: optimizer.apply([keras.ops.ones(1)] * 4, trained),
    ):
        with pytest.raises(kerasgd.ArgumentValueError) as caught:
            attempt()
        assert str(caught.value) == words
        # nothing is built
        assert not optimizer.built
        assert len(optimizer.variables) == before
        assert [numbers(v) for v in trained] == [[1.0]] * 4


def test_up_to_three_paths_are_all_that_there_are():
    with pytest.raises(kerasgd.ArgumentValueError, match=r"The paths are `a`, `b`\.$"):
        kerasgd.SGD().set_group("c", momentum=0.5).build(variables("a", "b"))


def test_exclusions_take_a_layer_or_model():  # contract 14.1
    base, model = nested_model()
    optimizer = kerasgd.SGD(weight_decay=0.5)
    optimizer.exclude_from_weight_decay(base)
    rows = kerasgd.variable_groups(optimizer, model)
    assert [row["weight_decay"] for row in rows] == [0.0, 0.0, 0.5, 0.5]


@pytest.mark.parametrize(("rank", "excluded"), [(1, 1), (2, 2), (3, 3)])
def test_exclusions_take_a_rank(rank, excluded):  # contract 14.11
    trained = [keras.Variable(np.ones(shape)) for shape in ((), (1,), (1, 1))]
    optimizer = kerasgd.SGD(0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(rank_below=rank)
    optimizer.apply([keras.ops.zeros(v.shape) for v in trained], trained)
    expected = [1.0] * excluded + [0.75] * (3 - excluded)
    assert [float(keras.ops.convert_to_numpy(v).ravel()[0]) for v in trained] == expected


def test_a_rank_joins_patterns_and_is_saved():  # contract 14.11, 3.3
    trained = [
        keras.Variable(np.ones(shape), name=n)
        for n, shape in zip("abc", ((1,), (1, 1), (1, 1)), strict=True)
    ]
    optimizer = kerasgd.SGD(weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names="b", rank_below=2)
    for each in (optimizer, kerasgd.SGD.from_config(optimizer.get_config())):
        rows = kerasgd.variable_groups(each, trained)
        assert [row["weight_decay"] for row in rows] == [0.0, 0.0, 0.5]


def test_exclusions_before_build_are_saved_by_their_paths():  # contract 14.8
    trained = variables("a", "b")
    optimizer = kerasgd.SGD(weight_decay=0.5)
    optimizer.exclude_from_weight_decay([trained[0]])
    config = optimizer.get_config()
    rows = kerasgd.variable_groups(kerasgd.SGD.from_config(config), variables("a", "b"))
    assert [row["weight_decay"] for row in rows] == [0.0, 0.5]
    again = kerasgd.SGD.from_config(config)
    with pytest.raises(kerasgd.StateError, match=r"`a` is excluded.*The paths are `c`, `b`"):
        again.build(variables("c", "b"))
    assert not again.built
