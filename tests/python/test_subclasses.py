"""Subclasses of `SGD` (contract 13.3)."""

import inspect
import pickle

import keras
import numpy as np
import pytest
from conftest import WAYS_TO_COMPILE, fit_ones, model_of_one_weight, numbers

import kerasgd
from kerasgd import subclasses
from kerasgd.files.state import load_strictly


class Tenth(kerasgd.SGD):
    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate * 0.1)


@keras.saving.register_keras_serializable("test_subclasses")
class Signs(kerasgd.SGD):
    """Takes steps by the sign of its own momentum (Chen et al. 2023), in Keras' documented way."""

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.m = self.add_optimizer_variables(variables, "m")
        self.steps = self.add_variable((), name="steps")

    def update_step(self, gradient, variable, learning_rate):
        m = self.m[self._get_variable_index(variable)]
        self.assign(m, 0.5 * keras.ops.convert_to_tensor(m) + gradient)
        self.assign_sub(variable, learning_rate * keras.ops.sign(m))
        self.assign_add(self.steps, 1.0)


def test_an_overridden_update_step_acts():
    w = keras.Variable([0.0])
    Tenth(1.0).apply([keras.ops.ones(1)], [w])
    np.testing.assert_allclose(numbers(w), [-0.1], rtol=1e-6)


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_an_overridden_update_step_acts_in_fit_beside_other_settings(options):
    # Gradient 1, clipped to 0.5, mean over two steps, decay 0.5 of rate 1: by hand.
    settings = {"momentum": 0.5, "weight_decay": 0.5, "clipvalue": 0.5}
    model = model_of_one_weight(Tenth(1.0, gradient_accumulation_steps=2, **settings), **options)
    assert fit_ones(model, 2) == pytest.approx(-0.05, rel=1e-6)
    # decay: -0.05 + 0.5 * 0.05; velocity 0.5 * -0.05 - 0.05
    assert fit_ones(model, 2) == pytest.approx(-0.025 - 0.075, rel=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_super_update_step_is_our_rule(nesterov, dtype):
    class Same(kerasgd.SGD):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)

    results = []
    for kind in (kerasgd.SGD, Same):
        w = keras.Variable([1.0, -2.0], dtype=dtype)
        optimizer = kind(0.5, momentum=0.5, nesterov=nesterov, weight_decay=0.25, use_ema=True)
        for gradient in ([1.0, 2.0], [0.5, -0.25]):
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [w])
        results.append([numbers(keras.ops.cast(v, "float32")) for v in (w, *optimizer.variables)])
    assert results[0] == results[1]


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
@pytest.mark.parametrize("window", [None, 2])
def test_a_rule_with_variables_of_its_own(options, window):
    model = model_of_one_weight(Signs(0.5, gradient_accumulation_steps=window), **options)
    assert fit_ones(model, 4) == (-2.0 if window is None else -1.0)
    assert numbers(model.optimizer.m[0]) == [[1.875 if window is None else 1.5]]
    assert numbers(model.optimizer.steps) == (4.0 if window is None else 2.0)


@pytest.mark.parametrize("way", ["pickle", "keras", "weights"])
def test_variables_of_a_subclass_are_saved(way, tmp_path):
    model = model_of_one_weight(Signs(0.5))
    fit_ones(model, 3)
    if way == "pickle":
        again = pickle.loads(pickle.dumps(model.optimizer))
        again.build(model.trainable_variables)
    elif way == "keras":
        model.compile(model.optimizer, loss="mse")
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras").optimizer
    else:
        model.save_weights(tmp_path / "model.weights.h5")
        new = model_of_one_weight(Signs(0.5))
        new.load_weights(tmp_path / "model.weights.h5")
        again = new.optimizer
        again.build(new.trainable_variables)
    assert numbers(again.m[0]) == [[1.75]]
    assert numbers(again.steps) == 3.0


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_pending_state_is_set_once_where_fit_builds(options, tmp_path):
    model = model_of_one_weight(Signs(0.5), **options)
    fit_ones(model, 2)
    model.save_weights(tmp_path / "model.weights.h5")
    again = model_of_one_weight(Signs(0.5), **options)
    again.load_weights(tmp_path / "model.weights.h5")
    fit_ones(again, 2)
    assert numbers(again.optimizer.m[0]) == [[1.875]]
    assert numbers(again.optimizer.steps) == 4.0


def test_legacy_files_have_variables_of_a_subclass(tmp_path):  # contract 9.4a
    model = model_of_one_weight(Signs(0.5))
    model.compile(model.optimizer, loss=keras.losses.MeanSquaredError())
    fit_ones(model, 2)
    model.save(tmp_path / "model.h5")
    again = keras.saving.load_model(tmp_path / "model.h5")
    again.optimizer.build(again.trainable_variables)
    assert numbers(again.optimizer.m[0]) == numbers(model.optimizer.m[0])
    assert numbers(again.optimizer.steps) == 2.0
    assert len(again.optimizer.variables) == len(model.optimizer.variables)


@keras.saving.register_keras_serializable("test_subclasses")
class Twice(kerasgd.SGD):
    """Adds two variables of the same name for each trainable one."""

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.first = self.add_optimizer_variables(variables, "s")
        self.second = self.add_optimizer_variables(variables, "s")


def test_variables_of_one_name_come_back_by_variable():
    trained = [keras.Variable([0.0], name=name) for name in "abc"]
    saved, into = Twice(), Twice()
    saved.build(trained)
    for i, variable in enumerate([*saved.first, *saved.second]):
        variable.assign([float(i)])
    store = {}
    saved.save_own_variables(store)
    into.build(trained[::2])
    into.load_own_variables(store)
    assert [numbers(v) for v in into.first] == [[0.0], [2.0]]
    assert [numbers(v) for v in into.second] == [[3.0], [5.0]]


def test_variables_of_a_subclass_without_a_place_are_reported():  # contract 9.4a, 9.4b
    trained = [keras.Variable([0.0], name="a")]
    saved, into = Signs(), kerasgd.SGD()
    saved.build(trained)
    store = {}
    saved.save_own_variables(store)
    into.build(trained)
    with pytest.warns(kerasgd.KerasgdWarning, match="`m`, `steps` of a subclass"):
        into.load_own_variables(store)
    with pytest.raises(kerasgd.StateError, match="`m`, `steps` of a subclass"):
        load_strictly(into, store)


@pytest.mark.parametrize("hook", subclasses.UNUSED_HOOKS)
def test_a_hook_that_is_never_called_is_refused(hook):
    with pytest.raises(kerasgd.SubclassError, match=rf"`{hook}\(\)`, which `kerasgd.SGD` never"):
        type("Hooked", (kerasgd.SGD,), {hook: lambda self, *args: None})


def test_every_private_method_of_keras_is_classified():
    # The methods that have an effect: helpers for subclasses, and those that our step calls.
    acting = {
        "_check_super_called",
        "_get_variable_index",
        "_obj_type",
        "_overwrite_variable_with_gradient",
        "_track_variable",
        "_untrack_variable",
        "_var_key",
    }
    private = set()
    for base in keras.optimizers.SGD.__mro__:
        if "optimizer" in base.__module__ or base.__name__ == "SGD":
            methods = inspect.getmembers(base, inspect.isfunction)
            private |= {
                name
                for name, function in methods
                if name.startswith("_")
                and not name.startswith("__")
                and "keras" in function.__module__
                and "optimizer" in function.__module__
            }
    assert private - acting - set(subclasses.UNUSED_HOOKS) == set()


# -- attributes ------------------------------------------------------------------------------------


# -- one optimizer, one model ----------------------------------------------------------------------
