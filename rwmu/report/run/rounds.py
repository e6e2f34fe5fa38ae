"""The rounds of an online run, as a figure: what the robot could do after so many real transitions, and after so many minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from rwmu.report import style
from rwmu.report.run.curves import Curve
from rwmu.report.style import BLUE, GREEN, GREY, ORANGE
from rwmu.report.wording import number

Record = Mapping[str, Any]
_RETURN = "return of an episode"
_TRANSITIONS, _MINUTES = "real transitions (thousands)", "minutes of work"
_ACROSS: Mapping[str, Callable[[Record], float | None]] = {
    _TRANSITIONS: lambda record: _scaled(number(record, "real_transitions"), 1e-3),
    _MINUTES: lambda record: _scaled(number(record, "seconds"), 1.0 / 60.0),
}
_DEPLOYED = {
    "tracking": ("deployed", "track_lin_vel_xy"),
    "yaw tracking": ("deployed", "track_ang_vel_z"),
    "falls": ("deployed", "fall_fraction"),
}
# Title of a panel, what it is drawn over -> label of a line -> place in a round's record.
_PANELS: Mapping[tuple[str, str], Mapping[str, tuple[str, ...]]] = {
    ("deployed policy", _TRANSITIONS): _DEPLOYED,
    ("deployed policy", _MINUTES): _DEPLOYED,
    (_RETURN, _TRANSITIONS): {"return": ("deployed", "return")},
    ("error on new episodes (std)", _TRANSITIONS): {f"{k} steps ahead": ("forecast_error", str(k)) for k in (1, 8, 24)},
    ("reward a second", _TRANSITIONS): {
        "in the dream": ("deployed", "dream_reward"),
        "in the simulator": ("deployed", "simulator_reward"),
        "while collecting": ("collected_reward",),
    },
    ("dreams and updates", _TRANSITIONS): {"steps of a dream": ("horizon_steps",), "updates a round": ("updates",)},
}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def curve(records: Sequence[Record], across: str, place: Sequence[str]) -> Curve:
    """Return (across, values) of the rounds whose record has both."""
    found = [(_ACROSS[across](record), number(record, *place)) for record in records]
    known = [(x, y) for x, y in found if x is not None and y is not None]
    return [x for x, _ in known], [y for _, y in known]


def model_free(behaviour: Mapping[str, Record]) -> Curve:
    """Return (thousands of transitions, return) of the behaviour policies that PPO learnt in the simulator itself."""
    learnt = [row for row in behaviour.values() if row.get("transitions")]
    learnt.sort(key=lambda row: float(row["transitions"]))
    return [1e-3 * float(row["transitions"]) for row in learnt], [float(row["return"]) for row in learnt]


def draw(records: Sequence[Record], behaviour: Mapping[str, Record] | None = None) -> Figure:
    """Draw the rounds, a panel a question.

    Args:
        behaviour: the robot's behaviour policies, whose return stands beside ours.
    """
    figure, axes = style.new_figure(10.2, 5.4, 2, 3)
    for axis, ((title, across), lines) in zip(axes, _PANELS.items(), strict=True):
        for (label, place), colour, dash in zip(lines.items(), (BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=False):
            axis.plot(*curve(records, across, place), dash, marker=".", color=colour, linewidth=1.6, label=label)
        ppo = model_free(behaviour or {}) if title == _RETURN else ([], [])
        if ppo[0]:
            axis.plot(*ppo, "--", marker="s", color=GREY, linewidth=1.2, label="PPO in the simulator")
            axis.set_xscale("log")
        if len(lines) > 1 or ppo[0]:
            style.draw_legend(axis)
        axis.set_xlabel(across)
        style.draw_title(axis, title)
    return figure
