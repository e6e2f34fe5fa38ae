"""The body of a run's page: what each table and figure says, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rwmu.report import cells, page
from rwmu.report.questions import Verdict
from rwmu.report.run.figures import NAMES
from rwmu.report.wording import number, number_of, shown


def _plus_minus(name: str, digits: int) -> Callable[[Mapping[str, Any]], str]:
    return lambda of: f"{shown(of, name, digits=digits)} ± {shown(of, 'standard_error', name, digits=digits)}"


# Heading -> what a table of deployments says below it.
_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "return": _plus_minus("return", 1),
    "tracking": _plus_minus("track_lin_vel_xy", 3),
    "yaw tracking": lambda of: shown(of, "track_ang_vel_z", digits=3),
    "tracking while up": lambda of: shown(of, "track_lin_vel_xy_while_up", digits=3),
    "falls": lambda of: f"{shown(of, 'fall_fraction', digits=1, scale=100.0)} %",
    "lived": lambda of: f"{shown(of, 'episode_length_s', digits=1)} s",
    "corr. x / y / yaw": lambda of: " / ".join(shown(of, "command_correlation", axis) for axis in ("x", "y", "yaw")),
}
_DREAMT = ("return", "tracking", "yaw tracking", "falls", "lived")
CAPTIONS = {
    "command_tracking": "Each dot is one command given to one robot: what was asked against what it did, its first second left "
    "out. On the dashed line the robot does exactly as told.",
    "returns": "Return of this policy beside the policies that collected the data (deployed again, from the same starts), its own "
    "dream (hatched) and doing nothing.",
    "survival": "How many robots are still on their feet as the episode goes on.",
    "dream_reality": "Reward of each policy, term by term: dot and diamond should coincide.",
    "error_by_horizon": "The further ahead, the larger the error; below the dashed line the model knows more than that nothing "
    "changes.",
    "error_by_field": "Which parts of the state are hard to foresee.",
    "rollout_against_truth": "One forecast, that of median error, so that nobody picked it: shaded, what the model was shown; "
    "then every member goes on alone, with the robot's true actions.",
    "uncertainty_against_error": "Where forecasts lie: the members' disagreement against the error actually made.",
    "training_dynamics": "The world model learns: loss on training windows, error on validation episodes.",
    "training_policy": "The policy learns in imagination; nothing here has seen the simulator. A centred penalty takes off what is "
    "typical of the data, so it may be a bonus.",
    "learning": "The policy as it was during training, in the dream and in the simulator, which training never saw: where the "
    "lines part, it learns what only the dream rewards. Only the time after an episode's first second counts.",
    "rounds": "Each round collects with the policy, fits the model to what happened, and improves the policy in its dreams.",
}
FEW_EPISODES = 20
HEADS = {"calibration_error": "calibration error", "recall": "recall", "precision": "precision", "base_rate": "base rate"}


def body(
    report: Mapping[str, Any], images: Mapping[str, bytes], run_dir: Path, verdicts: Sequence[Verdict], links: Mapping[str, str]
) -> str:
    """Return the page between ``<body>`` and ``</body>``."""
    episodes, robot = number(report, "deployment", "deterministic", "num_episodes"), (report.get("dataset") or {}).get("robot")
    few = f"A SMOKE RUN of {episodes:.0f} episodes: too few to mean anything. " if episodes and episodes < FEW_EPISODES else ""
    who = f"Seed {report.get('seed')}{f', robot {robot}' if robot else ''}"
    minutes = shown(report, "wall_clock_s", scale=1.0 / 60.0, digits=1)
    source = "online, mostly" if report.get("rounds") else "from logged data alone,"
    intro = f"{few}{who}, {minutes} minutes in all. A policy learnt {source} inside a learnt model of the robot."
    path = report.get("video")
    caption = "The final policy in the simulator" + ("." if report.get("rounds") else ", which it never touched during training.")
    reason = (report.get("missing") or {}).get("video") or "this run has not rendered one."
    sections = {
        "The robot": page.video(run_dir / path if path else None, run_dir, reason, caption),
        "In the simulator": _deployment(report, images),
        "Dream and reality": _dream(report, images),
        "Round by round": _figures(images, "rounds"),
        "The world model": _dynamics(report, images),
        "Does the model know what it does not know?": _knowledge(report["dynamics"], images),
        "Training": _figures(images, "learning", "training_dynamics", "training_policy")
        or page.paragraph("This run has logged no training curves.", "absent"),
        "The data": _dataset(report),
        "The run": _run(report),
    }
    return page.body(f"Run report: {report.get('experiment')}", intro, verdicts, sections, links)


def _figures(images: Mapping[str, bytes], *names: str) -> str:
    return page.figures(images, {name: CAPTIONS[name] for name in names})


def _deployment(report: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    deployment = report["deployment"]
    summaries = {words: deployment.get(name) or {} for name, words in NAMES.items()}
    summaries |= {f"deployed again: {level}": summary or {} for level, summary in (deployment.get("behaviour") or {}).items()}
    summaries = {name: summary for name, summary in summaries.items() if number(summary, "return") is not None}
    if not summaries:
        return page.absent(report, "deployment")
    episodes = shown(report, "deployment", "deterministic", "num_episodes", digits=0)
    intro = (
        f"{episodes} robots each try one episode, following commanded speeds over the full range, with a new command every ten "
        "seconds. An episode ends when the robot falls on its base. ± is the standard error over episodes."
    )
    definitions = (
        "Return: the task's reward, summed over the episode. Tracking: how closely the commanded planar speed is followed, 1 at "
        "best; a robot that has fallen tracks nothing. Correlation: commanded against actual speed (x, y, yaw)."
    )
    table = page.table(("policy", *_COLUMNS), _summarised(summaries, _COLUMNS), highlighted=[0])
    figures = _figures(images, "command_tracking", "returns", "survival")
    return page.paragraph(intro) + table + page.paragraph(definitions, "soft") + figures


def _summarised(summaries: Mapping[str, Mapping[str, Any]], columns: Iterable[str]) -> list[list[str]]:
    return [[name, *(_COLUMNS[column](summary) for column in columns)] for name, summary in summaries.items()]


def _dream(report: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    levels = (report.get("dream_reality") or {}).get("levels") or {}
    imagined = number(report, "imagination", "return") is not None
    if not levels and not imagined:
        return page.absent(report, "imagination")
    parts = [page.paragraph("The policy was trained only in episodes that the world model imagined. Were they like real ones?")]
    if imagined:
        sides = {"in the dream": report["imagination"], "in the simulator": report["deployment"]["deterministic"]}
        parts.append(page.table(("final policy", *_DREAMT), _summarised(sides, _DREAMT)))
    if levels:
        terms = [term for term in next(iter(levels.values()))["terms"] if _ever_counts(levels, term)]
        rows = [[term, *(_both(row["terms"].get(term, {}), 2) for row in levels.values())] for term in terms]
        rows.append(["falls per minute", *(_both(row["falls_per_minute"], 1) for row in levels.values())])
        header = ["weighted reward per second: dream / simulator", *levels]
        parts += [_figures(images, "dream_reality"), page.table(header, rows, highlighted=[terms.index("total")])]
        parts.append(page.paragraph("Only the time after the first second of an episode counts, on both sides.", "soft"))
    return "".join(parts)


def _ever_counts(levels: Mapping[str, Any], term: str) -> bool:
    sides = (number(row, "terms", term, side) for row in levels.values() for side in ("dream", "simulator"))
    return term == "total" or any(abs(value or 0.0) > 1e-9 for value in sides)


def _both(sides: Mapping[str, Any], digits: int) -> str:
    return f"{shown(sides, 'dream', digits=digits)} / {shown(sides, 'simulator', digits=digits)}"


def _dynamics(report: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    dynamics = report["dynamics"]
    if all(value is None for value in dynamics["normalized_error"].values()):
        return page.absent(report, "dynamics")
    step_dt = number(dynamics, "step_dt") or 0.0
    windows, episodes = shown(dynamics, "windows", digits=0), shown(dynamics, "episodes", digits=0)
    unknown = "of which the model may have seen some (it does not say what it was trained on)"
    unseen = "that the model never saw" if dynamics.get("knows_its_data", True) else unknown
    intro = (
        f"Forecasts on {windows} separate windows of {episodes} episodes {unseen}, "
        f"{number_of(round(number(dynamics, 'num_members') or 0), 'member')}. The error is in standard deviations of each state "
        "variable: 0 is perfect, about 1.4 is a random guess."
    )
    rows = [
        [
            f"{k} ({step_dt * int(k):g} s)",
            f"{shown(dynamics, 'normalized_error', k, digits=3)} ± {shown(dynamics, 'standard_error', k, digits=3)}",
            shown(dynamics, "hold_last_error", k, digits=3),
            cells.cell((dynamics.get("skill") or {}).get(k)),
        ]
        for k in dynamics["normalized_error"]
    ]
    table = page.table(("steps ahead", "model", "hold last", "model / hold last"), rows)
    return page.paragraph(intro) + table + _figures(images, "error_by_horizon", "error_by_field", "rollout_against_truth")


def _knowledge(dynamics: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    if not dynamics.get("ranking"):
        return ""
    intro = (
        "Where the members disagree, the model should err more: the penalty keeps the policy away from there. Rank correlations "
        "with the error, at a fixed number of steps ahead, so that both merely growing with time does not count."
    )
    ranked = cells.ranks(dynamics["ranking"]) + _figures(images, "uncertainty_against_error")
    tables = {"auroc": dynamics["falls"], **dynamics["foresight"]}
    foreseen = cells.foresight(tables, number_of(dynamics["falls_judged"], "fall"))
    return page.paragraph(intro) + ranked + foreseen + cells.table(dynamics["heads"], HEADS, "head")


def _dataset(report: Mapping[str, Any]) -> str:
    dataset = report.get("dataset")
    if not dataset:
        return page.absent(report, "dataset")
    rows = [
        [
            name,
            shown(part, "episodes", digits=0),
            shown(part, "transitions", digits=0),
            f"{shown(part, 'fall_fraction', digits=0, scale=100.0)} %",
            shown(part, "return_per_episode", digits=1),
            shown(part, "return_per_20s", digits=1),
        ]
        for name, part in {"all": dataset, **(dataset.get("levels") or {})}.items()
    ]
    header = ("collected by", "episodes", "transitions", "end in a fall", "return an episode, as collected", "return per 20 s")
    content_hash = f"<p class=soft>Content hash <code>{escape(str(dataset.get('hash')))}</code></p>"
    return page.table(header, rows) + _audit(report.get("audit")) + content_hash


def _audit(findings: Sequence[Mapping[str, Any]] | None) -> str:
    """Return what the audit before training found, if the run has made one."""
    if findings is None:
        return ""
    if not findings:
        return page.paragraph("The audit before training found nothing to say.")
    rows = [[finding["severity"], finding["name"].replace("_", " "), finding["sentence"]] for finding in findings]
    return page.paragraph("What the audit before training had to say:") + page.table(("", "about", "finding"), rows, kind="words")


def _run(report: Mapping[str, Any]) -> str:
    stages, provenance = report.get("stages") or {}, report.get("provenance")
    table = page.table(("stage", "wall clock"), [[name, f"{shown(stages, name, digits=0)} s"] for name in stages]) if stages else ""
    known = provenance if isinstance(provenance, Mapping) else {}
    return table + page.definitions({key: _plain(value) for key, value in known.items()})


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items() if item is not None)
    return " ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)
