"""Times a step against Keras, against peers, and against the memory-bandwidth limit.

`make bench` runs it; `python -m benchmarks --help` lists the options.
"""
