"""The callback that sets the learning rate before each batch (contract 2.3, 2.4)."""

import keras
import pytest
from conftest import WAYS_TO_COMPILE, fit_ones, halving, model_of_one_weight

import kerasgd
from kerasgd.callbacks import LearningRateFunction


@pytest.mark.parametrize("options", WAYS_TO_COMPILE)
def test_the_callback_sets_the_rate_before_each_batch(options):  # contract 2.3
    calls = []
    model = model_of_one_weight(kerasgd.SGD(0.1), **options)
    assert fit_ones(model, 4, callbacks=[LearningRateFunction(halving(calls))]) == pytest.approx(
        -(1 - 0.5**4), rel=1e-6
    )
    assert len(calls) == 4


def test_the_callback_reaches_through_a_loss_scale():  # contract 2.3, 6.3
    calls = []
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.1), 4)
    model = model_of_one_weight(optimizer)
    trained = fit_ones(model, 2, callbacks=[LearningRateFunction(halving(calls))])
    assert trained == pytest.approx(-0.75, rel=1e-6)


def test_the_callback_requires_a_number_as_first_rate():  # contract 2.3
    model = model_of_one_weight(kerasgd.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    with pytest.raises(kerasgd.StateError, match="must be a number"):
        fit_ones(model, 1, callbacks=[LearningRateFunction(lambda: 0.1)])


def failing():
    raise OSError("the file is gone")


def test_a_failing_function_of_the_callback_stops_training():  # contract 2.4
    model = model_of_one_weight(kerasgd.SGD(0.1))
    with pytest.raises(kerasgd.LearningRateError, match="the file is gone") as caught:
        fit_ones(model, 2, callbacks=[LearningRateFunction(failing)])
    assert isinstance(caught.value.original, OSError)
