"""Small real ensembles for tests on a pretended device, and what makes a CPU compute as a device does."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.gru import GRU
from rwmu.dynamics.world_model import WorldModel, build_ensemble
from tests.fakes import anymal_d


def small_world_model(episodes: Episodes, kind: str, members: int = 3, history: int = 4, **options: Any) -> WorldModel:
    """Return an untrained ensemble, frozen, with the normaliser of the episodes."""
    robot = anymal_d()
    architecture = {"kind": kind, "state_dim": 45, "action_dim": 12, "contact_dim": 8, "num_members": members, **options}
    architecture = {"hidden_size": 8, "num_layers": 2, "head_hidden_size": 8} | architecture
    normalizer, layout = Normalizer.fit(episodes.state, robot.state_layout), robot.state_layout.describe()
    return WorldModel(build_ensemble(architecture), normalizer, history, robot.name, layout, "", architecture).freeze()


def step_as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the GRU advance on the CPU as it does elsewhere, where it has no step in place: the same but for rounding."""

    def step(self: GRU, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        output, new = self.sequence(x.unsqueeze(1), hidden)
        return output[:, 0], new

    monkeypatch.setattr(GRU, "step", step)
