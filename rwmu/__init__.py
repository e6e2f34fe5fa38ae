"""Uncertainty-aware robotic world models: learn dynamics from logs, optimise a policy inside, know when not to trust it."""

import os

# Idle OpenMP threads spin shortly, then sleep: spinning for long takes cores from other processes, sleeping at once makes two
# threads slower than one. GNU's OpenMP reads this when torch is loaded, so there is no later place for it.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# numpy multiplies only small matrices here (the behaviour policies); more threads make that several times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
