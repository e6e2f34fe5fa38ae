"""A finished run is opened: its model, its policy, its data; and what is missing is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from omegaconf import OmegaConf

from rwmu.errors import ConfigError, MissingExtraError
from rwmu.runs.folder import RunFolder
from rwmu.runs.opening import open_finished
from rwmu.view.opening import open_run
from rwmu.view.sources import Recorded
from tests.conftest import Trained


@pytest.fixture
def finished(trained: Trained) -> tuple[Any, RunFolder]:
    """Return the objects of a run that other tests have trained."""
    path = trained("+experiment=rwm_base", "stages=[data,dynamics,policy]")
    return open_finished(OmegaConf.create({"run": str(path), "trust": []}))


def no_simulator(*_: object, **__: object) -> None:
    raise MissingExtraError("It is not installed.")


def test_a_run_is_opened(finished: tuple[Any, RunFolder]) -> None:
    experiment, folder = finished
    live = open_run(experiment, folder, command=(0.25, 0.0, 0.0), restart_s=0.1)
    assert live.session.source is live.simulated
    assert next(iter(live.policies)) == "policy.pt"
    frames = [live.session.step() for _ in range(experiment.data.history + 2)]
    assert frames[-1].watched is not None
    assert frames[-1].row.command[0] == 0.25
    assert live.session.usual.next_disagreement.extreme == 0.0, "one member has no disagreement"
    assert live.session.usual.error.extreme > live.session.usual.error.median > 0.0

    experiment = replace(experiment, simulator=no_simulator)
    with pytest.raises(ConfigError, match="episode=0"):
        open_run(experiment, folder, restart_s=0.1)
    recorded = open_run(experiment, folder, episode=1, restart_s=0.1)
    assert (recorded.simulated, recorded.absent) == (None, "It is not installed.")
    assert isinstance(recorded.session.source, Recorded)
    assert recorded.recorded(0).episode == 0

    folder.policy.unlink()
    assert next(iter(open_run(experiment, folder, episode=0, restart_s=0.1).policies)) != "policy.pt"
    folder.world_model.unlink()
    with pytest.raises(ConfigError, match="world model"):
        open_run(experiment, folder)
