"""What a run takes over stays what it was: its world model and its data; and measuring again finishes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from rwmu.data.episodes import Episodes
from rwmu.data.formats import hdf5
from rwmu.robots.anymal_d import anymal_d
from rwmu.runs.folder import RunFolder
from tests.conftest import Command, Trained

pytestmark = pytest.mark.usefixtures("undrawn", "brief")


@pytest.fixture
def fitted(trained: Trained) -> Path:
    """Return the folder of a run that has data and a world model."""
    return trained("+experiment=rwm_base", "stages=[data,dynamics]")


def test_a_given_world_model_stays_the_runs_own_whatever_becomes_of_the_file(
    fitted: Path, command: Command, smoke: list[str]
) -> None:
    given = fitted / "checkpoints" / "dynamics.pt"
    before = given.read_bytes()
    outcome = command("train", "+experiment=rwm_base", *smoke, "stages=[policy]", f"trainer.checkpoint={given}")
    assert outcome.status == 0, outcome.err
    run = fitted.parent / "latest"
    given.write_bytes(b"another model, or none")
    assert (run / "checkpoints" / "dynamics.pt").read_bytes() == before
    assert command("evaluate", f"run={run}", "evaluation.num_envs=2").status == 0


def in_reverse(episodes: Episodes) -> Episodes:
    return episodes.select(torch.arange(episodes.num_episodes).flip(0))


def test_a_run_does_not_go_on_with_other_data_than_it_began_with(fitted: Path, command: Command) -> None:
    config = RunFolder(fitted).config()
    whole, data = Path(config.data.path).read_bytes(), fitted.parent / "own.h5"
    data.write_bytes(whole)
    config.data.path = str(data)
    OmegaConf.save(config, fitted / "config.yaml")
    (fitted / "stages.json").write_text('{"finished": ["data"], "seconds": {}}')  # as if interrupted while it trained
    hdf5.save(in_reverse(hdf5.load(data, anymal_d())), data)
    outcome = command("train", f"resume={fitted}")
    assert outcome.status == 2
    assert "holds other data" in outcome.err
    assert "bring those back" in outcome.err
    data.write_bytes(whole)
    assert command("train", f"resume={fitted}").status == 0


def test_measuring_again_neither_finishes_a_stage_nor_takes_the_runs_time(fitted: Path, command: Command) -> None:
    before = json.loads((fitted / "stages.json").read_text())
    assert command("evaluate", f"run={fitted}").status == 0
    assert (fitted / "report.html").is_file()
    assert json.loads((fitted / "stages.json").read_text()) == before


def test_of_a_model_of_unknown_data_no_report_says_that_it_never_saw_the_episodes(
    fitted: Path, command: Command, smoke: list[str]
) -> None:
    path = fitted / "checkpoints" / "dynamics.pt"
    for known in (True, False):
        content = torch.load(path, weights_only=True)
        content["data_hash"] = content["data_hash"] if known else ""
        torch.save(content, path)
        stages = "stages=[data,dynamics,report]"
        outcome = command("train", "+experiment=rwm_base", *smoke, stages, f"trainer.checkpoint={path}")
        assert outcome.status == 0, outcome.err
        page = (fitted.parent / "latest" / "report.html").read_text()
        assert ("that the model never saw" in page, "may have seen some" in page) == (known, not known)
