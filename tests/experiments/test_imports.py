"""Every script of experiments/ finds what it imports; most of them are run too rarely for a fault to show otherwise."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "experiments").rglob("*.py"))


@pytest.mark.parametrize("parts", SCRIPTS, ids="/".join)
def test_a_script_finds_what_it_imports(parts: tuple[str, ...]) -> None:
    import_module(".".join(parts))
