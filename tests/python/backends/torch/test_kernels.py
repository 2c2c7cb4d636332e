"""Kernels are an implementation: where they run, the numbers are those of the plain operations.

The plain operations are held to the reference by the other tests; here each kernel is held to a
closed form, and to run where it should.
"""

import keras
import numpy as np
import pytest
from conftest import BACKEND, assert_close, floatx

import kerasgd
from kerasgd.reference import ReferenceSGD

ARGUMENTS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "momentum above 1": {"momentum": 1.25, "nesterov": True},
    "decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "much decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 8},
    "decay, momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "decay, no momentum": {"weight_decay": 0.1},
    "clip": {"momentum": 0.9, "global_clipnorm": 1, "loss_scale_factor": 8},
    "each clip": {"momentum": 0.9, "clipnorm": 0.5},
    "average": {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.9},
    "average, small momentum": {"use_ema": True, "ema_momentum": 1e-3},
    "average, no momentum": {"use_ema": True, "ema_momentum": 0},
}
SHAPES = [(), (1,), (0,), (7,), (3, 5), (33, 65)]
STEPS = 4


def numbers(seed, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


def run(arguments, dtype, steps=STEPS):
    variables = [keras.Variable(w, dtype=dtype) for w in numbers(0)]
    optimizer = kerasgd.SGD(0.1, **arguments)
    for t in range(steps):
        gradients = [keras.ops.convert_to_tensor(g, dtype) for g in numbers(t + 1)]
        optimizer.apply(gradients, variables)
    return optimizer, variables


def reference(arguments, steps=STEPS):
    sgd = ReferenceSGD(0.1, **arguments).build(numbers(0))
    for t in range(steps):
        sgd.step(numbers(t + 1))
    return sgd


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    if request.param == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is told so before it starts")
    with floatx(request.param):
        yield request.param


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.filterwarnings("ignore:.*momentum")
def test_weights_and_averages_are_those_of_the_reference(arguments, dtype):  # contract 8.2
    optimizer, variables = run(arguments, dtype)
    expected = reference(arguments)
    assert_close(variables, expected.weights, dtype)
    if "use_ema" in arguments:
        averages = [parameter.average for parameter in optimizer.state().parameters]
        assert_close(averages, expected.averages, dtype)


def test_gradients_are_not_written(dtype):
    variables = [keras.Variable(w, dtype=dtype) for w in numbers(0)]
    gradients = [keras.ops.convert_to_tensor(g, dtype) for g in numbers(1)]
    before = [np.array(keras.ops.convert_to_numpy(g)) for g in gradients]
    everything = {"weight_decay": 0.1, "global_clipnorm": 1, "use_ema": True}
    optimizer = kerasgd.SGD(0.1, momentum=0.9, nesterov=True, **everything)
    for _ in range(2):
        optimizer.apply(gradients, variables)
    for gradient, kept in zip(gradients, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(gradient), kept)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 0.5),
        ({"momentum": 0.5}, 0.5),
        ({"momentum": 0.5, "nesterov": True}, 0.25),
        ({"weight_decay": 0.5}, 0.25),
    ],
    ids=str,
)
def test_a_weight_may_be_its_own_gradient(dtype, arguments, expected):
    for detached in (lambda x: x, keras.ops.stop_gradient):
        variable = keras.Variable(np.ones(3), dtype=dtype)
        optimizer = kerasgd.SGD(0.5, **arguments)
        optimizer.apply([detached(keras.ops.convert_to_tensor(variable))], [variable])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), [expected] * 3)


def test_accumulated_gradients_share_a_coefficient(monkeypatch):
    updated = []
    backend = type(kerasgd.SGD().backend)
    apply_rule = backend.decay_and_apply_rule

    def recorded(self, updates, *rest):
        updated.append(updates)
        apply_rule(self, updates, *rest)

    monkeypatch.setattr(backend, "decay_and_apply_rule", recorded)
    variables = [keras.Variable(w, dtype="float32") for w in numbers(0)]
    optimizer = kerasgd.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)
    for t in range(2):
        gradients = [keras.ops.convert_to_tensor(g, "float32") for g in numbers(t + 1)]
        optimizer.apply(gradients, variables)
    assert max(map(len, updated)) == len(variables)
    assert all(updates.coefficient == 1 / 2 for updates in updated if len(updates))


@pytest.mark.parametrize("clip", ["clipnorm", "global_clipnorm"])
def test_norms_of_millions_of_elements_keep_their_digits(clip):  # contract 4.3
    # Equal ones, whose squares a single sum in float32 rounds all in one direction.
    size = 10_000_000
    variable = keras.Variable(np.zeros(size), dtype="float32")
    gradient = keras.ops.full((size,), 0.1, dtype="float32")
    kerasgd.SGD(1.0, **{clip: 1.0}).apply([gradient], [variable])
    weights = keras.ops.convert_to_numpy(variable)
    np.testing.assert_allclose(weights, -1 / np.sqrt(size), rtol=5e-5)


if BACKEND == "tensorflow":
    import tensorflow as tf

    from kerasgd.backends.tensorflow import choice

    def operations(jit_compile, dtype="float32"):
        """The types of the operations that one step is made of."""
        variable = keras.Variable(np.ones(3), dtype=dtype)
        optimizer = kerasgd.SGD(0.5, momentum=0.5)
        optimizer.build([variable])
        gradient = tf.constant([1, 2, 3], dtype)
        step = tf.function(lambda: optimizer.apply([gradient], [variable]), jit_compile=jit_compile)
        graph = step.get_concrete_function().graph
        step()
        np.testing.assert_array_equal(tf.cast(variable.value, "float32"), [0.5, 0, -0.5])
        return {operation.type for operation in graph.get_operations()}

    def test_kernels_run_in_graphs():
        assert "ResourceApplyKerasMomentum" in operations(jit_compile=False)

    def test_plain_operations_run_under_xla():
        assert "ResourceApplyKerasMomentum" not in operations(jit_compile=True)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_plain_operations_run_in_half_precision(dtype):  # contract 8
        assert "ResourceApplyKerasMomentum" not in operations(False, dtype)

    def test_plain_operations_run_where_tensorflow_cannot_tell_xla(monkeypatch):
        monkeypatch.setattr(choice, "_is_for_xla", None)
        assert "ResourceApplyKerasMomentum" not in operations(jit_compile=False)

    def test_the_xla_test_is_looked_for_once_and_may_be_missing(monkeypatch):
        from tensorflow.python.ops import control_flow_util

        monkeypatch.delattr(control_flow_util, "GraphOrParentsInXlaContext")
        assert choice._private_xla_test() is None


if BACKEND == "torch":
    import torch

    from kerasgd.backends.torch import choice as torch_choice
    from kerasgd.backends.torch import kernels as torch_kernels
    from kerasgd.backends.torch import pieces as torch_pieces
    from kerasgd.backends.torch.choice import Implementation, Mode
    from kerasgd.backends.torch.kernels import Batch
    from kerasgd.settings import GroupSettings, Settings
    from kerasgd.state import ParameterState, Updates

    @pytest.fixture
    def all_are_large(monkeypatch):
        """Small tensors take the ways of large ones, several pieces each."""
        monkeypatch.setattr(torch_kernels, "LARGE", 1)
        monkeypatch.setattr(torch_kernels, "LONGEST_SUM", 16)
        monkeypatch.setattr(torch_choice, "PIECE", 16)

    @pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
    @pytest.mark.filterwarnings("ignore:.*momentum")
    def test_large_tensors_are_those_of_the_reference(all_are_large, arguments, dtype):
        optimizer, variables = run(arguments, dtype)
        expected = reference(arguments)
        assert_close(variables, expected.weights, dtype)
        if "use_ema" in arguments:
            averages = [parameter.average for parameter in optimizer.state().parameters]
            assert_close(averages, expected.averages, dtype)

    def updates_of(*shapes, **roles):
        """An update for each shape, with variables for the roles that are named."""
        parameters = []
        for index, shape in enumerate(shapes):
            kept = {role: keras.Variable(np.zeros(shape), dtype="float32") for role in roles}
            variable = keras.Variable(np.ones(shape), dtype="float32")
            parameters.append(ParameterState(index, variable, **kept))
        return Updates(parameters, [torch.ones(shape) for shape in shapes], 1.0)

    @pytest.mark.parametrize("roles", [{}, {"velocity": 1}, {"velocity": 1, "average": 1}], ids=str)
    def test_pieces_are_all_of_the_variables_and_small_enough(roles):
        large = updates_of((7,), (9,), (5, 8), (1,), (33,), **roles)
        groups = list(torch_pieces.of(large, largest=16))
        sizes = [[update.gradient.numel() for update in group] for group in groups]
        assert sizes == [[7, 9], [16], [16], [8, 1], [16], [16], [1]]
        for role in ("variable", *roles):
            for update in (update for group in groups for update in group):
                getattr(update.parameter, role).value.detach().add_(1)
            for update in large:
                tensor = getattr(update.parameter, role).value.detach()
                assert set(tensor.flatten().tolist()) == {2.0 if role == "variable" else 1.0}

    def chosen_for_pieces(updates, mode=Mode.IN_PLACE, weight_decay=0.1):
        """Which of the updates are made piece by piece."""
        groups = (GroupSettings(0.0, weight_decay),)
        nothing = dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm"))
        ema = {"use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None}
        settings = Settings(
            groups, nesterov=False, loss_scale_factor=1.0, window=1, **nothing, **ema
        )
        in_pieces, _ = torch_choice.in_pieces(mode, updates, settings)
        return [update.parameter.index for update in in_pieces]

    def test_what_goes_over_much_memory_twice_goes_in_pieces(all_are_large):
        large = updates_of((7,), (10,))
        assert chosen_for_pieces(large) == [0, 1]
        assert chosen_for_pieces(updates_of((7,), (9,))) == []  # no more than a piece
        assert chosen_for_pieces(large, Mode.COPIES) == []
        assert chosen_for_pieces(large, weight_decay=0.0) == []  # one pass

    def test_what_is_not_contiguous_is_not_cut():
        updates = updates_of((5, 8))
        updates.gradients[0] = torch.ones(8, 5).T
        (group,) = torch_pieces.of(updates, largest=16)
        assert list(group) == list(updates)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    @pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
    @pytest.mark.filterwarnings("ignore:.*momentum")
    def test_large_variables_in_half_precision(all_are_large, arguments, dtype):  # contract 8.2
        _, variables = run(arguments, dtype)
        bound = {"float16": 2e-3, "bfloat16": 2e-2}[dtype]
        for variable, expected in zip(variables, reference(arguments).weights, strict=True):
            found = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
            error = np.max(np.abs(found - expected), initial=0)
            assert error <= bound * np.max(np.abs(expected), initial=0)

    @pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
    @pytest.mark.filterwarnings("ignore:.*momentum")
    def test_large_gradients_of_another_dtype(all_are_large, arguments):  # contract 1.4
        variables = [keras.Variable(w, dtype="float32") for w in numbers(0)]
        optimizer = kerasgd.SGD(0.1, **arguments)
        for t in range(STEPS):
            optimizer.apply([torch.as_tensor(g) for g in numbers(t + 1)], variables)
        assert_close(variables, reference(arguments).weights, "float32")

    def test_large_variables_with_a_constraint_are_not_cut(all_are_large):  # contract 5.3
        w = keras.Variable(np.zeros((5, 8)), dtype="float32")
        w.constraint = keras.constraints.UnitNorm(axis=0)
        optimizer = kerasgd.SGD(0.5, weight_decay=0.1, use_ema=True)
        optimizer.apply([torch.full((5, 8), -1.0)], [w])
        unit = np.full((5, 8), 1 / np.sqrt(5))
        for value in (w, optimizer.state().parameters[0].average):
            np.testing.assert_allclose(keras.ops.convert_to_numpy(value), unit, rtol=1e-6)

    def test_nothing_is_written_by_a_step_on_values(all_are_large):  # contract 13.1
        w = keras.Variable(np.ones(40), dtype="float32")
        optimizer = kerasgd.SGD(0.5, momentum=0.5, nesterov=True, weight_decay=0.1, use_ema=True)
        optimizer.build([w])
        state = [v.value for v in optimizer.variables]
        (weights,), _ = optimizer.stateless_apply(state, [torch.ones(40)], [w.value])
        np.testing.assert_allclose(weights.detach(), [1 - 0.05 - 0.75] * 40, rtol=1e-6)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(w), [1.0] * 40)

    def test_averages_of_infinite_weights_are_infinite(all_are_large):
        averages = torch.tensor([np.inf, -np.inf, 1, np.inf])
        weights = torch.tensor([np.inf, -np.inf, np.inf, 1])
        torch_kernels.average([averages], [weights], 0.5)
        np.testing.assert_array_equal(averages, [np.inf, -np.inf, np.inf, np.inf])

    def test_large_tensors_that_are_not_contiguous(all_are_large):
        transposed = torch.arange(6.0).reshape(3, 2).T
        (norm,) = torch_kernels.norms([transposed])
        np.testing.assert_allclose(norm, np.sqrt(55), rtol=1e-6)
        (norm,) = torch_kernels.norms([torch.full((4_000, 2_500), 0.1).T])
        np.testing.assert_allclose(norm, np.sqrt(1e5), rtol=5e-5)
        averages = torch.zeros(2, 3)
        torch_kernels.average([averages], [transposed], 0.5)
        np.testing.assert_array_equal(averages, transposed / 2)

    @pytest.mark.parametrize("nesterov", [False, True])
    def test_without_the_fused_kernel_the_numbers_are_the_same(monkeypatch, nesterov):
        monkeypatch.setattr(torch_kernels, "_fused", None)
        arguments = {"momentum": 0.9, "nesterov": nesterov}
        assert_close(run(arguments, "float32")[1], reference(arguments).weights, "float32")

    def update(*tensors_and_numbers):
        """Do a batch without decay by the implementation that is chosen for it."""
        batch = Batch(*tensors_and_numbers, decay=0.0)
        is_fused = torch_choice.implementation(Mode.IN_PLACE, batch) is Implementation.FUSED
        (torch_kernels.update_fused if is_fused else torch_kernels.update_foreach)(batch)

    @pytest.mark.parametrize("step", [0.0, 1e-12, 1e-8, 1e-3])
    def test_small_steps_keep_their_digits(step):
        weights, velocity = torch.zeros(3), torch.zeros(3)
        update([weights], [velocity], [torch.ones(3)], step, 0.5, False)
        np.testing.assert_allclose(velocity.numpy(), np.full(3, -step), rtol=1e-7)

    def test_a_weight_may_be_the_gradient_of_another():
        v, w = keras.Variable([1.0], dtype="float32"), keras.Variable([2.0], dtype="float32")
        gradients = [w.value.detach(), v.value.detach()]
        kerasgd.SGD(0.5).apply(gradients, [v, w])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(v), [0.0])
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(w), [1.5])

    def test_sparse_gradients_are_made_dense():
        w = keras.Variable(np.zeros((3, 2)), dtype="float32")
        rows, ones = torch.tensor([[2, 0, 2]]), torch.ones(3, 2)
        kerasgd.SGD(0.5).apply([torch.sparse_coo_tensor(rows, ones, (3, 2))], [w])
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(w), [[-0.5, -0.5], [0, 0], [-1, -1]]
        )

    def test_a_wider_gradient_is_scaled_before_it_is_cast():  # contract 1.4
        w = keras.Variable([0.0], dtype="float32")
        optimizer = kerasgd.SGD(1.0, loss_scale_factor=1e3, gradient_accumulation_steps=2)
        for _ in range(2):
            optimizer.apply([torch.tensor([1e39], dtype=torch.float64)], [w])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(w), [-1e36], rtol=1e-6)

    def test_tensors_that_are_not_contiguous():
        weights, velocity = torch.zeros(2, 3), torch.zeros(2, 3)
        gradient = torch.arange(6.0).reshape(3, 2).T
        update([weights], [velocity], [gradient], 0.5, 0.5, True)
        np.testing.assert_array_equal(weights.numpy(), -0.75 * gradient.numpy())
