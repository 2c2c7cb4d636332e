"""The effects of the documented arguments, as functions of arrays of any backend.

Each file has one argument and its formula. Tests compare the faster kernels of the backends with
these functions.
"""
