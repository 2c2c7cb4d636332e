"""Helpers that show that a check detects an optimizer with one fault."""

from kerasgd.conformance.checks import CHECKS
from kerasgd.conformance.runner import FAILS, run_check
from kerasgd.conformance.subjects import Subject


def checks_of(module):
    """The checks in a module, by name."""
    return {c.compare.__name__: c for c in CHECKS if c.compare.__module__ == module.__name__}


def is_found_out(check, wrong):
    return run_check(check, Subject("wrong", wrong)).status == FAILS
