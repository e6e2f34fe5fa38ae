"""A robot that the package was not written around: Unitree's Go1 goes all the way, from one file and one YAML."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rwmu.data.formats import hdf5
from rwmu.policy.rsl_rl import PpoSettings, build_actor, save_checkpoint
from rwmu.robots.go1 import go1
from tests.conftest import Command, collected

LEVELS = {"random", "stand", "poor", "medium", "good", "expert"}


@pytest.fixture
def small(shared_data: Path, smoke: list[str]) -> list[str]:
    settings = [
        *(o for o in smoke if not o.startswith(("data.path", "evaluation.cache"))),
        *(
            "task=go1_flat",
            "task.episode_length_s=1.5",
            "data.num_transitions=3000",
            f"data.path={shared_data}/go1.h5",
            "data=random",
        ),
    ]
    collected(shared_data / "go1.h5", settings)
    return settings


@pytest.mark.usefixtures("undrawn", "brief")
def test_another_robot_is_collected_fitted_dreamt_of_deployed_and_reported(
    command: Command, small: list[str], workplace: Path, shared_data: Path
) -> None:
    done = command("train", "+experiment=mopo_ensemble5", *small)
    assert done.status == 0, done.err
    episodes = hdf5.load(shared_data / "go1.h5", go1())
    assert (episodes.attributes["robot"], set(episodes.levels)) == ("go1", {"random"})
    assert episodes.contact.shape[1] == 12
    run = workplace / "runs" / "latest"
    assert (run / "report.html").is_file()
    report = json.loads((run / "report.json").read_text())
    assert report["deployment"]["deterministic"]["num_episodes"] == 4
    assert set(report["deployment"]["behaviour"]) == LEVELS
    assert 0.0 <= report["imagination"]["fall_fraction"] <= 1.0
    assert report["dynamics"]["num_members"] == 5


def test_its_data_lie_beside_those_of_another_robot(command: Command, small: list[str], workplace: Path) -> None:
    settings = [setting for setting in small if not setting.startswith(("data", "task="))]
    for task in ("anymal_d_flat", "go1_flat"):
        done = command("collect", *settings, f"task={task}", "data=mixed", "data.num_transitions=900")
        assert done.status == 0, done.err
    assert len(list((workplace / "data").glob("*.h5"))) == 2


def test_policies_of_ones_own_collect(command: Command, workplace: Path) -> None:
    model = build_actor(PpoSettings(hidden_dims=(16,)), 48, 12)
    save_checkpoint(workplace / "model.pt", SimpleNamespace(save=lambda: {"actor_state_dict": model.state_dict()}), 0)  # type: ignore[arg-type]
    settings = ("task=go1_flat", "task.episode_length_s=0.3", "data.num_transitions=900", "machine.progress=false")
    done = command("collect", *settings, "data=policies", "+data.policies.walk=model.pt", "data.path=own.h5")
    assert done.status == 0, done.err
    episodes = hdf5.load(workplace / "own.h5", go1())
    assert {"walk", "random", "stand"} <= set(episodes.levels)
    assert list(episodes.attributes["policies"]) == ["walk"]
    for recipe, file, words in (("policies", "none.pt", "none.pt"), ("mixed", "model.pt", "data.policies")):
        failed = command("collect", *settings, f"data={recipe}", f"+data.policies.walk={file}", "data.path=other.h5")
        assert failed.status == 2
        assert words in failed.err
    assert not (workplace / "other.h5").exists()
