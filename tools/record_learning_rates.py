"""Compares the suggestions of find_learning_rate() with the best constant rate of a grid.

Usage: python tools/record_learning_rates.py FOLDER, which has the data as `NAME.csv`, the target in
the last column. A line of CSV for each problem goes to the standard output. See
tools/record-learning-rates.sh.
"""

import csv
import pathlib
import sys

import keras
import numpy as np

import kerasgd
from kerasgd.tools import find_learning_rate

SEEDS = (1, 2, 3)
EPOCHS = 10
# Two in each power of ten
GRID = [10 ** (exponent / 2) for exponent in range(-6, 2)]


def linear_model(x):
    """Least squares, with plain SGD."""
    model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(), loss="mse")
    return model


def regression_network(x):
    """Two hidden layers."""
    hidden = [keras.layers.Dense(16, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((x.shape[1],)), *hidden, keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(momentum=0.9), loss="mse")
    return model


def classifier(x):
    """A hidden layer, and momentum."""
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((x.shape[1],)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kerasgd.SGD(momentum=0.9), loss=loss)
    return model


# The model, and the size of its batches
PROBLEMS = {
    "mtcars": (linear_model, 8),
    "iris": (classifier, 16),
    "ChickWeight": (regression_network, 32),
}


def loss_after(problem, x, y, seed, rate):
    """The loss on all the data after a training with this rate; infinite if it diverges."""
    new_model, batch_size = problem
    keras.utils.set_random_seed(seed)
    model = new_model(x)
    model.optimizer.learning_rate = rate
    model.fit(x, y, batch_size=batch_size, epochs=EPOCHS, verbose=0)
    loss = float(model.evaluate(x, y, verbose=0))
    return loss if np.isfinite(loss) else np.inf


def suggestion(problem, x, y, seed):
    """What the search suggests for the model that this seed makes."""
    new_model, batch_size = problem
    keras.utils.set_random_seed(seed)
    return find_learning_rate(new_model(x), x, y, batch_size=batch_size).suggestion


def compare(problem, x, y):
    """The row of a problem: over the seeds for which something is suggested.

    Rates are geometric means, losses means.
    """
    suggestions = {seed: suggestion(problem, x, y, seed) for seed in SEEDS}
    found = {seed: rates for seed, rates in suggestions.items() if rates}

    def mean_loss(rate_of):
        return np.mean([loss_after(problem, x, y, seed, rate_of(seed)) for seed in found])

    losses = [mean_loss(lambda seed, rate=rate: rate) for rate in GRID]
    row = {
        "found": len(found),
        "searches": len(SEEDS),
        "best": GRID[int(np.argmin(losses))],
        "loss_untrained": mean_loss(lambda seed: 0.0),
        "loss_best": min(losses),
    }
    for name in ("steepest", "minimum"):
        row[name] = np.exp(np.mean([np.log(rates[name]) for rates in found.values()]))
        row[f"loss_{name}"] = mean_loss(lambda seed, name=name: found[seed][name])
    return row


def main(folder):
    """Write a row for each problem."""
    columns = ["found", "searches", "best", "steepest", "minimum"]
    columns += [f"loss_{name}" for name in ("untrained", "best", "steepest", "minimum")]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["keras", "backend", "problem", *columns])
    for name, problem in PROBLEMS.items():
        data = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
        row = compare(problem, data[:, :-1], data[:, -1])
        where = [keras.__version__, keras.config.backend(), name]
        writer.writerow([*where, *(f"{row[column]:.4g}" for column in columns)])
        sys.stdout.flush()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
