"""What all tests share."""

import keras
import pytest

BACKEND = keras.config.backend()


def pytest_report_header():
    return f"Keras {keras.__version__} on {BACKEND}"


@pytest.fixture(autouse=True)
def fresh_names():
    """Paths of variables do not depend on the tests before."""
    keras.utils.clear_session(free_memory=False)
