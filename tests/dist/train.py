"""Trains with the installed kerasgd, and prints the results as JSON."""

import importlib.metadata
import json

import keras
import numpy as np

import kerasgd

model = keras.Sequential(
    [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
)
model.compile(kerasgd.SGD(learning_rate=0.25, momentum=0.5), loss="mean_squared_error")
ones = np.ones((4, 1))
model.fit(ones, ones, batch_size=1, verbose=0)
model.save("model.keras")
restored = keras.saving.load_model("model.keras")
try:
    kerasgd.SGD(lr=0.1)
except kerasgd.UnknownArgumentError as error:
    suggestion = error.suggestion

metadata = importlib.metadata.metadata("kerasgd")
found = {
    "file": kerasgd.__file__,
    "version": kerasgd.__version__,
    "weights": [float(each.get_weights()[0][0, 0]) for each in (model, restored)],
    "suggestion": suggestion,
    "metadata": {name: metadata.get_all(name) for name in metadata},
}
print(json.dumps(found))
