"""MuJoCo, which the extra ``mujoco`` installs, made silent; torch is not imported, so that who only draws starts fast."""

from __future__ import annotations

from typing import Any

from rwmu.errors import MissingExtraError


def import_mujoco() -> Any:
    """Import MuJoCo, or say how to install it."""
    try:
        import mujoco
        import mujoco.batch
    except ImportError:
        raise MissingExtraError(
            "The embedded simulator needs MuJoCo 4; install it with: pip install '.[mujoco]' in rwmu's folder"
        ) from None
    mujoco.MjLogConfig.set(_silent(mujoco))
    return mujoco


def _silent(mujoco: Any) -> Any:
    """Return a log configuration that writes no file and prints nothing: divergence is counted and reported by the caller."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    config.logto_console = False
    return config
