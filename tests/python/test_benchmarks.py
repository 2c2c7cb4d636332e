"""The benchmark's arithmetic, and its refusal to time contenders with other results."""

import json
import math
import shutil
import sys

import keras
import numpy as np
import pytest
from benchmarks import floor, lines, memory, report
from benchmarks.additions import ADDITIONS
from benchmarks.comparison import (
    AGAIN,
    BASELINE,
    OURS,
    Interval,
    compare,
    quantiles,
    verdict,
)
from benchmarks.configurations import CONFIGURATIONS, RATE
from benchmarks.contenders import CONTENDERS, MODES, keras_like, optimizer_step
from benchmarks.measure import started
from benchmarks.numerics import check_equal
from benchmarks.results import Results, read
from benchmarks.slope import slope
from benchmarks.timing import Effort
from benchmarks.workloads import Workload

import kerasgd
from kerasgd.reference import ReferenceSGD

MODE = MODES[-1]
# Large enough for a norm that is clipped.
SMALL = Workload([(30, 40), (50,)])


def below(k, n):
    """The chance that at most k of n values are below their true median."""
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


@pytest.mark.parametrize("n", [6, 7, 8, 15, 31, 32, 101])
def test_interval_is_the_shortest_that_holds_the_median_95_times_in_100(n):
    interval = Interval.of([float(i) for i in reversed(range(n))])
    left_out = round(interval.low)
    assert interval.high == n - 1 - left_out
    assert interval.median == (n - 1) / 2
    # The true median is outside when at most `left_out` values are on one of its sides.
    assert 2 * below(left_out, n) <= 0.05 < 2 * below(left_out + 1, n)


def test_interval_of_few_values_holds_all():
    assert Interval.of([3.0, 1.0, 2.0]) == Interval(1, 2, 3)


@pytest.mark.parametrize(
    ("ratio", "equals", "expected"),
    [
        ((1.2, 1.3, 1.4), (0.9, 1, 1.1), "faster"),
        ((0.5, 0.6, 0.7), (0.9, 1, 1.1), "slower"),
        ((1.05, 1.3, 1.6), (0.9, 1, 1.1), "no difference"),
        ((0.7, 0.8, 0.9), (0.9, 1, 1.1), "no difference"),
    ],
)
def test_verdict(ratio, equals, expected):
    assert verdict(Interval(*ratio), Interval(*equals)) == expected


def test_compare_takes_rounds_one_by_one():
    # A disturbance affects all contenders of a round.
    disturbed = np.array([1, 1, 5, 1, 9, 1, 2, 1])
    compared = compare(
        {BASELINE: 2e-3 * disturbed, AGAIN: 2e-3 * disturbed, OURS: 1e-3 * disturbed}
    )
    assert compared[OURS].ratio == Interval(2, 2, 2)
    assert compared[OURS].verdict == "faster"
    assert compared[OURS].milliseconds == 1
    assert compared[AGAIN].verdict == ""


def test_quantiles_show_stalls_that_the_median_hides():
    found = quantiles([1e-3] * 8 + [5e-3] * 2)
    assert found == pytest.approx({"ms of a tenth": 1, "ms of nine tenths": 5})
    assert quantiles([i / 1000 for i in range(11)]) == pytest.approx(
        {"ms of a tenth": 1, "ms of nine tenths": 9}
    )


def test_equals_that_differ_from_one_by_chance_make_no_slower_one():
    keras_times = np.full(8, 1.0)
    compared = compare({BASELINE: keras_times, AGAIN: keras_times / 1.1, OURS: keras_times})
    assert compared[OURS].verdict == "no difference"


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_slope_of_a_power_law(power):
    sizes = [1, 10, 30, 100, 1_000]
    assert slope(sizes, [7 * size**power for size in sizes]) == pytest.approx(power)


def test_slope_is_that_of_the_largest_sizes_in_any_order():
    sizes = [1_000, 1, 10_000, 10, 100_000]
    assert slope(sizes, [max(50, size) for size in sizes]) == pytest.approx(1)


def test_rounds_fit_into_the_time_but_are_never_too_few():
    effort = Effort(rounds=31, seconds=10)
    assert [effort.rounds_of(seconds) for seconds in (0.01, 0.5, 60)] == [31, 20, 7]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_all_contenders_compute_what_keras_does(configuration):
    contenders, first_calls = started(CONTENDERS, SMALL, CONFIGURATIONS[configuration], MODE)
    assert {BASELINE, AGAIN, OURS} <= set(contenders) == set(first_calls)
    for contender in contenders.values():
        for before, after in zip(SMALL.weights(), contender.weights(), strict=True):
            assert np.max(np.abs(before - after)) > 1e-6


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc compiles the floor")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("configuration", [name for name in CONFIGURATIONS if name != "clipnorm"])
def test_the_floor_computes_the_documented_update(configuration, threads):
    arguments = CONFIGURATIONS[configuration]
    weights, gradient = SMALL.weights()[0], SMALL.gradients()[0]
    buffers = [a.astype("float32").ravel() for a in (weights, 0 * weights, 0 * weights, gradient)]
    reference = ReferenceSGD(RATE, **arguments).build([weights])
    expected_average = 0.0
    for _ in range(3):
        floor.update(buffers, arguments, threads)
        reference.step([gradient])
        kept = arguments.get("ema_momentum", 0)
        expected_average = kept * expected_average + (1 - kept) * reference.weights[0].ravel()
    np.testing.assert_allclose(buffers[0], reference.weights[0].ravel(), rtol=1e-5, atol=1e-6)
    if "use_ema" in arguments:
        np.testing.assert_allclose(buffers[2], expected_average, rtol=1e-5, atol=1e-6)


def test_the_floor_has_no_norms_of_single_variables():
    with pytest.raises(floor.Unavailable, match="single variables"):
        floor.floor_step(SMALL, {"clipnorm": 1.0})


def test_a_contender_that_computes_something_else_is_not_timed():
    def slower_learner(rate, **given):
        return keras.optimizers.SGD(0.9 * rate, **given)

    makers = {BASELINE: CONTENDERS[BASELINE], "wrong": keras_like(slower_learner)}
    with pytest.raises(AssertionError, match="wrong is off by"):
        started(makers, SMALL, {"momentum": 0.9}, MODE)


def test_nan_is_not_equal():
    with pytest.raises(AssertionError, match="wrong is off by nan"):
        check_equal({BASELINE: [np.ones(2)], "wrong": [np.array([1, np.nan])]}, 1e-5)


def test_keras_does_the_documented_update():
    contenders, _ = started({BASELINE: CONTENDERS[BASELINE]}, SMALL, {}, MODE)
    # Two updates: the first call, and one more before the comparison.
    expected = [w - 2 * RATE * g for w, g in zip(SMALL.weights(), SMALL.gradients(), strict=True)]
    for ours, theirs in zip(contenders[BASELINE].weights(), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own count")
def test_temporary_memory_is_what_a_step_takes_and_gives_back():
    np.ones(2**28, "uint8")  # an earlier peak
    # Blocks of more than 32 MB are returned to the system with any setting of the allocator.
    taken = np.median([memory.temporary(lambda: np.ones(2**26, "uint8")) for _ in range(5)])
    assert taken == pytest.approx(64, rel=0.05)


def row(case, contender, **numbers):
    return {"case": case, "contender": contender, **numbers}


def test_a_case_measured_again_takes_the_place_of_the_old_one(tmp_path):
    path, about = tmp_path / "build-jax.json", {"versions": "1"}
    Results(path, about).add([row(["a"], "keras", ms=1.0), row(["a"], "gone", ms=1.0)])
    again = Results(path, about)
    again.add([row(["b"], "keras", ms=2.0)])
    again.add([row(["a"], "keras", ms=3.0)])
    assert read(path)["rows"] == [row(["a"], "keras", ms=3.0), row(["b"], "keras", ms=2.0)]


def test_rows_of_other_versions_do_not_stay(tmp_path):
    path = tmp_path / "build-jax.json"
    Results(path, {"versions": "1"}).add([row(["a"], "keras", ms=1.0)])
    Results(path, {"versions": "2"}).add([row(["b"], "keras", ms=2.0)])
    assert read(path) == {"about": {"versions": "2"}, "rows": [row(["b"], "keras", ms=2.0)]}


def test_growth_is_read_from_the_smallest_size_on():
    rows = [row(["variables", n], OURS, ms=float(n)) for n in (100, 10, 1_000)]
    (line,) = lines.by_quantity({"jax": {"rows": rows}})
    assert [row["ms"] for row in line.rows] == [10, 100, 1_000]


def test_report_shows_the_verdict_and_the_best_peer(tmp_path):
    case = ["jit", "tiny", "plain"]
    ratios = {BASELINE: 1.0, AGAIN: 1.02, OURS: 1.01, "one": 1.5, "other": 2.5}
    Results(tmp_path / "measure-jax.json", {"versions": "jax 1"}).add(
        [
            row(case, name, ms=4 / ratio, ratio=ratio, low=ratio - 0.1, high=ratio + 0.1)
            | {"verdict": "no difference", "first call s": 3 / ratio, "rounds": 7, "load": 0.5}
            | {"ms of a tenth": 3 / ratio, "ms of nine tenths": 8 / ratio}
            for name, ratio in ratios.items()
        ]
    )
    page = report.markdown(tmp_path)
    assert "- jax 1: measure on jax (load average 0.5 to 0.5)" in page
    (summary,) = [line for line in page.splitlines() if "other 2.50" in line]
    cells = [cell.strip() for cell in summary.strip("|").split("|")]
    ours = ["4", "3.96", "1.01 [0.91, 1.11]", "1.02 [0.92, 1.12]", "no difference"]
    first_calls = ["2.94", "2.97"]
    parts = ["7.92", "", "0.40"]  # of nine tenths, of the floor, of the best peer: 1.01 / 2.5
    assert cells == ["jax", *case, *ours, *parts, *first_calls, "other 2.50 [2.40, 2.60]"]


def test_report_shows_what_r_adds(tmp_path):
    about = {"machine": "one", "versions": "R 4", "load": 0.5}
    rows = [
        {"what": "library(kerasgd)", "ms": 6, "lowest": 5, "highest": 7, "python": None},
        {"what": "optimizer_sgd()", "ms": 2.5, "lowest": 2, "highest": 3, "python": 1.25},
    ]
    (tmp_path / "from-r.json").write_text(json.dumps({"about": about, "rows": rows}))
    page = report.markdown(tmp_path)
    assert "(one; R 4; load average 0.5)." in page
    assert "| `library(kerasgd)` | 6 [5, 7] |  |  |" in page
    assert "| `optimizer_sgd()` | 2.5 [2, 3] | 1.25 | 2.00 |" in page


def test_report_shows_what_an_addition_costs(tmp_path):
    numbers = {"low": 0.9, "high": 1.1, "verdict": "no difference", "load": 0.5}
    Results(tmp_path / "additions-jax.json", {"versions": "jax 1"}).add(
        [
            {"case": ["jit", "few", "statistics"], "contender": name, "ms": ms, "ratio": ratio}
            | numbers
            for name, ms, ratio in [
                ("without", 2.0, 1.0),
                ("without again", 2.1, 0.95),
                ("with", 2.5, 0.8),
            ]
        ]
    )
    page = report.markdown(tmp_path)
    line = "| jax | jit | few | statistics | 2 | 2.5 | 0.80 [0.90, 1.10] | 0.95 [0.90, 1.10] |"
    assert line in page


def test_report_shows_the_time_on_several_devices(tmp_path):
    Results(tmp_path / "devices-jax.json", {"versions": "jax 1"}).add(
        [
            {"case": ["jit", "resnet", "plain"], "contender": str(number), "load": 0.5}
            | {"ms": 2.0 * number, "low": 1.5 * number, "high": 2.5 * number}
            for number in (1, 2)
        ]
    )
    page = report.markdown(tmp_path)
    assert "| devices: 1 | devices: 2 |" in page
    assert "| jax | jit | resnet | plain | 2 [1.5, 2.5] | 4 [3, 5] |" in page


@pytest.mark.parametrize("addition", ADDITIONS.values(), ids=ADDITIONS)
def test_an_addition_can_be_measured(addition):
    workload = Workload([(3,), (2, 2), (4,)])
    variables = [keras.Variable(w) for w in workload.weights()]
    before = workload.weights()
    optimizer = kerasgd.SGD(0.1)
    addition(optimizer, variables)
    contender = optimizer_step(optimizer, variables, workload, MODES[0])
    contender.step()
    for old, new in zip(before, contender.weights(), strict=True):
        assert not np.array_equal(old, new)
