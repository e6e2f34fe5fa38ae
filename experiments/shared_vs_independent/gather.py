"""The results that there are, and the numbers in them, by model, data and seed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.shared_vs_independent.cells import FORMAT, Cell, ModelCell, PolicyCell, model_cell, plan
from experiments.shared_vs_independent.robust import NORMAL, Estimate, combined

Keys = tuple[str, ...]
NO_LIMITS = (-math.inf, math.inf)
CORRELATION, FRACTION = (-1.0, 1.0), (0.0, 1.0)


@dataclass(frozen=True)
class Number:
    """A number of one result.

    Attributes:
        value: the number. ends: its interval over test episodes, if it has one. episodes: how many.
    """

    value: float
    ends: tuple[float, float] | None = None
    episodes: int | None = None


@dataclass(frozen=True)
class Gathered:
    """Results by the name of their cell.

    Attributes:
        by_name: name -> result. damaged: names of files that are no results.
        drawn: statistics of drawn episodes, kept because many tables ask for the same (see ``paired.drawn_values``).
    """

    by_name: dict[str, dict[str, Any]]
    damaged: tuple[str, ...] = ()
    drawn: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False, compare=False)

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

    def there(self, cells: Iterable[Cell]) -> list[dict[str, Any]]:
        """Return the results of those of the cells that have one."""
        return [result for result in map(self.of, cells) if result is not None]

    def clones(self, data: str, model: str | None = None) -> list[PolicyCell]:
        """Return a policy's cell for each seed whose clone of some data has been deployed.

        Args:
            model: whose policies start from it; None for the first in the plan. A clone knows no model, so on one kind of processor
                it is the same for all of them.
        """
        by_seed: dict[int, PolicyCell] = {}
        for cell in plan():
            if isinstance(cell, PolicyCell) and cell.model.data == data and model in (None, cell.model.model) and self.of(cell):
                by_seed.setdefault(cell.model.seed, cell)
        return [by_seed[seed] for seed in sorted(by_seed)]

    def numbers(self, cells: Iterable[Cell], path: Keys) -> dict[int, Number]:
        """Return the number at ``path`` of each result that has one, by seed."""
        found: dict[int, Number] = {}
        for cell in cells:
            result = self.of(cell)
            number = None if result is None else number_at(result, path)
            if number is not None:
                found[model_cell(cell).seed] = number
        return found

    def reason(self, cells: Iterable[Cell], path: Keys) -> str:
        """Return why there is no number at ``path``: the first sentence found in its place, or "not run yet"."""
        for result in self.there(cells):
            found = at(result, path)
            return str(found["reason"]) if isinstance(found, dict) and found.get("reason") else "not measured"
        return "not run yet"

    def estimate(self, cells: Iterable[Cell], path: Keys, limits: tuple[float, float] = NO_LIMITS) -> Estimate:
        """Return the interquartile mean over seeds of the numbers at ``path``, with an interval of seeds and episodes.

        Args:
            limits: that the quantity cannot exceed.
        """
        cells = list(cells)
        numbers = list(self.numbers(cells, path).values())
        if not numbers:
            return Estimate(None, reason=self.reason(cells, path))
        return combined([n.value for n in numbers], [n.ends for n in numbers], numbers[0].episodes, limits)


def at(result: dict[str, Any], path: Keys) -> Any:
    """Return what lies at a path of keys, or None."""
    found: Any = result
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def number_at(result: dict[str, Any], path: Keys) -> Number | None:
    """Return the number at a path; None where there is none.

    A cell has its interval with it; beside a plain number there may be its standard error.
    """
    found = at(result, path)
    if isinstance(found, dict):
        low, high = found.get("low"), found.get("high")
        ends = None if low is None or high is None else (float(low), float(high))
        value = _plain(found.get("value"))
        return None if value is None else Number(value, ends, found.get("trajectories"))
    value = _plain(found)
    if value is None:
        return None
    beside = _beside(result, path)
    error = _plain(beside[0])
    return Number(value, None if error is None else (value - NORMAL * error, value + NORMAL * error), beside[1])


def _beside(result: dict[str, Any], path: Keys) -> tuple[Any, int | None]:
    """Return the standard error of the plain number at a path and the number of episodes, where they are known."""
    *section, name = path
    episodes = at(result, (*section, "num_episodes"))
    if section and section[-1] == "normalized_error":
        return at(result, (*section[:-1], "standard_error", name)), at(result, (*section[:-1], "episodes"))
    return at(result, (*section, "standard_error", name)), episodes


def _plain(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def seconds_of(result: dict[str, Any], stage: str) -> float:
    """Return the seconds that a stage took, of an adopted cell where it was made."""
    seconds = (result["adopted"] or result)["seconds"] if stage in ("dynamics", "policy") else result["seconds"]
    return float(seconds.get(stage, 0.0))


def models(model: str, data: str, seeds: Iterable[int] = range(5)) -> list[Cell]:
    """Return a model's cells of all seeds."""
    return [ModelCell(model, data, seed) for seed in seeds]


def policies(model: str, data: str, penalty: str, weight: float, seeds: Iterable[int] = range(5)) -> list[Cell]:
    """Return a policy's cells of all seeds."""
    return [PolicyCell(ModelCell(model, data, seed), penalty, weight) for seed in seeds]
