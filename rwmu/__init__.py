"""Uncertainty-aware robotic world models: learn dynamics from logs, optimise a policy inside, know when not to trust it."""

import os

# Idle OpenMP threads sleep instead of spinning: on few cores several pools would take them from each other. OpenMP reads this when
# torch is loaded, so there is no later place for it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# numpy multiplies only small matrices here (the behaviour policies); more threads make that several times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
