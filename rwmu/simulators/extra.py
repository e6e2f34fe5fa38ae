"""MuJoCo, which the extra ``mujoco`` installs, made silent; torch is not imported, so that who only draws starts fast."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Iterator
from typing import Any

from rwmu.errors import MissingExtraError


def import_mujoco() -> Any:
    """Import MuJoCo, or say how to install it.

    A broken OpenGL, or a ``MUJOCO_GL`` that names none, does not matter to physics: MuJoCo is then imported without drawing.
    """
    try:
        mujoco = _imported()
    except ModuleNotFoundError:
        raise MissingExtraError(
            "The embedded simulator needs MuJoCo 4; install it with: pip install '.[mujoco]' in rwmu's folder"
        ) from None
    except Exception:  # of OpenGL, which may raise anything
        asked = os.environ.get("MUJOCO_GL")
        os.environ["MUJOCO_GL"] = "disable"
        try:
            mujoco = _imported()
        finally:
            os.environ.pop("MUJOCO_GL")
            os.environ.update({} if asked is None else {"MUJOCO_GL": asked})
    mujoco.MjLogConfig.set(_silent(mujoco))
    return mujoco


def _imported() -> Any:
    mujoco = importlib.import_module("mujoco")
    importlib.import_module("mujoco.batch")
    return mujoco


def _silent(mujoco: Any) -> Any:
    """Return a log configuration that writes no file and prints nothing: divergence is counted and reported by the caller."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    config.logto_console = False
    return config


@contextlib.contextmanager
def quiet_mjlab() -> Iterator[None]:
    """Import mjlab without what it prints, or say how to install it.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("MJLAB_WARP_QUIET", "1")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except ModuleNotFoundError:
        raise MissingExtraError(
            "simulator=mjlab needs mjlab, which excludes MuJoCo 4; in an environment of its own: pip install '.[mjlab]' in rwmu's folder"
        ) from None
