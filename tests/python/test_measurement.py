"""The statistics of an update are those of the reference (contract 15.1 to 15.3)."""

from collections import Counter

import keras
import numpy as np
import pytest
from conftest import BACKEND, floatx
from watched import (
    WAYS,
    assert_statistics,
    copies_in,
    program,
    single,
    step_of,
    steps_together,
    tensor,
)

import kerasgd
from kerasgd.reference import ReferenceGroup, ReferenceLossScale, ReferenceSGD, SparseRows

pytestmark = pytest.mark.filterwarnings("ignore:There is no gradient")

SHAPES = {"kernel": (3, 2), "bias": (2,), "slow": (2, 4), "frozen": (4,), "unused": (2,)}
DECAY = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
EMA = {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
CASES = {
    "plain": ({}, 1),
    "every third": ({"momentum": 0.5}, 3),
    "decay, global_clipnorm": ({**DECAY, "global_clipnorm": 1.0}, 1),
    "clipnorm": ({"momentum": 0.5, "clipnorm": 0.5}, 2),
    "clipvalue": ({"clipvalue": 0.2, "loss_scale_factor": 4.0}, 1),
    "clips that do nothing": ({**DECAY, "global_clipnorm": 1e3}, 1),
    "overwriting": ({**DECAY, **EMA}, 1),
    "accumulation": ({"gradient_accumulation_steps": 2, "clipnorm": 0.5, **DECAY}, 1),
    "accumulation, every second": (
        {"gradient_accumulation_steps": 2, "loss_scale_factor": 3.0, **EMA},
        2,
    ),
    "overwriting, every second": ({**DECAY, **EMA, "global_clipnorm": 1.0}, 2),
    "constraint": (DECAY, 1),
    "constraint, every second": (DECAY, 2),
}


def max_norm(w):
    """`keras.constraints.MaxNorm(1)` in NumPy."""
    norms = np.sqrt(np.sum(w**2, axis=0))
    return w * (np.clip(norms, 0, 1) / (1e-7 + norms))


def pair(arguments, every, is_constrained=False):
    """Variables, an optimizer and the reference with a group of each kind."""
    generator = np.random.default_rng(0)
    weights = [single(generator.normal(size=shape)) for shape in SHAPES.values()]
    variables = [
        keras.Variable(w, dtype="float32", name=n) for w, n in zip(weights, SHAPES, strict=True)
    ]
    if is_constrained:
        variables[0].constraint = keras.constraints.MaxNorm(1)
    optimizer = kerasgd.SGD(0.1, **arguments).track_statistics(per_variable=True, every=every)
    optimizer.set_group("slow", learning_rate_factor=0.5, momentum=0.25)
    optimizer.set_group("frozen", learning_rate_factor=0)
    optimizer.build(variables)
    reference = ReferenceSGD(0.1, **arguments).build(
        weights,
        constraints=[max_norm if is_constrained else None, *[None] * 4],
        groups=[
            ReferenceGroup({2}, learning_rate_factor=0.5, momentum=0.25),
            ReferenceGroup({3}, learning_rate_factor=0),
        ],
        statistics_every=every,
    )
    return variables, optimizer, reference


def gradients(generator):
    return [single(generator.normal(size=shape)) for shape in list(SHAPES.values())[:-1]] + [None]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_statistics_are_those_of_the_reference(case, way):  # contract 15.1, 15.2, 15.3, 7, 14.5
    variables, optimizer, reference = pair(*CASES[case], is_constrained="constraint" in case)
    step, generator = step_of(way, optimizer, variables), np.random.default_rng(1)
    for _ in range(9):
        given = gradients(generator)
        step([tensor(g) for g in given])
        reference.step(given)
        assert_statistics(optimizer.statistics, reference)


@pytest.mark.parametrize("way", WAYS)
def test_gradients_that_are_not_finite_are_counted(way):  # contract 15.2
    variables, optimizer, reference = pair({"clipnorm": 1.0}, 1)
    step = step_of(way, optimizer, variables)
    for spoilt in (np.nan, np.inf, -np.inf):
        given = gradients(np.random.default_rng(1))
        given[1][0] = given[2][1, 1] = given[2][0, 3] = spoilt
        step([tensor(g) for g in given])
        reference.step(given)
        found, expected = optimizer.statistics, reference.statistics
        counts = [of_one["nonfinite"] for of_one in found["variables"]]
        assert counts == [0, 1, 2, 0, 0], spoilt
        assert all(type(count) is int for count in counts)
        assert found["nonfinite"] == 3, spoilt
        for name in ("gradient_norm", "clip_coefficient"):
            assert str(found[name]) == str(expected[name]), spoilt  # NaN and infinity alike


@pytest.mark.parametrize("way", WAYS)
def test_norms_are_safe_for_any_finite_gradient(way):  # contract 15.2, 4.3
    weights = [[1.0, 2.0], [3.0]]
    arguments = [
        {"loss_scale_factor": 0.5} | ({clip: 2.0} if clip else {})
        for clip in (None, "global_clipnorm", "clipnorm")
    ]
    optimizers = [
        kerasgd.SGD(0.1, **each).track_statistics(per_variable=True) for each in arguments
    ]
    references = [
        ReferenceSGD(0.1, **each).build(weights, statistics_every=1) for each in arguments
    ]
    variables = [[keras.Variable(w, dtype="float32") for w in weights] for _ in optimizers]
    step = steps_together(way, zip(optimizers, variables, strict=True))
    for size in (1e-30, 1e20):
        given = [single([3 * size, 4 * size]), single([12 * size])]
        step([[tensor(g) for g in given] for _ in optimizers])
        for optimizer, reference, each in zip(optimizers, references, arguments, strict=True):
            reference.step(given)
            found = optimizer.statistics
            assert found["gradient_norm"] == pytest.approx(26 * size, rel=1e-6), each
            assert_statistics(found, reference)


@pytest.mark.parametrize("way", WAYS)
def test_the_coefficient_is_1_where_nothing_is_clipped(way):  # contract 15.2, 4.4
    optimizers, given = {}, {}
    for clip in ("clipnorm", "clipvalue", "global_clipnorm"):
        generator = np.random.default_rng(0)
        for shapes in ([(1,), (7,), (3, 5)], [(100_001,), (3, 5)]):
            optimizer = kerasgd.SGD(0.1, loss_scale_factor=3.0, **{clip: 1e4}).track_statistics()
            variables = [keras.Variable(np.zeros(shape, "float32")) for shape in shapes]
            case = clip, len(shapes)
            optimizers[case] = optimizer, variables
            given[case] = [generator.normal(size=shape) for shape in shapes]
    step = steps_together(way, optimizers.values())
    step([[tensor(g) for g in given[case]] for case in optimizers])
    for case, (optimizer, _) in optimizers.items():
        assert optimizer.statistics["clip_coefficient"] == 1, case


def test_the_coefficient_of_no_gradient_is_1():  # contract 15.2
    w = keras.Variable([0.0])
    optimizer = kerasgd.SGD(0.1, clipnorm=1.0).track_statistics()
    optimizer.apply([keras.ops.zeros(1)], [w])
    found = optimizer.statistics
    assert (found["gradient_norm"], found["clip_coefficient"], found["update_ratio"]) == (0, 1, 0)


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm", "clipvalue"])
@pytest.mark.parametrize("way", WAYS)
def test_values_that_overwrite_are_in_no_norm(way, clip):  # contract 15.2, 13.1
    weights = [np.array([3.0, 4.0]), np.array([5.0]), np.array([6.0])]
    variables = [
        keras.Variable(w, dtype="float32", name=n) for w, n in zip(weights, "wsz", strict=True)
    ]
    variables[1].overwrite_with_gradient = True
    optimizer = kerasgd.SGD(0.5, **{clip: 0.25}).track_statistics(per_variable=True)
    reference = ReferenceSGD(0.5, **{clip: 0.25}).build(
        weights, overwrite_with_gradient={1}, statistics_every=1
    )
    step = step_of(way, optimizer, variables)
    # The norm of zeros, and of all in the second step, is measured in units.
    for given in (
        [np.array([0.0, 2.0]), np.array([7.0]), np.array([0.0])],
        [np.array([1e25, 0.0]), np.array([8.0]), np.array([1e25])],
        [np.array([1.0, 0.0]), [np.inf], np.array([0.0])],
    ):
        step([tensor(g) for g in given])
        reference.step(given)
        assert_statistics(optimizer.statistics, reference)
    assert reference.statistics["nonfinite"] == 1


@pytest.mark.skipif(BACKEND != "tensorflow", reason="its sparse gradients")
@pytest.mark.parametrize("arguments", [{}, {"momentum": 0.9, "clipnorm": 0.5}, {"clipvalue": 0.1}])
@pytest.mark.parametrize("way", WAYS)
def test_statistics_of_sparse_gradients(way, arguments):  # contract 15.3, 11.1, 4.2
    generator = np.random.default_rng(0)
    weights = [single(generator.normal(size=shape)) for shape in ((6, 2), (3,))]
    variables = [keras.Variable(w, dtype="float32") for w in weights]
    optimizer = kerasgd.SGD(0.1, **arguments).track_statistics(per_variable=True)
    reference = ReferenceSGD(0.1, **arguments).build(weights, statistics_every=1)
    step = step_of(way, optimizer, variables)
    for t in range(4):
        rows = SparseRows(single(generator.normal(size=(4, 2))), np.array([1, 3, 1, 1]))
        if t == 3:
            rows.values[0, 0], rows.values[2, 0] = np.inf, np.nan  # of one row: one sum
        given = [rows, single(generator.normal(size=3))]
        step([tensor(g) for g in given])
        reference.step(given)
        assert optimizer.statistics["nonfinite"] == reference.statistics["nonfinite"]
        if t < 3:
            assert_statistics(optimizer.statistics, reference)


@pytest.mark.parametrize("way", WAYS)
def test_statistics_with_a_dynamic_loss_scale(way):  # contract 15.2, 6.3
    weights = [single([1.0, -2.0, 0.5])]
    variables = [keras.Variable(w, dtype="float32") for w in weights]
    inner = kerasgd.SGD(0.1, global_clipnorm=1.0)
    optimizer = kerasgd.LossScaleOptimizer(inner, 4.0, 2).track_statistics(per_variable=True)
    reference = ReferenceSGD(0.1, global_clipnorm=1.0).build(weights, statistics_every=1)
    scaler = ReferenceLossScale(reference, 4.0, 2)
    step, generator = step_of(way, optimizer, variables), np.random.default_rng(0)
    scales = []
    for t in range(7):
        given = [single(generator.normal(size=3))]
        if t in (0, 4):
            given[0][1] = np.inf  # not measured, because the step is skipped
        step([tensor(g) for g in given])
        scaler.step(given)
        assert_statistics(optimizer.statistics, reference)
        scales += [optimizer.statistics["loss_scale"]] if t else []
    assert scales == [2, 2, 4, 4, 2, 2]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_norms_of_half_precision_are_taken_in_float32(dtype, way):  # contract 15.3, 8.1
    generator = np.random.default_rng(0)
    v = keras.Variable(generator.normal(size=300), dtype=dtype)
    optimizer = kerasgd.SGD(0.1, momentum=0.9).track_statistics()
    step = step_of(way, optimizer, [v])
    for _ in range(3):
        gradient = keras.ops.convert_to_tensor(100 * generator.normal(size=300), dtype)
        before = as_float64(v)
        step([gradient])
        # Computed from the actual weights, to exclude their rounding.
        expected = {
            "gradient_norm": np.linalg.norm(as_float64(gradient)),
            "weight_norm": np.linalg.norm(before),
            "update_norm": np.linalg.norm(as_float64(v) - before),
        }
        found = optimizer.statistics
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=2e-6)


def as_float64(values):
    return keras.ops.convert_to_numpy(keras.ops.cast(values, "float32")).astype("float64")


NO_FLOAT64 = pytest.mark.skipif(BACKEND == "jax", reason="JAX has no float64 unless it is told to")


@NO_FLOAT64
@pytest.mark.parametrize("way", WAYS)
def test_statistics_in_float64(way):  # contract 15.3, 8.2
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(3, 2)), generator.normal(size=4)]
    with floatx("float64"):
        variables = [keras.Variable(w) for w in weights]
        arguments = {"momentum": 0.9, "global_clipnorm": 0.5, "weight_decay": 0.1}
        optimizer = kerasgd.SGD(0.1, **arguments).track_statistics(per_variable=True)
        reference = ReferenceSGD(0.1, **arguments).build(weights, statistics_every=1)
        step = step_of(way, optimizer, variables)
        for _ in range(5):
            given = [generator.normal(size=w.shape) for w in weights]
            step([tensor(g, "float64") for g in given])
            reference.step(given)
            found = optimizer.statistics
            records = [found, *found.pop("variables")]
            expected = [reference.statistics, *reference.statistics_per_variable]
            for ours, its in zip(records, expected, strict=True):
                assert {n: ours[n] for n in its} == pytest.approx(its, rel=1e-12)


@NO_FLOAT64
@pytest.mark.parametrize("way", WAYS)
def test_small_changes_of_float64_weights_are_seen(way):  # contract 15.3: statistics in float32
    v = keras.Variable([1.0, 1.0], dtype="float64")
    optimizer = kerasgd.SGD(1.0).track_statistics()
    step_of(way, optimizer, [v])([tensor([3e-10, 4e-10], "float64")])
    assert optimizer.statistics["update_norm"] == pytest.approx(5e-10, rel=2e-6)


# -- what is computed ---------------------------------------------------------------------------

# The operations of a step with momentum on two variables, without statistics. Constants and
# placeholders do not count.
PLAIN = {
    "tensorflow": {
        "ReadVariableOp": 1,
        "Mul": 1,
        "ResourceApplyKerasMomentum": 2,
        "AssignAddVariableOp": 1,
    },
    "jax": {"mul": 6, "add": 3, "sub": 2},
    "torch": {
        "aten._local_scalar_dense.default": 1,
        "aten._fused_sgd_.default": 1,
        "aten.add_.Tensor": 1,
    },
}[BACKEND]
MEASURING = {
    "tensorflow": {"L2Loss", "Sqrt", "IsFinite"},
    "jax": {"reduce_sum", "sqrt", "is_finite"},
    "torch": {"aten._foreach_norm.Scalar", "aten.sqrt.default"},
}[BACKEND]


class Step:
    """The operations of a step of two variables.

    Attributes:
        taken: the number of operations of each kind, if no update is measured at this step.
        all: the same, including both branches of conditionals.
    """

    def __init__(self, optimizer):
        variables = [keras.Variable(np.ones(shape, "float32")) for shape in ((3, 2), (2,))]
        optimizer.build(variables)
        gradients = [keras.ops.ones(v.shape) for v in variables]
        of_backend = {"tensorflow": of_graph, "jax": of_jaxpr, "torch": of_torch}[BACKEND]
        self.taken, self.all = of_backend(optimizer, gradients, variables)


def of_graph(optimizer, gradients, variables):
    import tensorflow as tf

    step = tf.function(lambda given: optimizer.apply(given, variables))
    graph = step.get_concrete_function(gradients).graph.as_graph_def()
    functions = {f.signature.name: f.node_def for f in graph.library.function}

    def count(nodes):
        return Counter(n.op for n in nodes if n.op not in ("Const", "Placeholder", "Identity"))

    taken = count(graph.node)
    for node in graph.node:
        if node.op in ("If", "StatelessIf"):
            taken += count(functions[node.attr["else_branch"].func.name])
    return taken, sum(map(count, functions.values()), count(graph.node))


def of_jaxpr(optimizer, gradients, variables):
    import jax

    def count(jaxpr, of_branches):
        found = Counter()
        for equation in jaxpr.eqns:
            found[equation.primitive.name] += 1
            if equation.primitive.name == "cond":
                parts = of_branches(equation.params["branches"])
            else:
                parts = [p for p in equation.params.values() if hasattr(p, "jaxpr")]
            found += sum((count(part.jaxpr, of_branches) for part in parts), Counter())
        return found

    values = [v.value for v in optimizer.variables], gradients, [v.value for v in variables]
    jaxpr = jax.make_jaxpr(optimizer.stateless_apply)(*values).jaxpr
    return count(jaxpr, lambda branches: branches[:1]), count(jaxpr, list)


def of_torch(optimizer, gradients, variables):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.count = Counter()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count[str(function)] += 1
            return function(*args, **(kwargs or {}))

    counts = []
    for _ in range(2):  # the first steps do extra work
        optimizer.apply(gradients, variables)
    for _ in range(optimizer._statistics_every or 1):
        with Counting() as counting:
            optimizer.apply(gradients, variables)
        counts.append(counting.count)
    return counts[0], sum(counts, Counter())


def test_nothing_is_added_to_a_step_that_is_not_measured():  # contract 15.1, 16.1
    assert Step(kerasgd.SGD(0.1, momentum=0.9)).taken == PLAIN


def test_nothing_is_measured_between_every_so_many_updates():  # contract 15.1
    step = Step(kerasgd.SGD(0.1, momentum=0.9).track_statistics(every=10))
    assert step.all.keys() >= MEASURING
    assert MEASURING.isdisjoint(step.taken)
    assert not Counter(PLAIN) - step.taken


@pytest.mark.skipif(BACKEND == "torch", reason="XLA copies what a conditional reads or writes")
def test_no_weights_are_copied_between_measured_updates():  # contract 15.5
    weights = keras.Variable(np.ones((64, 64), "float32"))
    optimizer = kerasgd.SGD(0.1, momentum=0.9).track_statistics(every=10)
    assert copies_in(program(optimizer, weights), weights) == []


@pytest.mark.skipif(BACKEND == "torch", reason="XLA copies what a conditional reads and writes")
@pytest.mark.parametrize("wrapped", [False, True])
def test_skipping_copies_no_weights(wrapped):  # contract 6.3, 16.1
    weights = keras.Variable(np.ones((64, 64), "float32"))
    optimizer = kerasgd.SGD(0.1, 0.9, weight_decay=0.1, use_ema=True)
    optimizer.set_group([weights], learning_rate_factor=0.5)
    if wrapped:
        optimizer = kerasgd.LossScaleOptimizer(optimizer)
    else:
        optimizer.skip_nonfinite()
    assert copies_in(program(optimizer, weights), weights) == []
