"""What imagined episodes are made of, with a model whose answers are known."""

import json

import pytest
import torch

from rwmu.errors import ConfigError, TrainingError
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.measure.deployment import deploy
from rwmu.measure.recording import record
from rwmu.simulators.collect import Collector
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.estimates import aleatoric
from tests.fakes import anymal_d, quiet_task, random_episodes
from tests.imagination.dreams import BATCH, actions, build, origin


def test_each_environment_follows_its_member_until_it_resets():
    env = build(horizon_steps=10, random_start=False)
    member, normalized = env.member.clone(), env.world_model.normalizer.normalize(env.state)
    assert set(member.tolist()) == {0, 1, 2}
    for k, action in enumerate(actions(9), start=1):
        env.step(action)
        assert torch.equal(env.member, member)
        expected = normalized + 0.01 * k * (member.float() + 1.0)[:, None]
        torch.testing.assert_close(env.world_model.normalizer.normalize(env.state), expected, rtol=0, atol=1e-5)
    env.step(actions(1)[0])
    assert not torch.equal(env.member, member)


def test_the_dream_pays_what_the_task_pays_for_the_same_states():
    task = quiet_task()
    env = build(task=task, weight=0.0, known={"drift": 0.05}, horizon_steps=50, random_start=False)
    episodes, last = env._pool._episodes, origin(env)
    for b in range(BATCH):  # a simulator would have gone through the whole episode
        memory = task.start(1)
        first = int(episodes.offsets[episodes.episode_of_row[last[b]]])
        for row in range(first + 1, int(last[b]) + 1):
            task.reward(memory, *(x[row : row + 1] for x in (episodes.state, episodes.action, episodes.contact)))
        for name in ("last_action", "previous_joint_vel", "air_time_s", "contact_time_s", "last_air_time_s"):
            torch.testing.assert_close(getattr(env.memory, name)[b], getattr(memory, name)[0], rtol=0, atol=0)
    replay = task.start(BATCH)
    for name in vars(replay):
        setattr(replay, name, getattr(env.memory, name).clone())
    paid = set()
    for action in actions(20):
        _, reward, done, _ = env.step(action)
        assert not done.any()
        expected = task.reward(replay, env.final_state, action, env.final_contact)
        assert torch.equal(reward, expected.total)
        paid |= {name for name, term in expected.terms.items() if term.abs().max() > 0.0}
    assert {"feet_air_time", "dof_acc_l2", "action_rate_l2", "undesired_contacts"} <= paid


def rewards(env):
    return torch.stack([env.step(action)[1] for action in actions(8)])


def test_base_rwm_is_one_member_without_penalty_to_the_last_bit():
    class NoPenalty:
        boundary = None

        def __call__(self, prediction, step):
            return torch.zeros(BATCH)

    plain = build(members=1)
    plain.penalty = NoPenalty()
    reference = rewards(plain)
    assert torch.equal(rewards(build(members=1, weight=0.0)), reference)
    assert torch.equal(rewards(build(members=1, weight=7.0)), reference)
    assert not torch.equal(rewards(build(members=3, weight=7.0)), rewards(build(members=3, weight=0.0)))


def test_a_single_member_pays_for_the_noise_that_it_expects():
    """Which imagination predicts only where a penalty asks for it."""
    env, free = build(members=1), build(members=1)
    assert (env.penalty.needs_spread, env._needs_spread) == (False, False)
    env = ImaginedEnv(
        env.world_model,
        env.task,
        random_episodes([30, 12, 25]),
        torch.arange(20),
        MopoPenalty(1.0, 0.02, estimate="noise"),
        DreamRules(num_envs=BATCH, termination=None, max_tilt=None),
    )
    action = actions(1)[0]
    expected = aleatoric(env.world_model.step(env._carry, env.state, action, env._followed, True)[1])
    assert float(expected.min()) > 0.0
    _, reward, _, _ = env.step(action)
    torch.testing.assert_close(reward, env.last_reward.total - 0.02 * expected)
    _, reward, _, _ = free.step(action)
    assert torch.equal(reward, free.last_reward.total), "there is no disagreement to pay for"


def test_the_penalty_is_subtracted_from_the_task_reward():
    env = build(members=3, weight=2.0)
    _, reward, _, extras = env.step(actions(1)[0])
    spread = 0.01 * 45  # members at 1, 2 and 3 times the drift: std = drift in each of 45 columns
    torch.testing.assert_close(reward, env.last_reward.total - 2.0 * 0.02 * spread, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(extras["log"]["imagined/epistemic"], torch.tensor(spread), rtol=1e-3, atol=0)
    torch.testing.assert_close(extras["log"]["imagined/penalty"], torch.tensor(-2.0 * spread), rtol=1e-3, atol=0)


def test_the_log_adds_up_to_the_reward():
    env = build(weight=0.0)
    _, reward, _, extras = env.step(actions(1)[0])
    terms = sum(float(extras["log"][f"imagined/{name}"]) for name in env.task.weights)
    assert terms == pytest.approx(float(reward.mean()) / 0.02, rel=1e-4)
    assert float(extras["log"]["imagined/reward"]) == pytest.approx(terms, rel=1e-4)


def test_observation_noise_is_drawn_once_a_step():
    env = build(task=VelocityTask(anymal_d()))
    one, two = env.get_observations()["policy"], env.get_observations()["policy"]
    assert torch.equal(one, two)
    clean = env.task.observe(env.state, env.memory.command, env.memory.last_action)
    assert 0.0 < float((one - clean).abs().max()) <= 1.5
    assert torch.equal(one[:, 9:12], env.memory.command)


def test_the_action_tensor_is_neither_kept_nor_written():
    env = build(horizon_steps=1)
    action = actions(1)[0]
    before = action.clone()
    env.step(action)
    assert torch.equal(action, before)
    env = build(horizon_steps=9, random_start=False)
    env.step(action)
    action.zero_()
    assert torch.equal(env.memory.last_action, before)


def test_the_same_seed_dreams_the_same():
    noisy = VelocityTask(anymal_d())
    kwargs = {"task": noisy, "termination": "sample", "known": {"termination_logit": -2.0}, "sample_aleatoric": 0.5, "seed": 3}
    one, two, other = build(**kwargs), build(**kwargs), build(**{**kwargs, "seed": 4})
    for action in actions(10):
        results = [env.step(action) for env in (one, two, other)]
        assert torch.equal(results[0][0]["policy"], results[1][0]["policy"])
        assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][1], results[2][1])


def test_a_saved_dream_goes_on_identically():
    kwargs = {"termination": "sample", "known": {"termination_logit": -2.0}, "pool_refresh_steps": 7, "horizon_steps": 6}
    kwargs["task"] = VelocityTask(anymal_d())
    one, two = build(**kwargs), build(**kwargs, seed=9)
    for action in actions(5):
        one.step(action)
    saved = one.state_dict()
    expected = [one.step(action) for action in actions(12, seed=2)]
    two.load_state_dict(saved)
    for action, (observation, reward, done, _) in zip(actions(12, seed=2), expected, strict=True):
        got = two.step(action)
        assert torch.equal(got[0]["policy"], observation["policy"])
        assert torch.equal(got[1], reward)
        assert torch.equal(got[2], done)
    with pytest.raises(ConfigError, match="number of environments"):
        build(num_envs=3).load_state_dict(saved)


def test_it_can_be_used_in_and_out_of_inference_mode():
    env = build(horizon_steps=2, pool_refresh_steps=2)
    with torch.inference_mode():
        for action in actions(5):
            env.step(action.clone())
    for action in actions(5):
        env.step(action)
    env.reset()


def test_non_finite_values_are_named():
    env = build(horizon_steps=20, random_start=False)
    bad = actions(1)[0]
    bad[5, 3] = torch.nan
    with pytest.raises(ValueError, match="action of environment 5"):
        env.step(bad)
    env.step(actions(1)[0])
    env.state[7, 0] = torch.inf
    with pytest.raises(TrainingError, match=r"not finite in environment 7 at step 2 .*imagination\.clip, now 12\.0"):
        env.step(actions(1)[0])


def test_it_is_collected_recorded_and_deployed_in_as_any_environment():
    def act(observation):
        return 0.3 * observation[:, :12].tanh()

    task = quiet_task(command_resample_s=0.1)

    def fresh():
        return build(
            task=task, weight=0.0, known={"termination_logit": -2.0}, termination="sample", horizon_steps=9, random_start=False
        )

    env = fresh()
    episodes = Collector(env).collect(act, 20 * BATCH)
    assert int(episodes.lengths.sum()) - episodes.num_episodes == 20 * BATCH
    assert 0 < int(episodes.termination.sum()) < episodes.num_episodes
    recording = record(fresh(), act, "dream", 9)
    deployment = deploy(fresh(), act, num_steps=9, progress=False)
    assert torch.equal(recording.fell, deployment.fell)
    assert torch.equal(deployment.lived_steps, recording.episodes.lengths - 1)
    assert int(deployment.lived_steps.max()) == 9
    # Of the collected episodes, the first of each environment are the recorded ones.
    both = [episodes, recording.episodes]
    for rows in range(BATCH):
        first, second = (slice(int(e.offsets[rows]), int(e.offsets[rows] + e.lengths[rows])) for e in both)
        for name in ("state", "action", "termination", "command", "reward"):
            assert torch.equal(getattr(episodes, name)[first], getattr(recording.episodes, name)[second]), name
        assert torch.equal(episodes.contact[first][1:], recording.episodes.contact[second][1:])


def test_its_identity_says_what_decides_what_a_policy_meets():
    def identity(**changes):
        return json.dumps(build(**changes).identity(), sort_keys=True)

    changes = ({"seed": 1}, {"weight": 2.0}, {"clip": 3.0}, {"members": 2}, {"task": quiet_task(max_tilt=0.0)})
    assert len({identity(), *(identity(**change) for change in changes)}) == 6
    env = build()
    env.step(actions(1)[0])
    assert json.dumps(env.identity(), sort_keys=True) == identity()
