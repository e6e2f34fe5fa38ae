"""Count what the broad and the narrow data have in common: ``python -m experiments.shared_vs_independent.overlap``.

Both are collected with the same seed, so an episode that begins alike and is acted in by the same policy with the same noise is the
same in both. A model of one of them that is tested on the other may then have been trained on a test episode. Writes overlap.json.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from experiments.shared_vs_independent.cells import DATA, HERE, ModelCell
from experiments.shared_vs_independent.work import configuration
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes
from rwmu.data.overlap import beginning
from rwmu.files import write_json
from rwmu.parts import Parts

SPLITS = ("train", "validation", "test", "calibration")


def named_rows(episodes: Episodes, row: int | None = None) -> dict[bytes, int]:
    """Return each episode's number by what names it: all of its states, or those up to a row that only longer ones have."""
    long_enough = [i for i, length in enumerate(episodes.lengths.tolist()) if row is None or length > row]
    return {beginning(episodes, index, row): index for index in long_enough}


def split_of(data: OfflineDataModule) -> dict[int, str]:
    """Return the split of each episode."""
    return {int(index): name for name in SPLITS for index in data.splits[name]}


def overlap(first: OfflineDataModule, second: OfflineDataModule, rows: int = 20) -> dict[str, Any]:
    """Return how many episodes are whole in both, by the splits that they are in, and how many begin alike.

    Args:
        rows: as long a beginning as counts.
    """
    splits = split_of(first), split_of(second)

    def shared(row: int | None) -> dict[str, int]:
        names = named_rows(first.episodes, row), named_rows(second.episodes, row)
        pairs = [(names[0][name], names[1][name]) for name in names[0].keys() & names[1].keys()]
        return dict(sorted(Counter(f"{splits[0][one]} and {splits[1][other]}" for one, other in pairs).items()))

    return {
        "episodes": [first.episodes.num_episodes, second.episodes.num_episodes],
        "hashes": [first.episodes.content_hash(), second.episodes.content_hash()],
        "whole": shared(None),
        f"first {rows} rows": shared(rows),
    }


def main(runs: Path = Path("runs/shared_vs_independent")) -> None:
    """Count, write and print."""
    broad, narrow = (Parts(configuration(ModelCell("shared", name, 0), runs, [])).data for name in DATA)
    found = {"what": "episodes that broad and narrow data share, by their split in broad and in narrow"} | overlap(broad, narrow)
    write_json(HERE / "overlap.json", found, indent=1)
    print(found)


if __name__ == "__main__":
    main()
