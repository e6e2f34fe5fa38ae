"""Simulators that extras install, made silent; torch is not imported, so that who only draws starts fast."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from rwmu.errors import MissingExtraError


def import_mujoco() -> Any:
    """Import MuJoCo, or say how to install it.

    A broken OpenGL, or a ``MUJOCO_GL`` that names none, does not matter to physics: MuJoCo is then imported without drawing.
    """
    try:
        mujoco = importlib.import_module("mujoco")
    except ModuleNotFoundError:
        raise MissingExtraError(
            "The embedded simulator needs MuJoCo; install it with: pip install '.[mujoco]' in rwmu's folder"
        ) from None
    except Exception:  # of OpenGL, which may raise anything
        asked = os.environ.get("MUJOCO_GL")
        os.environ["MUJOCO_GL"] = "disable"
        try:
            mujoco = importlib.import_module("mujoco")
        finally:
            os.environ.pop("MUJOCO_GL")
            os.environ.update({} if asked is None else {"MUJOCO_GL": asked})
    if hasattr(mujoco, "MjLogConfig"):  # of MuJoCo 4; divergence is counted and reported by the caller
        config = mujoco.MjLogConfig.get()
        config.logto_file = config.logto_console = False
        mujoco.MjLogConfig.set(config)
    return mujoco


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let a library say nothing: neither what it prints, nor what it warns of."""
    nobody, logged = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(nobody), contextlib.redirect_stderr(nobody), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logged)


@contextlib.contextmanager
def importing_mjlab() -> Iterator[None]:
    """Import mjlab quietly, or say how to install it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with quiet():
            yield
    except ModuleNotFoundError:
        raise MissingExtraError(
            "simulator=mjlab needs mjlab, which excludes MuJoCo 4; in an environment of its own: pip install '.[mjlab]' in rwmu's "
            "folder"
        ) from None
