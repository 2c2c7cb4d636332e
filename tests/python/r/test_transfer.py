"""The transfer of numbers to R and back, as doubles in R's order."""

import keras
import numpy as np
import pytest

from kerasgd.r import transfer


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int32"])
def test_numbers_go_to_r_as_doubles_in_its_order(dtype):
    values = keras.ops.convert_to_tensor([[1, 2, 3], [4, 5, 6]], dtype)
    assert np.frombuffer(transfer.as_doubles(values)).tolist() == [1, 4, 2, 5, 3, 6]


def test_numbers_come_from_r_in_its_order():
    data = np.array([1.0, 4.0, 2.0, 5.0, 3.0, 6.0]).tobytes()
    assert transfer.from_doubles(data, [2.0, 3.0]).tolist() == [[1, 2, 3], [4, 5, 6]]
