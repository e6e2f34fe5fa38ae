"""Outside implementations to compare with; a test is skipped, saying why, only where one is not installed, and never in CI."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest


def outside(module: str) -> ModuleType:
    """Return an outside package's module, or skip the test."""
    package = module.partition(".")[0].replace("_", "-")
    if os.environ.get("CI"):
        return importlib.import_module(module)
    return pytest.importorskip(module, reason=f"the outside implementation '{package}' is not installed: pip install 'rwmu[dev]'")


def torch_uncertainty(path: str) -> ModuleType:
    """Return one file of torch-uncertainty, or skip the test.

    The file by itself: the package's ``__init__`` imports command lines and image libraries that it does not install.
    """
    package = importlib.util.find_spec("torch_uncertainty")
    if package is None or package.origin is None:
        assert not os.environ.get("CI"), "torch-uncertainty is not installed"
        pytest.skip("the outside implementation 'torch-uncertainty' is not installed: pip install 'rwmu[dev]'")
    spec = importlib.util.spec_from_file_location(f"outside_{Path(path).stem}", Path(package.origin).parent / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
