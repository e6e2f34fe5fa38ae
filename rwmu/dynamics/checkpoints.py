"""Checkpoints of the world model's training: the best weights, and the last validation to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from rwmu.errors import CheckpointError
from rwmu.files import read_torch, write_torch

LAST, BEST = "last.ckpt", "best.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written whole or not at all where they belong.

    Lightning itself writes to the folder for temporary files; moved from there to another file system, a checkpoint is cut off by a
    kill or a full disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        write_torch(Path(path), checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint, to the CPU."""
        try:
            return read_checkpoint(Path(path))
        except CheckpointError as error:
            read_checkpoint(Path(path).with_name(BEST))  # or say that there is none
            instead = f"{BEST} beside it is whole: copy it to {Path(path).name} to go on from there"
            raise CheckpointError(f"{str(error).removesuffix('.')}; {instead}.") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning's, to the CPU."""
    return dict(read_torch(path, "checkpoint of a training", "one that a run has written"))


class MovableCheckpoint(ModelCheckpoint):
    """A checkpoint callback whose folder may be moved, or copied, between two sittings.

    Lightning forgets the best score where the folder has another path than before: the first validation after that would count as
    the best one, however bad.
    """

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let no row of metrics be lost that training will not log again."""
        for logger in trainer.loggers:
            logger.save()

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
    best = MovableCheckpoint(folder, filename=Path(BEST).stem, monitor=monitored, **common)
    return [best, MovableCheckpoint(folder, filename=Path(LAST).stem, **common)]
