"""The limits of float32, the dtype of training unless `floatx` is float64."""

from __future__ import annotations

import numpy as np

LARGEST = float(np.finfo("float32").max)
SMALLEST = float(np.finfo("float32").smallest_subnormal)
# From the first to the second, a number and its inverse are both normal.
SMALLEST_NORMAL, LARGEST_NORMAL = 2.0**-126, 2.0**126
