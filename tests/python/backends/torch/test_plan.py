"""Planned steps equal ordinary steps bit for bit; unusual steps are not planned."""

import keras
import numpy as np
import pytest
from conftest import BACKEND

import kerasgd

if BACKEND != "torch":
    pytest.skip("plans of PyTorch's steps", allow_module_level=True)

import torch

from kerasgd.backends.torch import choice, metadata, plan

SHAPES = [(4, 4), (4,), (4,), ()]
CONFIGURATIONS = {
    "plain": {},
    "scaled loss": {"loss_scale_factor": 3.0},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "clip": {"global_clipnorm": 0.5, "momentum": 0.5},
    "average": {"use_ema": True, "ema_momentum": 0.7},
    "everything": {
        "momentum": 0.9,
        "weight_decay": 0.1,
        "global_clipnorm": 1.0,
        "use_ema": True,
        "ema_momentum": 0.99,
    },
}


class Training:
    """An optimizer with three variables; `planned` says whether it may plan."""

    def __init__(self, planned, prepare=None, **arguments):
        generator = np.random.default_rng(0)
        arguments = {"learning_rate": 0.1, **arguments}
        self.variables = [
            keras.Variable(generator.normal(size=shape), dtype="float32") for shape in SHAPES
        ]
        self.optimizer = kerasgd.SGD(**arguments)
        if prepare:
            prepare(self.optimizer, self.variables)
        self.planned = planned
        self.generator = generator
        self.step()

    def gradients(self, scale=1.0):
        arrays = [scale * self.generator.normal(size=shape) for shape in SHAPES]
        return [torch.tensor(array, dtype=torch.float32) for array in arrays]

    def step(self, gradients=None, variables=None):
        gradients = self.gradients() if gradients is None else gradients
        variables = self.variables if variables is None else variables
        self.optimizer.apply(gradients, variables)
        if not self.planned:
            self.optimizer.state().memo["plan"] = (self.optimizer._settings, None)

    def plan(self):
        return plan.of(self.optimizer.state(), self.optimizer._settings)

    def values(self):
        of_optimizer = [keras.ops.convert_to_numpy(v) for v in self.optimizer.variables]
        of_weights = [v._value.detach().numpy() for v in self.variables]
        return [value.tobytes() for value in [*of_weights, *of_optimizer]]


def both(change, prepare=None, **arguments):
    """The values of two trainings after the same changes, with and without plans."""
    found = []
    for planned in (True, False):
        training = Training(planned, prepare, **arguments)
        training.step()
        change(training)
        training.step()
        found.append(training.values())
    return found


def measure_every_third(optimizer, variables):
    optimizer.track_statistics(every=3)


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_steps_between_measured_ones_are_planned(name):  # contract 15.1
    found = []
    for planned in (True, False):
        training = Training(planned, measure_every_third, **CONFIGURATIONS[name])
        fits = []
        for _ in range(7):
            gradients = training.gradients()
            if planned:
                fits.append(training.plan().fits(gradients, training.variables))
            training.step(gradients)
        found.append((training.values(), training.optimizer.statistics["updates"]))
        if planned:  # the first step was the one in `Training`
            assert fits == [True, False, True, True, False, True, True]
    assert found[0] == found[1]
    assert found[0][1] == 6


@pytest.mark.usefixtures("compares_in_one_call")
@pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_planned_steps_give_the_same_bits(arguments):  # contract 9.1
    def train(training):
        for scale in (1e-3, 1.0, 1e3):
            gradients = training.gradients(scale)
            if training.planned:
                assert training.plan().fits(gradients, training.variables)
            training.step(gradients)

    planned, usual = both(train, **arguments)
    assert planned == usual


def groups_of_each_kind(optimizer, variables):
    first, second, third, _ = variables
    optimizer.set_group([first], learning_rate_factor=0.5, momentum=0.5, weight_decay=0.2)
    optimizer.set_group([second], learning_rate_factor=0.0)
    schedule = kerasgd.schedules.PiecewiseConstantDecay([3, 4], [0.0, 1.0, 0.0])
    optimizer.set_group([third], learning_rate_factor=schedule)


def skip_nonfinite(optimizer, variables):
    optimizer.skip_nonfinite()


def groups_and_skipping(optimizer, variables):
    groups_of_each_kind(optimizer, variables)
    skip_nonfinite(optimizer, variables)


ADDITIONS = [groups_of_each_kind, skip_nonfinite, groups_and_skipping]


@pytest.mark.parametrize("prepare", ADDITIONS)
@pytest.mark.parametrize("arguments", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_planned_steps_with_additions_give_the_same_bits(arguments, prepare):  # contract 14.3, 16.1
    def train(training):
        for scale in (1e-3, 1.0, 1e3, 1.0, 1.0):
            gradients = training.gradients(scale)
            if training.planned:
                assert training.plan().fits(gradients, training.variables)
            training.step(gradients)
        training.optimizer.learning_rate = 0.3

    planned, usual = both(train, prepare, **arguments)
    assert planned == usual


@pytest.mark.parametrize("piece", [4, 8, 16, 24])
@pytest.mark.parametrize("prepare", [None, groups_and_skipping])
@pytest.mark.parametrize("name", ["plain", "nesterov", "everything"])
def test_planned_pieces_give_the_same_bits(name, prepare, piece, monkeypatch):
    monkeypatch.setattr(choice, "PIECE", piece)
    training = Training(True, prepare, **CONFIGURATIONS[name])
    # Without decay, nesterov and averages there is one pass, however large the weights are.
    assert (training.plan().order is None) == (name == "plain" and prepare is None)
    planned, usual = both(lambda training: training.step(), prepare, **CONFIGURATIONS[name])
    assert planned == usual


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_planned_steps_leave_skipping_to_the_usual_way(name, value):  # contract 16.1
    def train(training):
        for at in (1, 3):  # skipped or not, then one step, then again
            gradients = training.gradients()
            gradients[at].view(-1)[0] = value
            training.step(gradients)
            training.step()

    planned, usual = both(train, skip_nonfinite, **CONFIGURATIONS[name])
    assert planned == usual


def test_a_planned_step_ends_a_row_of_skipped_ones():  # contract 16.2
    training = Training(True, skip_nonfinite)
    gradients = training.gradients()
    for expected in (1, 2):
        training.step([gradient * np.nan for gradient in gradients])
        assert training.optimizer.state().skips.in_a_row.value.item() == expected
    training.step()
    assert training.optimizer.state().skips.in_a_row.value.item() == 0
    assert training.optimizer.state().skips.skipped.value.item() == 2


def test_steps_by_a_schedule_are_planned():  # contract 2.2
    rates = []

    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            rates.append(int(step))
            return 0.5 ** keras.ops.cast(step, "float32")

        def get_config(self):
            return {}

    found = []
    for planned in (True, False):
        training = Training(planned, learning_rate=Halving(), momentum=0.9)
        rates.clear()
        for _ in range(4):
            training.step(training.gradients())
        assert rates == [1, 2, 3, 4]
        found.append(training.values())
    assert found[0] == found[1]


UNUSUAL_SETTINGS = {
    "accumulation": {"gradient_accumulation_steps": 2},
    "clipnorm": {"clipnorm": 1.0},
    "clipvalue": {"clipvalue": 1.0},
    "overwriting": {"use_ema": True, "ema_overwrite_frequency": 2},
}


@pytest.mark.parametrize("arguments", UNUSUAL_SETTINGS.values(), ids=UNUSUAL_SETTINGS)
def test_settings_that_are_not_planned(arguments):
    assert Training(True, **arguments).plan() is None


def test_steps_that_are_all_measured_are_not_planned():
    training = Training(True, lambda optimizer, variables: optimizer.track_statistics())
    assert training.plan() is None


def weight_of_another_dtype(training):
    tensor = training.variables[0]._value
    tensor.data = tensor.data.double()
    training.step()
    tensor.data = tensor.data.float()


def reordered_weight(training):
    tensor = training.variables[0]._value
    tensor.data = tensor.data.t()


def gradient_that_is_a_weight(training):
    gradients = training.gradients()
    gradients[2] = training.variables[1]._value.detach()
    training.step(gradients)


def transposed_gradient(training):
    gradients = training.gradients()
    gradients[0] = gradients[0].t().contiguous().t()
    training.step(gradients)


def gradient_with_a_gradient(training):
    gradients = training.gradients()
    gradients[0].requires_grad_()
    training.step(gradients)
    assert training.variables[1]._value.is_leaf


def sparse_gradient(training):
    gradients = training.gradients()
    gradients[0] = gradients[0].to_sparse()
    training.step(gradients)


def arrays(training):
    training.step([gradient.numpy() for gradient in training.gradients()])


def doubles(training):
    training.step([gradient.double() for gradient in training.gradients()])


def another_order(training):
    training.step(training.gradients()[::-1], training.variables[::-1])


def another_order_of_the_same_shapes(training):
    first, second, third, fourth = training.variables
    training.step(variables=[first, third, second, fourth])


def fewer_variables(training):
    training.step(training.gradients()[:2], training.variables[:2])


def a_tuple(training):
    training.step(tuple(training.gradients()))


def a_generator(training):
    training.step(iter(training.gradients()))


def without_variables(training):
    training.optimizer.apply(training.gradients())


def another_layout(training):
    gradients = training.gradients()
    gradients[0] = gradients[0].to_mkldnn()
    training.step(gradients)


def reordered_velocity(training):
    for velocity in training.optimizer.momentums[:1]:
        tensor = velocity._value
        tensor.data = tensor.data.t().contiguous().t()
    training.step()


def replaced_velocity(training):
    for velocity in training.optimizer.momentums[:1]:
        velocity._value = torch.nn.Parameter(velocity._value.clone(), requires_grad=False)
    training.step()


def moved_velocity(training):
    for velocity in training.optimizer.momentums[:1]:
        velocity._value.data = velocity._value.data.clone()
    training.step()


def replaced_counter(training):
    counter = training.optimizer._iterations
    counter._value = torch.nn.Parameter(counter._value.clone(), requires_grad=False)
    training.step()


def infinite_rate(training):
    training.optimizer._rate.variable.assign(float("inf"))
    training.step()


def replaced_tensor(training):
    variable = training.variables[1]
    variable._value = torch.nn.Parameter(variable._value.detach().clone())
    training.step()


def no_gradient(training):
    with pytest.warns(UserWarning, match="no gradient"):
        training.step([None, *training.gradients()[1:]])


def stateless(training):
    optimizer = training.optimizer
    values = [v.value for v in optimizer.variables]
    weights = [v.value for v in training.variables]
    before = training.values()
    optimizer.stateless_apply(values, training.gradients(), weights)
    assert training.values() == before


def exchanged(training):
    training.optimizer.swap_ema_weights()
    if training.optimizer.use_ema:
        with pytest.raises(kerasgd.StateError, match="swapped"):
            training.step()
    training.optimizer.swap_ema_weights()


def norms_that_overflow(training):
    training.step([1e30 * gradient for gradient in training.gradients()])


def norms_that_underflow(training):
    training.step([1e-30 * gradient for gradient in training.gradients()])


def gradients_of_zero(training):
    training.step([0 * gradient for gradient in training.gradients()])


def not_finite(training):
    training.step([float("inf") * gradient for gradient in training.gradients()])


def another_scale(training):
    training.optimizer.loss_scale_factor = 5.0


def tiny_rate(training):
    training.optimizer.learning_rate = 1e-12
    training.step()


def another_rate(training):
    training.optimizer.learning_rate = 0.3


def schedule(training):
    training.optimizer.learning_rate = kerasgd.schedules.CosineDecay(0.1, 5)


def other_tensors(training):
    """Replace the tensors of the variables, as `load_weights()` may do."""
    for variable in training.variables:
        variable.assign(2 * variable.value)


CHANGES = [
    weight_of_another_dtype,
    reordered_weight,
    gradient_that_is_a_weight,
    transposed_gradient,
    gradient_with_a_gradient,
    sparse_gradient,
    arrays,
    doubles,
    another_order,
    another_order_of_the_same_shapes,
    fewer_variables,
    a_tuple,
    a_generator,
    without_variables,
    another_layout,
    replaced_tensor,
    reordered_velocity,
    replaced_velocity,
    moved_velocity,
    replaced_counter,
    infinite_rate,
    no_gradient,
    stateless,
    exchanged,
    norms_that_overflow,
    norms_that_underflow,
    gradients_of_zero,
    not_finite,
    another_scale,
    tiny_rate,
    another_rate,
    schedule,
    other_tensors,
]


@pytest.fixture(params=[True, False], ids=["one call", "one property after the other"])
def compares_in_one_call(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(metadata, "TensorGuards", None)


@pytest.mark.usefixtures("compares_in_one_call")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize(
    ("name", "piece"), [("plain", choice.PIECE), ("everything", choice.PIECE), ("everything", 4)]
)
def test_what_is_unusual_gives_what_the_usual_way_gives(name, piece, change, monkeypatch):
    monkeypatch.setattr(choice, "PIECE", piece)
    planned, usual = both(change, **CONFIGURATIONS[name])
    assert planned == usual


@pytest.mark.usefixtures("compares_in_one_call")
@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("shape", [(16,), (1, 16)])
def test_a_weight_that_was_reshaped_is_refused(shape, steps):  # contract 1.6
    training = Training(True)
    for _ in range(steps):  # the second step is planned
        training.step()
    tensor = training.variables[0]._value
    tensor.data = tensor.data.reshape(shape)
    with pytest.raises(kerasgd.StateError, match=r"shape \(4, 4\) but holds"):
        training.step()
    with pytest.raises(kerasgd.ArgumentValueError, match="of shape"):
        training.step([torch.ones(shape), *training.gradients()[1:]])


@pytest.mark.usefixtures("compares_in_one_call")
def test_a_gradient_of_another_shape_is_refused():  # contract 1.6
    training = Training(True)
    gradients = training.gradients()
    gradients[1] = torch.ones(1)
    before = training.values()
    with pytest.raises(kerasgd.ArgumentValueError, match="of shape"):
        training.step(gradients)
    assert training.values() == before


def test_a_variable_too_many_is_refused():  # contract 12.7
    training = Training(True)
    training.step()
    with pytest.raises(kerasgd.ArgumentValueError, match="one gradient for each variable"):
        training.step(training.gradients(), [*training.variables, keras.Variable([1.0])])


def test_a_function_as_rate_is_called_once_a_step():  # contract 2.3
    calls = []
    training = Training(True, learning_rate=lambda: calls.append(1) or 0.1, global_clipnorm=1.0)
    training.step()
    norms_that_overflow(training)
    assert len(calls) == 3


def test_a_plan_is_made_anew_when_variables_hold_other_tensors():
    training = Training(True, momentum=0.9)
    replaced_tensor(training)
    training.step()
    assert training.plan().fits(training.gradients(), training.variables)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "arguments",
    [
        {"clipnorm": 1e30},
        {"global_clipnorm": 1e30},
        {"global_clipnorm": 1.0, "loss_scale_factor": 1e-30},
        {"clipnorm": 1.0, "loss_scale_factor": 1e-30},
    ],
)
def test_no_warning_of_numpy_reaches_the_user(arguments):
    w = keras.Variable(torch.ones(2))
    optimizer = kerasgd.SGD(0.1, **arguments)
    for _ in range(3):
        optimizer.apply([torch.full((2,), 1e-9)], [w])


def test_state_that_is_loaded_is_followed():  # contract 9.1, 5.1
    """Averages that have not started yet start at the next update, as without a plan."""
    fresh = kerasgd.SGD(0.1, use_ema=True, ema_momentum=0.5)
    fresh.build([keras.Variable(np.zeros(shape), dtype="float32") for shape in SHAPES])
    store = {}
    fresh.save_own_variables(store)
    planned, usual = both(
        lambda training: training.optimizer.load_own_variables(store),
        use_ema=True,
        ema_momentum=0.5,
    )
    assert planned == usual
