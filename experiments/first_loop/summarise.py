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


def deployment_table(results: list[dict[str, Any]]) -> list[str]:
    """Return the table of deployed policies: ours, then what they are compared with."""
    lines = ["| policy | tracking xy (0..1) | tracking yaw (0..1) | return | falls |", "| --- | --- | --- | --- | --- |"]

    def of(choose: Callable[[dict[str, Any]], bool], key: str) -> list[dict[str, float]]:
        return [result["deployment"][key] for result in results if choose(result) and result["deployment"].get(key)]

    kinds = sorted({(r.get("label", ""), r["init"]) for r in results})
    for label, init in kinds:
        for experiment in ("mopo_ensemble5", "mopo_shared5", "rwm_base"):
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
    for experiment in ("mopo_ensemble5", "mopo_shared5", "rwm_base"):
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
    for experiment in ("mopo_ensemble5", "mopo_shared5", "rwm_base"):
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
    text = "\n".join([*deployment_table(results), "", *error_table(results), "", *time_table(results), ""])
    if folder.name != "results":
        (folder / "table.md").write_text(text)
        print(text)
        return
    (HERE / "table.md").write_text(text)
    short = [*deployment_table(results), "", *error_table(results)]
    README.write_text(with_part(README.read_text(), "results", COMMAND, short))
    print(text)


if __name__ == "__main__":
    main()
