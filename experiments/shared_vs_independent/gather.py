"""The results that there are, and the numbers in them, by model, data and seed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.shared_vs_independent.cells import FORMAT, Cell, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.robust import Estimate, estimate

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Gathered:
    """Results by the name of their cell.

    Attributes:
        by_name: name -> result. damaged: names of files that are no results.
    """

    by_name: dict[str, dict[str, Any]]
    damaged: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Gathered:
        """Read every result of the study in a folder."""
        found: dict[str, dict[str, Any]] = {}
        damaged = []
        for cell in plan():
            path = folder / f"{cell.name}.json"
            if not path.is_file():
                continue
            try:
                result = json.loads(path.read_text())
                if result["name"] != cell.name or result["format"] != FORMAT:
                    raise ValueError(cell.name)
                found[cell.name] = result
            except (ValueError, KeyError, TypeError):
                damaged.append(cell.name)
        return cls(found, tuple(damaged))

    @cached_property
    def missing(self) -> list[Cell]:
        """Return the cells of the plan that have no result."""
        return [cell for cell in plan() if cell.name not in self.by_name]

    def of(self, cell: Cell) -> dict[str, Any] | None:
        """Return the result of a cell, if it is there."""
        return self.by_name.get(cell.name)

    def numbers(self, cells: Iterable[Cell], path: Keys) -> dict[int, float]:
        """Return the number at ``path`` of each result that has one, by seed."""
        found: dict[int, float] = {}
        for cell in cells:
            result = self.of(cell)
            number = None if result is None else number_at(result, path)
            if number is not None:
                found[cell.seed if isinstance(cell, ModelCell) else cell.model.seed] = number
        return found

    def reason(self, cells: Iterable[Cell], path: Keys) -> str:
        """Return why there is no number at ``path``: the first sentence found in its place, or "not run yet"."""
        for cell in cells:
            result = self.of(cell)
            if result is not None:
                found = at(result, path)
                return str(found["reason"]) if isinstance(found, dict) and found.get("reason") else "not measured"
        return "not run yet"

    def estimate(self, cells: Iterable[Cell], path: Keys) -> Estimate:
        """Return the interquartile mean over seeds of the numbers at ``path``."""
        cells = list(cells)
        numbers = self.numbers(cells, path)
        if not numbers:
            return Estimate(None, reason=self.reason(cells, path))
        first = next(result for result in map(self.of, cells) if result is not None)
        cell = at(first, path)
        episodes = cell.get("trajectories") if isinstance(cell, dict) else at(first, (*path[:-1], "num_episodes"))
        return estimate([list(numbers.values())], episodes)


def at(result: dict[str, Any], path: Keys) -> Any:
    """Return what lies at a path of keys, or None."""
    found: Any = result
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def number_at(result: dict[str, Any], path: Keys) -> float | None:
    """Return the number at a path, of a cell its value; None where there is none."""
    found = at(result, path)
    if isinstance(found, dict):
        found = found.get("value")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def models(model: str, data: str, seeds: Iterable[int] = range(5)) -> list[Cell]:
    """Return a model's cells of all seeds."""
    return [ModelCell(model, data, seed) for seed in seeds]


def policies(model: str, data: str, penalty: str, weight: float, seeds: Iterable[int] = range(5)) -> list[Cell]:
    """Return a policy's cells of all seeds."""
    return [PolicyCell(ModelCell(model, data, seed), penalty, weight) for seed in seeds]
