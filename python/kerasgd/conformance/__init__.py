"""Runs the contract against an installed Keras: `python -m kerasgd.conformance --help`.

Each clause of the contract that can be tested has its checks in the module of its section. A check
uses the public interface of Keras only, and compares numbers with `kerasgd.reference` or with a
closed form; it can judge any optimizer class, stock Keras' own among them.
"""
