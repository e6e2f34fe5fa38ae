"""The offline loop: resumption to the last bit, the critic's warm-up, the pull towards a reference."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from rwmu.errors import ConfigError, TrainingError
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.policy.optimise import RESUME_FILE, PolicyOptimiser
from rwmu.policy.regularisation import Anchor, MirrorAugmentation, RegularisedBatches
from rwmu.policy.rsl_rl import PolicyActor, PpoSettings, anchor, build_actor, build_ppo, load_actor, set_actor_std
from rwmu.tasks.velocity import VelocityTask
from tests.fakes import anymal_d, known_world_model, random_episodes

SETTINGS = PpoSettings(hidden_dims=(16, 16), num_steps_per_env=6, num_learning_epochs=2, num_mini_batches=2, mirrors_per_batch=1)


def build(seed=0, num_envs=12, settings=SETTINGS):
    task = VelocityTask(anymal_d())
    model = known_world_model(3, termination_logit=-3.0)
    env = ImaginedEnv(
        model,
        task,
        random_episodes([40, 30]),
        torch.arange(30),
        MopoPenalty(1.0, 0.02),
        DreamRules(num_envs=num_envs, horizon_steps=9, pool_refresh_steps=10),
        seed,
    )
    torch.manual_seed(seed)
    return env, build_ppo(env, settings)


def improve(env, ppo, iterations, resume=False, **options):
    optimiser = PolicyOptimiser(ppo, **options)
    if resume:
        optimiser.resume(env)
    return optimiser.improve(env, iterations)


def weights(ppo):
    return {
        **{f"actor.{k}": v for k, v in ppo.actor.state_dict().items()},
        **{f"critic.{k}": v for k, v in ppo.critic.state_dict().items()},
    }


def assert_same(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


def untimed(rows):
    return [{name: repr(value) for name, value in row.items() if not name.startswith("time/")} for row in rows]


class Recorder:
    def __init__(self, interrupt_at=None):
        self.rows, self.saved, self.interrupt_at = {}, [], interrupt_at

    def log_metrics(self, metrics, step):
        self.rows[step] = metrics
        if step == self.interrupt_at:
            raise KeyboardInterrupt

    def save(self):
        self.saved = list(self.rows)


def test_every_iteration_is_logged_with_what_the_reports_need(tmp_path):
    recorder = Recorder()
    env, ppo = build()
    rows = improve(env, ppo, 3, logger=recorder, checkpoints=tmp_path, save_every=2)
    assert list(recorder.rows) == [0, 1, 2]
    assert [recorder.rows[i] for i in range(3)] == rows
    needed = {f"imagined/{name}" for name in ("reward", "penalty", "epistemic", "episode_length_s", "termination_probability")}
    needed |= {f"imagined/{name}" for name in env.task.weights}
    assert needed | {"policy/kl", "policy/learning_rate", "policy/std", "loss/value", "time/collect_s"} <= set(rows[0])
    assert all(math.isfinite(value) for value in rows[-1].values())
    assert rows[0]["policy/kl"] > 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model_2.pt", "model_3.pt", RESUME_FILE]


def test_the_logged_reward_is_that_of_the_steps(tmp_path):
    env, ppo = build()
    totals, step = [], env.step

    def spy(actions):
        result = step(actions)
        totals.append(env.last_reward.total.mean() / env.task.step_dt)
        return result

    env.step = spy
    (row,) = improve(env, ppo, 1)
    assert row["imagined/reward"] == pytest.approx(float(torch.stack(totals).mean()), rel=1e-5)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    whole_env, whole = build()
    expected = improve(whole_env, whole, 5, critic_warmup_iterations=1)
    env, ppo = build()
    improve(env, ppo, 3, critic_warmup_iterations=1, checkpoints=tmp_path)
    env, ppo = build(seed=77)  # another process would have drawn something else by now
    rows = improve(env, ppo, 5, critic_warmup_iterations=1, checkpoints=tmp_path, resume=True)
    assert untimed(rows) == untimed(expected[3:])
    assert_same(weights(ppo), weights(whole))


def test_an_interrupted_run_can_be_resumed_from_its_last_whole_iteration(tmp_path):
    whole_env, whole = build()
    expected = improve(whole_env, whole, 5)
    env, ppo = build()
    with pytest.raises(KeyboardInterrupt):
        improve(env, ppo, 5, logger=Recorder(interrupt_at=2), checkpoints=tmp_path)
    env, ppo = build(seed=5)
    rows = improve(env, ppo, 5, checkpoints=tmp_path, resume=True)
    assert untimed(rows) == untimed(expected[2:])
    assert_same(weights(ppo), weights(whole))


def test_rows_of_metrics_are_on_the_disk_before_the_checkpoint_that_will_not_log_them_again(tmp_path, monkeypatch):
    recorder, kept = Recorder(interrupt_at=3), {}
    env, ppo = build()
    monkeypatch.setattr("rwmu.policy.optimise.write_torch", lambda path, content: kept.update({content["iter"]: recorder.saved}))
    with pytest.raises(KeyboardInterrupt):
        improve(env, ppo, 5, logger=recorder, checkpoints=tmp_path, save_every=2)
    assert kept[2] == [0, 1]
    assert kept[3][:3] == [0, 1, 2]


def test_resuming_a_finished_run_does_nothing(tmp_path):
    env, ppo = build()
    improve(env, ppo, 2, checkpoints=tmp_path)
    before = copy.deepcopy(weights(ppo))
    assert improve(env, ppo, 2, checkpoints=tmp_path, resume=True) == []
    assert_same(weights(ppo), before)


def test_the_critic_warms_up_alone():
    env, ppo = build()
    before = copy.deepcopy(weights(ppo))
    rows = improve(env, ppo, 2, critic_warmup_iterations=2)
    after = weights(ppo)
    assert_same({k: v for k, v in before.items() if k.startswith("actor")}, after)
    assert not torch.equal(before["critic.mlp.0.weight"], after["critic.mlp.0.weight"])
    assert [row["policy/learning_rate"] for row in rows] == [1e-3, 1e-3]
    assert all(parameter.requires_grad for parameter in ppo.actor.parameters())
    assert ppo.schedule == "adaptive"
    improve(env, ppo, 1)
    assert not torch.equal(after["actor.mlp.0.weight"], before["actor.mlp.0.weight"])


def reference(seed=9):
    torch.manual_seed(seed)
    model = build_actor(SETTINGS, 48, 12)
    model.requires_grad_(False)
    set_actor_std(model, 0.5)
    model.mlp[-1].bias.fill_(0.5)
    return PolicyActor(model)


def test_the_divergence_from_the_anchor_is_that_of_torch():
    pull, observation = Anchor(reference(), reference().std, 1.0), torch.randn(3, 48)
    mean, std = torch.randn(3, 12), torch.rand(3, 12) + 0.1
    expected = kl_divergence(Normal(mean, std), Normal(pull.reference(observation), pull.std)).sum(-1)
    torch.testing.assert_close(pull.divergence(observation, mean, std), expected)


def test_mirrored_rows_are_anchored_too() -> None:
    pull = Anchor(lambda observation: torch.zeros(len(observation), 12), torch.ones(12), weight=2.0)
    batches = RegularisedBatches(SimpleNamespace(), MirrorAugmentation(anymal_d(), ("left_right",)))
    batches.anchor = pull
    # Two originals as the reference, their two mirror images off by 1 in each of 12 actions: 0, 0, 6, 6.
    mean = torch.tensor([[0.0], [0.0], [1.0], [1.0]]).expand(4, 12)
    actor = SimpleNamespace(output_mean=mean, output_std=torch.ones(4, 12))
    batch = SimpleNamespace(observations={"policy": torch.zeros(4, 48)})
    assert float(batches.compute_loss(actor, batch, original_batch_size=2)) == pytest.approx(3.0)


def test_an_anchor_without_weight_changes_no_bit():
    results, frozen = [], reference()
    for weight in (None, 0.0):
        env, ppo = build()
        if weight is not None:
            anchor(ppo, frozen, weight)
        improve(env, ppo, 2)
        results.append(copy.deepcopy(weights(ppo)))
    assert_same(*results)


def test_an_anchor_holds_the_policy_near():
    env, ppo = build(num_envs=128, settings=replace(SETTINGS, mirrors_per_batch=0, entropy_coef=0.0))
    anchor(ppo, reference(), 10.0)
    rows = improve(env, ppo, 30)
    assert rows[-1]["policy/anchor_kl"] < 0.6 * rows[0]["policy/anchor_kl"]


def test_an_anchor_pulls_as_its_weight_says():
    """PPO multiplies the divergence by the coefficient, so a weight that got lost on the way would change nothing."""
    after = []
    for weight in (0.1, 10.0):
        env, ppo = build(settings=replace(SETTINGS, mirrors_per_batch=0))
        anchor(ppo, reference(), weight)
        assert (ppo.symmetry.use_mirror_loss, ppo.symmetry.mirror_loss_coeff) == (True, weight)
        improve(env, ppo, 1)
        after.append(weights(ppo))
    assert not torch.equal(after[0]["actor.mlp.0.weight"], after[1]["actor.mlp.0.weight"])


def test_the_last_checkpoint_is_the_policy(tmp_path):
    env, ppo = build()
    improve(env, ppo, 2, checkpoints=tmp_path, infos={"robot": "anymal_d", "activation": "elu"})
    observation = torch.randn(4, 48)
    assert torch.equal(load_actor(tmp_path / "model_2.pt", anymal_d())(observation), PolicyActor(ppo.actor)(observation))


def test_too_few_steps_for_an_update_are_refused():
    for envs, sizes in ((1, {"num_steps_per_env": 1, "num_mini_batches": 1}), (1, {"num_steps_per_env": 3, "num_mini_batches": 4})):
        with pytest.raises(ConfigError, match="too few for"):
            build(num_envs=envs, settings=replace(SETTINGS, **sizes))


def test_a_policy_that_is_not_finite_is_not_kept(tmp_path):
    env, ppo = build(settings=replace(SETTINGS, learning_rate=1e6, schedule="fixed", max_grad_norm=1e12))
    with pytest.raises(TrainingError, match="no longer finite"):
        improve(env, ppo, 20, checkpoints=tmp_path, save_every=1)
    for path in tmp_path.glob("model_*.pt"):
        kept = torch.load(path, weights_only=True)["actor_state_dict"]
        assert all(bool(tensor.isfinite().all()) for tensor in kept.values())
