"""Write the benchmark's tables from dynamics.json into README.md beside it: ``python -m experiments.benchmarks.summarise``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.generated import with_part

HERE = Path(__file__).parent
COMMAND = "python -m experiments.benchmarks.summarise"
# What was aimed at: (phase, kind, amount) -> times faster than the plain implementation.
TARGETS = {
    ("training", "shared", "256"): 3.5,
    ("training", "shared", "1024"): 3.5,
    ("training", "independent", "16"): 1.4,
    ("training", "independent", "256"): 1.05,
    ("training", "independent", "1024"): 1.05,
    ("imagination", "shared", "1024"): 1.35,
    ("imagination", "shared", "4096"): 1.35,
    ("imagination", "independent", "1024"): 1.8,
    ("imagination", "independent", "4096"): 1.8,
}


def table(results: dict[str, Any]) -> list[str]:
    """Return one row a cell that has been measured."""
    columns = ("step", "ensemble", "batch or environments", "plain, s", "ours, s", "times faster (quartiles)", "aim")
    columns += ("of the GEMM peak", "memory, times less")
    lines = [f"| {' | '.join(columns)} |", "| " + " | ".join("---" for _ in columns) + " |"]
    for phase in ("training", "imagination"):
        for amount, kinds in results.get(phase, {}).items():
            for kind, cell in kinds.items():
                lines.append(row(phase, kind, amount, cell))
    return lines


def row(phase: str, kind: str, amount: str, cell: dict[str, Any]) -> str:
    times, faster = cell["time"], cell["time"]["plain_over_ours"]
    plain, ours = (times[name]["seconds"]["median"] for name in ("plain", "ours"))
    target = TARGETS.get((phase, kind, amount))
    memory = cell.get("memory", {}).get("plain_over_ours_peak")
    cells = [
        phase,
        kind,
        amount,
        f"{plain:.3g}",
        f"{ours:.3g}",
        f"{faster['median']:.2f} ({faster['lower_quartile']:.2f}-{faster['upper_quartile']:.2f})",
        "" if target is None else f"{target:g}",
        f"{100 * times['ours']['fraction_of_gemm_peak']:.0f} %",
        "" if memory is None else f"{memory:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    results = json.loads((HERE / "dynamics.json").read_text())
    readme = HERE / "README.md"
    lines = table(results)
    readme.write_text(with_part(readme.read_text(), "results", COMMAND, lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
