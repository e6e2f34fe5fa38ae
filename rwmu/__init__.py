"""Uncertainty-aware robotic world models: learn dynamics from logs, optimise a policy inside, know when not to trust it."""

import importlib
import os
import re
import sys
from types import TracebackType
from typing import Any

# Idle OpenMP threads spin shortly, then sleep: spinning for long takes cores from other processes, sleeping at once makes two
# threads slower than one. GNU's OpenMP reads this when torch is loaded, so there is no later place for it.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# numpy multiplies only small matrices here (the behaviour policies); more threads make that several times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"


def _is_a_command() -> bool:
    """Return whether the program is one of this package's, not somebody's who imports it."""
    first = "".join(sys.argv[:1])
    if first == "-m":  # what it is while Python imports the packages of the module that it is to run
        return any(re.fullmatch(r"(-\w*m)?rwmu(\..*)?", word) for word in sys.orig_argv[1:])
    return os.path.basename(first) == "rwmu"


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if _is_a_command():  # Ctrl-C while its own imports run is no defect to be traced
    sys.excepthook = _told


def __getattr__(name: str) -> Any:
    """Take a name of :mod:`rwmu.api`, which is imported when it is first asked for: torch and Lightning take seconds."""
    api = importlib.import_module("rwmu.api") if not name.startswith("_") else None
    if api is None or name not in api.__all__:
        raise AttributeError(f"module 'rwmu' has no attribute '{name}'")
    return getattr(api, name)
