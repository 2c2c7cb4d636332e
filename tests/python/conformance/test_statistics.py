"""The checks of statistics: each detects an optimizer with one fault."""

import pytest
from conftest import BACKEND

import kerasgd
from conformance.broken import checks_of, is_found_out
from kerasgd.conformance import statistics

CHECKS = checks_of(statistics)


class MeasuresTooRarely(kerasgd.SGD):
    def track_statistics(self, per_variable=False, every=1):
        return super().track_statistics(per_variable, every + 1)


class MeasuresAlways(kerasgd.SGD):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.track_statistics()


class ChecksNothing(kerasgd.SGD):
    def track_statistics(self, per_variable=False, every=1):
        return super().track_statistics()


def changing(name, change):
    """A class that shows one statistic changed."""

    class Changing(kerasgd.SGD):
        @property
        def statistics(self):
            row = super().statistics
            return row and {**row, name: change(row)}

    return Changing


def twice_the_norm(row):
    return 2 * row["gradient_norm"]


WRONG = {
    "every_other_update": MeasuresTooRarely,
    "only_when_asked": MeasuresAlways,
    "arguments_are_checked": ChecksNothing,
    "each_clip": changing("clip_coefficient", lambda row: 1.0),
    "zeros": changing("update_ratio", lambda row: row["update_ratio"] or float("nan")),
    "what_is_not_finite": changing("nonfinite", lambda row: 0),
    "everything_on": changing("loss_scale", lambda row: 1.0),
    "sparse_gradients": changing("gradient_norm", twice_the_norm),
    "embedding_in_fit": changing("gradient_norm", twice_the_norm),
    "rows_and_logs": changing("update_norm", lambda row: row["update_norm"] / row["weight_norm"]),
    "nothing_to_show": MeasuresAlways,
}
ONLY_TENSORFLOW = ("sparse_gradients", "embedding_in_fit")


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a type of TensorFlow")
@pytest.mark.parametrize("name", ONLY_TENSORFLOW)
def test_checks_of_sparse_gradients_find_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ONLY_TENSORFLOW])
def test_each_check_finds_a_wrong_optimizer(name):
    assert is_found_out(CHECKS[name], WRONG[name])


def test_wrong_logs_are_found(monkeypatch):
    class WrongLogs(kerasgd.callbacks.Statistics):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            logs["clipped"] = 0.0

    monkeypatch.setattr(kerasgd.callbacks, "Statistics", WrongLogs)
    assert is_found_out(CHECKS["rows_and_logs"], kerasgd.SGD)
