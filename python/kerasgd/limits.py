"""The limits of float32, in which training computes unless floatx says float64."""

from __future__ import annotations

import numpy as np

LARGEST = float(np.finfo("float32").max)
SMALLEST = float(np.finfo("float32").smallest_subnormal)
# Between these a number is normal, and so is its inverse.
SMALLEST_NORMAL, LARGEST_NORMAL = 2.0**-126, 2.0**126
