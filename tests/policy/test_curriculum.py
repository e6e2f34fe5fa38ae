"""Phases: what they change, when they end, and that an interrupted training goes on in the middle of one."""

from types import SimpleNamespace

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.imagination.rules import DreamRules
from rwmu.policy.curriculum import Curriculum, Phase, Progress, begin
from rwmu.policy.optimise import PolicyOptimiser
from rwmu.policy.rsl_rl import PpoSettings, set_coefficients
from rwmu.tasks.velocity import VelocityTask
from tests.fakes import anymal_d
from tests.imagination.dreams import actions
from tests.imagination.dreams import build as dream
from tests.policy.test_optimise import Recorder, assert_same, build, untimed, weights

TRACK = "track_lin_vel_xy_exp"
EASY = {
    "rewards": {TRACK: {"weight": 2.0}, "feet_air_time": {"threshold_s": 0.3}},
    "commands": {"first": 0.5, "step": 0.25, "above": {TRACK: 0.6}},
    "until": {TRACK: 0.7},
    "settle": 1,
}
EXACT = {
    "imagination": {"horizon_steps": 7, "sample_aleatoric": 0.5},
    "penalty_scale": 0.5,
    "ppo": {"entropy_coef": 0.0},
    "max_iterations": 2,
}


class Env:
    """Remembers what it was adapted to."""

    def __init__(self):
        self.task, self.rules, self.adapted = VelocityTask(anymal_d(), command_range=(1.0, 0.8, 1.0)), DreamRules(), []

    def adapt(self, task, rules, penalty_scale):
        self.task = task
        self.adapted.append(SimpleNamespace(task=task, rules=rules, penalty_scale=penalty_scale))


def curriculum(**phases):
    return Curriculum(phases or {"easy": EASY, "exact": EXACT})


def coefficients():
    """Return what a phase may change of PPO, as rsl-rl has it."""
    ppo = SimpleNamespace()
    set_coefficients(ppo, PpoSettings())
    return ppo


def row(env, tracking):
    """Return the metrics of an iteration in which nothing but tracking is rewarded."""
    return {f"imagined/{term}": weight * (tracking if term == TRACK else 0.0) for term, weight in env.task.weights.items()}


def test_the_phases_go_by_what_the_dream_reached():
    env, ppo = Env(), coefficients()
    progress = begin(curriculum(), env, ppo, PpoSettings())
    seen = []
    assert ppo.entropy_coef == PpoSettings().entropy_coef
    for tracking in (0.5, 0.65, 0.65, 0.65, 0.75, 0.2, 0.0, 0.0):
        seen.append((progress.name, progress.share, progress.settled))
        progress.advance(env, ppo, row(env, tracking))
    assert seen == [
        ("easy", 0.5, 0),
        ("easy", 0.5, 0),  # 0.5 was below what widens
        ("easy", 0.75, 0),
        ("easy", 1.0, 0),
        ("easy", 1.0, 0),  # 0.65 widens, but does not end
        ("easy", 1.0, 1),  # what was reached once is settled, whatever comes
        ("exact", 1.0, 0),
        ("exact", 1.0, 0),
    ]
    assert progress.finished
    assert vars(ppo) == vars(coefficients()) | {"entropy_coef": 0.0}
    first, last = env.adapted[0], env.adapted[-1]
    assert first.task.weights[TRACK] == 2.0
    assert first.task.command_range == (0.5, 0.4, 0.5)
    assert first.task.rewards.describe()["feet_air_time"]["arguments"]["threshold_s"] == 0.3
    assert (first.rules, first.penalty_scale) == (DreamRules(), 1.0)
    assert last.task.weights == VelocityTask(anymal_d()).weights
    assert last.task.command_range == (1.0, 0.8, 1.0)
    assert (last.rules.horizon_steps, last.rules.sample_aleatoric, last.penalty_scale) == (7, 0.5, 0.5)
    assert last.rules.num_envs == DreamRules().num_envs


def test_a_phase_that_was_not_reached_is_said(caplog):
    env = Env()
    progress = begin(curriculum(), env, coefficients(), PpoSettings())
    progress.warn_if_unfinished()
    assert "easy" in caplog.text


def test_the_dream_pays_by_the_phase():
    plain, phased = dream(weight=1.0), dream(weight=1.0)
    phase = Phase(rewards={TRACK: {"weight": 3.0}}, penalty_scale=-0.5)
    begin(Curriculum({"only": phase}), phased, coefficients(), PpoSettings())
    for action in actions(3):
        _, total, _, _ = plain.step(action)
        _, phased_total, _, extras = phased.step(action)
        tracking = plain.last_reward.terms[TRACK]
        penalty = total - plain.last_reward.total
        expected = plain.last_reward.total + 2.0 * plain.task.step_dt * tracking - 0.5 * penalty
        torch.testing.assert_close(phased_total, expected, rtol=1e-5, atol=1e-6)
        assert float(extras["log"][f"imagined/{TRACK}"]) == pytest.approx(3.0 * float(tracking.mean()), rel=1e-5)


PHASES = {
    "easy": {"commands": {"first": 0.5, "step": 0.25, "above": {TRACK: 0.0}}, "until": {TRACK: 0.0}, "settle": 0},
    "exact": EXACT,
}


def phased(seed=0, **options):
    env, ppo = build(seed)
    optimiser = PolicyOptimiser(ppo, phases=begin(Curriculum(PHASES), env, ppo, PpoSettings()), **options)
    optimiser.resume(env)
    return env, optimiser


@pytest.mark.parametrize("interrupted_at", range(5))
def test_an_interrupted_training_goes_on_in_its_phase_with_the_same_bits(tmp_path, interrupted_at):
    env, whole = phased()
    expected = whole.improve(env, 50)
    assert [(r["curriculum/phase"], r["curriculum/command_share"]) for r in expected] == [
        *((0.0, 0.5), (0.0, 0.75), (0.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    ]  # the last phase ended it
    env, optimiser = phased(checkpoints=tmp_path, logger=Recorder(interrupt_at=interrupted_at))
    with pytest.raises(KeyboardInterrupt):
        optimiser.improve(env, 50)
    env, optimiser = phased(seed=3, checkpoints=tmp_path)
    rows = optimiser.improve(env, 50)
    assert untimed(rows) == untimed(expected[interrupted_at:])
    assert_same(weights(optimiser.ppo), weights(whole.ppo))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rewards": {"stand_stil": {"weight": 1.0}}}, "stand_still"),
        ({"rewards": {"feet_air_time": {"threshold": 1.0}}}, "threshold_s"),
        ({"imagination": {"horizon": 3}}, "horizon_steps"),
        ({"imagination": {"num_envs": 3}}, "num_envs"),
        ({"imagination": {"horizon_steps": 0}}, "horizon_steps"),
        ({"ppo": {"entropy": 0.0}}, "entropy_coef"),
        ({"ppo": {"gamma": 0.9}}, "gamma"),
        ({"ppo": {"desired_kl": -1.0}}, "desired_kl"),
        ({"until": {"tracking": 0.5}}, "easy.until"),
        ({"until": {TRACK: 1.0}}, "never end"),
        ({"until": {"dof_pos_limits": 0.5}}, "weight is 0"),
        ({"commands": {"first": 0.5}}, "never grows"),
        ({"commands": {"first": 1.5}}, "commands.first"),
        ({"until": {}}, "never end"),
        ({"settle": -1}, "settle"),
    ],
)
def test_a_phase_that_cannot_be_is_refused(changes, named):
    with pytest.raises(ConfigError, match=named):
        Progress(curriculum(easy={**EASY, **changes}, exact=EXACT), VelocityTask(anymal_d()), DreamRules(), PpoSettings())


def test_a_curriculum_without_phases_is_refused():
    with pytest.raises(ConfigError, match="phases"):
        Curriculum({})
