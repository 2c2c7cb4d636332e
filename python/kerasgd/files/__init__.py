"""Saving optimizers to files and restoring them (contract 9)."""
