"""Make the study's table from results/, into table.md and the README's results section.

python -m experiments.first_loop.summarise
python -m experiments.first_loop.summarise --results earlier    # with the settings before these: earlier/table.md alone
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.generated import with_part

HERE = Path(__file__).parent
README = HERE.parent.parent / "README.md"
COMMAND = "python -m experiments.first_loop.summarise"
COLUMNS = ("track_lin_vel_xy", "track_ang_vel_z", "return", "fall_fraction")
HEADLINE = {"track_lin_vel_xy": 2, "return": 1, "fall_fraction": 2}
EXPERIMENTS = ("mopo_ensemble5", "mopo_shared5", "rwm_base")
# Controls, and what is different in them.
LABELS = {
    "unpenalised": "no penalty",
    "uncentred": "penalty not centred",
    "bonus": "no penalty, but its constant as a reward for being up",
    "noise": "penalty on its own predicted noise",
}
HORIZONS = ("1", "8", "24", "100")


def load(folder: Path) -> list[dict[str, Any]]:
    """Return every result, in the order of the files' names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Write the mean and every seed's value: ``0.91 (0.90, 0.91, 0.92)``."""
    values = list(values)
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{statistics.fmean(values):.{digits}f} ({each})"


def row(label: str, deployments: list[dict[str, float]]) -> str:
    """Return one row of the deployment table."""
    cells = [spread((d[name] for d in deployments), 1 if name == "return" else 2) for name in COLUMNS]
    return f"| {label} | {' | '.join(cells)} |"


def headline_table(results: list[dict[str, Any]]) -> list[str]:
    """Return what deterministic policies do, in short: from a clone, from scratch, and what they are compared with."""
    lines = ["| policy | tracking (0..1) | return in 20 s | falls |", "| --- | --- | --- | --- |"]

    def short(label: str, deployments: list[dict[str, float]]) -> None:
        cells = [spread((d[name] for d in deployments), digits) for name, digits in HEADLINE.items()]
        lines.append(f"| {label} | {' | '.join(cells)} |")

    first = [r for r in results if (r["experiment"], r.get("label", ""), r["init"]) == ("mopo_ensemble5", "", "clone")]
    if first:
        compared = first[0]["deployment"]
        short("the best policy among the data's, `expert`", [compared["behaviour"]["expert"]])
        short("a robot that stands still", [compared["standing_still"]])
        short("the clone, before imagination", [r["deployment"]["clone"] for r in first])
    for init, start in (("clone", "from the clone"), ("scratch", "from random weights")):
        for experiment in EXPERIMENTS:
            labels = sorted({r.get("label", "") for r in results if (r["experiment"], r["init"]) == (experiment, init)})
            for label in labels:
                found = [r for r in results if (r["experiment"], r["init"], r.get("label", "")) == (experiment, init, label)]
                what = f"`{experiment}` {start}{f', {LABELS.get(label, label)}' if label else ''}"
                short(what, [r["deployment"]["deterministic"] for r in found])
    return lines


def deployment_table(results: list[dict[str, Any]]) -> list[str]:
    """Return the table of deployed policies: ours, then what they are compared with."""
    lines = ["| policy | tracking xy (0..1) | tracking yaw (0..1) | return | falls |", "| --- | --- | --- | --- | --- |"]

    def of(choose: Callable[[dict[str, Any]], bool], key: str) -> list[dict[str, float]]:
        return [result["deployment"][key] for result in results if choose(result) and result["deployment"].get(key)]

    kinds = sorted({(r.get("label", ""), r["init"]) for r in results})
    for label, init in kinds:
        for experiment in EXPERIMENTS:
            kind = (experiment, label, init)

            def chosen(result: dict[str, Any], kind: tuple[str, ...] = kind) -> bool:
                return (result["experiment"], result.get("label", ""), result["init"]) == kind

            start = "from a clone" if init == "clone" else "from scratch"
            for key in ("deterministic", "sampled"):
                found = of(chosen, key)
                if found:
                    lines.append(row(f"`{experiment}`{f', {label},' if label else ''} {start}, {key}", found))
    ensemble = [r for r in results if (r["experiment"], r.get("label", ""), r["init"]) == ("mopo_ensemble5", "", "clone")]
    if ensemble:
        lines.append(row("the clone alone", [r["deployment"]["clone"] for r in ensemble]))
        behaviour = ensemble[0]["deployment"]["behaviour"]
        lines += [row(f"behaviour policy `{name}`", [figures]) for name, figures in behaviour.items()]
        lines.append(row("standing still", [ensemble[0]["deployment"]["standing_still"]]))
    return lines


def error_table(results: list[dict[str, Any]]) -> list[str]:
    """Return the table of the world models' errors on test episodes."""
    head = " | ".join(f"{k} step{'s' if k != '1' else ''}" for k in HORIZONS)
    lines = [f"| world model | {head} |", "| --- |" + " --- |" * len(HORIZONS)]
    for experiment in EXPERIMENTS:
        found = [r["dynamics"]["normalized_error"] for r in results if (r["experiment"], r["init"]) == (experiment, "clone")]
        if found:
            lines.append(f"| `{experiment}` | " + " | ".join(spread(error[k] for error in found) for k in HORIZONS) + " |")
    if results:
        hold = results[0]["dynamics"]["hold_last_error"]
        lines.append("| hold the last state | " + " | ".join(f"{hold[k]:.2f}" for k in HORIZONS) + " |")
    return lines


def time_table(results: list[dict[str, Any]]) -> list[str]:
    """Return the table of where the time went, s."""
    stages = list(dict.fromkeys(name for r in results for name in r["stages"]))
    lines = ["| seconds (mean over seeds) | " + " | ".join(stages) + " |", "| --- |" + " --- |" * len(stages)]
    for experiment in EXPERIMENTS:
        found = [r["stages"] for r in results if (r["experiment"], r["init"]) == (experiment, "clone")]
        if found:
            means = [statistics.fmean(seconds.get(name, 0.0) for seconds in found) for name in stages]
            lines.append(f"| `{experiment}` | " + " | ".join(f"{mean:.0f}" for mean in means) + " |")
    return lines


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="results", help="the folder beside this file that holds them")
    folder = HERE / parser.parse_args().results
    results = load(folder)
    if not results:
        raise SystemExit("There are no results yet: run python -m experiments.first_loop.run first.")
    tables = (headline_table, deployment_table, error_table, time_table)
    text = "\n".join(line for table in tables for line in [*table(results), ""])
    if folder.name != "results":
        (folder / "table.md").write_text(text)
        print(text)
        return
    (HERE / "table.md").write_text(text)
    README.write_text(with_part(README.read_text(), "results", COMMAND, headline_table(results)))
    print(text)


if __name__ == "__main__":
    main()
