"""How a time grows with a size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# At small sizes what is done once a step hides the growth.
LARGEST = 3


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Of the logarithms, over the largest sizes, by least squares.

    1 where twice the size takes twice the time.
    """
    order = np.argsort(sizes)[-LARGEST:]
    return float(np.polyfit(np.log(sizes)[order], np.log(times)[order], 1)[0])
