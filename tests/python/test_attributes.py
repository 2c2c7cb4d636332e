"""Settings as attributes: which can be set, and until when (contract 13.3).

test_arguments.py tests the values that each setting accepts.
"""

import keras
import pytest
from conftest import numbers

import kerasgd
from kerasgd import attributes

CHANGES = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.5,
    "clipnorm": 1.0,
    "clipvalue": 1.0,
    "global_clipnorm": 1.0,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "name": "other",
    "gradient_accumulation_steps": 2,
}


@pytest.mark.parametrize("setting", CHANGES)
def test_settings_can_be_set_until_the_optimizer_is_built(setting):
    optimizer = kerasgd.SGD()
    setattr(optimizer, setting, CHANGES[setting])
    assert optimizer.get_config()[setting] == CHANGES[setting]


@pytest.mark.parametrize("setting", CHANGES)
def test_settings_are_fixed_once_the_optimizer_is_built(setting):
    optimizer = kerasgd.SGD()
    optimizer.build([keras.Variable([0.0])])
    before = getattr(optimizer, setting)
    with pytest.raises(kerasgd.StateError, match=rf"`{setting}`.*`optimizer.update\(\)`"):
        setattr(optimizer, setting, CHANGES[setting])
    assert getattr(optimizer, setting) == before
    setattr(optimizer, setting, before)


def test_a_setting_before_build_acts():
    w = keras.Variable([0.0])
    optimizer = kerasgd.SGD(1.0)
    optimizer.momentum = 0.5
    for _ in range(2):
        optimizer.apply([keras.ops.ones(1)], [w])
    assert numbers(w) == [-2.5]


def test_at_most_one_clip_can_be_set():
    optimizer = kerasgd.SGD(clipnorm=1)
    with pytest.raises(kerasgd.ArgumentValueError, match="`clipvalue` must be None when"):
        optimizer.clipvalue = 1
    optimizer.clipnorm = None
    optimizer.clipvalue = 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_unknown_attribute_suggests_the_argument(wrapped):
    optimizer = kerasgd.SGD()
    if wrapped:
        optimizer = kerasgd.LossScaleOptimizer(optimizer)
    with pytest.raises(kerasgd.UnknownArgumentError, match="mean `learning_rate`"):
        optimizer.lr = 0.1


@pytest.mark.parametrize("setting", ["clipnorm", "momentum", "use_ema", "weight_decay"])
def test_settings_of_the_inner_optimizer_cannot_be_set_on_the_wrapper(setting):
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD())
    with pytest.raises(kerasgd.UnknownArgumentError, match=r"`inner_optimizer`.*update\(\)"):
        setattr(optimizer, setting, 1)
    optimizer.learning_rate = 0.5
    assert float(optimizer.inner_optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("optimizer_class", [kerasgd.SGD, kerasgd.LossScaleOptimizer])
@pytest.mark.parametrize("attribute", attributes.READ_ONLY)
def test_an_attribute_that_shows_the_state_cannot_be_set(attribute, optimizer_class):
    inner = kerasgd.SGD().track_statistics()
    optimizer = inner if optimizer_class is kerasgd.SGD else optimizer_class(inner)
    with pytest.raises(kerasgd.KerasgdError, match=rf"^`{attribute}` (cannot be set:|is not an)"):
        setattr(optimizer, attribute, 1)
    with pytest.raises(AttributeError, match="`groups` cannot be set: "):
        optimizer.groups = ()


def test_a_subclass_may_make_such_an_attribute_settable():
    class WithWindow(kerasgd.SGD):
        window = property(lambda self: 2, lambda self, value: None)

    WithWindow().window = 3


class Subclass(kerasgd.SGD):
    pass


def test_a_subclass_may_have_any_attribute():
    optimizer = Subclass()
    optimizer.lr = 0.1
    assert optimizer.lr == 0.1


def test_the_inner_optimizer_is_checked_when_it_is_set():
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD())
    with pytest.raises(kerasgd.ArgumentError, match="`inner_optimizer` must be"):
        optimizer.inner_optimizer = keras.optimizers.Adam()
