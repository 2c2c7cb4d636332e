"""The entrance for R. Nothing in the rest of the package imports it."""
