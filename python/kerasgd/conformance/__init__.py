"""Checks an optimizer class against the documentation: `python -m kerasgd.conformance --help`.

The contract is the documentation of SGD, split into numbered clauses (`clauses.py`). Each section
has a module with the checks of its clauses. A check uses only the public interface of Keras, and
compares numbers with `kerasgd.reference` or with a closed form. So it can test any optimizer class,
including those of Keras.
"""
