"""Make the study's tables from results.json.gz: table.md, table_earlier.md and a part of README.md.

python -m experiments.first_loop.summarise
"""

from __future__ import annotations

import gzip
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.generated import markdown, rewrite
from rwmu.files import write_bytes, write_text

HERE = Path(__file__).parent
RESULTS = HERE / "results.json.gz"
COMMAND = "python -m experiments.first_loop.summarise"
COLUMNS = {"track_lin_vel_xy": 2, "track_ang_vel_z": 2, "return": 1, "fall_fraction": 2}  # and their digits
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

Result = dict[str, Any]


def load(path: Path = RESULTS) -> list[Result]:
    """Return every result; ``settings`` is ``earlier`` for those with the settings before these, else empty."""
    found: list[Result] = json.loads(gzip.decompress(path.read_bytes())) if path.is_file() else []
    return sorted(found, key=lambda result: (result["settings"], result["name"]))


def keep(results: Iterable[Result], path: Path = RESULTS) -> None:
    """Add results to the file, in the place of those of the same name."""
    known = {(result["settings"], result["name"]): result for result in (*load(path), *results)}
    write_bytes(path, gzip.compress(json.dumps(list(known.values())).encode(), mtime=0))


def of(results: Iterable[Result], experiment: str, init: str, label: str = "") -> list[Result]:
    """Return the results of all seeds of one kind of run."""
    return [r for r in results if (r["experiment"], r["init"], r.get("label", "")) == (experiment, init, label)]


def labels(results: Iterable[Result], init: str) -> list[str]:
    """Return the labels of runs that start so; empty for those that are no control."""
    return sorted({result.get("label", "") for result in results if result["init"] == init})


def spread(values: Iterable[float], digits: int = 2) -> str:
    """Write the mean and every seed's value: ``0.91 (0.90, 0.91, 0.92)``."""
    values = list(values)
    return f"{statistics.fmean(values):.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in values)})"


def row(name: str, deployments: Sequence[Mapping[str, float]], columns: Mapping[str, int] = COLUMNS) -> list[str]:
    """Return one row of a table of deployments."""
    return [name, *(spread((d[column] for d in deployments), digits) for column, digits in columns.items())]


def headline_table(results: list[Result]) -> list[str]:
    """Return what deterministic policies do, in short: from a clone, from scratch, and what they are compared with."""
    clones = of(results, "mopo_ensemble5", "clone")
    first = clones[0]["deployment"]
    rows = [row("the best policy among the data's, `expert`", [first["behaviour"]["expert"]], HEADLINE)]
    rows.append(row("a robot that stands still", [first["standing_still"]], HEADLINE))
    rows.append(row("the clone, before imagination", [r["deployment"]["clone"] for r in clones], HEADLINE))
    for init, start in (("clone", "from the clone"), ("scratch", "from random weights")):
        for experiment in EXPERIMENTS:
            for label in labels(results, init):
                found = [r["deployment"]["deterministic"] for r in of(results, experiment, init, label)]
                what = f"`{experiment}` {start}{f', {LABELS.get(label, label)}' if label else ''}"
                rows += [row(what, found, HEADLINE)] if found else []
    return markdown(["policy", "tracking (0..1)", "return in 20 s", "falls"], rows)


def deployment_table(results: list[Result]) -> list[str]:
    """Return the table of deployed policies: ours, then what they are compared with."""
    rows = []
    for label, init in sorted({(r.get("label", ""), r["init"]) for r in results}):
        start = f"{f', {label},' if label else ''} from {'a clone' if init == 'clone' else 'scratch'}"
        for experiment in EXPERIMENTS:
            for kind in ("deterministic", "sampled"):
                found = [r["deployment"][kind] for r in of(results, experiment, init, label) if r["deployment"].get(kind)]
                rows += [row(f"`{experiment}`{start}, {kind}", found)] if found else []
    clones = of(results, "mopo_ensemble5", "clone")
    rows.append(row("the clone alone", [r["deployment"]["clone"] for r in clones]))
    compared = clones[0]["deployment"]
    rows += [row(f"behaviour policy `{name}`", [figures]) for name, figures in compared["behaviour"].items()]
    rows.append(row("standing still", [compared["standing_still"]]))
    return markdown(["policy", "tracking xy (0..1)", "tracking yaw (0..1)", "return", "falls"], rows)


def error_table(results: list[Result]) -> list[str]:
    """Return the table of the world models' errors on test episodes."""
    rows = []
    for experiment in EXPERIMENTS:
        errors = [r["dynamics"]["normalized_error"] for r in results if (r["experiment"], r["init"]) == (experiment, "clone")]
        rows.append([f"`{experiment}`", *(spread(error[k] for error in errors) for k in HORIZONS)])
    rows.append(["hold the last state", *(f"{results[0]['dynamics']['hold_last_error'][k]:.2f}" for k in HORIZONS)])
    return markdown(["world model", *(f"{k} step{'s' if k != '1' else ''}" for k in HORIZONS)], rows)


def time_table(results: list[Result]) -> list[str]:
    """Return the table of where the time went, s."""
    stages = list(dict.fromkeys(name for r in results for name in r["stages"]))
    rows = []
    for experiment in EXPERIMENTS:
        found = [r["stages"] for r in results if (r["experiment"], r["init"]) == (experiment, "clone")]
        rows.append([f"`{experiment}`", *(f"{statistics.fmean(s.get(name, 0.0) for s in found):.0f}" for name in stages)])
    return markdown(["seconds (mean over seeds)", *stages], rows)


def tables(results: list[Result]) -> str:
    """Return all tables."""
    made = (headline_table(results), deployment_table(results), error_table(results), time_table(results))
    return "\n".join(line for lines in made for line in [*lines, ""])


def main() -> None:
    """Write the tables."""
    today, earlier = ([result for result in load() if result["settings"] == settings] for settings in ("", "earlier"))
    write_text(HERE / "table.md", tables(today))
    write_text(HERE / "table_earlier.md", tables(earlier))
    rewrite(HERE / "README.md", COMMAND, {"results": headline_table(today)})


if __name__ == "__main__":
    main()
