"""The floors of the house: a room imports itself and rooms of lower floors, nothing else (CONTRIBUTING.md, "Floors and rooms")."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rwmu

PACKAGE = Path(rwmu.__file__).resolve().parent
FLOORS = [
    {"errors"},
    {"files", "settings", "records"},
    {"numerics", "loggers", "interfaces"},
    {"robots"},
    {"tasks"},
    {"data", "uncertainty"},
    {"dynamics", "simulators"},
    {"imagination", "policy"},
    {"measure", "graphs"},
    {"algorithms"},
    {"report"},
    {"runs"},
    {"train", "evaluate", "collect", "play", "view", "compare", "export", "api"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """Return the rooms of rwmu that a file imports, also within functions and for type checking."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            if node.module == "rwmu":
                names += [f"rwmu.{alias.name}" for alias in node.names]
            elif node.module:
                names.append(node.module)
    return {name.split(".")[1] for name in names if name.startswith("rwmu.")}


def test_imported_rooms_sees_every_form() -> None:
    source = "import rwmu\nimport rwmu.data.episodes\nfrom rwmu import tasks\ndef f():\n    from rwmu.policy.rsl_rl import g\n"
    assert imported_rooms(source) == {"data", "tasks", "policy"}


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert imported_rooms(path.read_text()) == set()
        return
    assert room in FLOOR_OF, f"'{room}' has no floor: give it one here and in CONTRIBUTING.md"
    floor = FLOOR_OF[room]
    for other in imported_rooms(path.read_text()) - {room}:
        assert other in FLOOR_OF, f"{path.name} imports 'rwmu.{other}', which does not exist"
        assert FLOOR_OF[other] < floor, f"rwmu.{room} (floor {floor}) imports rwmu.{other} (floor {FLOOR_OF[other]})"


def test_no_room_is_called_utils() -> None:
    assert not [path for path in PACKAGE.rglob("*") if path.stem in ("utils", "util", "helpers", "common", "misc")]


@pytest.mark.parametrize("command", ["train", "evaluate", "collect", "play", "export"])
def test_entry_points_are_short(command: str) -> None:
    assert len((PACKAGE / f"{command}.py").read_text().splitlines()) < 120
