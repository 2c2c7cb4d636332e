"""Layer-wise decay of the learning rate, from the last layer to the first (contract 14.10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import keras

from kerasgd import arguments
from kerasgd.errors import ArgumentTypeError
from kerasgd.variable_groups import check_has_variables, inner_sgd

Optimizer = TypeVar("Optimizer")


def layer_decay(optimizer: Optimizer, model: Any, decay: Any) -> Optimizer:
    """Give earlier layers lower learning rates.

    Each layer becomes a group whose learning-rate factor is ``decay ** depth``. The depth is 0 for
    the last layer that has weights, and grows by one for each earlier layer. So in fine-tuning, a
    new head learns at the full rate, while the first layers, which hold general features, hardly
    change. Common values of `decay` are 0.65 to 0.95.

    Layers are counted in the order of `model.layers`. In a functional model, the layers farthest
    from the output come first; in a subclass of `keras.Model`, layers come in the order of their
    creation. The layers of a nested model count one by one, even inside a wrapper such as
    `TimeDistributed`. Any other layer counts as one layer, even if it contains others, as a
    `Bidirectional` or a transformer block does. Weights that a model has outside its layers count
    as one layer before them. A layer that is used several times counts where it is first used.

    Frozen layers count too, so the factors stay the same when you unfreeze a layer later, but a
    layer that is frozen now gets no group. The groups follow the order of the layers, after any
    existing groups of the optimizer. Groups that are set later take precedence.

    Args:
        optimizer: a `kerasgd.SGD`, or a loss-scale optimizer (kerasgd's or Keras') around one; not
            built yet.
        model: a model whose variables exist, for example because it has an input shape.
        decay: the learning rate of a layer divided by that of the next layer; a number above 0 and
            at most 1.

    Returns:
        The optimizer.

    Raises:
        ArgumentTypeError, ArgumentValueError: an argument is invalid.
        StateError: the optimizer is already built, or the model has no variables yet.

    Source: Bao, Dong, Piao and Wei (2022), *BEiT: BERT pre-training of image transformers*;
    Howard and Ruder (2018), *Universal language model fine-tuning for text classification*,
    section 3.2.

    Example:
        >>> import keras, kerasgd
        >>> sizes = {"stem": 4, "block": 4, "head": 1}
        >>> layers = [keras.layers.Dense(n, use_bias=False, name=name) for name, n in sizes.items()]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> optimizer = kerasgd.layer_decay(kerasgd.SGD(0.1), model, 0.5)
        >>> for row in kerasgd.variable_groups(optimizer, model):
        ...     print(row["path"].split("/")[-2], row["learning_rate_factor"])
        stem 0.25
        block 0.5
        head 1.0
    """
    sgd = inner_sgd(optimizer)
    if not isinstance(model, keras.Model):
        raise ArgumentTypeError("model", "a Keras model", model)
    checked: Any = arguments.check("decay", decay, arguments.LAYER_DECAY)
    sgd._check_not_built("layer_decay()")
    check_has_variables(model)
    trainable = {id(variable) for variable in model.trainable_variables}
    layers = weights_of_layers(model)
    for depth, weights in zip(reversed(range(len(layers))), layers, strict=True):
        of_layer = [weight for weight in weights if id(weight) in trainable]
        if of_layer:
            sgd.set_group(of_layer, learning_rate_factor=checked**depth)
    return optimizer


def weights_of_layers(model: Any) -> list[list[Any]]:
    """The weights of each layer with weights, in the order of `model.layers`; each weight once."""
    seen: set[int] = set()
    found = []
    for weights in _parts(model, model.layers):
        new = [weight for weight in weights if id(weight) not in seen]
        seen.update(map(id, new))
        if new:
            found.append(new)
    return found


def _parts(whole: Any, layers: Sequence[Any]) -> Iterator[list[Any]]:
    """The weights that a model or wrapper has outside its layers, then those of each layer."""
    of_layers = {id(weight) for layer in layers for weight in layer.weights}
    yield [weight for weight in whole.weights if id(weight) not in of_layers]
    for layer in layers:
        inside = _layers_in(layer)
        if inside:
            yield from _parts(layer, inside)
        else:
            yield layer.weights


def _layers_in(layer: Any) -> list[Any]:
    """The layers of a nested model, or the model in a wrapper; empty for another layer."""
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    wrapped = layer.layer if isinstance(layer, keras.layers.Wrapper) else None
    return [wrapped] if isinstance(wrapped, keras.Model) else []
