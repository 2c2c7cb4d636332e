"""The growth of a time with a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# At small sizes the constant cost of a step hides the growth.
LARGEST = 3


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The least-squares slope of the logarithms, over the largest sizes.

    It is 1 if twice the size takes twice the time.
    """
    order = np.argsort(sizes)[-LARGEST:]
    return float(np.polyfit(np.log(sizes)[order], np.log(times)[order], 1)[0])
