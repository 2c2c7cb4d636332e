"""What R hands over that Python has no word for.

R values that Python can say exactly (`2`, `TRUE`, `"a"`, `NULL`) arrive as themselves. `NA`, a
complex number or a factor would arrive as something else without a sound (`NA` as `True`), so they
come wrapped, and no rule accepts the wrapping.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Unrepresentable:
    """An R value without an equivalent in Python; refused by every argument rule."""

    def __init__(self, description: str) -> None:
        self.description = description

    def __repr__(self) -> str:
        return self.description


class ForeignFunction:
    """An R function together with the arguments that it cannot do without.

    To Python every R function looks like ``(*args, **kwargs)``: R hands the names over.
    """

    description = "a function"

    def __init__(self, function: Callable[[], object], required: Sequence[str] = ()) -> None:
        self.function = function
        self.required = [required] if isinstance(required, str) else list(required)

    def __call__(self) -> object:
        """Call the R function."""
        return self.function()

    def __repr__(self) -> str:
        return f"<R function({', '.join(self.required)})>"
