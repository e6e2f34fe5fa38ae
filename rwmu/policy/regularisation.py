"""What is added to PPO's mini-batches: mirror images, under which the task's rewards are the same, and an anchor to a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rsl_rl.env import VecEnv
from rsl_rl.extensions import Symmetry
from tensordict import TensorDict
from torch import Tensor

from rwmu.robots.robot import Robot
from rwmu.settings import choose
from rwmu.tasks.velocity import observation_layout


class MirrorAugmentation:
    """Append mirror images to observations and actions; has the signature of rsl-rl's ``data_augmentation_func``.

    Args:
        robot: with its mirrors.
        names: of the mirrors to use besides the identity; None for all that the robot has.
        per_batch: how many of them each call uses, drawn by torch's own generator; None for all.
    """

    def __init__(self, robot: Robot, names: Sequence[str] | None, per_batch: int | None = None) -> None:
        names = list(robot.mirrors) if names is None else names
        for name in names:
            choose(f"policy.ppo.mirrors, for the robot '{robot.name}',", name, robot.mirrors)
        layout, mirrors = observation_layout(robot), [robot.mirrors[name] for name in names if name != "identity"]
        self.mirrors = [(mirror.of(layout), mirror.action) for mirror in mirrors]
        self.per_batch = len(self.mirrors) if per_batch is None else per_batch

    def __call__(self, env: Any, obs: TensorDict | None, actions: Tensor | None) -> tuple[TensorDict | None, Tensor | None]:
        """Return ``[(1 + per_batch) * B, ...]``, the originals first."""
        mirrors = self.mirrors
        if self.per_batch < len(mirrors):
            mirrors = [mirrors[i] for i in torch.randperm(len(mirrors))[: self.per_batch].tolist()]
        if obs is not None:
            observation = obs["policy"]
            observation = torch.cat([observation, *(of_observation(observation) for of_observation, _ in mirrors)])
            obs = TensorDict({"policy": observation}, batch_size=[len(observation)])
        if actions is not None:
            actions = torch.cat([actions, *(of_action(actions) for _, of_action in mirrors)])
        return obs, actions


@dataclass(frozen=True)
class Anchor:
    """A pull towards a frozen policy: ``weight * KL(policy || reference)`` is added to PPO's loss.

    With a behaviour clone as reference this is behaviour regularisation: PPO's gradient noise lets a policy drift where the dream
    is indifferent, and a world model is indifferent to much that makes a robot fall.
    """

    reference: Callable[[Tensor], Tensor]
    std: Tensor
    weight: float

    def divergence(self, observation: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return KL(policy || reference) ``[B]`` of Gaussians with ``mean [B, A]`` and ``std [B, A]`` at ``observation [B, O]``."""
        with torch.no_grad():
            reference = self.reference(observation)
        ratio = std / self.std
        return (0.5 * (ratio.square() + ((mean - reference) / self.std).square() - 1.0) - ratio.log()).sum(dim=-1)


class RegularisedBatches(Symmetry):  # type: ignore[misc]
    """rsl-rl's symmetry extension as PPO's hook for two things: mirrored mini-batches and an anchor.

    Its own symmetry loss, which costs another pass through the actor even where it is only logged, gives its place to the
    anchor's divergence.
    """

    def __init__(self, env: VecEnv, augmentation: MirrorAugmentation) -> None:
        # Without mirrors the extension would say so on the console: it is told to augment by none.
        super().__init__(env, augmentation, use_data_augmentation=True, use_mirror_loss=False, mirror_loss_coeff=0.0)
        self.anchor: Anchor | None = None

    def compute_loss(self, actor: Any, batch: Any, original_batch_size: int) -> Tensor:
        """Return the mean divergence from the anchor over the mini-batch, for which the actor has just been run; 0 without one."""
        if self.anchor is None or self.anchor.weight == 0.0:
            return torch.zeros(())
        return self.anchor.divergence(batch.observations["policy"], actor.output_mean, actor.output_std).mean()
