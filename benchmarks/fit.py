"""`fit()` of small models, one epoch per round."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import keras
import numpy as np

from benchmarks.comparison import compare
from benchmarks.configurations import CONFIGURATIONS, EVERYTHING, RATE
from benchmarks.contenders import BACKEND, OPTIMIZERS
from benchmarks.numerics import check_equal
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.timing import interleaved

STEPS, BATCH, CLASSES = 100, 32, 10
# Weights are compared after this many steps. Later, rounding may switch a unit on in one training
# and off in the other, after which the two diverge.
COMPARED, TOLERANCE = 10, 1e-4


def mlp() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(256, activation="relu"),
            layers.Dense(CLASSES),
        ]
    )


def convnet() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(CLASSES),
        ]
    )


# On JAX, Keras' own SGD fails in the second fit() with averages.
WITHOUT_AVERAGES = {k: v for k, v in EVERYTHING.items() if not k.startswith(("use_ema", "ema_"))}
CONFIGURED = {
    "plain": CONFIGURATIONS["plain"],
    **({"no averages": WITHOUT_AVERAGES} if BACKEND == "jax" else {"everything": EVERYTHING}),
}
MODELS = {"mlp": mlp, "convnet": convnet}


def rows(options: Options) -> Iterator[list[Row]]:
    x, y = data(max(1, round(STEPS * options.scale)))
    for model, make in MODELS.items():
        for configuration, chosen in CONFIGURED.items():
            if not options.wants(workload=model, configuration=configuration):
                continue
            models = {name: compiled(make, cls(RATE, **chosen)) for name, cls in OPTIMIZERS.items()}
            for own in models.values():
                _epoch(own, x[: COMPARED * BATCH], y[: COMPARED * BATCH])
            check_equal({name: own.get_weights() for name, own in models.items()}, TOLERANCE)
            epochs = {name: functools.partial(_epoch, own, x, y) for name, own in models.items()}
            yield [
                {
                    "case": [model, configuration],
                    "contender": name,
                    **comparison.row(),
                }
                for name, comparison in compare(interleaved(epochs, options.effort)).items()
            ]


def _epoch(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)


def compiled(make: Callable[[], keras.Model], optimizer: keras.optimizers.Optimizer) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = make()
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def data(steps: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    x = generator.standard_normal((steps * BATCH, 28, 28, 1), dtype="float32")
    return x, generator.integers(CLASSES, size=len(x))
