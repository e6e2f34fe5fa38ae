"""A session with a model and a robot whose every number is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rwmu.measure.windows import Selection
from rwmu.records import Prediction
from rwmu.uncertainty.estimates import epistemic
from rwmu.view.dream import Dream
from rwmu.view.judgement import Scale, Usual, Verdict, verdict
from rwmu.view.session import Session
from tests.fakes import known_world_model, random_episodes
from tests.view.sources import LAYOUT, TASK, Standing

HISTORY, MEMBERS, DRIFT = 4, 3, 0.01  # member e adds DRIFT * (e + 1) to every column; their std is DRIFT
ONE = Scale(0.5, 0.75, 1.0)
SURE = Usual(next_disagreement=ONE, next_error=ONE, disagreement=ONE, error=ONE)


def session(source: Standing | None = None, usual: Usual = SURE, restart_s: float = 0.2, clip: float | None = None) -> Session:
    dream = Dream(known_world_model(MEMBERS, HISTORY, drift=DRIFT), epistemic, clip)
    return Session(TASK, dream, usual, source or Standing(), restart_s)


def test_a_dream_begins_with_a_history_and_begins_anew() -> None:
    shown = session()
    frames = [shown.step() for _ in range(25)]  # the session began with a row
    ages = [round(frame.dream_age_s / TASK.step_dt) for frame in frames]
    assert ages == [0] * (HISTORY - 1) + [*range(1, 11), *range(1, 11), 1, 2]
    assert [frame.watched is None for frame in frames] == [True] * (HISTORY - 1) + [False] * 22
    shown.restart_dream()
    ages = [round(shown.step().dream_age_s / TASK.step_dt) for _ in range(3)]
    assert ages == [3, 1, 2]


def test_each_ghost_follows_its_member_and_the_robot_is_forecast_anew() -> None:
    shown = session()
    for _ in range(HISTORY + 3):
        frame = shown.step()
    assert frame.watched is not None
    k, each = 4, torch.arange(1, MEMBERS + 1)
    model = shown.dream.world_model
    away = model.normalizer.normalize(frame.watched.state) - model.normalizer.normalize(frame.row.state)
    torch.testing.assert_close(away, (k * DRIFT * each).unsqueeze(1).expand(-1, LAYOUT.size), rtol=0.0, atol=1e-5)
    torch.testing.assert_close(frame.watched.error, k * DRIFT * each, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(frame.watched.disagreement, torch.full((MEMBERS,), DRIFT * LAYOUT.size), rtol=1e-4, atol=0.0)
    assert frame.watched.next_disagreement == pytest.approx(DRIFT * LAYOUT.size, rel=1e-4)
    assert frame.watched.next_error == pytest.approx(DRIFT * math.sqrt((1 + 4 + 9) / 3), rel=1e-3)


def test_ghosts_set_out_from_the_robot() -> None:
    shown = session()
    frame = [shown.step() for _ in range(HISTORY)][-1]
    assert frame.ghosts is not None
    assert frame.watched is not None
    assert frame.ghosts.shape == (MEMBERS, 7 + TASK.num_actions)
    distance = np.linalg.norm(frame.ghosts[:, :3] - frame.row.pose[:3], axis=1)
    speed = LAYOUT.part(frame.watched.state, "base_lin_vel").norm(dim=1).numpy()
    np.testing.assert_allclose(distance, TASK.step_dt * speed, rtol=1e-3)


def test_dreams_stay_within_the_clip() -> None:
    shown = session(clip=0.5)
    for _ in range(HISTORY):
        frame = shown.step()
    assert frame.watched is not None
    assert float(shown.dream.world_model.normalizer.normalize(frame.watched.state).abs().max()) <= 0.5 + 1e-6


def test_a_push_reaches_the_robot_and_its_dream_in_their_own_frames() -> None:
    shown = session()
    for _ in range(HISTORY):
        shown.step()
    before = LAYOUT.part(shown.dream.state, "base_lin_vel").clone()
    shown.push(torch.tensor([0.0, 1.0]))  # along y, which is forwards for a robot that heads there
    change = LAYOUT.part(shown.dream.state, "base_lin_vel") - before
    torch.testing.assert_close(change, torch.tensor([1.0, 0.0, 0.0]).expand(MEMBERS, 3), rtol=0.0, atol=0.05)
    assert isinstance(shown.source, Standing)
    assert [push.tolist() for push in shown.source.pushes] == [[0.0, 1.0]]
    frame = shown.step()  # the robot did not move: what was forecast from its kicked row is 1 m/s off
    assert frame.watched is not None
    assert frame.watched.next_error > 1.0 / (2.0 * math.sqrt(LAYOUT.size))


def test_a_policy_acts_on_what_is_dreamt() -> None:
    seen = []

    def actor(observation: torch.Tensor) -> torch.Tensor:
        seen.append(observation)
        return torch.full((len(observation), TASK.num_actions), 7.0)

    shown = session()
    shown.dreaming_actor = actor
    for _ in range(HISTORY + 1):
        shown.step()
    last_action = TASK.observation_layout["last_action"]
    assert [tuple(observation.shape) for observation in seen] == [(MEMBERS, TASK.num_observations)] * 2
    assert float(seen[0][0, last_action][0]) == HISTORY - 1, "the robot's, with which the history ends"
    assert float(seen[1][0, last_action][0]) == 7.0


def test_a_fall_is_counted_and_an_episode_that_ends_begins_again() -> None:
    shown = session(Standing(fall_at=3, last=6))
    lain = [(shown.step(), shown.fallen_s)[1] for _ in range(7)]
    assert lain[:2] == [None, None]
    assert lain[2:6] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert lain[6] is None, "it began again"


@pytest.mark.parametrize(
    ("disagreement", "error", "expected"),
    [
        (0.9, 0.9, Verdict.SURE_AND_RIGHT),
        (1.1, 0.9, Verdict.DOUBTS_AND_RIGHT),
        (1.1, 1.1, Verdict.DOUBTS_AND_ERRS),
        (0.9, 1.1, Verdict.SURE_AND_ERRS),
    ],
)
def test_verdicts(disagreement: float, error: float, expected: Verdict) -> None:
    assert verdict(disagreement, error, ONE, ONE) is expected


def test_a_session_judges_the_last_moments() -> None:
    low, high = Scale(0.0, 0.0, 1e-6), Scale(1e3, 1e3, 1e3)
    shown = session(usual=Usual(next_disagreement=low, next_error=high, disagreement=high, error=low))
    assert shown.verdicts() is None
    for _ in range(HISTORY + 12):
        shown.step()
    assert shown.verdicts() == (Verdict.DOUBTS_AND_RIGHT, Verdict.SURE_AND_ERRS)
    curves = shown.curves()
    assert len(curves["time_s"]) == HISTORY + 13
    np.testing.assert_allclose(np.diff(curves["time_s"]), TASK.step_dt)
    assert np.isnan(curves["error"][: HISTORY - 1]).all()
    assert np.isfinite(curves["error"][HISTORY:]).all()


def test_what_is_usual_is_measured_on_held_out_episodes() -> None:
    model, episodes = known_world_model(MEMBERS, HISTORY, drift=DRIFT), random_episodes([40] * 4)
    doubled = Usual.measured(model, Selection(episodes, torch.tensor([1, 2])), lambda seen: 2.0 * epistemic(seen), 10)
    for scale in (doubled.next_disagreement, doubled.disagreement):
        assert (scale.median, scale.extreme) == pytest.approx((2.0 * DRIFT * LAYOUT.size,) * 2, rel=1e-3)
    assert 0.1 < doubled.next_error.median < doubled.next_error.upper < doubled.next_error.extreme


def test_places_on_a_scale() -> None:
    scale = Scale.of(torch.arange(1001, dtype=torch.float32))
    assert [scale.place(value) for value in (0.0, 500.0, 900.0, 990.0, 5000.0)] == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0, 1.0])
    assert Scale(0.0, 0.0, 0.0).place(0.0) == 0.0, "one member's disagreement"


def test_an_estimate_may_be_any() -> None:
    def noise(prediction: Prediction) -> torch.Tensor:
        return prediction.log_std.exp().sum(-1).amax(0)

    dream = Dream(known_world_model(1, HISTORY), noise, None)
    shown = Session(TASK, dream, SURE, Standing())
    for _ in range(HISTORY):
        frame = shown.step()
    assert frame.watched is not None
    assert frame.watched.next_disagreement == pytest.approx(LAYOUT.size * math.exp(-3.0), rel=1e-5)
