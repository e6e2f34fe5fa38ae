"""Checkpoints of the world model's training: the best weights, and the last validation to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint


class MovableCheckpoint(ModelCheckpoint):
    """A checkpoint callback whose folder may be moved, or copied, between two sittings.

    Lightning forgets the best score where the folder has another path than before: the first validation after that would count as
    the best one, however bad.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was known, with the paths of this folder."""

        def here(path: str | None) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else ""

        moved = {name: here(state_dict.get(name)) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **moved, "dirpath": self.dirpath, "best_k_models": best})


def checkpoints(folder: Path, monitored: str) -> list[MovableCheckpoint]:
    """Return what writes ``best.ckpt`` at validations with the least ``monitored`` so far, and ``last.ckpt`` at every one.

    The last is saved after the best has been chosen, so that it knows of it. (Lightning's own ``save_last`` would write only
    where the best changes.)
    """
    common: dict[str, Any] = {
        "save_on_train_epoch_end": False,
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    best = MovableCheckpoint(folder, filename="best", monitor=monitored, **common)
    return [best, MovableCheckpoint(folder, filename="last", **common)]
