"""Tools around training: they look at a model and leave it as it was."""

from kerasgd.tools.learning_rate_finder import RateSearch, find_learning_rate
from kerasgd.tools.step_explainer import explain_step

__all__ = ["RateSearch", "explain_step", "find_learning_rate"]
