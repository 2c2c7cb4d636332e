"""The effects of the documented arguments, as functions of arrays of any backend.

Each file has the formulas of one argument or of a few related ones; `precision.py` and
`statistics.py` serve no argument. Tests compare the faster kernels of the backends with these
functions.
"""
