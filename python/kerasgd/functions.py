"""Functions that know more of themselves than Python can see, as those of R do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kerasgd.errors import describe


class ForeignFunction:
    """An R function together with what only R can say of it.

    To Python every R function looks like ``(*args, **kwargs)``: R hands the names of the arguments
    over that it cannot do without, a function that describes in R's words what it last returned,
    and one that shows R the function itself.
    """

    description = "a function"

    def __init__(
        self,
        function: Callable[..., object],
        required: Sequence[str] = (),
        describe_result: Callable[[], str] | None = None,
        reveal: Callable[[], object] | None = None,
    ) -> None:
        self.function = function
        self.required = [required] if isinstance(required, str) else list(required)
        self.describe_result = describe_result
        self.reveal = reveal

    def __call__(self, *arguments: object) -> object:
        """Call the R function."""
        return self.function(*arguments)

    def __repr__(self) -> str:
        return f"<R function({', '.join(self.required)})>"


def describe_result(function: Callable[..., object], value: object) -> str:
    """A few words on what the function has just returned, in the words of its own language."""
    if isinstance(function, ForeignFunction) and function.describe_result is not None:
        return function.describe_result()
    return describe(value)


def describe_failure(function: Callable[..., object], error: Exception) -> str:
    """Continues "it fails"."""
    # An error of R comes as a RuntimeError, which is no word of R's
    kind = "" if isinstance(function, ForeignFunction) else f" with {type(error).__name__}"
    return f"{kind}: {error}"
