"""The interface for R. No other part of the package imports it."""
