"""Compare runs: those that differ by their seed alone are one group, and groups stand side by side in a table and a figure.

The interquartile mean is our own: rliable (1.2.0, of 2024) asks for arch below 8, which cannot be imported beside pandas 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure

from rwmu.report import style
from rwmu.report.run.curves import Curve
from rwmu.report.wording import number
from rwmu.uncertainty.pairing import interquartile_mean
from rwmu.uncertainty.resampling import Interval, bootstrap

# Settings in which runs of one group may differ: what says where things lie, and the seed.
_OF_THE_PLACE = ("seed", "runs_dir", "resume", "stages", "trust", "data.path", "trainer.checkpoint", "policy.checkpoint")
_NOT_COMPARED = ("logger.", "machine.")
# Heading -> place in a run's measured deployment.
FIGURES: Mapping[str, tuple[str, ...]] = {
    "tracking": ("deterministic", "track_lin_vel_xy"),
    "yaw tracking": ("deterministic", "track_ang_vel_z"),
    "return": ("deterministic", "return"),
    "falls": ("deterministic", "fall_fraction"),
    "return, sampled": ("sampled", "return"),
}
_CURVES: Mapping[str, str] = {
    "error of the world model (std)": "validation/rollout_error",
    "imagined reward a second": "imagined/reward",
    "imagined penalty a second": "imagined/penalty",
}


@dataclass(frozen=True)
class Run:
    """What is compared of a run.

    Attributes:
        settings: dotted name -> value of its configuration. deployment: as measured.
        curves: column -> (steps, values) of its logs.
    """

    settings: Mapping[str, Any]
    deployment: Mapping[str, Any]
    curves: Mapping[str, Curve]

    @property
    def name(self) -> str:
        """Return the name of its experiment."""
        return str(self.settings.get("name"))


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs by what they have in common: the experiment's name, and the settings that runs of this name differ in."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        namesakes = [other for other in runs if other.name == run.name]
        names = sorted({name for other in namesakes for name in other.settings if _counts(name)})
        differing = [name for name in names if len({repr(other.settings.get(name)) for other in namesakes}) > 1]
        label = ", ".join([run.name, *(f"{name}={run.settings.get(name)}" for name in differing)])
        found.setdefault(label, []).append(run)
    return found


def _counts(name: str) -> bool:
    return name not in _OF_THE_PLACE and not name.startswith(_NOT_COMPARED)


def aggregated(runs: Sequence[Run], place: Sequence[str]) -> tuple[Interval, list[float]]:
    """Return the interquartile mean over runs with its bootstrap interval of 95 %, and the single values."""
    known = [value for run in runs if (value := number(run.deployment, *place)) is not None]
    values = torch.tensor(known, dtype=torch.float64)
    if not known:
        return Interval.missing("not measured"), known
    return bootstrap(lambda rows: float(interquartile_mean(values[rows].numpy())), torch.arange(len(values))), known


def table(groups: Mapping[str, Sequence[Run]]) -> list[list[str]]:
    """Return the rows of the table, the heading first: a group each, with intervals, or all values where runs are too few."""
    rows = [["runs", "number", *FIGURES]]
    for label, runs in groups.items():
        rows.append([label, str(len(runs)), *(_cell(*aggregated(runs, place)) for place in FIGURES.values())])
    return rows


def _cell(interval: Interval, values: Sequence[float]) -> str:
    if interval.value is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3g} ({', '.join(f'{value:.3g}' for value in values)})"
    return f"{interval.value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def draw(groups: Mapping[str, Sequence[Run]]) -> Figure:
    """Draw what the policies of each group earn, and the learning curves of its runs, in one colour."""
    figure, axes = style.new_figure(10.2, 6.4, 2, 2)
    for index, (label, runs) in enumerate(groups.items()):
        colour = style.COLOURS[index % len(style.COLOURS)]
        interval, values = aggregated(runs, FIGURES["return"])
        axes[0].plot(values, [-index] * len(values), "o", color=colour, markersize=5, label=label)
        if interval.value is not None:
            axes[0].plot([interval.value], [-index], "|", color=style.INK, markersize=14)
        for axis, column in zip(axes[1:], _CURVES.values(), strict=True):
            for run in runs:
                axis.plot(*run.curves.get(column, ([], [])), color=colour, linewidth=1.1, alpha=0.8)
    axes[0].set_yticks([])
    style.draw_title(axes[0], "return of an episode: runs, and their mean (|)")
    for axis, (title, column) in zip(axes[1:], _CURVES.items(), strict=True):
        axis.set_xlabel("training step" if column.startswith("validation") else "iteration")
        style.draw_title(axis, title)
        if not any(column in run.curves for runs in groups.values() for run in runs):
            style.nothing_drawn(axis)
    style.shared_legend(figure, axes[0], "outside lower center", 1)
    return figure
