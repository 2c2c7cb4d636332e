"""Functions from R, with the metadata that Python cannot see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kerasgd.errors import describe


class ForeignFunction:
    """An R function with the metadata that only R has.

    To Python every R function has the signature ``(*args, **kwargs)``. So R also passes the names
    of the required arguments, a function that describes the last returned value in R's words, and
    a function that returns the R function itself.
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
    """A short description of the value just returned, in the words of the function's language."""
    if isinstance(function, ForeignFunction) and function.describe_result is not None:
        return function.describe_result()
    return describe(value)


def describe_failure(function: Callable[..., object], error: Exception) -> str:
    """The text that follows "it fails" in a message."""
    # An R error arrives as a RuntimeError, a name that means nothing to an R user.
    kind = "" if isinstance(function, ForeignFunction) else f" with {type(error).__name__}"
    return f"{kind}: {error}"
