"""The statistics in the form for R's data frames."""

import keras
import numpy as np
import pytest

import kerasgd
from kerasgd.callbacks import Statistics
from kerasgd.r import statistics


def doubles(data):
    return np.frombuffer(data, "<f8").tolist()


def trained(optimizer):
    """A callback after four updates of `y = w x + b`, one batch each."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss="mse")
    callback = Statistics()
    x = keras.ops.ones((2, 1))
    model.fit(x, x, batch_size=1, epochs=2, callbacks=[callback], verbose=0)
    return callback


def test_columns_are_the_rows_of_the_callback():
    # contract 15.5
    callback = trained(kerasgd.SGD(0.125, global_clipnorm=0.5).track_statistics())
    columns = statistics.of_updates(callback)
    assert columns.pop("clip_limit") == 0.5
    assert list(columns) == [*statistics.WHERE, *statistics.OF_UPDATE]
    for name, data in columns.items():
        assert doubles(data) == [float(row[name]) for row in callback.rows]
    assert doubles(columns["epoch"]) == [1, 1, 2, 2]


def test_variables_have_a_row_for_each_update():
    # contract 15.2
    callback = trained(kerasgd.SGD(0.125, clipnorm=2).track_statistics(per_variable=True))
    columns = statistics.of_variables(callback)
    assert columns["clip_limit"] == 2
    assert columns["paths"] == [variable["path"] for variable in callback.rows[0]["variables"]]
    assert doubles(columns["path"]) == [0, 1] * 4
    assert doubles(columns["updates"]) == [1, 1, 2, 2, 3, 3, 4, 4]
    of_bias = [row["variables"][1]["gradient_norm"] for row in callback.rows]
    assert doubles(columns["gradient_norm"])[1::2] == of_bias


def test_an_optimizer_has_its_last_update():
    optimizer = kerasgd.LossScaleOptimizer(kerasgd.SGD(0.125, global_clipnorm=4), initial_scale=2)
    assert statistics.of_updates(optimizer.track_statistics()) is None
    optimizer.apply([2 * keras.ops.ones(1)], [keras.Variable([2.0])])
    columns = statistics.of_updates(optimizer)
    assert columns["clip_limit"] == 4
    assert doubles(columns["gradient_norm"]) == [1]
    assert "epoch" not in columns


def test_variables_that_are_not_measured_are_an_error():
    callback = trained(kerasgd.SGD().track_statistics())
    with pytest.raises(kerasgd.StateError, match="per_variable = TRUE"):
        statistics.of_variables(callback)


def test_a_callback_that_has_seen_nothing_has_no_rows():
    columns = statistics.of_variables(Statistics())
    assert columns["paths"] == []
    assert columns["clip_limit"] is None
    assert doubles(columns["path"]) == []
