"""Every choice of the world model, from the command: it trains, saves, and a policy is optimised inside what was saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rwmu.dynamics.fit import ODDS_RATIO
from rwmu.dynamics.world_model import WorldModel
from tests.conftest import Command, Trained

# What does not exclude each other is tried together; a separate base with the published objective is tests/test_commands.py's.
OPTIONS = {
    "mlp, teacher forcing": ["dynamics=mlp", "trainer.loss.feedback=truth", "data.bootstrap=none"],
    "separate base, priors": [
        "dynamics=independent",
        "dynamics.auxiliary_base=separate",
        "dynamics.skip=false",
        "dynamics.learn_bounds=true",
        "dynamics.prior_scale=0.5",
        "trainer.loss.weights.bound=1.0",
    ],
    "priors, beta": [
        "dynamics=shared",
        "dynamics.prior_scale=0.5",
        "trainer.loss.state_loss=beta_nll",
        "data.bootstrap=weights",
    ],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_trained_and_dreamt_in(name: str, workplace: Path, smoke: list[str], command: Command) -> None:
    outcome = command("train", *smoke, "dynamics.num_members=2", *OPTIONS[name], "stages=[data,dynamics,policy]")
    assert outcome.status == 0, outcome.err
    checkpoints = workplace / "runs" / "latest" / "checkpoints"
    model = WorldModel.load(checkpoints / "dynamics.pt")
    for option in OPTIONS[name]:
        key, value = option.split("=")
        if key.startswith("dynamics."):
            assert str(model.dynamics.arguments[key.removeprefix("dynamics.")]).lower() == value
    assert (checkpoints / "policy.pt").is_file()


@pytest.mark.parametrize("model", ["rssm", "transformer"])
def test_every_baseline_is_trained_and_dreamt_in(model: str, workplace: Path, smoke: list[str], command: Command) -> None:
    outcome = command("train", *smoke, f"dynamics={model}", "dynamics.num_members=2", "stages=[data,dynamics,policy]")
    assert outcome.status == 0, outcome.err
    checkpoints = workplace / "runs" / "latest" / "checkpoints"
    kind = WorldModel.load(checkpoints / "dynamics.pt").architecture["kind"]
    assert kind == model
    assert (checkpoints / "policy.pt").is_file()


def test_a_frozen_auxiliary_branch_stays_as_the_start_has_it(
    workplace: Path, smoke: list[str], command: Command, trained: Trained
) -> None:
    separate = ["dynamics=shared", "dynamics.num_members=2", "dynamics.auxiliary_base=separate"]
    start = trained(*separate, "stages=[data,dynamics]") / "checkpoints" / "dynamics.pt"
    frozen = [f"trainer.start_from={start}", "trainer.freeze_auxiliary=true", "seed=3"]
    outcome = command("train", *smoke, *separate, *frozen, "stages=[data,dynamics]")
    assert outcome.status == 0, outcome.err
    before, after = (
        WorldModel.load(path).dynamics.state_dict()
        for path in (start, workplace / "runs" / "latest" / "checkpoints" / "dynamics.pt")
    )
    auxiliary = [name for name in before if name.startswith(("auxiliary_base", "contact_head", "termination_head"))]
    assert auxiliary
    assert all(torch.equal(before[name], after[name]) for name in auxiliary)
    assert not torch.equal(before["state_base.weight_hh.0"], after["state_base.weight_hh.0"])


def test_terminations_are_not_made_rarer_by_every_further_training(
    workplace: Path, smoke: list[str], command: Command, trained: Trained
) -> None:
    """Batches show falls more often than they are, and the head is put right after training: once, not once a training."""
    shown = ["data.endings=0.25", "dynamics.num_members=2", "stages=[data,dynamics]"]
    start = trained(*shown) / "checkpoints" / "dynamics.pt"
    hardly = ["trainer.optimizer.learning_rate=1e-9", "trainer.optimizer.weight_decay=0", f"trainer.start_from={start}"]
    outcome = command("train", *smoke, *shown, *hardly)
    assert outcome.status == 0, outcome.err
    before, after = (WorldModel.load(path) for path in (start, workplace / "runs" / "latest" / "checkpoints" / "dynamics.pt"))
    assert before.training[ODDS_RATIO] == after.training[ODDS_RATIO] > 2.0
    bias = "termination_head.bias_output"
    torch.testing.assert_close(before.dynamics.state_dict()[bias], after.dynamics.state_dict()[bias], atol=1e-4, rtol=0.0)


def test_freezing_needs_a_start(smoke: list[str], command: Command) -> None:
    outcome = command("train", *smoke, "trainer.freeze_auxiliary=true", "stages=[dynamics]")
    assert outcome.status == 2
    assert "trainer.start_from must say whose" in outcome.err
