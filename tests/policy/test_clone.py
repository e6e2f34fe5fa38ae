"""Behaviour cloning: the right pairs, the right episodes, and a known policy learnt."""

from dataclasses import replace

import pytest
import torch

from rwmu.errors import ConfigError, DataError
from rwmu.policy.clone import CloneSettings, best_episodes, clone_actor, demonstrations, merit
from rwmu.policy.rsl_rl import PpoSettings, action_mean, actor_std, build_actor
from rwmu.tasks.velocity import VelocityTask, observation_layout
from tests.fakes import anymal_d, quiet_task, random_episodes


def test_pairs_follow_the_action_time_convention():
    episodes = random_episodes([4, 3, 5])
    numbers = torch.arange(12.0)[:, None]
    first = torch.tensor([0, 4, 7])
    action = numbers.expand(-1, 12).clone()
    action[first] = 0.0
    episodes = replace(episodes, state=numbers.expand(-1, 45), action=action, command=numbers.expand(-1, 3))
    pairs = demonstrations(episodes, torch.tensor([0, 2]))
    assert pairs.state[:, 0].tolist() == pairs.command[:, 0].tolist() == [0, 1, 2, 7, 8, 9, 10]
    assert pairs.last_action[:, 0].tolist() == [0, 1, 2, 0, 8, 9, 10]
    assert pairs.action[:, 0].tolist() == [1, 2, 3, 8, 9, 10, 11]


def rated(rates, speeds, lengths=None, terminated=()):
    """Return episodes with a constant reward a step and a constant forward command."""
    lengths = lengths or [101] * len(rates)
    episodes = random_episodes(lengths, terminated=tuple(terminated))
    reward = torch.tensor(rates)[episodes.episode_of_row]
    reward[episodes.offsets] = 0.0
    command = torch.zeros(episodes.num_rows, 3)
    command[:, 0] = torch.tensor(speeds)[episodes.episode_of_row]
    return replace(episodes, reward=reward, command=command)


def test_merit_is_judged_against_what_the_commands_allow():
    # Good and bad policies at nine speeds; reward falls with speed, by more than the policies differ.
    speeds = [i / 8 for i in range(9)] * 2
    rates = [1.0 - speed + (0.1 if i < 9 else -0.1) for i, speed in enumerate(speeds)]
    episodes = rated(rates, speeds)
    chosen = best_episodes(episodes, torch.arange(18), CloneSettings(fraction=0.5))
    assert chosen.tolist() == list(range(9))
    torch.testing.assert_close(merit(episodes), torch.tensor([0.1] * 9 + [-0.1] * 9, dtype=torch.float64), rtol=0.01, atol=1e-4)


def test_merit_is_judged_by_the_given_episodes_alone() -> None:
    episodes, ids = random_episodes([61] * 8), torch.arange(6)
    others = replace(episodes, reward=torch.where(episodes.episode_of_row < 6, episodes.reward, 5.0 * episodes.reward))
    assert torch.equal(merit(others, ids)[ids], merit(episodes, ids)[ids])


def test_merit_does_not_depend_on_the_sign_of_a_command() -> None:
    episodes = random_episodes([61] * 8)
    signs = torch.randint(2, episodes.command.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    torch.testing.assert_close(merit(replace(episodes, command=episodes.command * signs)), merit(episodes))


def test_a_fall_counts_for_the_steps_it_cost():
    episodes = rated([1.0, 1.0, 0.8], [0.5] * 3, lengths=[101, 61, 101], terminated=[1])
    assert merit(episodes).argsort(descending=True).tolist() == [0, 2, 1]


def test_short_episodes_are_left_out():
    episodes = rated([1.0, 9.0], [0.5, 0.5], lengths=[101, 20])
    assert best_episodes(episodes, torch.arange(2), CloneSettings(fraction=0.5)).tolist() == [0]
    with pytest.raises(DataError, match=r"policy\.clone\.minimum_steps"):
        best_episodes(episodes, torch.tensor([1]), CloneSettings())


def test_the_fraction_is_of_the_episodes_that_are_long_enough() -> None:
    episodes = rated([float(i) for i in range(10)], [0.5] * 10, lengths=[20] * 6 + [101] * 4)
    assert best_episodes(episodes, torch.arange(10), CloneSettings(fraction=0.5)).tolist() == [8, 9]


def test_an_episode_has_one_step_less_than_rows() -> None:
    episodes = rated([1.0, 1.0], [0.5, 0.5], lengths=[50, 51])
    assert best_episodes(episodes, torch.arange(2), CloneSettings(fraction=1.0, minimum_steps=50)).tolist() == [1]


def test_short_episodes_are_left_out_of_validation_however_good() -> None:
    episodes = rated([0.0, 9.0, 1.0], [0.5] * 3, lengths=[101, 50, 51])
    action = episodes.action.clone()
    action[152:] = torch.tensor([1.0, -1.0]).repeat(25)[:, None]  # a variance of 1 over the 50 steps, of 0 over the columns
    actor = build_actor(PpoSettings(hidden_dims=(8,)), 48, 12)
    settings = CloneSettings(fraction=1.0, minimum_steps=50, epochs=1)
    metrics = clone_actor(actor, replace(episodes, action=action), torch.tensor([0]), torch.tensor([1, 2]), quiet_task(), settings)
    assert metrics["action_variance"] == pytest.approx(1.0)


@pytest.mark.parametrize(("unknown", "words"), [(["command", "reward", "seeds"], "commands and rewards"), (["reward"], "rewards")])
def test_what_nobody_knows_is_not_cloned(unknown, words):
    task, episodes = quiet_task(), random_episodes([61] * 4)
    episodes = replace(episodes, attributes={**episodes.attributes, "unknown": unknown})
    actor = build_actor(PpoSettings(), task.num_observations, task.num_actions)
    with pytest.raises(DataError, match=rf"{words}.*policy=ppo\.$"):
        clone_actor(actor, episodes, torch.arange(2), torch.arange(2, 4), task)


def error_on(actor, task, pairs) -> float:
    observation = task.observe(pairs.state, pairs.command, pairs.last_action)
    return float((action_mean(actor, observation) - pairs.action).square().mean().detach())


def symmetric_gain():
    """Return a linear policy ``[12, 48]`` that commutes with every mirror, as the robot's symmetry asks."""
    robot = anymal_d()
    layout = observation_layout(robot)
    raw = 0.1 * torch.randn(12, 48, generator=torch.Generator().manual_seed(1))
    eye = torch.eye(48)
    images = [m.action((raw @ m.of(layout)(eye).T).T).T for m in robot.mirrors.values()]
    return torch.stack(images).mean(dim=0)


def test_a_clone_learns_a_known_policy():
    robot, task, gain = anymal_d(), quiet_task(), symmetric_gain()
    episodes = random_episodes([61] * 24)
    action = torch.zeros_like(episodes.action)
    for t in range(1, 61):
        rows = episodes.offsets + t
        action[rows] = task.observe(episodes.state[rows - 1], episodes.command[rows - 1], action[rows - 1]) @ gain.T
    episodes = replace(episodes, action=action)
    torch.manual_seed(0)
    actor = build_actor(PpoSettings(hidden_dims=(64,)), 48, 12)
    settings = CloneSettings(fraction=1.0, batch_size=128, epochs=40, learning_rate=3e-3, std=0.25)
    ids = torch.arange(24)
    metrics = clone_actor(actor, episodes, ids[:20], ids[20:], task, settings)
    assert metrics["validation_error"] < 0.02 * metrics["action_variance"]
    assert metrics["num_transitions"] == 1200
    torch.testing.assert_close(actor_std(actor), torch.full((12,), 0.25))
    pairs = demonstrations(episodes, ids[20:])
    assert error_on(actor, task, pairs) == pytest.approx(metrics["validation_error"], rel=1e-5)
    mirror, observation = robot.mirrors["left_right"], task.observe(pairs.state, pairs.command, pairs.last_action)
    mirrored = mirror.of(task.observation_layout)(observation)
    error = (action_mean(actor, mirrored) - mirror.action(pairs.action)).square().mean().detach()
    assert float(error) < 0.04 * metrics["action_variance"]


def test_errors_are_means_over_all_pairs() -> None:
    episodes, task, actor = random_episodes([61] * 3), quiet_task(), build_actor(PpoSettings(hidden_dims=(8,)), 48, 12)
    expected = error_on(actor, task, demonstrations(episodes, torch.arange(2)))
    # 120 pairs in batches of 50, 50 and 20, at a rate that changes nothing.
    settings = CloneSettings(fraction=1.0, epochs=1, batch_size=50, learning_rate=1e-12, mirror=False)
    metrics = clone_actor(actor, episodes, torch.arange(2), torch.tensor([2]), task, settings)
    assert metrics["train_error"] == pytest.approx(expected, rel=1e-5)
    assert metrics["validation_error"] == pytest.approx(
        error_on(actor, task, demonstrations(episodes, torch.tensor([2]))), rel=1e-5
    )


def test_noise_is_drawn_anew_for_every_training_batch_and_left_out_of_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    task, drawn = VelocityTask(anymal_d()), []
    observe = task.observe

    def spy(state, command, last_action, uniform=None):
        drawn.append(uniform)
        return observe(state, command, last_action, uniform)

    monkeypatch.setattr(task, "observe", spy)
    actor = build_actor(PpoSettings(hidden_dims=(8,)), 48, 12)
    settings = CloneSettings(fraction=1.0, epochs=2, batch_size=60)
    clone_actor(actor, random_episodes([61] * 3), torch.arange(2), torch.tensor([2]), task, settings)
    assert [None if uniform is None else tuple(uniform.shape) for uniform in drawn] == [(60, 48), (60, 48), None] * 2
    assert len({float(uniform[0, 0]) for uniform in drawn if uniform is not None}) == 4


def test_patience_counts_the_epochs_after_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rwmu.policy.clone._error", lambda *arguments: 1.0)
    actor = build_actor(PpoSettings(hidden_dims=(8,)), 48, 12)
    settings = CloneSettings(fraction=1.0, patience=3)
    metrics = clone_actor(actor, random_episodes([61] * 2), torch.tensor([0]), torch.tensor([1]), quiet_task(), settings)
    assert metrics["epochs"] == 1 + 3


def test_cloning_stops_when_validation_no_longer_improves_and_keeps_the_best_weights():
    episodes = random_episodes([101] * 5)  # noise: nothing to learn
    actor = build_actor(PpoSettings(hidden_dims=(32,)), 48, 12)
    settings = CloneSettings(fraction=1.0, epochs=200, patience=2, batch_size=64)
    metrics = clone_actor(actor, episodes, torch.arange(4), torch.tensor([4]), quiet_task(), settings)
    assert metrics["epochs"] < 100
    validation = demonstrations(episodes, torch.tensor([4]))
    assert error_on(actor, quiet_task(), validation) == pytest.approx(metrics["validation_error"], rel=1e-5)


def test_the_same_seed_clones_the_same():
    episodes = random_episodes([80] * 4)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        actor = build_actor(PpoSettings(hidden_dims=(8,)), 48, 12)
        settings = CloneSettings(fraction=1.0, epochs=2)
        clone_actor(actor, episodes, torch.arange(3), torch.tensor([3]), quiet_task(), settings, seed=5)
        results.append(actor.mlp[0].weight)
    assert torch.equal(*results)


@pytest.mark.parametrize(("name", "value"), [("fraction", 0.0), ("epochs", 0), ("std", -1.0)])
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"policy\.clone\.{name}"):
        CloneSettings(**{name: value})
