"""``import rwmu``: README's example runs as it stands, and what it promises of shapes holds."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import rwmu
from rwmu.errors import ConfigError, DataError
from rwmu.imagination.env import ImaginedEnv
from rwmu.measure.deployment import Deployment

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """Run README's example and return its names."""
    found = re.search(r"<!-- example -->\s*```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        exec(compile(found.group(1), "README.md", "exec"), names)
    return names


def test_the_example_of_the_readme_goes_from_data_to_a_deployed_policy(example: dict[str, Any]) -> None:
    model, forecast = example["model"], example["forecast"]
    assert forecast.mean.shape == (model.num_members, 1, 8, 45)
    assert forecast.part("base_lin_vel").shape == (model.num_members, 1, 8, 3)
    assert forecast.disagreement.shape == (1, 8, 45)
    assert float(forecast.disagreement.min()) > 0.0
    assert ((forecast.termination >= 0.0) & (forecast.termination <= 1.0)).all()
    assert isinstance(example["dream"], ImaginedEnv)
    assert example["policy"](example["dream"].get_observations()["policy"]).shape == (32, 12)
    deployed = rwmu.deploy(example["plan"], example["policy"])
    assert isinstance(deployed, Deployment)
    assert 0.0 <= deployed.summary()["track_lin_vel_xy"] <= 1.0
    assert str(len(deployed.fell)) in str(deployed)


def test_a_model_and_a_policy_are_those_of_the_files(example: dict[str, Any], tmp_path: Path) -> None:
    example["model"].save(tmp_path / "dynamics.pt")
    loaded = rwmu.load_world_model(tmp_path / "dynamics.pt")
    again = loaded.rollout(example["history"], example["future"].action)
    assert torch.equal(again.mean, example["forecast"].mean)


def test_a_folder_keeps_what_an_interrupted_step_goes_on_from(tmp_path: Path, example: dict[str, Any]) -> None:
    policy = rwmu.optimise(example["plan"], rwmu.imagine(example["plan"], example["model"], example["episodes"]), tmp_path)
    assert (tmp_path / "resume.pt").is_file()
    observation = example["dream"].get_observations()["policy"]
    assert torch.equal(policy(observation), rwmu.load_policy(tmp_path / "averaged.pt")(observation))


def test_mistakes_are_one_sentence(example: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="mopo_ensemble5"):
        rwmu.configure("+experiment=mopo_ensembl5")
    with pytest.raises(ConfigError, match="base_lin_vel"):
        example["forecast"].part("base_lin_vell")
    with pytest.raises(DataError, match="rows"):
        example["episodes"].window(0, 10**6)
    with pytest.raises(AttributeError, match="colect"):
        rwmu.colect  # noqa: B018


def test_no_name_is_that_of_a_command() -> None:
    """Whoever imports ``rwmu.train`` has the module under that name, whatever the API calls so."""
    modules = {path.stem for path in Path(rwmu.__file__).parent.iterdir()}
    assert not modules & set(importlib.import_module("rwmu.api").__all__)
