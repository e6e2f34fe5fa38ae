"""The figures of a run's page: pure functions from plain data to a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from matplotlib.figure import Figure

from rwmu.report import style
from rwmu.report.calibration.figures import disagreement_against_error
from rwmu.report.run import curves, rounds
from rwmu.report.run.curves import Curve
from rwmu.report.style import BLUE, GREY, INK, ORANGE, PALE, RED
from rwmu.report.wording import number
from rwmu.report.wording import steps as words

NAMES = {
    "deterministic": "this policy",
    "sampled": "this policy, with its action noise",
    "clone": "behaviour clone it started from",
    "standing_still": "standing still",
}


def error_by_horizon(
    curve: Mapping[str, Sequence[float]], normalized_error: Mapping[str, float], standard_error: Mapping[str, float | None]
) -> Figure:
    """Draw the open-loop error against hold-last at every step; the reported horizons carry their standard errors."""
    figure, (axis,) = style.new_figure(7.2, 3.8)
    steps = numpy.arange(1, len(curve["model"]) + 1)
    axis.plot(steps, curve["hold_last"], color=GREY, linestyle="--", linewidth=1.6, label="hold the last state")
    axis.plot(steps, curve["model"], color=BLUE, linewidth=2.0, label="world model")
    for k, error in normalized_error.items():
        axis.errorbar(int(k), error, yerr=standard_error.get(k) or 0.0, color=BLUE, marker="o", markersize=5, capsize=3)
        axis.annotate(f"{error:.2f}", (int(k), error), xytext=(5, -12), textcoords="offset points", fontsize=9, color=BLUE)
    style.log_steps(axis, list(normalized_error))
    axis.set_ylim(bottom=0.0)
    axis.set_xlabel("steps forecast without seeing the robot")
    axis.set_ylabel("error (standard deviations)")
    style.draw_title(axis, "Forecast error on test episodes")
    style.draw_legend(axis, loc="upper left")
    return figure


def error_by_field(by_field: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the error of each part of the state at the reported horizons."""
    fields, horizons = list(by_field), list(next(iter(by_field.values())))
    figure, (axis,) = style.new_figure(7.2, 3.4)
    width = 0.8 / len(horizons)
    for i, k in enumerate(horizons):
        position = numpy.arange(len(fields)) + (i - (len(horizons) - 1) / 2) * width
        colour = style.COLOURS[i % len(style.COLOURS)]
        axis.bar(position, [by_field[name][k] for name in fields], width * 0.92, color=colour, label=words(k))
    axis.set_xticks(range(len(fields)), [name.replace("_", "\n", 1).replace("_", " ") for name in fields])
    axis.grid(False, axis="x")
    axis.set_ylabel("error (standard deviations)")
    style.draw_title(axis, "Forecast error by part of the state")
    style.draw_legend(axis, ncols=len(horizons), loc="upper left", bbox_to_anchor=(0.0, -0.2), columnspacing=1.2, handlelength=1.2)
    return figure


def rollout_against_truth(example: Mapping[str, Any]) -> Figure:
    """Draw one forecast of every member over the truth, a panel a column."""
    columns = example["columns"]
    figure, axes = style.panels(len(columns), 2, 4.8, 1.9, sharex=True)
    time, start = numpy.array(example["time_s"]), int(example["forecast_from"])
    for axis, column in zip(axes, columns.values(), strict=True):
        members = numpy.array(column["members"])
        axis.axvspan(time[0], time[start - 1], color="#F3F4F6", zorder=0)
        style.draw_band(axis, time[start:], members.min(0), members.max(0), ORANGE, "members' range")
        for i, member in enumerate(members):
            axis.plot(time[start:], member, color=ORANGE, linewidth=0.9, label="members" if i == 0 else None)
        axis.plot(time, column["truth"], color=INK, linewidth=1.4, label="truth")
        unit = "" if column["unit"] == "1" else f" ({column['unit']})"
        style.draw_title(axis, f"{column['label']}{unit}")
    figure.supxlabel("time since the last row shown to the model (s)", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper center", 3)
    return figure


def command_tracking(
    command: Sequence[Sequence[float]], velocity: Sequence[Sequence[float]], correlation: Mapping[str, Any]
) -> Figure:
    """Scatter commanded against actual velocity, an axis a panel; the diagonal is perfect."""
    asked, done = numpy.array(command).reshape(-1, 3), numpy.array(velocity).reshape(-1, 3)
    figure, axes = style.new_figure(9.6, 3.5, 1, 3)
    names = (("x", "forward speed", "m/s"), ("y", "sideways speed", "m/s"), ("yaw", "yaw rate", "rad/s"))
    for i, (axis, (key, name, unit)) in enumerate(zip(axes, names, strict=True)):
        axis.plot([-1.1, 1.1], [-1.1, 1.1], color=GREY, linestyle="--", linewidth=1.2)
        axis.plot(asked[:, i], done[:, i], ".", color=BLUE, alpha=0.5, markersize=5)
        axis.set_xlim(-1.15, 1.15)
        axis.set_ylim(-1.5, 1.5)
        axis.set_xlabel(f"commanded ({unit})")
        axis.set_ylabel(f"actual ({unit})")
        value = correlation.get(key)
        style.draw_title(axis, name + ("" if value is None or value != value else f" · r = {value:.2f}"))
    return figure


def return_bars(rows: Sequence[Mapping[str, Any]], dataset_average: float | None) -> Figure:
    """Draw returns with standard errors as horizontal bars.

    Args:
        rows: from top to bottom: ``name``, ``return``, ``standard_error``, ``kind`` (``ours``, ``behaviour``, ``reference`` or
            ``imagined``).
        dataset_average: a line, or None.
    """
    colours = {"ours": BLUE, "behaviour": GREY, "reference": PALE, "imagined": ORANGE}
    figure, (axis,) = style.new_figure(7.6, 0.36 * len(rows) + 1.1)
    lengths = [(row["name"], row["return"], row["standard_error"] or 0.0) for row in rows]
    bars = style.draw_bars(axis, lengths, [colours[row["kind"]] for row in rows])
    for i, (bar, row, (_, value, error)) in enumerate(zip(bars, rows, lengths, strict=True)):
        if row["kind"] == "imagined":
            bar.set_hatch("///")
            bar.set_edgecolor("white")
        at = (max(value + error, 0.0), len(rows) - 1 - i)
        axis.annotate(f"{value:.1f}", at, xytext=(5, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    if dataset_average is not None:
        label = f"dataset, average per 20 s: {dataset_average:.1f}"
        axis.axvline(dataset_average, color=RED, linestyle="--", linewidth=1.3, label=label)
        style.draw_legend(axis, loc="upper right", bbox_to_anchor=(1.0, -0.1 - 0.35 / len(rows)))
    axis.margins(x=0.1)
    axis.set_xlabel("return of an episode")
    style.draw_title(axis, "Return, with standard errors over episodes")
    return figure


def survival(lived_s: Mapping[str, Sequence[float]], episode_length_s: float) -> Figure:
    """Draw the fraction of robots that have not fallen, over the time of an episode, a line a policy."""
    figure, (axis,) = style.new_figure(7.2, 3.2)
    time = numpy.linspace(0.0, episode_length_s * (1.0 - 1e-6), 400)
    for i, (name, lived) in enumerate(lived_s.items()):
        standing = (numpy.array(lived)[None, :] > time[:, None]).mean(1)
        axis.plot(time, 100.0 * standing, linewidth=2.4 if i == 0 else 1.6, label=name, **style.look(i) | {"marker": None})
    axis.set_ylim(-3.0, 103.0)
    axis.set_xlabel("time (s)")
    axis.set_ylabel("robots not yet fallen (%)")
    style.draw_title(axis, "Staying up")
    style.draw_legend(axis, loc="lower left")
    return figure


def dream_reality(levels: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw each policy's reward per second, term by term, in the simulator and in the dream."""
    shown = [name for name in next(iter(levels.values()))["terms"] if any(any(_sides(row, name)) for row in levels.values())]
    figure, axes = style.panels(len(levels), 4, 2.2, 0.24 * len(shown) + 0.8, (1.6, 0.5), sharey=True, sharex=True)
    place = numpy.arange(len(shown))[::-1]
    for axis, (level, row) in zip(axes, levels.items(), strict=True):
        real, imagined = zip(*(_sides(row, name) for name in shown), strict=True)
        axis.hlines(place, real, imagined, color=PALE, linewidth=2.0)
        axis.plot(real, place, "o", color=BLUE, markersize=5.5, label="simulator")
        axis.plot(imagined, place, "D", markerfacecolor="none", markeredgecolor=RED, markersize=5.5, label="dream")
        axis.axvline(0.0, color=style.LINE, linewidth=0.8)
        axis.set_yticks(place, [style.term_name(name) for name in shown])
        axis.tick_params(labelsize=8.5)
        style.draw_title(axis, level)
    figure.supxlabel("weighted reward per second of life", fontsize=10)
    style.shared_legend(figure, axes[0], "outside upper right", 2)
    return figure


def _sides(row: Mapping[str, Any], name: str) -> tuple[float, float]:
    both = row["terms"].get(name, {})
    return (both.get("simulator") or 0.0, both.get("dream") or 0.0)


def training_curves(panels: Mapping[str, Mapping[str, Curve]], step_label: str) -> Figure:
    """Draw logged curves, a panel each.

    Args:
        panels: title -> label of a line -> (steps, values).
    """
    figure, axes = style.panels(len(panels), 3, 3.4, 2.5, (0.0, 0.2))
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for i, (label, (steps, values)) in enumerate(lines.items()):
            axis.plot(steps, values, linewidth=1.6, label=label, **style.look(i) | {"marker": None})
        if len(lines) > 1:
            style.draw_legend(axis)
        axis.set_xlabel(step_label)
        style.draw_title(axis, title)
    return figure


def return_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the return figure: this policy, its dream, the behaviour policies from best to worst, the references."""
    deployment = report["deployment"]
    behaviour = deployment.get("behaviour") or {}
    best_first = sorted(behaviour, key=lambda level: -(number(behaviour, level, "return") or 0.0))
    entries = [(NAMES[name], deployment.get(name), "ours") for name in ("deterministic", "sampled")]
    if number(report, "imagination", "gap", "return") is not None:
        entries.append(("this policy, in the dream", report["imagination"], "imagined"))
    entries += [(f"deployed again: {level}", behaviour[level], "behaviour") for level in best_first]
    entries += [(NAMES[name], deployment.get(name), "reference") for name in ("clone", "standing_still")]
    return [
        {"name": name, "return": value, "standard_error": number(summary or {}, "standard_error", "return"), "kind": kind}
        for name, summary, kind in entries
        if (value := number(summary or {}, "return")) is not None
    ]


def survival_lines(figure_data: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return seconds lived of this policy, its clone and the collecting policies that fall at all; at most six lines."""
    lived = figure_data.get("lived_s") or {}
    if "deterministic" not in lived or not figure_data.get("tracking"):
        return {}
    full = figure_data["tracking"]["episode_s"]
    named = {NAMES[name]: lived[name] for name in ("deterministic", "sampled", "clone") if name in lived}
    falling = {name: times for name, times in lived.items() if name not in NAMES and min(times) < full - 1e-6}
    return dict(list((named | falling).items())[:6])


def draw(report: Mapping[str, Any], figure_data: Mapping[str, Any], logged: Mapping[str, Curve]) -> dict[str, bytes]:
    """Return the PNG of every figure that there are data for."""
    dynamics, tracking = report["dynamics"], figure_data.get("tracking")
    levels, drawn = (report.get("dream_reality") or {}).get("levels"), dict[str, Figure | None]()
    if dynamics.get("curve"):
        errors = {k: error for k, error in dynamics["normalized_error"].items() if error is not None}
        drawn["error_by_horizon"] = error_by_horizon(dynamics["curve"], errors, dynamics.get("standard_error") or {})
    if dynamics.get("by_field"):
        drawn["error_by_field"] = error_by_field(dynamics["by_field"])
    if figure_data.get("example_rollout"):
        drawn["rollout_against_truth"] = rollout_against_truth(figure_data["example_rollout"])
    if (dynamics.get("num_members") or 0) > 1 and (points := figure_data.get("uncertainty_points")):
        drawn["uncertainty_against_error"] = disagreement_against_error(points, dynamics["ranking"])
    if tracking:
        correlation = report["deployment"]["deterministic"]["command_correlation"]
        drawn["command_tracking"] = command_tracking(tracking["command"], tracking["velocity"], correlation)
    if rows := return_rows(report):
        drawn["returns"] = return_bars(rows, (report.get("dataset") or {}).get("return_per_20s"))
    if tracking and (lines := survival_lines(figure_data)):
        drawn["survival"] = survival(lines, tracking["episode_s"])
    if levels and any(any(_sides(row, term)) for row in levels.values() for term in row["terms"]):  # somebody has lived a second
        drawn["dream_reality"] = dream_reality(levels)
    if report.get("rounds"):
        drawn["rounds"] = rounds.draw(report["rounds"], (report.get("deployment") or {}).get("behaviour"))
    if report.get("learning"):
        drawn["learning"] = training_curves(curves.learning(report["learning"]), "iteration")
    for name, panels, label in (
        ("training_dynamics", curves.panels(logged, curves.DYNAMICS_PANELS), "training step"),
        ("training_policy", curves.policy_panels(logged), "iteration"),
    ):
        if panels:
            drawn[name] = training_curves(panels, label)
    return style.pngs(drawn)
