"""MBPO-PPO as a user meets it: rounds that are told, resumed to the last bit, tuned from what there is, refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rwmu.algorithms.mbpo_ppo import MbpoPpo
from rwmu.algorithms.online import Collection, Growth, Schedule
from rwmu.dynamics.module import DynamicsModule
from rwmu.errors import ConfigError, DataError
from rwmu.imagination.env import ImaginedEnv
from rwmu.policy.rsl_rl import PpoSettings, new_actor
from rwmu.robots.anymal_d import anymal_d
from rwmu.runs.checks import check_experiment
from rwmu.runs.configuration import compose_config
from rwmu.runs.experiment import build
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask
from tests.conftest import Command, collected
from tests.fakes import known_world_model, random_episodes

ROUNDS = [
    "algorithm.schedule.rounds=2",
    "algorithm.schedule.warmup_rounds=0",
    "algorithm.schedule.replay=2000",
    "algorithm.schedule.measure_every=2",
    "algorithm.schedule.measure_envs=3",
    "algorithm.schedule.curious_rounds=1",
    "algorithm.schedule.least_std=0.3",
    "algorithm.collection.num_transitions=600",
    "algorithm.collection.num_envs=6",
    "algorithm.collection.correlation_s=0.1",
    "+algorithm.collection.simulator.push={_target_:rwmu.simulators.mujoco.Push,speed:0.5,interval_s:1.0}",
    "algorithm.growth.horizon_steps=[4,12]",
    "algorithm.growth.updates=[2,3]",
]


@pytest.fixture
def online(smoke: list[str], shared_data: Path) -> list[str]:
    """Return the overrides of a small online run."""
    shrunk = [
        *(o for o in smoke if "data.path" not in o),
        f"data.path={shared_data}/exploration.h5",
        "data.num_transitions=2500",
        "dynamics.num_members=2",
    ]
    collected(shared_data / "exploration.h5", ["+experiment=mbpo_ppo", *shrunk, *ROUNDS])
    return ["+experiment=mbpo_ppo", *shrunk, *ROUNDS]


def diary(run: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads((run / "measured/rounds.json").read_text())["rounds"]
    return records


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a run's world model and policy."""
    policy = torch.load(run / "checkpoints/policy.pt", weights_only=True)["actor_state_dict"]
    model = torch.load(run / "checkpoints/dynamics.pt", weights_only=True)["state_dict"]
    return {**policy, **model}


def test_rounds_go_from_first_data_to_a_report(
    workplace: Path, command: Command, online: list[str], undrawn: None, brief: None
) -> None:
    outcome = command("train", *online)
    assert outcome.status == 0, outcome.err
    run = (workplace / "runs/latest").resolve()
    first, second = diary(run)
    assert (first["transitions"], second["transitions"]) == (600, 600)
    assert second["real_transitions"] - first["real_transitions"] == 600
    assert first["forecast_error"] == {}, "no model was there to forecast the first round"
    assert second["forecast_error"]["1"] > 0.0
    assert (first["updates"], first["horizon_steps"], first["iterations"]) == (2, 4, 2)
    assert second["iterations"] == 2 + second["updates"]
    assert 0.0 <= second["deployed"]["track_lin_vel_xy"] <= 1.0
    assert "deployed" not in first
    assert 0.0 < first["seconds"] < second["seconds"]
    report = json.loads((run / "report.json").read_text())
    assert report["rounds"] == diary(run)
    card = json.loads((run / "run_card.json").read_text())
    assert card["data_hash"] == report["dataset"]["hash"], "the card names what the run began with"
    evaluated = command("evaluate", "evaluation.num_envs=2")
    assert evaluated.status == 0, evaluated.err


@contextmanager
def interrupted(owner: type, name: str, at: int) -> Iterator[None]:
    """Interrupt the ``at``-th call of a method."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, counted)
        yield


def test_a_run_that_is_interrupted_everywhere_ends_with_the_same_bits(
    workplace: Path, command: Command, online: list[str], undrawn: None
) -> None:
    arguments = (*online, "stages=[data,dynamics,policy]")
    assert command("train", *arguments).status == 0
    whole = (workplace / "runs/latest").resolve()
    begin = ("train", *arguments)
    places = [
        (DynamicsModule, "training_step", 3),  # within the first fit
        (ImaginedEnv, "step", 12),  # within the first improvement, after its first iteration
        (MujocoEnv, "step", 50),  # within the second collection
        (DynamicsModule, "training_step", 3),  # within the second fit, after a checkpoint
        (MbpoPpo, "improve", 1),  # between two steps
        (ImaginedEnv, "step", 12),
    ]
    for owner, name, at in places:
        with interrupted(owner, name, at):
            stopped = command(*begin)
        assert stopped.status == 130, (owner, name, stopped.err)
        begin = ("train", "resume=runs/latest")
    assert command(*begin).status == 0
    parts = (workplace / "runs/latest").resolve()
    assert parts != whole
    expected, found = weights(whole), weights(parts)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    untimed = [[{k: v for k, v in record.items() if k != "seconds"} for record in diary(run)] for run in (whole, parts)]
    assert untimed[0] == untimed[1]


def test_a_model_of_other_data_and_a_policy_are_tuned(workplace: Path, command: Command, online: list[str], undrawn: None) -> None:
    short = (*online, "stages=[data,dynamics,policy]", "algorithm.schedule.rounds=1")
    assert command("train", *short).status == 0
    given = (workplace / "runs/latest").resolve() / "checkpoints"
    start = [f"trainer.start_from={given}/dynamics.pt", f"policy.checkpoint={given}/policy.pt"]
    outcome = command("train", *short, "seed=1", *start)
    assert outcome.status == 0, outcome.err
    (record,) = diary((workplace / "runs/latest").resolve())
    assert record["forecast_error"]["1"] > 0.0, "the model that is given forecasts the first round"
    assert record["iterations"] == record["updates"], "what the policy had before does not count"


def test_one_member_and_no_penalty_is_base_rwm(workplace: Path, command: Command, online: list[str], undrawn: None) -> None:
    base = ["dynamics.num_members=1", "penalty=none", "penalty.weight=0.0", "stages=[data,dynamics,policy]"]
    short = ["algorithm.schedule.curious_rounds=0", "algorithm.schedule.rounds=1"]
    outcome = command("train", *[o for o in online if "num_members" not in o], *base, *short)
    assert outcome.status == 0, outcome.err


def test_a_simulator_that_diverges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MujocoEnv.step

    def diverging(env: MujocoEnv, actions: torch.Tensor) -> Any:
        result = original(env, actions)
        if env._tick % 10 == 0:
            env.diverged[:] = True
            return (*result[:2], torch.ones(env.num_envs, dtype=torch.bool), result[3])
        return result

    task = VelocityTask(anymal_d())
    policy = new_actor(PpoSettings(hidden_dims=(8,)), task, 0)
    collection = Collection(num_transitions=90, num_envs=3)
    assert collection.collect(partial(MujocoEnv, task), policy, seed=0).num_rows == 93
    monkeypatch.setattr(MujocoEnv, "step", diverging)
    with pytest.raises(DataError, match="diverged in 9 of 12"):
        collection.collect(partial(MujocoEnv, task), policy, seed=0)


WRONG = {
    "algorithm.schedule.rounds=0": "algorithm.schedule.rounds",
    "algorithm.schedule.warmup_rounds=60": "warmup_rounds",
    "algorithm.schedule.replay=10": "algorithm.schedule.replay",
    "algorithm.collection.noise_scales=[-1]": "noise_scales",
    "algorithm.growth.horizon_steps=[20,10]": "horizon_steps",
    "algorithm.growth.updates=[0,10]": "updates",
    "algorithm.growth.trusted_error=0": "trusted_error",
    "stages=[data,dynamics]": "policy",
    "policy.init=clone": "critic_warmup_iterations",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_value_is_named_before_anything_is_collected(override: str) -> None:
    with pytest.raises(ConfigError, match=WRONG[override]):
        check_experiment(build(compose_config("train", ["+experiment=mbpo_ppo", override])))


def test_finished_parts_are_where_an_online_run_starts(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"trainer\.start_from"):
        check_experiment(build(compose_config("train", ["+experiment=mbpo_ppo", f"trainer.checkpoint={tmp_path}/model.pt"])))


def test_dreams_and_updates_grow_with_trust() -> None:
    growth = Growth(horizon_steps=(10, 50), updates=(4, 24))
    assert growth.allowed(0) == {"horizon_steps": 10, "updates": 4}
    assert growth.allowed(25) == {"horizon_steps": 25, "updates": 14}
    assert growth.allowed(99) == {"horizon_steps": 50, "updates": 24}


def test_a_model_is_trusted_for_as_long_as_its_forecasts_stay_close() -> None:
    episodes, sharp = random_episodes([40, 40, 5]), Growth(trusted_error=1e-6, horizon_steps=(1, 20))
    blunt = Growth(trusted_error=1e6, horizon_steps=(1, 20))
    model = known_world_model(2)
    assert sharp.judge(model, episodes)["trusted_steps"] == 0
    found = blunt.judge(model, episodes)
    assert found["trusted_steps"] == 20
    assert set(found["forecast_error"]) == {"1", "8"}
    assert blunt.judge(None, episodes) == {"forecast_error": {}, "trusted_steps": 0}
    assert blunt.judge(model, random_episodes([4, 3])) == {"forecast_error": {}, "trusted_steps": 0}, "shorter than a history"


def test_the_schedule_says_what_happens_when() -> None:
    schedule = Schedule(rounds=7, warmup_rounds=1, curious_rounds=2, measure_every=3)
    assert [schedule.is_curious(n) for n in (2, 3, 4)] == [True, True, False]
    assert [n for n in range(1, 8) if schedule.measures(n)] == [3, 6, 7]
    assert not Schedule(measure_every=0).measures(60)
