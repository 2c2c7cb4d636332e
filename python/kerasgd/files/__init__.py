"""Optimizers in files: what a saved optimizer holds, and how it comes back (contract 9)."""
