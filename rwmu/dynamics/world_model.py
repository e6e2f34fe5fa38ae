"""A trained world model as others use it: the ensemble with its normaliser and history length, saved and loaded as one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.checks import check_state_dict
from rwmu.dynamics.ensemble import RecurrentEnsemble
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import step, warm_up
from rwmu.errors import CheckpointError, DataError
from rwmu.files import write_torch
from rwmu.records import Carry, Followed, Prediction, Window
from rwmu.robots.robot import Robot

_log = logging.getLogger(__name__)

FORMAT = "rwmu-dynamics-1"
_KINDS: dict[str, type[RecurrentEnsemble]] = {"shared": SharedEnsemble, "independent": IndependentEnsemble}


@dataclass
class WorldModel:
    """An ensemble, the normaliser that it was trained with, and what it was trained on.

    Attributes:
        dynamics: the ensemble, in normalised state space.
        normalizer: between physical units and normalised space.
        history: H, the rows that it is warmed up with.
        robot: name of the robot; layout: its ``StateLayout.describe()``.
        data_hash: of the dataset that it was trained on; empty where that is not known.
        architecture: ``kind`` and constructor arguments of the ensemble, plain values.
        training: what else is worth remembering (configuration, metrics), plain values.
        extension_normalizer: between physical units and those of the predicted extension, where there is one.
    """

    dynamics: RecurrentEnsemble
    normalizer: Normalizer
    history: int
    robot: str
    layout: list[list[str | int]]
    data_hash: str
    architecture: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    extension_normalizer: Normalizer | None = None

    @property
    def num_members(self) -> int:
        """Return E."""
        return self.dynamics.num_members

    @property
    def knows_its_data(self) -> bool:
        """Return whether it is known what data it was trained on."""
        return bool(self.data_hash)

    def freeze(self) -> WorldModel:
        """Put the ensemble into evaluation mode without gradients, and return self."""
        self.dynamics.eval().requires_grad_(False)
        return self

    def to(self, device: torch.device | str) -> WorldModel:
        """Move the parameters, and return self."""
        self.dynamics.to(device)
        self.normalizer.to(device)
        if self.extension_normalizer is not None:
            self.extension_normalizer.to(device)
        return self

    def warm_up(self, history: Window) -> Carry:
        """Return the carry after all but the last row of ``history [B, H, .]``, physical units; every member sees the same rows.

        Raises:
            DataError: the history has another length than H, or columns that the model does not have.
        """
        if history.length != self.history:
            raise DataError(f"The history has {history.length} rows, but the world model is warmed up on {self.history}.")
        for name, size in (("state", self.dynamics.state_dim), ("action", self.dynamics.action_dim)):
            found = getattr(history, name).shape
            if found[-1] != size:
                raise DataError(f"The history's {name} has shape {list(found)}, but {size} columns were expected.")
        state = self.normalizer.normalize(history.state)
        return warm_up(self.dynamics, state.unsqueeze(0), history.action.unsqueeze(0))

    def step(
        self, carry: Carry, state: Tensor, action: Tensor, followed: Followed | None = None, spread: bool = True
    ) -> tuple[Prediction, Carry]:
        """Predict, in normalised space, what follows ``state [B, D]`` (physical units) and the action ``[B, A]`` taken there.

        Args:
            followed: contacts and termination are those of the member that each row follows, and so is any auxiliary carry.
            spread: whether log standard deviations are needed.
        """
        rows = self.normalizer.normalize(state).unsqueeze(0), action.unsqueeze(0)
        return step(self.dynamics, *rows, carry, followed, spread)

    def check_fits(self, robot: Robot, data_hash: str | None = None) -> None:
        """Raise a CheckpointError that names the first item in which this model differs from what it is to be used with.

        A model of unknown data (an imported one) fits any data; whoever uses it must use its normaliser.
        """
        if self.robot != robot.name:
            raise CheckpointError(f"The world model was trained on robot '{self.robot}', but the task is for '{robot.name}'.")
        for own, other in zip(self.layout, robot.state_layout.describe(), strict=False):
            if list(own) != list(other):
                raise CheckpointError(f"The world model's state has the field {list(own)} where the task's has {list(other)}.")
        if len(self.layout) != len(robot.state_layout.fields):
            raise CheckpointError(
                f"The world model's state has {len(self.layout)} fields, but the task's has {len(robot.state_layout.fields)}."
            )
        if data_hash is not None and not self.knows_its_data:
            _log.info("It is not known what data the world model was trained on; it is used with its own normaliser.")
        elif data_hash is not None and data_hash != self.data_hash:
            raise CheckpointError(
                f"The world model was trained on the data with hash {self.data_hash[:12]}, but this run uses {data_hash[:12]}: "
                "train it anew on these data (stages=[dynamics]), or point data.path to the file that it was trained on."
            )

    def content_hash(self) -> str:
        """Return the SHA-256 of weights and normaliser: models with the same one predict the same, to the last bit."""
        digest = hashlib.sha256()
        own = [("mean", self.normalizer.mean), ("std", self.normalizer.std)]
        for name, tensor in sorted([*own, *self.dynamics.state_dict().items()], key=lambda part: part[0]):
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write everything to ``path``, whole or not at all."""
        content = {
            "format": FORMAT,
            "architecture": self.architecture,
            "state_dict": self.dynamics.state_dict(),
            "normalizer": self.normalizer.to_dict(),
            "history": self.history,
            "robot": self.robot,
            "layout": self.layout,
            "data_hash": self.data_hash,
            "training": self.training,
            "extension_normalizer": None if self.extension_normalizer is None else self.extension_normalizer.to_dict(),
        }
        write_torch(path, content)

    @classmethod
    def load(cls, path: Path) -> WorldModel:
        """Read what :meth:`save` wrote; code in the file is never run (``weights_only``)."""
        if not path.is_file():
            raise CheckpointError(f"There is no world model at {path}: give the path of a dynamics.pt that a run has written.")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"{path} cannot be read as a world model ({type(error).__name__}); it may be truncated."
            ) from error
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            found = content.get("format", "none") if isinstance(content, Mapping) else "none"
            raise CheckpointError(f"{path} is not a world model of format {FORMAT} (found: {found}).")
        dynamics = build_ensemble(content["architecture"])
        check_state_dict(dynamics.state_dict(), content["state_dict"], str(path))
        dynamics.load_state_dict(content["state_dict"])
        kept = {key: content[key] for key in ("history", "robot", "layout", "data_hash", "architecture", "training")}
        extension = content.get("extension_normalizer")
        extension_normalizer = None if extension is None else Normalizer.from_dict(extension)
        return cls(dynamics, Normalizer.from_dict(content["normalizer"]), **kept, extension_normalizer=extension_normalizer)


def build_ensemble(architecture: Mapping[str, Any]) -> RecurrentEnsemble:
    """Build the ensemble that ``architecture`` (``kind`` and constructor arguments) describes."""
    arguments = dict(architecture)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise CheckpointError(f"The world model is of kind '{kind}', but must be one of {sorted(_KINDS)}.")
    try:
        return _KINDS[kind](**arguments)
    except TypeError as error:
        raise CheckpointError(f"The architecture of the world model is not understood: {error}.") from error


def kind_of(dynamics: nn.Module) -> str:
    """Return the name by which :func:`build_ensemble` knows the class of ``dynamics``."""
    for kind, ensemble in _KINDS.items():
        if type(dynamics) is ensemble:
            return kind
    raise CheckpointError(f"Checkpoints can hold {sorted(_KINDS)}, but not a {type(dynamics).__name__}; name it in world_model.py.")


def parameter_count(module: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
