"""How checks find out optimizers that are wrong in one thing each."""

from kerasgd.conformance.checks import CHECKS
from kerasgd.conformance.runner import FAILS, run_check
from kerasgd.conformance.subjects import Subject


def checks_of(module):
    """The checks that are written in a module, by their names."""
    return {c.compare.__name__: c for c in CHECKS if c.compare.__module__ == module.__name__}


def is_found_out(check, wrong):
    return run_check(check, Subject("wrong", wrong)).status == FAILS
