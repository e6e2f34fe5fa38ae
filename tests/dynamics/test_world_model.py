"""What names a saved world model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.ensemble import RecurrentEnsemble
from rwmu.dynamics.world_model import WorldModel
from tests.dynamics.small import ACTION, CONTACT, KINDS, SIZES, STATE


def model_of(dynamics: RecurrentEnsemble, kind: str) -> WorldModel:
    normalizer = Normalizer(torch.zeros(STATE), torch.ones(STATE))
    architecture = {"kind": kind, "state_dim": STATE, "action_dim": ACTION, "contact_dim": CONTACT, "num_members": 2, **SIZES}
    return WorldModel(dynamics, normalizer, 4, "robot", [], "", architecture)


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_the_hash_names_weights_and_normaliser_and_survives_a_file(kind, tmp_path):
    torch.manual_seed(0)
    model = model_of(KINDS[kind](STATE, ACTION, CONTACT, 2, **SIZES), kind)
    first = model.content_hash()
    model.save(tmp_path / "dynamics.pt")
    assert WorldModel.load(tmp_path / "dynamics.pt").content_hash() == first
    other_scale = Normalizer(torch.zeros(STATE), torch.full((STATE,), 2.0))
    assert replace(model, normalizer=other_scale).content_hash() != first
    assert replace(model, training={"note": "read twice"}).content_hash() == first, "notes predict nothing"
    with torch.no_grad():
        last = list(model.dynamics.parameters())[-1]
        last.view(-1)[0].add_(torch.finfo(torch.float32).eps * last.abs().max() * 4)
    assert model.content_hash() != first, "one weight, a little"
