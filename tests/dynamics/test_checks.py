"""What does not fit is named, with the expected and the found shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rwmu.dynamics.checks import check_finite, check_state_dict
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import TERMS, LossSettings
from rwmu.dynamics.unroll import unroll
from rwmu.errors import CheckpointError, DataError
from rwmu.records import Batch, Noise, Window
from tests.fakes import known_world_model

SETTINGS = LossSettings(history=3, weights=dict.fromkeys(TERMS, 1.0), history_burn_in=0)


def model():
    return IndependentEnsemble(4, 2, 3, 2, hidden_size=5, num_layers=1, head_hidden_size=4)


def rows(members=1, length=6):
    return Window(*(torch.zeros(members, 7, length, size) for size in (4, 2, 3, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": torch.zeros(1, 7, 6, 5)}, r"state has shape \[1, 7, 6, 5\], but \[any, 7, 6, 4\]"),
        ({"action": torch.zeros(1, 7, 5, 2)}, r"action has shape \[1, 7, 5, 2\], but \[1, 7, 6, 2\]"),
        ({"contact": torch.zeros(1, 7, 6, 8)}, r"contact has shape .* but \[any, 7, 6, 3\]"),
        ({"termination": torch.zeros(1, 7, 6)}, r"termination has shape \[1, 7, 6\], but \[any, 7, 6, 1\]"),
        ({"state": torch.zeros(7, 6, 4)}, r"state has shape \[7, 6, 4\], but \[members or 1, batch, rows, 4\]"),
        ({"state": torch.zeros(1, 7, 6, 4, dtype=torch.float64)}, "state is of torch.float64 and action of torch.float32"),
    ],
)
def test_windows_that_do_not_fit_the_model(changes, message):
    window = replace(rows(), **changes)
    with pytest.raises(DataError, match=message):
        model().losses(window, SETTINGS)
    if changes.keys() <= {"state", "action"}:  # all that a rollout reads
        with pytest.raises(DataError, match=message):
            unroll(model(), window, 3)


def test_windows_of_another_number_of_members():
    with pytest.raises(DataError, match="rows of 3 members, but the model has 2"):
        model().losses(rows(3), SETTINGS)


def test_windows_too_short_for_a_forecast():
    with pytest.raises(DataError, match="a window of 3 rows has no forecast after a history of 3; it needs at least 4"):
        unroll(model(), rows(length=3), 3)


def test_noise_of_another_shape_in_a_rollout():
    with pytest.raises(DataError, match=r"noise has shape \[3, 1, 7, 4\], but \[3, 2, 7, 4\] was expected"):
        unroll(model(), rows(), 3, "sample", torch.zeros(3, 1, 7, 4))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (Batch(rows(), rows=torch.zeros(3, 7, dtype=torch.int64)), r"rows has shape \[3, 7\], but \[2, any\]"),
        (Batch(rows(), rows=torch.full((2, 7), 7)), r"rows choose windows 7..7 of a batch of 7"),
        (Batch(rows(2), rows=torch.zeros(2, 7, dtype=torch.int64)), "each member's own"),
        (Batch(rows(), weight=torch.ones(2, 6)), r"weight has shape \[2, 6\], but \[2, 7\]"),
    ],
)
def test_rows_and_weights_that_do_not_fit_the_batch(batch, message):
    with pytest.raises(DataError, match=message):
        model().losses(batch, SETTINGS)


def test_actions_of_fewer_members_than_states():
    window = replace(rows(2), action=torch.zeros(1, 7, 6, 2))
    with pytest.raises(DataError, match=r"action has shape \[1, 7, 6, 2\], but \[2, 7, 6, 2\]"):
        unroll(model(), window, 3)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"feedback": torch.zeros(3, 1, 7, 4)}, r"noise.feedback has shape \[3, 1, 7, 4\], but \[3, 2, 7, 4\]"),
        ({"loss": torch.zeros(3, 2, 1, 4)}, r"noise.loss has shape \[3, 2, 1, 4\], but \[3, 2, 7, 4\]"),
        ({"history": torch.zeros(3, 2, 7, 4)}, r"noise.history has shape \[3, 2, 7, 4\], but \[2, 2, 7, 4\]"),
    ],
)
def test_noise_that_would_be_shared_or_left_over(noise, message):
    with pytest.raises(DataError, match=message):
        model().losses(rows(), SETTINGS, Noise(**noise))


@pytest.mark.parametrize(
    ("extension", "message"),
    [
        (None, "no extension, but the model predicts one of 2 columns"),
        (torch.zeros(1, 7, 6, 1), r"extension has shape \[1, 7, 6, 1\], but \[any, 7, 6, 2\]"),
    ],
)
def test_an_extension_that_is_not_the_models(extension, message):
    predicting = IndependentEnsemble(4, 2, 3, 2, hidden_size=5, num_layers=1, head_hidden_size=4, extension_dim=2)
    with pytest.raises(DataError, match=message):
        predicting.losses(replace(rows(), extension=extension), SETTINGS)


def test_values_that_are_no_numbers():
    window = rows()
    window.action[0, 2, 4, 1] = torch.nan
    with pytest.raises(DataError, match=r"action has the value nan at \[0, 2, 4, 1\]"):
        check_finite(window)
    check_finite(rows())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights.pop("contact_head.bias_output"),
            r"W lacks the tensor 'contact_head.bias_output' of shape \[2, 3\]",
        ),
        (
            lambda weights: weights.update({"contact_head.bias_output": torch.zeros(2, 4)}),
            r"W has the tensor 'contact_head.bias_output' of shape \[2, 4\], but \[2, 3\] was expected",
        ),
        (lambda weights: weights.update(extra=torch.zeros(1)), "W has the tensor 'extra', which its architecture has no place for"),
        (lambda weights: weights["contact_head.bias_output"].fill_(torch.inf), "'contact_head.bias_output' that are no finite"),
    ],
)
def test_weights_that_are_not_the_models(change, message):
    own = model()
    found = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    check_state_dict(own.state_dict(), found, "W")
    change(found)
    with pytest.raises(CheckpointError, match=message):
        check_state_dict(own.state_dict(), found, "W")


def test_histories_of_another_length_or_robot():
    world_model = known_world_model(2, history=4)
    history = Window(torch.zeros(3, 4, 45), torch.zeros(3, 4, 12), torch.zeros(3, 4, 8), torch.zeros(3, 4, 1))
    world_model.warm_up(history)
    with pytest.raises(DataError, match="The history has 3 rows, but the world model is warmed up on 4"):
        world_model.warm_up(history.map(lambda tensor: tensor[:, 1:]))
    with pytest.raises(DataError, match=r"The history's action has shape \[3, 4, 11\], but 12 columns were expected"):
        world_model.warm_up(replace(history, action=torch.zeros(3, 4, 11)))
