"""What the documented arguments do, as functions of arrays of any backend.

One argument a file, with its formula. Backends that have faster kernels are held equal to these by
tests.
"""
