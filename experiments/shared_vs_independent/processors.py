"""What rounding alone comes to: cells that were made on two kinds of processor, from the same seeds and the same data.

Processors of different kinds sum the matrix products of training in different orders. What one cell differs by between them is
luck that no seed sets; beside it stands the spread over seeds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.shared_vs_independent.cells import DATA, Cell, PolicyCell, model_cell, plan
from experiments.shared_vs_independent.gather import Gathered, Keys, at, number_at
from experiments.shared_vs_independent.tables import table

FOLDER = "another_processor"  # inside results/: what was made first, on a kind of processor that the rest of the block is not of


def _of_test(*path: str) -> dict[str, Keys]:
    return {f", tested on {data}": ("tested_on", data, *path) for data in DATA}


QUANTITIES: Mapping[str, Mapping[str, Keys]] = {
    "model": {
        "error at 8 steps": ("dynamics", "normalized_error", "8"),
        "error at 100 steps": ("dynamics", "normalized_error", "100"),
        **{f"rank correlation, 8 steps{name}": path for name, path in _of_test("ranking", "8", "rank").items()},
        **{f"rank correlation, 24 steps{name}": path for name, path in _of_test("ranking", "24", "rank").items()},
        "AUROC of a fall within 5 steps, tested on broad": ("tested_on", "broad", "falls", "disagreement", "5"),
    },
    "policy": {"deployed return": ("deployment", "deterministic", "return")},
}


@dataclass(frozen=True)
class Rounding:
    """How much a quantity depends on the processor, and on the seed.

    Attributes:
        cells: made on both kinds. processors: standard deviation of a cell between the kinds.
        largest: difference of any cell. seeds: standard deviation over seeds of the same cells, of those in use.
    """

    cells: int
    processors: float
    largest: float
    seeds: float | None


def _block(cell: Cell) -> tuple[str, ...]:
    """Return what the cells of all seeds have in common."""
    model = model_cell(cell)
    own = (cell.penalty, str(cell.weight)) if isinstance(cell, PolicyCell) else ()
    return (cell.kind, model.model, model.data, *own)


def rounding(used: Gathered, other: Gathered, cells: Sequence[Cell], path: Keys) -> Rounding | None:
    """Compare a quantity of those cells that have it from both kinds of processor."""
    differences: list[float] = []
    blocks: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in cells:
        one, two = (number_at(found.by_name[cell.name], path) for found in (used, other))
        if one is not None and two is not None:
            differences.append(one.value - two.value)
            blocks[_block(cell)].append(one.value)
    if not differences:
        return None
    variances = [float(np.var(values, ddof=1)) for values in blocks.values() if len(values) > 1]
    return Rounding(
        len(differences),
        math.sqrt(float(np.mean(np.square(differences))) / 2.0),
        max(map(abs, differences)),
        math.sqrt(float(np.mean(variances))) if variances else None,
    )


def lines(used: Gathered, other: Gathered) -> list[str]:
    """Return a table of what there is from both kinds of processor, and which they are."""
    both = [cell for cell in plan() if cell.name in used.by_name and cell.name in other.by_name]
    if not both:
        return ["No cell has been made on two kinds of processor."]
    rows = []
    for kind, quantities in QUANTITIES.items():
        for name, path in quantities.items():
            found = rounding(used, other, [cell for cell in both if cell.kind == kind], path)
            if found is not None:
                seeds = "-" if found.seeds is None else f"{found.seeds:.3f}"
                rows.append([name, str(found.cells), f"{found.processors:.3f}", f"{found.largest:.3f}", seeds])
    header = ["quantity", "cells", "standard deviation between processors", "largest difference", "standard deviation over seeds"]
    first, second = (_processors(found, both) for found in (other, used))
    return [f"Made on {first} (`results/{FOLDER}`) and then, from the same data, on {second}:", "", *table(header, rows)]


def _processors(gathered: Gathered, cells: Sequence[Cell]) -> str:
    named = {at(gathered.by_name[cell.name], ("machine", "processor")) for cell in cells}
    return " and ".join(sorted(str(name) for name in named if name)) or "a processor that is not named"
