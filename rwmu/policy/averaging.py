"""The policy that is deployed: the mean of the last weights, steadier than the last alone (Polyak and Juditsky, 1992)."""

from __future__ import annotations

from pathlib import Path

import torch

from rwmu.files import write_torch
from rwmu.policy.rsl_rl import read_checkpoint

AVERAGED = "averaged.pt"


def averaged(checkpoints: Path, last: int, number: int) -> Path:
    """Write ``averaged.pt`` beside the checkpoints: the last, whose actor has the mean weights of up to ``number`` of the last.

    Only those of the last one's phase count: the others are of another task.

    Args:
        checkpoints: folder of ``model_<iteration>.pt``. last: iteration of the last one.
    """
    read = [read_checkpoint(path) for iteration, path in kept(checkpoints).items() if iteration <= last][-number:]
    newest = read[-1]
    alike = [content for content in read if _phase(content) == _phase(newest)]
    actors = [content["actor_state_dict"] for content in alike]
    mean = {name: torch.stack([actor[name] for actor in actors]).mean(0) for name in actors[-1]}
    infos = {**newest["infos"], "averaged_iterations": [content["iter"] for content in alike]}
    write_torch(checkpoints / AVERAGED, {**newest, "actor_state_dict": mean, "infos": infos})
    return checkpoints / AVERAGED


def kept(checkpoints: Path) -> dict[int, Path]:
    """Return iteration -> checkpoint of all that training has kept in a folder, in their order."""
    found = {int(path.stem.rpartition("_")[2]): path for path in checkpoints.glob("model_*[0-9].pt")}
    return dict(sorted(found.items()))


def _phase(content: dict[str, object]) -> object:
    """Return the name of the phase that a checkpoint is of, None without a curriculum."""
    infos = content["infos"]
    return infos.get("phases", {}).get("name") if isinstance(infos, dict) else None
