"""A trained world model as others use it: the ensemble with its normaliser and history length, saved and loaded as one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.checks import check_sizes, check_state_dict
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.rssm import RSSMEnsemble
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.transformer import TransformerEnsemble
from rwmu.dynamics.unroll import Feedback, unroll, warm_up
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.files import read_torch, write_torch
from rwmu.interfaces import FollowsMembers
from rwmu.records import Carry, Followed, Prediction, Window
from rwmu.robots.robot import Robot
from rwmu.settings import Count, choose, of_file, settings

_log = logging.getLogger(__name__)

FORMAT = "rwmu-dynamics-1"
SHIPPED: dict[str, type[nn.Module]] = {
    "shared": SharedEnsemble,
    "independent": IndependentEnsemble,
    "rssm": RSSMEnsemble,
    "transformer": TransformerEnsemble,
}
_PLAIN = ("architecture", "history", "robot", "layout", "data_hash", "training")  # what a file holds as it is


@dataclass(frozen=True)
class Forecast:
    """K predicted steps after B histories, in physical units.

    Attributes:
        mean, std: ``[E, B, K, D]``, what every member predicts of each state, and its aleatoric standard deviation.
        contact: ``[E, B, K, C]``, probabilities. termination: ``[E, B, K]``, probability that the step terminates the episode.
        state: ``[M, B, K, D]``, what the next step went on from; M is 1 where all members went on from the same.
        names: of the D columns.
    """

    mean: Tensor
    std: Tensor
    contact: Tensor
    termination: Tensor
    state: Tensor
    names: tuple[str, ...]

    @property
    def disagreement(self) -> Tensor:
        """Return the unbiased standard deviation of the members' means, ``[B, K, D]``; 0 for one member, which has none."""
        return self.mean.std(dim=0) if len(self.mean) > 1 else torch.zeros_like(self.mean[0])

    def part(self, name: str) -> Tensor:
        """Return the means of one field of the state (``joint_pos``) or of one column (``joint_pos[3]``), ``[E, B, K, .]``.

        Raises:
            ConfigError: there is none of that name; names the nearest.
        """
        columns = [i for i, column in enumerate(self.names) if name in (column, column.partition("[")[0])]
        if not columns:
            choose("The forecast's state", name, self.names)
        return self.mean[..., columns]


@dataclass
class WorldModel:
    """An ensemble, the normaliser that it was trained with, and what it was trained on.

    Attributes:
        dynamics: the ensemble, in normalised state space: a :class:`~rwmu.interfaces.Dynamics` that is an ``nn.Module``.
        normalizer: between physical units and normalised space.
        history: H, the rows that it is warmed up with.
        robot: name of the robot; layout: its ``StateLayout.describe()``.
        data_hash: of the dataset that it was trained on; empty where that is not known.
        architecture: ``kind`` (:func:`kind_of` the ensemble) and constructor arguments, plain values.
        training: what else is worth remembering (configuration, metrics), plain values.
        extension_normalizer: between physical units and those of the predicted extension, where there is one.
    """

    dynamics: Any
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
        return int(self.dynamics.num_members)

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
        self._check_history(history)
        return warm_up(self.dynamics, self._normalized(history))

    def _check_history(self, history: Window) -> None:
        if history.length != self.history:
            raise DataError(f"The history has {history.length} rows, but the world model is warmed up on {self.history}.")
        for name, size in (("state", self.dynamics.state_dim), ("action", self.dynamics.action_dim)):
            found = getattr(history, name).shape
            if found[-1] != size:
                raise DataError(f"The history's {name} has shape {list(found)}, but {size} columns were expected.")

    def _normalized(self, window: Window) -> Window:
        """Bring ``[B, T, .]`` to what the ensemble sees, ``[1, B, T, .]``."""
        normalized = replace(window, state=self.normalizer.normalize(window.state))
        return normalized.map(lambda tensor: tensor.unsqueeze(0))

    def follow(self, carry: Carry, member: Tensor) -> Carry:
        """Return what of a carry :meth:`step` needs where row b follows the member ``member[b]``, ``[B]`` int64."""
        return self.dynamics.follow(carry, member) if isinstance(self.dynamics, FollowsMembers) else carry

    def step(
        self, carry: Carry, state: Tensor, action: Tensor, followed: Followed | None = None, spread: bool = True
    ) -> tuple[Carry, Prediction]:
        """Predict, in normalised space, what follows ``state [B, D]`` (physical units) and the action ``[B, A]`` taken there.

        Args:
            followed: the carry is one of :meth:`follow`. A model that can then predicts contacts and termination by the member that
                each row follows alone, ``[1, B, .]``.
            spread: whether log standard deviations are needed.
        """
        rows = self.normalizer.normalize(state).unsqueeze(0), action.unsqueeze(0)
        if followed is not None and isinstance(self.dynamics, FollowsMembers):
            return self.dynamics.step_followed(carry, *rows, followed, spread)
        stepped: tuple[Carry, Prediction] = self.dynamics.step(carry, *rows)
        return stepped

    @torch.no_grad()
    def rollout(
        self,
        history: Window,
        action: Tensor,
        feedback: Feedback = "mean",
        noise: Tensor | None = None,
        member: Tensor | None = None,
    ) -> Forecast:
        """Predict K steps under given actions, everything in physical units.

        Args:
            history: ``[B, H, .]``, true rows.
            action: ``[B, K, A]``, what is done after them; the first is taken in the last row of the history.
            feedback: what each step goes on from: ``mean`` (each member goes its own way), ``ensemble_mean``, ``member``
                (row b follows ``member[b]``, ``[B]`` int64) or ``sample`` (each member its own, with ``noise [K, E, B, D]``).

        Raises:
            DataError: the history or the actions do not fit the model.
        """
        self._check_history(history)
        if action.ndim != 3 or action.shape[::2] != history.action.shape[::2] or not action.shape[1]:
            batch, _, columns = history.action.shape
            raise DataError(f"action has shape {list(action.shape)}, but [{batch}, steps, {columns}] was expected.")
        padding = (0, 0, 0, action.shape[1])
        ahead = replace(history.map(lambda tensor: functional.pad(tensor, padding)), action=torch.cat([history.action, action], 1))
        found = unroll(self.dynamics, self._normalized(ahead), self.history, feedback, noise, member)

        def by_row(tensor: Tensor) -> Tensor:  # [K, M, B, .] -> [M, B, K, .]
            return tensor.movedim(0, 2)

        scale = self.normalizer.std.to(found.mean.device)
        return Forecast(
            mean=self.normalizer.denormalize(by_row(found.mean)),
            std=by_row(found.log_std).exp() * scale,
            contact=by_row(found.contact).sigmoid(),
            termination=by_row(found.termination).sigmoid()[..., 0],
            state=self.normalizer.denormalize(by_row(found.feedback)),
            names=tuple(self.normalizer.names),
        )

    def check_fits(self, robot: Robot, data_hash: str | None = None) -> None:
        """Raise a CheckpointError that names the first item in which this model differs from what it is to be used with.

        A model of unknown data (an imported one) fits any data; whoever uses it must use its normaliser.
        """
        if self.robot != robot.name:
            raise CheckpointError(f"The world model was trained on robot '{self.robot}', but the task is for '{robot.name}'.")
        for own, other in zip_longest(self.layout, robot.state_layout.describe(), fillvalue=()):
            if list(own) != list(other):
                raise CheckpointError(f"The world model's state has the field {list(own)} where the task's has {list(other)}.")
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
            "state_dict": self.dynamics.state_dict(),
            "normalizer": self.normalizer.to_dict(),
            "extension_normalizer": None if self.extension_normalizer is None else self.extension_normalizer.to_dict(),
        }
        write_torch(path, content | {name: getattr(self, name) for name in _PLAIN})

    @classmethod
    def load(cls, path: Path, model_class: type[nn.Module] | None = None) -> WorldModel:
        """Read what :meth:`save` wrote; code in the file is never run (``weights_only``), and no class is taken from it.

        Args:
            model_class: of the ensemble, which must be the one that was saved; None where that is one of the package's own.

        Raises:
            CheckpointError: one sentence.
        """
        read = read_torch(path, "world model", "a dynamics.pt that a run has written")
        if read.get("format") != FORMAT:
            policy = "; it is a policy, so give it as policy.checkpoint" if "actor_state_dict" in read else ""
            raise CheckpointError(f"{path} is not a world model of format {FORMAT}{policy}.")
        content = of_file(_File, read, str(path))
        check_sizes(content.architecture, content.state_dict, str(path))
        if model_class is None or model_class in SHIPPED.values():  # who knows whether another can be built without values
            with torch.device("meta"):  # no memory is taken for sizes that the weights do not have
                check_state_dict(build_ensemble(content.architecture, model_class).state_dict(), content.state_dict, str(path))
        dynamics: Any = build_ensemble(content.architecture, model_class)
        check_state_dict(dynamics.state_dict(), content.state_dict, str(path))
        dynamics.load_state_dict(content.state_dict)
        normalizer = Normalizer.from_dict(content.normalizer)
        if len(normalizer.names) != dynamics.state_dim:
            raise CheckpointError(
                f"{path} scales {len(normalizer.names)} columns, but its model has a state of {dynamics.state_dim}."
            )
        kept = {name: getattr(content, name) for name in _PLAIN}
        extension = content.extension_normalizer
        extension_normalizer = None if extension is None else Normalizer.from_dict(extension)
        return cls(dynamics, normalizer, **kept, extension_normalizer=extension_normalizer)


@settings("")
class _File:
    """What a file of a world model holds; see :meth:`WorldModel.save`."""

    format: str
    architecture: dict[str, Any]
    state_dict: dict[str, Tensor]
    normalizer: dict[str, Any]
    history: Count
    robot: str
    layout: list[list[str | int]]
    data_hash: str
    training: dict[str, Any]
    extension_normalizer: dict[str, Any] | None = None


def build_ensemble(architecture: Mapping[str, Any], model_class: type[nn.Module] | None = None) -> nn.Module:
    """Build the ensemble that ``architecture`` (``kind`` and constructor arguments) describes.

    Args:
        model_class: of that kind; None for one of the package's own.

    Raises:
        CheckpointError: the kind is another, or the arguments are not those of the class.
    """
    arguments = dict(architecture)
    kind = str(arguments.pop("kind", None))
    if model_class is None and kind not in SHIPPED:
        raise CheckpointError(f"The world model is of kind '{kind}', none of {sorted(SHIPPED)}; load it with its class.")
    model_class = model_class or SHIPPED[kind]
    if kind_of(model_class) != kind:
        raise CheckpointError(f"The world model has the kind '{kind}', but it is to be loaded as '{kind_of(model_class)}'.")
    try:
        return model_class(**arguments)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"The architecture of the world model is not understood: {error}") from error


def kind_of(model_class: type[nn.Module]) -> str:
    """Return the name by which files know a class: the package's own, or where it is defined."""
    for kind, shipped in SHIPPED.items():
        if model_class is shipped:
            return kind
    return f"{model_class.__module__}.{model_class.__qualname__}"


def parameter_count(module: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
