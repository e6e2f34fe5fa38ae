"""Policies of rsl-rl: its PPO, its actor, its checkpoints.

Checkpoints are those of rsl-rl's ``OnPolicyRunner``, so that Isaac Lab's and mjlab's play scripts load what is trained here.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from rsl_rl.algorithms import PPO
from rsl_rl.env import VecEnv
from rsl_rl.models import MLPModel
from rsl_rl.utils import resolve_nn_activation
from tensordict import TensorDict
from torch import Tensor, nn

from rwmu.errors import CheckpointError, ConfigError
from rwmu.files import read_torch, tell_left_aside, write_torch
from rwmu.policy.mjlab import is_of_mjlab, taken_over
from rwmu.policy.networks import check_finite, plain_actor
from rwmu.policy.regularisation import Anchor, MirrorAugmentation, RegularisedBatches
from rwmu.robots.robot import Robot
from rwmu.settings import Count, Counts, Fraction, Names, NotNegative, Pair, Positive, WholeNumber, choose, of_file
from rwmu.settings import settings as validated
from rwmu.tasks.velocity import VelocityTask, observation_layout

_PPO_OWN = (
    *("num_learning_epochs", "num_mini_batches", "clip_param", "gamma", "lam", "value_loss_coef", "use_clipped_value_loss"),
    *("entropy_coef", "learning_rate", "schedule", "desired_kl", "max_grad_norm"),
)
# Of PPO's own, those that may change while it learns.
COEFFICIENTS = ("clip_param", "desired_kl", "entropy_coef", "max_grad_norm", "num_learning_epochs", "value_loss_coef")
GROUPS = {"actor": ["policy"], "critic": ["policy"]}


@validated("policy.ppo")
class PpoSettings:
    """Sizes and coefficients of PPO; the coefficients' defaults are the papers' (``configs/policy/ppo.yaml`` differs in the rate).

    Attributes:
        hidden_dims, activation: of actor and critic.
        init_std, std_range: of the state-independent Gaussian noise of the actor.
        num_steps_per_env: steps between two updates.
        mirrors: names of ``Robot.mirrors`` under which transitions are repeated, with their advantages; None for all that the robot
            has. The task's rewards do not change under them; the dynamics may do so a little, as under front-back ones of a robot
            whose mass is off-centre in x.
        mirrors_per_batch: how many of them each mini-batch uses besides the original, drawn at random; None for all. The cost
            of an update grows with 1 + this number.
        The others are rsl-rl's own.
    """

    hidden_dims: Counts = (128, 128, 128)
    activation: str = "elu"
    init_std: Positive = 1.0
    std_range: Pair = (0.05, 2.0)
    num_steps_per_env: Count = 24
    num_learning_epochs: Count = 5
    num_mini_batches: Count = 4
    clip_param: Positive = 0.2
    gamma: Fraction = 0.99
    lam: Fraction = 0.95
    value_loss_coef: NotNegative = 1.0
    use_clipped_value_loss: bool = True
    entropy_coef: NotNegative = 0.005
    learning_rate: Positive = 1e-3
    schedule: Literal["adaptive", "fixed"] = "adaptive"
    desired_kl: Positive = 0.01
    max_grad_norm: Positive = 1.0
    mirrors: Names | None = None
    mirrors_per_batch: WholeNumber | None = None

    def __post_init__(self) -> None:
        try:
            resolve_nn_activation(self.activation)
        except ValueError as error:
            raise ConfigError(f"policy.ppo.activation is '{self.activation}', but rsl-rl has none of that name: {error}.") from None
        if not 0.0 < self.std_range[0] < self.std_range[1]:
            raise ConfigError(f"policy.ppo.std_range is {list(self.std_range)}, but must be two numbers above 0, the lesser first.")
        most = math.inf if self.mirrors is None else len(self.mirrors)
        if self.mirrors_per_batch is not None and self.mirrors_per_batch > most:
            raise ConfigError(
                f"policy.ppo.mirrors_per_batch is {self.mirrors_per_batch}, but policy.ppo.mirrors names {most}; null uses all "
                "that there are."
            )

    def varied(self, changes: Mapping[str, Any], where: str = "policy.ppo") -> PpoSettings:
        """Return these settings with other :data:`COEFFICIENTS`, by name; ``where`` names them in the error."""
        for name in changes:
            choose(where, name, COEFFICIENTS)
        return replace(self, **changes)


def runner_config(settings: PpoSettings) -> dict[str, Any]:
    """Return the configuration that rsl-rl's ``OnPolicyRunner`` and ``PPO.construct_algorithm`` take, without mirrors."""
    network = {"class_name": "MLPModel", "hidden_dims": list(settings.hidden_dims), "activation": settings.activation}
    distribution = {"class_name": "GaussianDistribution", "init_std": settings.init_std, "std_range": list(settings.std_range)}
    return {
        "num_steps_per_env": settings.num_steps_per_env,
        "save_interval": 50,
        "obs_groups": {name: list(groups) for name, groups in GROUPS.items()},
        "actor": {**network, "distribution_cfg": distribution},
        "critic": dict(network),
        "algorithm": {"class_name": "PPO", **{name: getattr(settings, name) for name in _PPO_OWN}},
        "multi_gpu": None,
    }


def build_ppo(env: VecEnv, settings: PpoSettings, robot: Robot | None = None) -> PPO:
    """Build rsl-rl's PPO for ``env``; the mirrors are those of ``robot``, by default that of the environment's task."""
    config = runner_config(settings)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the networks
        ppo = PPO.construct_algorithm(env.get_observations(), env, config, str(env.device))
    rows = env.num_envs * settings.num_steps_per_env
    if rows < max(2, settings.num_mini_batches):
        raise ConfigError(
            f"imagination.num_envs x policy.ppo.num_steps_per_env are {rows} steps an update, too few for "
            f"policy.ppo.num_mini_batches={settings.num_mini_batches}; an update needs 2 steps, and one for each mini-batch."
        )
    mirrored = MirrorAugmentation(robot or env.task.robot, settings.mirrors, settings.mirrors_per_batch)
    ppo.symmetry = RegularisedBatches(env, mirrored)
    return ppo


def set_coefficients(ppo: PPO, settings: PpoSettings) -> None:
    """Let PPO go on with the :data:`COEFFICIENTS` of ``settings``."""
    for name in COEFFICIENTS:
        setattr(ppo, name, getattr(settings, name))


def anchor(ppo: PPO, policy: PolicyActor, weight: float) -> None:
    """Pull ``ppo``'s actor towards a frozen ``policy`` from now on, which is moved to its device.

    See :class:`~rwmu.policy.regularisation.Anchor`.
    """
    policy = policy.to(ppo.device)
    ppo.symmetry.anchor = Anchor(policy, policy.std.detach(), weight)
    ppo.symmetry.use_mirror_loss, ppo.symmetry.mirror_loss_coeff = weight > 0.0, weight


# -- actors ---------------------------------------------------------------------------------------------------------------


class PolicyActor(nn.Module):
    """An rsl-rl actor seen from outside: observations ``[B, O]`` in, actions ``[B, A]`` out.

    Args:
        model: rsl-rl's actor.
        sampled: draw from the Gaussian instead of returning its mean.
        generator: of the draws; None for torch's own.
    """

    def __init__(self, model: MLPModel, sampled: bool = False, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.model = model
        self.sampled = sampled
        self.generator = generator

    @property
    def std(self) -> Tensor:
        """Return the standard deviation of the actions, ``[A]``."""
        return actor_std(self.model)

    @torch.no_grad()
    def forward(self, observation: Tensor) -> Tensor:
        """Return actions ``[B, A]`` for observations ``[B, O]``."""
        mean: Tensor = action_mean(self.model, observation)
        if not self.sampled:
            return mean
        return mean + self.std * torch.randn(mean.shape, generator=self.generator, dtype=mean.dtype).to(mean.device)

    def as_sampled(self, generator: torch.Generator | None = None) -> PolicyActor:
        """Return the same policy with its noise."""
        return PolicyActor(self.model, sampled=True, generator=generator)


def action_mean(model: MLPModel, observation: Tensor) -> Tensor:
    """Return the mean action ``[B, A]`` of rsl-rl's actor, with gradients."""
    mean: Tensor = model.mlp(model.obs_normalizer(observation))
    return mean


def actor_std(model: MLPModel) -> Tensor:
    """Return the standard deviation ``[A]`` of rsl-rl's actor, within its range."""
    distribution = model.distribution
    return distribution.std_param.detach().clamp(*distribution.std_range)  # type: ignore[no-any-return]


def set_actor_std(model: MLPModel, std: float) -> None:
    """Set the standard deviation of every action."""
    with torch.no_grad():
        model.distribution.std_param.fill_(std)


def raise_actor_std(model: MLPModel, least: float) -> None:
    """Raise every standard deviation of the actions to ``least``, where it is below."""
    with torch.no_grad():
        model.distribution.std_param.clamp_(min=least)


# -- checkpoints ----------------------------------------------------------------------------------------------------------


def copy_to_cpu(value: Any) -> Any:
    """Copy every tensor of a nested mapping or list to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: copy_to_cpu(item) for key, item in value.items()}
    return [copy_to_cpu(item) for item in value] if isinstance(value, list) else value


def save_checkpoint(path: Path, ppo: PPO, iteration: int, infos: Mapping[str, Any] | None = None) -> None:
    """Write what rsl-rl's runner writes, whole or not at all; ``infos`` holds plain values (robot, activation ...).

    Tensors are written from the CPU, so that whoever reads the file needs no device but that.
    """
    write_torch(path, {**copy_to_cpu(ppo.save()), "iter": iteration, "infos": dict(infos or {})})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a policy checkpoint without running code in it.

    Raises:
        CheckpointError: it is none, or its weights are no finite numbers.
    """
    content = read_policy_file(path, "that a run has written")
    if "actor_state_dict" not in content:
        model = "; it is a world model, so give it as trainer.checkpoint" if "architecture" in content else ""
        raise CheckpointError(f"{path} is not a policy checkpoint of rsl-rl: it has no 'actor_state_dict'{model}.")
    of_file(_PolicyFile, {name: content[name] for name in _OF_RSL_RL if name in content}, str(path))
    for name in ("actor_state_dict", "critic_state_dict", "optimizer_state_dict"):
        check_finite(content.get(name), f"{path} has values under the key '{name}'")
    return content


@validated("")
class _PolicyFile:
    """What rsl-rl's runner writes."""

    actor_state_dict: dict[str, Tensor]
    iter: WholeNumber
    critic_state_dict: dict[str, Tensor] | None = None
    optimizer_state_dict: dict[str, Any] | None = None
    infos: dict[str, Any] | None = None


_OF_RSL_RL = ("actor_state_dict", "iter", "critic_state_dict", "optimizer_state_dict", "infos")


def read_policy_file(path: Path, origin: str) -> dict[str, Any]:
    """Read a file that should hold a policy of either form; ``origin`` says where one comes from, if there is none."""
    return dict(read_torch(path, "policy checkpoint", f"a model_*.pt {origin}"))


def load_checkpoint(path: Path, ppo: PPO) -> int:
    """Load networks and optimiser into ``ppo``; returns the iteration at which they were saved."""
    content = read_checkpoint(path)
    try:
        ppo.load(content, None, strict=True)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The policy in {path} has other sizes than the configured one, or lacks a part: {error}") from error
    ppo.learning_rate = ppo.optimizer.param_groups[0]["lr"]  # rsl-rl 5.4 would go on with the configured one
    return int(content["iter"])


def require_sizes_of(robot: Robot, actor: Mapping[str, Any], source: str) -> None:
    """Refuse an actor's weights that do not take the robot's observations to its actions; ``source`` names it in the error."""
    layers = [tensor for tensor in actor.values() if tensor.ndim == 2]
    found, wanted = (layers[0].shape[1], layers[-1].shape[0]), (observation_layout(robot).size, robot.num_joints)
    if found != wanted:
        raise CheckpointError(
            f"{source} maps {found[0]} observations to {found[1]} actions, but {robot.name} has {wanted[0]} and {wanted[1]}."
        )


def load_actor(path: Path, robot: Robot | None = None) -> PolicyActor:
    """Return the policy of a checkpoint, deterministic; sizes are read from its weights, and ELU is what no checkpoint names.

    Args:
        robot: refuse policies of other robots. A policy of mjlab's own task of it is taken over, see :mod:`rwmu.policy.mjlab`.
    """
    content, source = read_checkpoint(path), f"The policy in {path}"
    tell_left_aside(path, content, _OF_RSL_RL)
    infos = content.get("infos") or {}
    actor = plain_actor(content["actor_state_dict"], source)
    if robot is not None and is_of_mjlab(infos, robot):
        actor = taken_over(actor, robot, source)
    layers = [tensor for tensor in actor.values() if tensor.ndim == 2]
    if robot is not None:
        if infos.get("robot", robot.name) != robot.name:
            raise CheckpointError(f"The policy in {path} was trained for robot '{infos['robot']}', not '{robot.name}'.")
        require_sizes_of(robot, actor, source)
    try:
        settings = PpoSettings(
            hidden_dims=tuple(len(tensor) for tensor in layers[:-1]),
            activation=infos.get("activation", "elu"),
            std_range=infos.get("std_range", PpoSettings.std_range),
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} cannot be built: {error}") from None
    model = build_actor(settings, layers[0].shape[1], len(layers[-1]))
    model.load_state_dict(actor)
    return PolicyActor(model).eval()


def build_actor(settings: PpoSettings, num_observations: int, num_actions: int) -> MLPModel:
    """Build rsl-rl's actor alone."""
    arguments = runner_config(settings)["actor"]
    arguments.pop("class_name")
    observation = TensorDict({"policy": torch.zeros(1, num_observations)}, batch_size=[1])
    return MLPModel(observation, GROUPS, "actor", num_actions, **arguments)


def new_actor(settings: PpoSettings, task: VelocityTask, seed: int) -> PolicyActor:
    """Return a policy of random weights, deterministic."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PolicyActor(build_actor(settings, task.num_observations, task.num_actions)).eval()
