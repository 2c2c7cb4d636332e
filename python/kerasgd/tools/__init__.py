"""Tools around training: they look at a model and leave it as it was."""

from kerasgd.tools.learning_rate_finder import RateSearch, find_learning_rate

__all__ = ["RateSearch", "find_learning_rate"]
