"""MuJoCo, which the extra ``mujoco`` installs, made silent; torch is not imported, so that who only draws starts fast."""

from __future__ import annotations

import importlib
import os
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
