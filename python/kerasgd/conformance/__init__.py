"""Runs the contract against an installed Keras: `python -m kerasgd.conformance --help`.

Each testable clause of the contract has its checks in the module of its section. A check uses only
the public interface of Keras, and compares numbers with `kerasgd.reference` or with a closed form.
So it can judge any optimizer class, including those of stock Keras.
"""
