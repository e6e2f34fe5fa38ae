"""What is fitted for a penalty, on a model and data whose errors are known; and how boundaries end imagined episodes."""

import json

import pytest
import torch

from rwmu.errors import ConfigError, DataError
from rwmu.imagination.boundary import BoundaryPenalty
from rwmu.imagination.fitting import PenaltyRecipe, save_fitted
from rwmu.imagination.recalibrated import RecalibratedPenalty
from rwmu.imagination.rehearsal import covering_starts, rehearse
from rwmu.robots.anymal_d import anymal_d
from rwmu.uncertainty.estimates import epistemic
from rwmu.uncertainty.recalibration import recalibration_from_dict
from tests.fakes import known_world_model, random_episodes
from tests.imagination.dreams import BATCH, actions, build

HISTORY, HORIZON, DRIFT = 4, 6, 0.01


def recipe(weight=1.0, **options):
    form = RecalibratedPenalty if options.get("method") else BoundaryPenalty
    return PenaltyRecipe(form, weight, **options)


def rehearsal(members=3, lengths=(30, 12, 25, 7, 40), ids=(0, 1, 3, 4), horizon=HORIZON):
    return rehearse(known_world_model(members, HISTORY, drift=DRIFT), random_episodes(list(lengths)), torch.tensor(ids), horizon)


def test_stretches_cover_long_episodes_and_the_ends_of_short_ones():
    # Stretches of 10 rows, 4 of them history: of 30 rows three, of 12 one (rows 10, 11 hold no forecast), of 4 none, of 25 three.
    starts = covering_starts(torch.tensor([30, 12, 4, 25]), torch.tensor([0, 1, 2, 3]), HISTORY, 10)
    assert starts.tolist() == [0, 10, 20, 30, 46, 56, 66]
    assert covering_starts(torch.tensor([30, 12, 4, 25]), torch.tensor([0, 3]), HISTORY, 10, number=3).tolist() == [0, 20, 56]


def test_a_rehearsal_follows_one_member_and_counts_no_step_beyond_the_end():
    dream, episodes, model = rehearsal(), random_episodes([30, 12, 25, 7, 40]), known_world_model(3, HISTORY, drift=DRIFT)
    assert dream.episode.tolist() == [0, 0, 0, 1, 3, 4, 4, 4, 4]
    assert dream.valid.sum(dim=0).tolist() == [6, 6, 6, 6, 3, 6, 6, 6, 6]
    assert dream.data_hash == episodes.content_hash()
    normal = model.normalizer.normalize(episodes.state)
    first, member = int(episodes.offsets[4]), 5 % 3  # stretch 5 begins with episode 4
    for k in range(HORIZON):
        dreamt = normal[first + HISTORY - 1] + DRIFT * (member + 1) * (k + 1)
        expected = (dreamt - normal[first + HISTORY + k]).abs()
        torch.testing.assert_close(dream.error[k, 5], expected, rtol=0, atol=1e-5)
    # Members at 1, 2 and 3 drifts of the state that all of them see: std = drift in each of 45 columns, at every step.
    torch.testing.assert_close(dream.disagreement(epistemic), torch.full((HORIZON, 9), 45 * DRIFT), rtol=1e-4, atol=0)
    assert dream.quantile(epistemic, 0.9) == pytest.approx(45 * DRIFT, rel=1e-4)
    torch.testing.assert_close(dream.typical_std(), torch.full((45,), DRIFT), rtol=1e-3, atol=0)


@pytest.mark.parametrize("by_field", [False, True])
def test_the_recalibrated_penalty_is_the_mean_error_at_each_step(by_field):
    dream = rehearsal()
    fit = recipe(method="per_horizon", by_field=by_field, centred=True)
    arguments = fit.arguments(dream, anymal_d().state_layout)
    assert len(arguments["sizes"]) == (6 if by_field else 1)
    mean_error = torch.stack([row[ok].sum(-1).mean() for row, ok in zip(dream.error, dream.valid, strict=True)])
    torch.testing.assert_close(arguments["typical"], mean_error, rtol=1e-4, atol=0)
    centred = RecalibratedPenalty(2.0, 0.02, **arguments)
    plain = RecalibratedPenalty(2.0, 0.02, **{**arguments, "typical": None})
    step = torch.tensor([0, 3, 5, 99])
    prediction = dream.rollout.at(2).map(lambda tensor: tensor[:, :4])
    torch.testing.assert_close(plain(prediction, step), -0.04 * mean_error[step.clamp(max=5)], rtol=1e-4, atol=0)
    torch.testing.assert_close(centred(prediction, step), torch.zeros(4), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("method", "options"), [("constant", {}), ("isotonic", {}), ("conformal", {"level": 0.75})])
def test_every_method_fits_and_is_saved_as_plain_values(method, options, tmp_path):
    dream = rehearsal(lengths=(30, 12, 25, 7, 40, 20), ids=(0, 1, 2, 3, 4, 5))
    arguments = recipe(method=method, centred=True, standardised=True, **options).arguments(dream, anymal_d().state_layout)
    save_fitted(tmp_path / "penalty.json", "a hash", arguments)
    saved = json.loads((tmp_path / "penalty.json").read_text())
    assert saved["recalibration"]["fitted_on"]["episodes"] == [0, 1, 2, 3, 4, 5]
    assert recalibration_from_dict(saved["recalibration"]).to_dict() == arguments["recalibration"].to_dict()
    with pytest.raises(DataError, match="test split"):
        arguments["recalibration"].check_unseen([4], dream.data_hash)
    penalty = RecalibratedPenalty(1.0, 0.02, **arguments)
    assert torch.isfinite(penalty(dream.rollout.at(0), torch.zeros(dream.error.shape[1], dtype=torch.int64))).all()


def test_standardised_dimensions_and_their_quantile():
    found = recipe(quantile=0.5, standardised=True).arguments(rehearsal(), anymal_d().state_layout)
    torch.testing.assert_close(found["dimension_weights"], torch.full((45,), 1.0 / DRIFT), rtol=1e-3, atol=0)
    assert found["threshold"] == pytest.approx(45.0, rel=1e-3)
    assert BoundaryPenalty(0.02, **found).boundary is not None


# -- what cannot be fitted --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_fitted_is_said_before_training():
    for fit in (recipe(quantile=0.9), recipe(method="constant"), recipe(standardised=True)):
        with pytest.raises(ConfigError, match=r"one member has none; give dynamics\.num_members=5"):
            fit.check(1, 0.07)
        with pytest.raises(DataError, match="calibration split, which has no episodes"):
            fit.check(5, 0.0)
        fit.check(5, 0.07)
    recipe(weight=0.0, centred=True).check(1, 0.0)
    recipe(quantile=0.9, estimate="noise").check(1, 0.07)  # which one member has
    with pytest.raises(ConfigError, match=r"without penalty\.standardised"):
        recipe(quantile=0.9, estimate="noise", standardised=True).check(1, 0.07)
    with pytest.raises(DataError, match="needs 9 calibration episodes of more than 4 rows, but there are 2"):
        recipe(method="conformal", level=0.9).check_episodes(torch.tensor([4, 5, 9]), HISTORY)
    recipe(centred=True).check_episodes(torch.tensor([]), HISTORY)
    with pytest.raises(DataError, match="None of the 1 episodes of the calibration split"):
        rehearsal(lengths=(4, 30), ids=(0,))


def test_members_whose_disagreement_costs_nothing_are_allowed_and_said(caplog):
    recipe(weight=0.0).check(1, 0.0)
    recipe(weight=0.5).check(5, 0.0)
    assert not caplog.records
    recipe(weight=0.0).check(5, 0.0)
    assert "weight is 0" in caplog.text


def test_values_that_make_no_sense_are_refused():
    for options, words in (
        ({"quantile": 1.5}, r"penalty\.quantile"),
        ({"method": "x"}, "per_horizon"),
        ({"estimate": "x"}, "pairwise"),
    ):
        with pytest.raises(ConfigError, match=words):
            recipe(**options)


def test_a_penalty_of_no_weight_is_fitted_to_nothing():
    for options in ({"centred": True, "method": "isotonic"}, {"standardised": True, "centred": True}):
        nothing = recipe(weight=0.0, **options)
        assert not nothing.needs_calibration
        nothing.check(1, 0.0)
    bounded = recipe(weight=0.0, quantile=0.5, centred=True, standardised=True)
    assert set(bounded.arguments(rehearsal(), anymal_d().state_layout)) == {"threshold", "dimension_weights"}


# -- in the dream -----------------------------------------------------------------------------------------------------------------


def imagined(penalty, **rules):
    env = build(horizon_steps=50, random_start=False, **rules)
    env.penalty = penalty
    return env


def test_truncation_cuts_short_and_pays_as_ever():
    env, free = imagined(BoundaryPenalty(0.02, threshold=0.4)), imagined(BoundaryPenalty(0.02))
    (_, reward, done, extras), (_, expected, going_on, _) = (e.step(actions(1)[0]) for e in (env, free))  # disagreement 0.45
    assert done.all()
    assert extras["time_outs"].all()
    assert not env.terminated.any()
    assert not going_on.any()
    assert torch.equal(reward, expected)
    assert torch.equal(reward, env.last_reward.total)


def test_halting_terminates_and_pays_kappa_alone():
    env = imagined(BoundaryPenalty(0.02, threshold=0.4, kappa=3.0, weight=1.0))
    _, reward, done, extras = env.step(actions(1)[0])
    assert done.all()
    assert env.terminated.all()
    assert not extras["time_outs"].any()
    torch.testing.assert_close(reward, torch.full((BATCH,), -3.0))
    paid = extras["log"]["imagined/reward"] + extras["log"]["imagined/penalty"]
    torch.testing.assert_close(paid * 0.02, torch.tensor(-3.0))
    within = imagined(BoundaryPenalty(0.02, threshold=0.5, kappa=3.0))
    _, reward, done, _ = within.step(actions(1)[0])
    assert not done.any()
    assert torch.equal(reward, within.last_reward.total)


def test_a_boundary_that_is_never_reached_changes_no_bit():
    bounded, plain = (
        imagined(BoundaryPenalty(0.02, threshold=1e9, kappa=3.0)),
        build(weight=0.0, horizon_steps=50, random_start=False),
    )
    for action in actions(6):
        found, expected = bounded.step(action), plain.step(action)
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found[0]["policy"], expected[0]["policy"])


class Age:
    """Pay the age, to see what a penalty is told."""

    needs_spread = False
    boundary = None

    def __call__(self, prediction, step):
        return -step.float()


def test_penalties_are_told_the_steps_since_the_true_history():
    env = build(horizon_steps=4, random_start=True)  # time-outs spread: the episode's own count begins anywhere
    env.penalty = Age()
    since = torch.zeros(BATCH)
    seen = set()
    for action in actions(9):
        _, reward, done, _ = env.step(action)
        torch.testing.assert_close(reward - env.last_reward.total, -since, rtol=0, atol=1e-5)
        seen |= set(since.tolist())
        since = torch.where(done, 0.0, since + 1.0)
    assert seen == {0.0, 1.0, 2.0, 3.0}
    saved = env.state_dict()
    assert torch.equal(saved["age_steps"], env.age_steps)
