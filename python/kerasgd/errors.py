"""The exceptions and warnings of kerasgd.

They carry data, not only text: the R package builds its own message from the same fields, so no
text is ever parsed. In a template, marks such as ``{null}`` stand for the words of the user's
language (``None`` in Python, ``NULL`` in R).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_words = {
    "{null}": "None",
    "{true}": "True",
    "{false}": "False",
    "{ceiling}": "`math.ceil()`",
    "{sgd}": "`kerasgd.SGD()`",
    "{update}": "`optimizer.update()`",
    "{from_keras}": "`kerasgd.from_keras()`",
    "{statistics_callback}": "`kerasgd.callbacks.Statistics`",
    "{stop_callback}": "`kerasgd.callbacks.StopOnNonfinite`",
    "{list_of_callbacks}": "`callbacks=[callback]`",
    "{track_statistics}": "`optimizer.track_statistics()`",
    "{skip_nonfinite}": "`optimizer.skip_nonfinite()`",
    "{rate_callback}": "`kerasgd.callbacks.LearningRateFunction`",
    "{function_schedule}": "`kerasgd.schedules.Table.of_function()`",
    # The number of the first element
    "{first}": "0",
}


def speak(words: Mapping[str, str]) -> None:
    """Replace the marks in templates with these words from now on.

    An error raised in `fit()` reaches an R user as text, so R sets its own words beforehand.
    """
    _words.update(words)


class Described:
    """A received value in words, for messages.

    R also passes one for each value without an equivalent in Python; every argument rule refuses
    it, because otherwise `NA`, a complex number or a factor would silently become a different value
    (`NA` becomes `True`).

    Attributes:
        description: ends the sentence "..., not <this>".
        hint: how to correct it, or `None`.
    """

    def __init__(self, description: str, hint: str | None = None) -> None:
        self.description = description
        self.hint = hint

    def __repr__(self) -> str:
        return self.description


class KerasgdError(Exception):
    """Base class of kerasgd's own errors."""


class KerasgdWarning(UserWarning):
    """The class of kerasgd's warnings, except for missing gradients: `UserWarning`, as in Keras."""


@dataclass(frozen=True)
class Element:
    """The refused element of a sequence.

    Attributes:
        index: its index, from 0.
        larger_than: the index of the element that it must exceed, or None.
    """

    index: int
    larger_than: int | None = None


class ArgumentError(KerasgdError):
    """An argument was refused.

    Attributes:
        argument: the argument's name, as the user typed it.
        requirement: what is accepted; a template.
        received: the object that was received.
        hint: how to correct it, a template; or `None`. The default is the hint of `received`.
        element: the wrong element of a sequence, or `None`.
    """

    def __init__(
        self,
        argument: str,
        requirement: str,
        received: object,
        hint: str | None = None,
        element: Element | None = None,
    ) -> None:
        self.argument = argument
        self.requirement = requirement
        self.received = received
        self.hint = hint or brought_by(received, "hint")
        self.element = element
        super().__init__(argument, requirement, received, hint, element)

    def __str__(self) -> str:
        problem = f"`{self.argument}` must be {self.requirement}"
        if self.element is None:
            problem += f", not {describe(self.received)}"
        else:
            problem += f"; {describe_element(self.argument, self.received, self.element)}"
        sentence = with_full_stop(problem)
        return in_words(f"{sentence} {self.hint}" if self.hint else sentence)


class ArgumentTypeError(ArgumentError, TypeError):
    """The argument has a type that is not accepted."""


class ArgumentValueError(ArgumentError, ValueError):
    """The argument has an accepted type, but its value is not accepted."""


class UnknownArgumentError(ArgumentTypeError):
    """The function has no argument or attribute of this name.

    Attributes:
        function: the name of the function or class.
        suggestion: the argument that was probably meant, or `None`.
    """

    def __init__(
        self,
        argument: str,
        received: object,
        function: str,
        suggestion: str | None,
        hint: str | None,
    ) -> None:
        super().__init__(argument, f"left out: {function} has no such argument", received, hint)
        self.function = function
        self.suggestion = suggestion

    def __reduce__(self) -> tuple[object, ...]:
        fields = (self.argument, self.received, self.function, self.suggestion, self.hint)
        return (type(self), fields)

    def __str__(self) -> str:
        parts = [f"`{self.argument}` is not an argument of {self.function}."]
        if self.suggestion:
            parts.append(f"Did you mean `{self.suggestion}`?")
        if self.hint:
            parts.append(self.hint)
        return in_words(" ".join(parts))


class IncompleteCallError(ArgumentValueError):
    """A call lacks an argument that it needs.

    Attributes:
        function: the name of the function.
        needed: what the function needs.
    """

    def __init__(self, function: str, needed: str) -> None:
        super().__init__(function, f"given {needed}", Described("nothing"))
        self.function = function
        self.needed = needed

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.function, self.needed))

    def __str__(self) -> str:
        return f"`{self.function}` needs {self.needed}."


class StateError(KerasgdError, ValueError):
    """State does not fit, is damaged or unavailable, or the call comes at the wrong time."""


class ReadOnlyError(StateError, AttributeError):
    """An attribute was set that only shows the state or a setting."""


class NonfiniteGradientError(StateError):
    """`callbacks.StopOnNonfinite` stopped training because gradients were NaN or infinite.

    Attributes:
        epoch: the epoch, from 1.
        batch: the batch within the epoch, from 1.
        loss: the loss of that batch; also NaN where it is unknown, because Keras' sum of losses
            was not finite before that batch.
        variables: for each path, how many elements of the gradient were NaN and how many infinite.
    """

    def __init__(
        self,
        message: str,
        epoch: int,
        batch: int,
        loss: float,
        variables: Mapping[str, tuple[int, int]],
    ) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.batch = batch
        self.loss = loss
        self.variables = variables

    def __reduce__(self) -> tuple[object, ...]:
        fields = (self.args[0], self.epoch, self.batch, self.loss, self.variables)
        return (type(self), fields)


class SubclassError(KerasgdError, TypeError):
    """A subclass overrides a method that kerasgd never calls."""


class LearningRateError(ArgumentValueError):
    """A learning-rate function or schedule failed, or returned a value that is not a rate.

    Attributes:
        original: the error of the function, or `None`. (Keras' `fit()` removes the `__cause__`.)
    """

    original: Exception | None = None


def in_words(template: str) -> str:
    """The template in the words of the user's language."""
    for mark, word in _words.items():
        template = template.replace(mark, word)
    return template


def number_of(index: int) -> str:
    """The number of the element at this index: from 0 in Python, from 1 in R."""
    return str(index + int(_words["{first}"]))


def with_full_stop(sentence: str) -> str:
    """The sentence with a full stop, unless it ends with one already or has several lines."""
    sentence = sentence.rstrip()
    return sentence if sentence.endswith((".", "!", "?")) or "\n" in sentence else f"{sentence}."


def describe(value: object) -> str:
    """A short description of `value` that completes the sentence '..., not <this>'."""
    described = brought_by(value, "description")
    if described is not None:
        return in_words(described)
    if value is None:
        return in_words("{null}")
    if isinstance(value, bool):
        return in_words("{true}" if value else "{false}")
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    words = repr(value)
    return words if len(words) <= 60 else f"an object of class {type(value).__name__}"


def describe_element(argument: str, values: Any, element: Element) -> str:
    """The fault of an element, in Python's words."""

    def value(index: int) -> str:
        return describe(element_of(values, index))

    where = f"`{argument}[{element.index}]`"
    if element.larger_than is None:
        return f"{where} is {value(element.index)}"
    other = f"`{argument}[{element.larger_than}]` ({value(element.larger_than)})"
    return f"{where} ({value(element.index)}) is not larger than {other}"


def element_of(values: Any, index: int) -> object:
    """The element; a plain number if `values` is an array."""
    if isinstance(values, Sequence):
        return values[index]
    elements = values.tolist() if hasattr(values, "tolist") else list(values)
    return elements[index]


def brought_by(value: object, attribute: str) -> str | None:
    """The value's own description or hint, which values from R have (see `Described`)."""
    words = getattr(value, attribute, None)
    return words if isinstance(words, str) else None
