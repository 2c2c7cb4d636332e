"""Compares the suggestions of find_learning_rate() with the best constant rate of a grid.

Usage: python tools/record_learning_rates.py FOLDER. The folder has the data as `NAME.csv`, with the
target in the last column. The script prints a line of CSV for each problem. See
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
STEPS = (100, 300)
# Two rates per power of ten
GRID = [10 ** (exponent / 2) for exponent in range(-5, 2)]


def linear_model(x):
    """Least squares, with plain SGD."""
    model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(), loss="mse")
    return model


def regression_network(x):
    """A network with two hidden layers, trained with momentum."""
    hidden = [keras.layers.Dense(16, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((x.shape[1],)), *hidden, keras.layers.Dense(1)])
    model.compile(kerasgd.SGD(momentum=0.9), loss="mse")
    return model


def classifier(x):
    """A network with one hidden layer, trained with momentum."""
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((x.shape[1],)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kerasgd.SGD(momentum=0.9), loss=loss)
    return model


# The model and the batch size of each problem
PROBLEMS = {
    "mtcars": (linear_model, 8),
    "iris": (classifier, 16),
    "ChickWeight": (regression_network, 32),
}


class Training:
    """Trains a model from the same initial weights each time, which `seed` determines.

    Attributes:
        model: the model; it is compiled once.
    """

    def __init__(self, problem, x, y, seed):
        new_model, self.batch_size = problem
        self.x, self.y, self.seed = x, y, seed
        keras.utils.set_random_seed(seed)
        self.model = new_model(x)
        self.model.optimizer.build(self.model.trainable_variables)
        self.weights = self.model.get_weights()

    def suggestion(self, steps):
        """The suggestion of the search."""
        self._begin_anew()
        return find_learning_rate(
            self.model, self.x, self.y, batch_size=self.batch_size, steps=steps
        ).suggestion

    def loss_after(self, rate):
        """The loss on all data after training with this rate; infinite if it diverges."""
        self._begin_anew()
        self.model.optimizer.learning_rate = rate
        if rate:
            arguments = {"batch_size": self.batch_size, "epochs": EPOCHS, "verbose": 0}
            self.model.fit(self.x, self.y, **arguments)
        loss = float(self.model.evaluate(self.x, self.y, verbose=0))
        return loss if np.isfinite(loss) else np.inf

    def _begin_anew(self):
        keras.utils.set_random_seed(self.seed)
        self.model.set_weights(self.weights)
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))


def compare(trainings):
    """A row for each number of steps: geometric means of rates and means of losses over the seeds.

    Suggestions are averaged over the seeds with a suggestion.
    """
    losses = [np.mean([training.loss_after(rate) for training in trainings]) for rate in GRID]
    grid = {
        "loss_untrained": np.mean([training.loss_after(0.0) for training in trainings]),
        "best": GRID[int(np.argmin(losses))],
        "loss_best": min(losses),
    }
    for steps in STEPS:
        found = [(training, training.suggestion(steps)) for training in trainings]
        found = [(training, rates) for training, rates in found if rates]
        row = {"steps": steps, "searches": len(trainings), "found": len(found), **grid}
        for name in ("steepest", "minimum"):
            row[name] = np.exp(np.mean([np.log(rates[name]) for _, rates in found]))
            losses = [training.loss_after(rates[name]) for training, rates in found]
            row[f"loss_{name}"] = np.mean(losses)
        yield row


def main(folder):
    """Write a row for each problem."""
    columns = ["steps", "searches", "found", "best", "steepest", "minimum"]
    columns += [f"loss_{name}" for name in ("untrained", "best", "steepest", "minimum")]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["keras", "backend", "problem", *columns])
    for name, problem in PROBLEMS.items():
        data = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
        x, y = data[:, :-1], data[:, -1]
        for row in compare([Training(problem, x, y, seed) for seed in SEEDS]):
            where = [keras.__version__, keras.config.backend(), name]
            writer.writerow([*where, *(f"{row[column]:.4g}" for column in columns)])
            sys.stdout.flush()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
