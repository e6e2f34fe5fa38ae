"""A world model that has left Python dreams what it dreamt, whatever its backbone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.rssm import RSSMEnsemble
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.transformer import TransformerEnsemble
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.graphs.onnx_file import Session
from rwmu.graphs.world_model import rolled_out, world_model_onnx
from rwmu.records import Carry, Prediction, Window
from rwmu.robots.anymal_d import anymal_d
from tests.linear_model import LinearEnsemble

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
ROBOT = anymal_d()
SIZES = {"state_dim": ROBOT.state_layout.size, "action_dim": 12, "contact_dim": ROBOT.contact_layout.size}
SMALL: dict[str, Any] = {"hidden_size": 8, "head_hidden_size": 8, "num_members": 2, **SIZES}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "deploy.md"
HISTORY, STEPS, ROWS = 4, 100, 3
MODELS: dict[str, Callable[[], Any]] = {
    "independent": lambda: IndependentEnsemble(**SMALL, num_layers=2, prior_scale=0.1),
    "shared": lambda: SharedEnsemble(**SMALL, auxiliary_base="separate", skip=False),
    "one member": lambda: IndependentEnsemble(**{**SMALL, "num_members": 1}),
    "mlp": lambda: SharedEnsemble(**SMALL, backbone="mlp", window=HISTORY),
    "rssm": lambda: RSSMEnsemble(**SMALL, latent_size=4),
    "transformer": lambda: TransformerEnsemble(**{**SMALL, "num_members": 1}, num_layers=1, num_heads=2, window=HISTORY),
    "somebody else's": lambda: LinearEnsemble(num_members=2, noise=0.1, seed=0, **SIZES),
}


def around(dynamics: Any, **more: Any) -> WorldModel:
    """Return a world model with units that matter."""
    layout = ROBOT.state_layout
    normalizer = Normalizer(torch.linspace(-1.0, 1.0, layout.size), torch.linspace(0.5, 8.0, layout.size), layout.names())
    architecture = {"kind": type(dynamics).__name__}
    return WorldModel(dynamics, normalizer, HISTORY, ROBOT.name, layout.describe(), "data", architecture, **more).freeze()


@pytest.fixture
def rows() -> tuple[Window, Tensor]:
    return some_rows()


def some_rows() -> tuple[Window, Tensor]:
    """Return histories, and what is done after them."""
    generator = torch.Generator().manual_seed(0)

    def draw(steps: int, columns: int) -> Tensor:
        return torch.randn(ROWS, steps, columns, generator=generator)

    flags = torch.zeros(ROWS, HISTORY, SIZES["contact_dim"]), torch.zeros(ROWS, HISTORY, 1)
    return Window(3.0 * draw(HISTORY, SIZES["state_dim"]), draw(HISTORY, 12), *flags), draw(STEPS, 12)


FITTED = {"penalty": {"typical": 2.5}}


@cache
def exported(name: str) -> tuple[WorldModel, bytes]:
    """Return a model and its graph, which takes seconds to make."""
    torch.manual_seed(0)
    world_model = around(MODELS[name]())
    content, deviation = world_model_onnx(world_model, ROBOT, *some_rows(), {"calibration": FITTED})
    assert deviation < 1e-3
    return world_model, content


@pytest.mark.parametrize("name", MODELS)
def test_a_hundred_steps_in_onnxruntime_are_torchs(name: str, rows: tuple[Window, Tensor]) -> None:
    world_model, content = exported(name)
    puts = runtime.InferenceSession(content).get_inputs()
    carry = {
        put.name: torch.zeros(
            [ROWS if size == "rows" else size for size in put.shape], dtype=torch.bool if "bool" in put.type else None
        )
        for put in puts
        if put.name.startswith("carry_")
    }
    found, wanted = rolled_out(Session(content), carry, *rows, world_model.num_members), world_model.rollout(*rows)
    torch.testing.assert_close(found["mean"], wanted.mean, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found["log_std"].exp(), wanted.std, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["contact"], wanted.contact, rtol=0.0, atol=1e-4)
    torch.testing.assert_close(found["termination"][..., 0], wanted.termination, rtol=0.0, atol=1e-4)


def test_the_loop_of_the_page_dreams_as_the_model_does(
    rows: tuple[Window, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world_model, content), (history, action) = exported("mlp"), rows
    (tmp_path / "world_model.onnx").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    (loop,) = re.findall(r"```python\n(import numpy as np\n.*?)```", PAGE.read_text(), re.DOTALL)
    following = torch.cat([history.action[0, 1:], action[0, :8]])
    names: dict[str, Any] = {"states": history.state[0].numpy(), "actions": following.numpy()}
    exec(compile(loop, PAGE.name, "exec"), names)
    wanted = world_model.rollout(history, action[:, :8]).mean[:, :1, -1]
    torch.testing.assert_close(torch.from_numpy(names["found"]["mean"]), wanted, rtol=1e-4, atol=1e-4)


def test_columns_and_calibration_are_named() -> None:
    model = onnx.load_from_string(exported("somebody else's")[1])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
    assert metadata["state_names"].split(",") == ROBOT.state_layout.names()
    assert metadata["action_names"].split(",") == list(ROBOT.joint_names)
    assert metadata["contact_names"].split(",")[-1] == ROBOT.contacts.feet[-1]
    assert (metadata["robot"], metadata["history"], metadata["num_members"]) == ("anymal_d", "4", "2")
    assert json.loads(metadata["calibration"]) == FITTED


def test_an_extension_comes_in_its_own_units(rows: tuple[Window, Tensor]) -> None:
    torch.manual_seed(0)
    scale = Normalizer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    world_model = around(IndependentEnsemble(**SMALL, num_layers=1, extension_dim=2), extension_normalizer=scale)
    content, _ = world_model_onnx(world_model, ROBOT, *rows, {})
    history, action = rows
    carry = world_model.dynamics.initial_carry(2, ROWS)
    state = history.state[:, 0]
    found = Session(content)(state=state.expand(2, -1, -1), action=action[:, 0], carry_state=carry.state)
    _, wanted = world_model.step(world_model.dynamics.initial_carry(1, ROWS), state, action[:, 0])
    torch.testing.assert_close(found["extension"], scale.denormalize(wanted.extension))


class Frozen(LinearEnsemble):
    """Computes in Python what should be computed from its input: a tracer takes it for a constant."""

    def step(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        return super().step(carry, state + float(state.mean()), action)


class Exotic(LinearEnsemble):
    """Has an operation that ONNX lacks."""

    def step(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        return super().step(carry, torch.special.bessel_j0(state), action)


@dataclass(frozen=True)
class Ones(Carry):
    """A carry that begins otherwise."""

    ones: Tensor


class Begun(LinearEnsemble):
    """Begins with ones."""

    def initial_carry(self, num_inputs: int, batch: int) -> Carry:
        return Ones(torch.ones(num_inputs, batch, 1))


@pytest.mark.parametrize(("kind", "word"), [(Frozen, "differ"), (Exotic, "Exotic"), (Begun, "zeros")])
def test_what_cannot_be_exported_is_said_in_a_sentence(kind: Any, word: str, rows: tuple[Window, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=word) as error:
        world_model_onnx(around(kind(num_members=2, noise=0.1, seed=0, **SIZES)), ROBOT, *rows, {})
    assert "\n" not in str(error.value)
