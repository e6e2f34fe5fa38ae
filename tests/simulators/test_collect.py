"""Collection: every row in its place, the same bits for the same seed, and what the recipe promises."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rwmu.data.episodes import Episodes
from rwmu.data.overlap import begin_alike
from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import STATE_LAYOUT, anymal_d
from rwmu.robots.go1 import go1
from rwmu.simulators.actors import ExactActor, NetworkActor
from rwmu.simulators.behaviour import RECIPES, CorrelatedNoise, Explorer, Recipe
from rwmu.simulators.collect import Collector, collect_dataset
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.random_streams import RandomStreams
from rwmu.tasks.velocity import VelocityTask

POLICIES: list[Path] = []
BUSY = Recipe({"bold": 0.5, "timid": 0.5}, switching=0.5, switch_interval_s=0.2, falls=0.3, burst_levels=("bold",), rest_s=0.2)


@pytest.fixture(scope="module", autouse=True)
def _small_policies(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Write two small networks in place of the shipped policies: tests of collection do not need a robot that walks."""
    POLICIES.append(tmp_path_factory.mktemp("policies"))
    for seed, (name, size) in enumerate({"timid": 0.02, "bold": 0.6}.items()):
        draws = np.random.default_rng(seed)
        layers = [(size * draws.normal(size=(48, 16)), np.zeros(16)), (size * draws.normal(size=(16, 12)), np.zeros(12))]
        ExactActor.round(layers, np.full(12, size)).save(POLICIES[-1] / f"{name}.npz")
    (POLICIES[-1] / "levels.json").write_text('[{"name": "timid"}, {"name": "bold"}]')


def task(episode_s: float = 0.8) -> VelocityTask:
    return VelocityTask(anymal_d(), episode_length_s=episode_s, command_resample_s=0.3)


def collected(
    number: int = 1600, seed: int = 0, recipe: str | Recipe = BUSY, on: VelocityTask | None = None, **simulator: Any
) -> Episodes:
    make_env = partial(MujocoEnv, **simulator)
    return collect_dataset(make_env, on or task(), recipe, number, seed=seed, policies=POLICIES[-1])


def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads() -> None:
    reference = collected()
    assert collected().content_hash() == reference.content_hash()
    assert collected(num_threads=2).content_hash() == reference.content_hash()
    assert collected(seed=1).content_hash() != reference.content_hash()


def test_a_longer_collection_with_the_same_seed_has_the_episodes_of_a_shorter_one() -> None:
    shorter, longer, other = collected(1600), collected(2100), collected(2100, seed=1)
    assert shorter.content_hash() != longer.content_hash()
    ids = torch.arange(shorter.num_episodes)
    assert begin_alike(shorter, ids, longer, torch.arange(longer.num_episodes)).float().mean() > 0.5
    assert not begin_alike(shorter, ids, other, torch.arange(other.num_episodes)).any()


def test_the_number_of_transitions_is_reached_at_any_size() -> None:
    for number in (1, 39, 1601):
        episodes = collected(number)
        transitions = episodes.num_rows - episodes.num_episodes
        assert number <= transitions < number + 256


def test_episodes_begin_after_a_reset_and_end_by_fall_or_time_out() -> None:
    episodes = collected(2000)
    first, last = episodes.offsets, episodes.offsets + episodes.lengths - 1
    for name in ("action", "reward", "contact", "termination"):
        assert not getattr(episodes, name)[first].any(), name
    speed = STATE_LAYOUT["joint_vel"]
    assert episodes.state[first, speed].abs().max() < 1e-6  # joints are at rest after a reset, and only then
    assert (episodes.state[first + 1][:, speed].abs().amax(-1) > 1e-3).all()
    assert episodes.termination.sum() == episodes.termination[last].sum()
    assert int(episodes.lengths.max()) == 41  # 40 steps and the row they start from
    assert len(set(episodes.seeds.tolist())) == episodes.num_episodes


def test_actions_stand_in_the_row_of_the_state_that_they_produced() -> None:
    """Replay an episode's actions from its first state: only this pairing reproduces the rest."""
    calm = Recipe({"bold": 1.0}, noise_scales=(1.0,))
    episodes = collected(60, 3, calm, task(20.0))
    env = MujocoEnv(task(20.0), 1, seed=3)
    assert torch.equal(env.state[0], episodes.state[0])
    for row in range(1, 30):
        command = env.memory.command[0].float()
        assert torch.equal(command, episodes.command[row - 1])
        env.step(episodes.action[row : row + 1])
        assert torch.equal(env.final_state[0], episodes.state[row])
        assert torch.equal(env.final_contact[0], episodes.contact[row])
        assert torch.equal(env.last_reward.total[0], episodes.reward[row])


def test_switched_episodes_are_labelled_and_the_others_are_not() -> None:
    episodes = collected(3000)
    assert set(episodes.levels) == {"bold", "timid", "mixed"}
    never = collected(2000, recipe=dataclasses.replace(BUSY, switching=0.0))
    assert "mixed" not in never.levels


def test_action_noise_follows_the_recipe() -> None:
    quiet = collected(2000, recipe=Recipe({"timid": 1.0}, noise_scales=(0.0,)))
    loud = collected(2000, recipe=Recipe({"timid": 1.0}, noise_scales=(10.0,)))
    assert loud.action.std() > 4 * quiet.action.std()


def test_falls_become_frequent_where_the_recipe_asks_for_them() -> None:
    calm = Recipe({"timid": 1.0, "bold": 0.0}, noise_scales=(0.0,))
    stormy = dataclasses.replace(calm, falls=1.0, burst_levels=("timid",), burst_scale=(60.0, 80.0), burst_s=1.0, rest_s=0.1)
    rates = [collected(2000, recipe=recipe, on=task(2.0)).termination.float().mean() for recipe in (calm, stormy)]
    assert rates[0] == 0.0
    assert rates[1] > 3e-4


def test_a_diverged_simulation_leaves_no_false_row(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MujocoEnv.step

    def disturbed(self: MujocoEnv, actions: torch.Tensor) -> Any:
        if int(self.episode_length_buf[0]) == 15:
            self.physics.qvel[0, 6:] = 1e12
        return original(self, actions)

    monkeypatch.setattr(MujocoEnv, "step", disturbed)
    episodes = collected(400)
    assert episodes.attributes["num_diverged"] == 2
    assert torch.isfinite(episodes.state).all()
    assert 16 in episodes.lengths.tolist()  # 15 steps were sound
    repeated = (episodes.state[1:] == episodes.state[:-1]).all(-1)
    assert not repeated.any()


def test_a_policy_acts_alone_and_each_collection_begins_anew() -> None:
    def timid(observation: torch.Tensor) -> torch.Tensor:
        return 0.1 * observation[:, :12]

    whole, parts = (Collector(MujocoEnv(task(), 4, seed=2), seed=2) for _ in range(2))
    first = parts.collect(timid, 200)
    assert first.content_hash() == whole.collect(timid, 200).content_hash()
    second = parts.collect(timid, 150, {"round": 2})
    assert set(first.levels) == {"policy"}
    assert not set(first.seeds.tolist()) & set(second.seeds.tolist())
    assert not begin_alike(first, torch.arange(first.num_episodes), second, torch.arange(second.num_episodes)).any()
    assert second.num_rows - second.num_episodes == 152
    assert (second.attributes["round"], second.attributes["robot"]) == (2, "anymal_d")
    assert not second.action[second.offsets].any()
    assert second.state[second.offsets][:, STATE_LAYOUT["joint_vel"]].abs().max() < 1e-6


def test_noise_that_lasts_is_standard_normal_and_correlated_as_asked() -> None:
    noise = CorrelatedNoise(64, 12, 0.02, RandomStreams(3))
    noise.begin(np.arange(64), np.repeat([0.0, 0.18], 32))  # rho 0 and 0.9
    rows = np.stack([noise.draw(tick) for tick in range(400)])[60:]
    for half, rho in ((rows[:, :32], 0.0), (rows[:, 32:], 0.9)):
        assert half.std() == pytest.approx(1.0, abs=0.03)
        assert (half[1:] * half[:-1]).mean() == pytest.approx(rho, abs=0.03)


def test_noise_that_swings_is_standard_normal_and_turns_with_its_period() -> None:
    noise = CorrelatedNoise(64, 12, 0.02, RandomStreams(3))
    noise.begin(np.arange(64), np.full(64, 0.98), np.repeat([0.4, 0.8], 32))  # rho 0.98
    rows = np.stack([noise.draw(tick) for tick in range(1400)])[200:]
    for half, period in ((rows[:, :32], 20), (rows[:, 32:], 40)):
        assert half.std() == pytest.approx(1.0, abs=0.05)
        for share in (0.5, 1.0):  # of a period, after which it is opposite and alike
            lag = int(share * period)
            expected = 0.98**lag * (1.0 if share == 1.0 else -1.0)
            assert (half[lag:] * half[:-lag]).mean() == pytest.approx(expected, abs=0.06)


def test_white_noise_is_that_of_the_streams_alone() -> None:
    noise, random = CorrelatedNoise(4, 12, 0.02, RandomStreams(3)), RandomStreams(3)
    noise.begin(np.arange(4), np.zeros(4))
    for tick in range(3):
        assert np.array_equal(noise.draw(tick), random.normal("action", tick, np.arange(4), 12))


def test_an_explorer_acts_as_noisily_as_its_episodes_were_drawn() -> None:
    def still(observation: torch.Tensor) -> torch.Tensor:
        return torch.full((len(observation), 12), 0.25)

    explorer = Explorer(still, torch.full((12,), 0.1), (0.0, 2.0), 0.0, 200, 0.02, RandomStreams(5))
    explorer.begin(np.arange(200), 0)
    actions = torch.stack([explorer.act(torch.zeros(200, 48), tick) for tick in range(50)])
    spread = actions.std(dim=(0, 2))
    quiet = spread < 1e-6
    assert 60 < int(quiet.sum()) < 140
    assert spread[~quiet].mean() == pytest.approx(0.2, rel=0.05)
    assert actions.mean() == pytest.approx(0.25, abs=0.01)
    assert actions.dtype == torch.float32


def test_exploration_needs_no_shipped_policy() -> None:
    on = VelocityTask(go1(), episode_length_s=0.8, command_resample_s=0.3)
    episodes = collect_dataset(MujocoEnv, on, "exploration", 1600)
    assert set(episodes.levels) == {"random", "stand"}
    assert episodes.content_hash() == collect_dataset(partial(MujocoEnv, num_threads=2), on, "exploration", 1600).content_hash()


def test_a_robot_without_shipped_policies_is_collected_by_what_it_has() -> None:
    on = VelocityTask(dataclasses.replace(go1(), name="newcomer"), episode_length_s=0.8, command_resample_s=0.3)
    mixture = Recipe({"random": 0.5, "stand": 0.5}, switching=0.5, switch_interval_s=0.2)
    for recipe, levels in (("random", {"random"}), (mixture, {"random", "stand", "mixed"})):
        episodes = collect_dataset(MujocoEnv, on, recipe, 1600)
        assert set(episodes.levels) == levels
        assert (episodes.contact.shape[1], episodes.attributes["robot"]) == (12, "newcomer")
    with pytest.raises(ConfigError) as error:
        collect_dataset(MujocoEnv, on, "mixed", 1600)
    assert all(word in str(error.value) for word in ("'poor'", "newcomer", "random, stand"))


def test_user_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="0 transitions"):
        collected(0)
    with pytest.raises(ConfigError, match=r"'mixd'.*'mixed'"):
        collected(100, recipe="mixd")


def test_recipes_name_shipped_levels() -> None:
    shipped = {"random", "stand", "poor", "medium", "good", "expert"}
    for recipe in RECIPES.values():
        assert set(recipe.levels) <= shipped
        assert recipe.falls == 0.0 or set(recipe.burst_levels) <= set(recipe.levels)


# -- policies that somebody gives ---------------------------------------------------------------------------------------------


class Bold:
    """Ask for postures far from the default, all joints alike."""

    std = np.full(12, 0.1)

    def mean(self, observation: Any) -> Any:
        return np.full((len(observation), 12), 0.4)


def test_given_policies_are_mixed_with_what_any_robot_can_do() -> None:
    given = {"walk": Bold(), "run": Bold()}
    on = VelocityTask(go1(), episode_length_s=0.2)
    episodes = collect_dataset(MujocoEnv, on, "policies", 1200, given=given)
    assert {"walk", "run", "random", "stand"} <= set(episodes.levels)
    assert episodes.attributes["recipe"] == "policies"
    acted = episodes.action[
        torch.isin(episodes.episode_of_row, torch.tensor([i for i, n in enumerate(episodes.levels) if n == "walk"]))
    ]
    assert (acted[1:].mean() - 0.4).abs() < 0.1


def test_policies_must_be_given_and_named_unlike_ours() -> None:
    on = VelocityTask(go1(), episode_length_s=0.2)
    with pytest.raises(ConfigError, match=r"data\.policies"):
        collect_dataset(MujocoEnv, on, "policies", 100)
    for name in ("stand", "mixed"):
        with pytest.raises(ConfigError, match=name):
            collect_dataset(MujocoEnv, on, "policies", 100, given={name: Bold()})


def test_a_networks_actions_are_those_of_its_policy() -> None:
    actor = NetworkActor(lambda rows: 2.0 * rows[:, :3], np.ones(3))
    np.testing.assert_allclose(actor.mean(np.arange(8.0).reshape(2, 4)), [[0.0, 2.0, 4.0], [8.0, 10.0, 12.0]])
