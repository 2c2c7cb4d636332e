"""The training in worker processes on JAX and PyTorch, and its comparison with the reference.

A linear model whose outputs are multiplied by `y` has gradients that do not depend on its weights:
the mean of x times y over the batch for the kernel, and the mean of y for the bias.
"""

import numpy as np

import kerasgd
from kerasgd.reference import ReferenceGroup, ReferenceLossScale, ReferenceSGD

BATCH, STEPS, SAVED_AFTER = 6, 6, 3
CONFIGURATIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "clipnorm, nesterov, decay": {
        "clipnorm": 0.3,
        "nesterov": True,
        "momentum": 0.5,
        "weight_decay": 0.1,
    },
    "everything": {
        "momentum": 0.9,
        "global_clipnorm": 0.3,
        "weight_decay": 0.1,
        "use_ema": True,
        "ema_momentum": 0.5,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
        "loss_scale_factor": 8.0,
    },
    "groups, dynamic scale": {"momentum": 0.9, "clipvalue": 0.3, "use_ema": True},
    "measured, skipping": {"momentum": 0.9, "global_clipnorm": 0.3},
}
OF_GROUP = {"learning_rate_factor": 0.5, "momentum": 0.5, "weight_decay": 0.1}


def subject(name):
    optimizer = kerasgd.SGD(0.1, **CONFIGURATIONS[name])
    if name.startswith("groups"):
        optimizer.set_group(lambda variable: len(variable.shape) == 1, **OF_GROUP)
    if name.startswith("measured"):
        optimizer.track_statistics(per_variable=True).skip_nonfinite()
    return kerasgd.LossScaleOptimizer(optimizer, 4.0, 3) if "dynamic" in name else optimizer


def judge(name, weights):
    reference = ReferenceSGD(0.1, **CONFIGURATIONS[name]).build(
        weights,
        groups=[ReferenceGroup({1}, **OF_GROUP)] if name.startswith("groups") else [],
        statistics_every=1 if name.startswith("measured") else None,
        skip_nonfinite=name.startswith("measured"),
    )
    return ReferenceLossScale(reference, 4.0, 3) if "dynamic" in name else reference


def data(name, generator, inputs, outputs):
    """The rows of all steps; in two configurations one row is not finite."""
    x, y = (
        generator.normal(size=(STEPS * BATCH, size)).astype("float32") for size in (inputs, outputs)
    )
    if name.startswith("measured"):
        y[BATCH + 1, 2] = np.nan
    if name.startswith("groups"):
        y[2 * BATCH, 1] = np.inf
    return x, y


def distance(values_of, variables, optimizer, reference):
    """The largest error of weights, averages and statistics; `values_of` gathers their values."""
    reference = getattr(reference, "inner", reference)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    pairs = list(zip(map(values_of, variables), reference.weights, strict=True))
    if reference.use_ema:
        averages = [values_of(p.average) for p in optimizer.state().parameters]
        pairs += zip(averages, reference.averages, strict=True)
    if reference.statistics:
        pairs += [(optimizer.statistics[k], v) for k, v in reference.statistics.items()]
        pairs += [(optimizer.skipped, 1)]
    return float(np.max([np.max(np.abs(np.subtract(*pair))) for pair in pairs]))
