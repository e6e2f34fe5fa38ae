"""Uncertainty-aware robotic world models: learn dynamics from logs, optimise a policy inside, know when not to trust it."""

import importlib
import os
from typing import Any

# Idle OpenMP threads spin shortly, then sleep: spinning for long takes cores from other processes, sleeping at once makes two
# threads slower than one. GNU's OpenMP reads this when torch is loaded, so there is no later place for it.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# numpy multiplies only small matrices here (the behaviour policies); more threads make that several times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Take a name of :mod:`rwmu.api`, which is imported when it is first asked for: torch and Lightning take seconds."""
    api = importlib.import_module("rwmu.api") if not name.startswith("_") else None
    if api is None or name not in api.__all__:
        raise AttributeError(f"module 'rwmu' has no attribute '{name}'")
    return getattr(api, name)
