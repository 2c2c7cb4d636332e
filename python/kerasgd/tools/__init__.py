"""Tools that examine the training of a model and leave the model unchanged."""

from kerasgd.tools.learning_rate_finder import RateSearch, find_learning_rate
from kerasgd.tools.step_explainer import explain_step

__all__ = ["RateSearch", "explain_step", "find_learning_rate"]
