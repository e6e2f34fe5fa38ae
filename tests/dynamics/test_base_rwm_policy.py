"""Base RWM is no special case in imagination either: the same dreams, rewards and policies at size 1, and at penalty weight 0."""

from __future__ import annotations

import copy

import pytest
import torch
from omegaconf import OmegaConf

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.policy.optimise import PolicyOptimiser
from rwmu.policy.rsl_rl import PpoSettings, build_ppo
from rwmu.runs.configuration import config_directory
from rwmu.tasks.velocity import VelocityTask
from tests.dynamics.plain_rwm import PlainWorldModel, plain_copy
from tests.dynamics.small import KINDS, assert_all_close, assert_close, assert_same_bits
from tests.fakes import anymal_d, random_episodes

HISTORY, ENVIRONMENTS = 5, 6
SIZES = {"hidden_size": 8, "num_layers": 2, "head_hidden_size": 8}
EPISODES = random_episodes([30, 25])
PPO = PpoSettings(hidden_dims=(8, 8), num_steps_per_env=5, num_learning_epochs=2, num_mini_batches=2, mirrors_per_batch=1)


class Task(VelocityTask):
    """The velocity task, whose memory is in the current precision too."""

    def start(self, num_envs, device="cpu", dtype=None):
        return super().start(num_envs, device, dtype or torch.get_default_dtype())


@pytest.fixture
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    yield
    torch.set_default_dtype(before)


def world_model(kind, members=1, **options):
    robot, episodes = anymal_d(), recordings()
    dynamics = KINDS[kind](45, 12, 8, members, **SIZES, **options).to(torch.get_default_dtype())
    dynamics.termination_head.bias_output.data.sub_(3.0)
    normalizer = Normalizer.fit(episodes.state, robot.state_layout).to(torch.get_default_dtype())
    return WorldModel(dynamics, normalizer, HISTORY, robot.name, robot.state_layout.describe(), "", {}).freeze()


def recordings():
    """Return episodes in the current precision (files hold float32, and the record insists on it)."""
    episodes = copy.copy(EPISODES)
    for name, tensor in vars(EPISODES).items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            object.__setattr__(episodes, name, tensor.to(torch.get_default_dtype()))
    return episodes


def imagine(model, penalty, adjust=None, iterations=2):
    """Return every reward, state and contact of a dream in which PPO acts and learns, and what PPO has become."""
    env = ImaginedEnv(
        model, Task(anymal_d()), recordings(), torch.arange(20), penalty, DreamRules(num_envs=ENVIRONMENTS, horizon_steps=7)
    )
    torch.manual_seed(0)
    ppo = build_ppo(env, PPO)
    seen, step = [], env.step

    def spy(actions):
        result = adjust(env, step(actions)) if adjust else step(actions)
        seen.append((env.final_state, result[1], env.final_contact, result[2], env.disagreement))
        return result

    env.step = spy
    PolicyOptimiser(ppo).improve(env, iterations)
    dream = dict(
        zip(("state", "reward", "contact", "done", "disagreement"), map(torch.stack, zip(*seen, strict=True)), strict=True)
    )
    assert dream["done"].any()
    networks = {"actor": ppo.actor, "critic": ppo.critic}
    weights = {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}
    return dream, weights


def test_one_member_gives_the_same_dream_and_the_same_policy_to_the_last_bit():
    found = [imagine(world_model(kind), MopoPenalty(0.0, 0.02)) for kind in KINDS]
    for dream, policy in found[1:]:
        assert_same_bits(dream, found[0][0])
        assert_same_bits(policy, found[0][1])


@pytest.mark.usefixtures("_float64")
def test_the_plain_model_gives_the_same_dream_and_the_same_policy():
    model = world_model("shared")
    plain = PlainWorldModel(plain_copy(model.dynamics, SIZES).requires_grad_(False), model.normalizer, HISTORY)
    (dream, policy), (expected_dream, expected_policy) = (imagine(m, MopoPenalty(0.0, 0.02)) for m in (model, plain))
    for name in ("contact", "done"):
        assert torch.equal(dream[name], expected_dream[name])
    for name in ("state", "reward"):
        assert dream[name].dtype == torch.double
        assert_close(dream[name], expected_dream[name])
    assert_all_close(policy, expected_policy)


class Unwanted:
    """A penalty that must not reach the reward."""

    needs_spread = False
    boundary = None

    def __call__(self, prediction, step=None):
        return torch.full(prediction.mean.shape[1:2], 7.0)


def test_a_penalty_of_weight_zero_is_no_penalty_to_the_last_bit():
    def unpenalised(env, result):
        return (result[0], env.last_reward.total, *result[2:])

    model = world_model("independent", 3)
    disagreeing, policy = imagine(model, MopoPenalty(1.0, 0.02))
    assert disagreeing["disagreement"].min() > 0.0
    none = OmegaConf.load(config_directory() / "penalty" / "none.yaml")
    found = [imagine(model, MopoPenalty(none.weight, 0.02, typical)) for typical in (0.0, 1.3)]
    without = imagine(model, Unwanted(), unpenalised)
    for dream, weights in found:
        assert_same_bits(dream, without[0])
        assert_same_bits(weights, without[1])
    assert not torch.equal(policy["actor.mlp.0.weight"], without[1]["actor.mlp.0.weight"])
