"""The study's cells, in the order of the protocol: what is fitted, what is optimised, and with which settings.

A *model cell* is one world model: its training, and the measurement of its uncertainty. A *policy cell* is one policy that was
optimised inside a fitted model, deployed. A cell's name is the name of its result and of its folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"

SEEDS = (0, 1, 2, 3, 4)
DATA = {"broad": "mixed", "narrow": "expert"}  # name -> recipe
MODELS = {
    "shared": ("dynamics=shared",),
    "independent": ("dynamics=independent",),
    "priors": ("dynamics=independent", "dynamics.prior_scale=1.0"),
    "shared_wide": ("dynamics=shared",),  # and the hidden size of capacity.matching_hidden_size
}
POLICY_MODELS = ("shared", "independent", "priors")
# Penalty -> its weights, those first that matter most if time does not reach for all.
WEIGHTS = {"raw": (1.0, 0.0, 5.0, 0.2, 2.0, 0.5), "recalibrated": (1.0, 2.0, 0.5)}
PENALTIES = {"raw": "mopo", "recalibrated": "recalibrated"}
NUM_TRANSITIONS = 1_000_000
RULE_STEPS = (8, 24)  # steps ahead at which architectures are compared, forecast by forecast
FORMAT = 3  # of a result; one of another format is made anew from the cell's folder


@dataclass(frozen=True)
class ModelCell:
    """One world model.

    Attributes:
        model: a name of ``MODELS``. data: a name of ``DATA``. seed: of everything but the data.
    """

    model: str
    data: str
    seed: int

    kind = "model"

    @property
    def name(self) -> str:
        """Return the name of its result and of its folder."""
        return f"model-{self.model}-{self.data}-seed{self.seed}"

    @property
    def overrides(self) -> list[str]:
        """Return the settings that make it, less the hidden size of ``shared_wide``."""
        settings = [f"data={DATA[self.data]}", *MODELS[self.model], f"data.num_transitions={NUM_TRANSITIONS}"]
        return [*settings, "scale=laptop", f"seed={self.seed}", f"name={self.model}"]


@dataclass(frozen=True)
class PolicyCell:
    """One policy, optimised inside a fitted world model.

    Attributes:
        model: its cell. penalty: a name of ``PENALTIES``. weight: of the penalty (lambda).
    """

    model: ModelCell
    penalty: str
    weight: float

    kind = "policy"

    @property
    def name(self) -> str:
        """Return the name of its result and of its folder."""
        of_model = self.model.name.removeprefix("model-")
        return f"policy-{of_model}-{self.penalty}-{self.weight:g}"

    @property
    def overrides(self) -> list[str]:
        """Return the settings that make it, less the path of the fitted model."""
        return [*self.model.overrides, f"penalty={PENALTIES[self.penalty]}", f"penalty.weight={self.weight}", "policy.init=clone"]


Cell = ModelCell | PolicyCell


def result_path(cell: Cell, results: Path = RESULTS) -> Path:
    """Return where the result of a cell is kept."""
    return results / f"{cell.name}.json"


def model_cell(cell: Cell) -> ModelCell:
    """Return the cell of the world model that a cell is about."""
    return cell if isinstance(cell, ModelCell) else cell.model


def plan(seeds: Iterable[int] = SEEDS) -> list[Cell]:
    """Return every cell in the order in which they are run.

    Broad data before narrow; models before the policies that need them; raw penalties before recalibrated ones; seeds innermost, so
    that whatever has been reached has been reached for all seeds.
    """
    seeds = list(seeds)
    cells: list[Cell] = []
    for data in DATA:
        cells += [ModelCell(model, data, seed) for model in MODELS for seed in seeds]
        for penalty, weights in WEIGHTS.items():
            for weight in weights:
                cells += [PolicyCell(ModelCell(model, data, seed), penalty, weight) for model in POLICY_MODELS for seed in seeds]
    return cells


def named(name: str, cells: Iterable[Cell]) -> Cell:
    """Return the cell of a name."""
    for cell in cells:
        if cell.name == name:
            return cell
    raise KeyError(name)
