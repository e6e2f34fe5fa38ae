"""A new world model is one class of three verbs and one YAML, from the command to a deployed policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.interfaces import Dynamics, FollowsMembers, UnrollsFast
from tests.conftest import Command
from tests.linear_model import LinearEnsemble

pytestmark = pytest.mark.usefixtures("undrawn", "brief")

YAML = """
_target_: tests.linear_model.LinearEnsemble
_partial_: true
num_members: 5
noise: 0.1
"""


@pytest.fixture
def somebodys(workplace: Path) -> list[str]:
    """Return the overrides by which a command takes the model."""
    folder = workplace / "mine" / "dynamics"
    folder.mkdir(parents=True)
    (folder / "linear.yaml").write_text(YAML)
    return ["--config-dir=mine", "dynamics=linear", "dynamics.num_members=3"]


def test_it_satisfies_the_interface_and_no_more() -> None:
    model = LinearEnsemble(3, 2, 1, num_members=2, noise=0.1, seed=0)
    assert isinstance(model, Dynamics)
    assert not any(hasattr(model, name) for name in ("arguments", "num_bases", "state_head", "extension_dim"))
    assert not isinstance(model, (UnrollsFast, FollowsMembers))


def test_it_is_trained_saved_dreamt_in_and_deployed(somebodys: list[str], smoke: list[str], command: Command) -> None:
    outcome = command("train", *somebodys, *smoke)
    assert outcome.status == 0, outcome.err
    run = Path("runs/latest")
    saved = run / "checkpoints" / "dynamics.pt"
    assert isinstance(WorldModel.load(saved, LinearEnsemble).dynamics, LinearEnsemble)
    for others in (None, IndependentEnsemble):  # no file chooses a class
        with pytest.raises(CheckpointError, match="LinearEnsemble"):
            WorldModel.load(saved, others)
    assert (run / "report.html").is_file()


def test_a_finished_one_is_used_and_trained_on(somebodys: list[str], smoke: list[str], command: Command) -> None:
    assert command("train", *somebodys, *smoke, "stages=[data,dynamics]").status == 0
    fitted = Path("runs/latest").resolve() / "checkpoints" / "dynamics.pt"
    outcome = command("train", *somebodys, *smoke, "trainer.checkpoint=runs/latest/checkpoints/dynamics.pt", "stages=[policy]")
    assert outcome.status == 0, outcome.err  # although the link points at the new run by the time the model is read
    taken = OmegaConf.load("runs/latest/config.yaml").trainer.checkpoint
    assert Path(taken) == fitted
    outcome = command("train", *somebodys, *smoke, f"trainer.start_from={fitted}", "stages=[dynamics]")
    assert outcome.status == 0, outcome.err
    outcome = command("train", *somebodys, *smoke, f"trainer.checkpoint={fitted}", "stages=[policy]", "dynamics.noise=0.2")
    assert outcome.status == 2
    assert "noise" in outcome.err
    outcome = command("train", *somebodys, *smoke, f"trainer.start_from={fitted}", "trainer.freeze_auxiliary=true")
    assert outcome.status == 2
    assert "freeze" in outcome.err


def test_a_study_of_ones_own_is_taken_from_anywhere(somebodys: list[str], smoke: list[str], command: Command) -> None:
    folder = Path("mine/experiment")
    folder.mkdir()
    (folder / "mine.yaml").write_text("# @package _global_\ndefaults: [override /dynamics: linear]\nname: mine\n")
    outcome = command("train", "--config-dir", "mine", "+experiment=mine", *smoke, "stages=[data,dynamics]")
    assert outcome.status == 0, outcome.err
    assert "-mine-seed0" in str(Path("runs/latest").resolve())
    assert isinstance(WorldModel.load(Path("runs/latest/checkpoints/dynamics.pt"), LinearEnsemble).dynamics, LinearEnsemble)


def test_a_key_that_no_file_has_is_named_in_a_study_and_in_a_mapping(
    somebodys: list[str], smoke: list[str], command: Command
) -> None:
    folder = Path("mine/experiment")
    folder.mkdir()
    (folder / "mine.yaml").write_text("# @package _global_\nimagination: {horizon_stps: 3}\n")
    study, mapping = ("--config-dir", "mine", "+experiment=mine"), ("+trainer.loss.weights={sate: 1.0}",)
    for given, key in ((study, "imagination.horizon_stps"), (mapping, "trainer.loss.weights.sate")):
        outcome = command("train", *given, *smoke)
        assert outcome.status == 2
        assert key in outcome.err
        assert outcome.err.count("\n") == 1


def test_a_folder_that_is_not_there_is_named(smoke: list[str], command: Command, workplace: Path) -> None:
    outcome = command("train", "--config-dir=nowhere", "+experiment=mine", *smoke)
    assert outcome.status == 2
    assert "nowhere" in outcome.err
    assert outcome.err.count("\n") == 1
