"""Repeat PPO's mini-batches under the robot's mirrors, which leave the task's rewards as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rsl_rl.env import VecEnv
from rsl_rl.extensions import Symmetry
from tensordict import TensorDict
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.tasks.anymal_d import Robot


class MirrorAugmentation:
    """Append mirror images to observations and actions; has the signature of rsl-rl's ``data_augmentation_func``.

    Args:
        robot: with its mirrors.
        names: of the mirrors to use besides the identity.
        per_batch: how many of them each call uses, drawn by torch's own generator; None for all.
    """

    def __init__(self, robot: Robot, names: Sequence[str], per_batch: int | None = None) -> None:
        unknown = [name for name in names if name not in robot.mirrors]
        if unknown:
            raise ConfigError(f"{robot.name} has no mirror '{unknown[0]}'; it has {sorted(set(robot.mirrors) - {'identity'})}.")
        self.mirrors = [robot.mirrors[name] for name in names if name != "identity"]
        self.per_batch = len(self.mirrors) if per_batch is None else per_batch

    def __call__(self, env: Any, obs: TensorDict | None, actions: Tensor | None) -> tuple[TensorDict | None, Tensor | None]:
        """Return ``[(1 + per_batch) * B, ...]``, the originals first."""
        mirrors = self.mirrors
        if self.per_batch < len(mirrors):
            mirrors = [mirrors[i] for i in torch.randperm(len(mirrors))[: self.per_batch].tolist()]
        if obs is not None:
            observation = obs["policy"]
            observation = torch.cat([observation, *(mirror.observation(observation) for mirror in mirrors)])
            obs = TensorDict({"policy": observation}, batch_size=[len(observation)])
        if actions is not None:
            actions = torch.cat([actions, *(mirror.action(actions) for mirror in mirrors)])
        return obs, actions


class MirroredBatches(Symmetry):  # type: ignore[misc]
    """rsl-rl's augmentation without its symmetry loss, which costs another pass through the actor even where it is only logged."""

    def __init__(self, env: VecEnv, augmentation: MirrorAugmentation) -> None:
        super().__init__(env, augmentation, use_data_augmentation=True)

    def compute_loss(self, actor: Any, batch: Any, original_batch_size: int) -> Tensor:
        """Return 0."""
        return torch.zeros(())
