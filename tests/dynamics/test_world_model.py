"""What names a saved world model, which class it is loaded as, and forecasts in physical units."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.dynamics.unroll import unroll_by_steps
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.records import Window
from tests.dynamics.small import ACTION, CONTACT, KINDS, SIZES, STATE

HISTORY, STEPS, ROWS, MEMBERS = 4, 5, 3, 2


def model_of(dynamics: RecurrentEnsemble, kind: str) -> WorldModel:
    normalizer = Normalizer(torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.5, 1.0, 3.0]), ["x", "y", "z"])
    architecture = {"kind": kind, "state_dim": STATE, "action_dim": ACTION, "contact_dim": CONTACT, "num_members": MEMBERS, **SIZES}
    return WorldModel(dynamics, normalizer, HISTORY, "robot", [], "", architecture)


def small(kind: str = "independent") -> WorldModel:
    return model_of(KINDS[kind](STATE, ACTION, CONTACT, MEMBERS, **SIZES), kind)


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_the_hash_names_weights_and_normaliser_and_survives_a_file(kind, tmp_path):
    model = small(kind)
    first = model.content_hash()
    model.save(tmp_path / "dynamics.pt")
    assert WorldModel.load(tmp_path / "dynamics.pt").content_hash() == first
    assert WorldModel.load(tmp_path / "dynamics.pt", KINDS[kind]).content_hash() == first
    other_scale = Normalizer(torch.zeros(STATE), torch.full((STATE,), 2.0))
    assert replace(model, normalizer=other_scale).content_hash() != first
    assert replace(model, training={"note": "read twice"}).content_hash() == first, "notes predict nothing"
    with torch.no_grad():
        last = list(model.dynamics.parameters())[-1]
        last.view(-1)[0].add_(torch.finfo(torch.float32).eps * last.abs().max() * 4)
    assert model.content_hash() != first, "one weight, a little"


@pytest.mark.parametrize(
    ("declared", "word"),
    [
        ({"num_members": 10**7}, "num_members"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"hidden_size": 6}, "state_base"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"skip": 3.5}, "skip"),
        ({"kind": "torch.nn.Linear"}, "torch.nn.Linear"),
        ({"kind": "shared"}, "shape"),
    ],
)
def test_files_that_declare_what_they_do_not_hold(declared, word, tmp_path):
    model = small()
    replace(model, architecture=model.architecture | declared).save(tmp_path / "dynamics.pt")
    with pytest.raises(CheckpointError, match=word):
        WorldModel.load(tmp_path / "dynamics.pt")


def test_no_file_chooses_its_class(tmp_path):
    small("shared").save(tmp_path / "dynamics.pt")
    with pytest.raises(CheckpointError, match="independent"):
        WorldModel.load(tmp_path / "dynamics.pt", KINDS["independent"])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_history():
    return Window(
        *(draw(ROWS, HISTORY, size) for size in (STATE, ACTION)), *(draw(ROWS, HISTORY, size) > 0 for size in (CONTACT, 1))
    )


@pytest.mark.parametrize("feedback", ["mean", "ensemble_mean", "member", "sample"])
def test_a_rollout_is_the_unroll_in_physical_units(feedback):
    model, scale = small(), Normalizer(torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.5, 1.0, 3.0]))
    history = some_history()
    action = draw(ROWS, STEPS, ACTION, seed=1)
    noise, member = draw(STEPS, MEMBERS, ROWS, STATE), torch.tensor([1, 0, 1])
    found = model.rollout(history, action, feedback, noise, member)
    nothing = torch.full((ROWS, STEPS, 1), torch.nan)  # nobody may look at what is to be predicted
    state = torch.cat([scale.normalize(history.state), nothing.expand(-1, -1, STATE)], dim=1)
    window = Window(state[None], torch.cat([history.action, action], dim=1)[None], nothing[None], nothing[None])
    with torch.no_grad():
        expected = unroll_by_steps(model.dynamics, window, HISTORY, feedback, noise, member)
    assert found.mean.shape == found.std.shape == (MEMBERS, ROWS, STEPS, STATE)
    assert found.contact.shape == (MEMBERS, ROWS, STEPS, CONTACT)
    assert found.termination.shape == (MEMBERS, ROWS, STEPS)
    assert found.state.shape == (MEMBERS if feedback in ("mean", "sample") else 1, ROWS, STEPS, STATE)
    for k in range(STEPS):
        torch.testing.assert_close(found.mean[:, :, k], scale.denormalize(expected.mean[k]))
        torch.testing.assert_close(found.state[:, :, k], scale.denormalize(expected.feedback[k]))
        torch.testing.assert_close(found.std[:, :, k], expected.log_std[k].exp() * scale.std)
        torch.testing.assert_close(found.contact[:, :, k], expected.contact[k].sigmoid())
        torch.testing.assert_close(found.termination[:, :, k], expected.termination[k, ..., 0].sigmoid())
    assert found.disagreement[0, 2, 1] == pytest.approx(
        abs(float(found.mean[0, 0, 2, 1] - found.mean[1, 0, 2, 1])) / 2.0**0.5, rel=1e-4
    )
    assert torch.equal(found.part("z"), found.mean[..., 2:3])
    with pytest.raises(ConfigError, match="'w'"):
        found.part("w")


def test_a_rollout_that_does_not_fit_is_refused():
    history = some_history()
    with pytest.raises(DataError, match="history"):
        small().rollout(history.map(lambda tensor: tensor[:, 1:]), draw(ROWS, STEPS, ACTION))
    with pytest.raises(DataError, match="action"):
        small().rollout(history, draw(ROWS, STEPS, ACTION + 1))
    with pytest.raises(DataError, match="action"):
        small().rollout(history, draw(ROWS + 1, STEPS, ACTION))
