"""How fast a step is: against Keras, against peers, and against what memory allows.

`make bench` runs it; `python -m benchmarks --help` lists what can be chosen.
"""
