"""What is measured one step ahead, on every row of the test episodes: the heads and the foresight of falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.rehearsal import covering_starts
from rwmu.measure.calibration.cells import Cell, from_sums, missing, share, shortened
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.windows import Selection, evenly, foretell
from rwmu.records import Prediction
from rwmu.uncertainty.estimates import Estimate, aleatoric
from rwmu.uncertainty.functional import falls
from rwmu.uncertainty.functional.calibration import binned_error, probability_bins
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER
from rwmu.uncertainty.resampling import places, trajectory_sums

WITHIN = (1, 5, 10, 25)
NO_FALL = "no test episode ends in a fall"
_CHUNK = 16  # rows predicted, teacher-forced, after each history
_BINS = 15  # of the heads' calibration error
_OTHERS = 1500  # rows far from falls that are handed on


@dataclass(frozen=True)
class OneStep:
    """Teacher-forced predictions of N rows, normalised.

    Attributes:
        prediction: of the rows, ``[E, N, .]``. before, truth: ``[N, D]``, the row before and the row itself.
        contact: ``[N, C]``, termination: ``[N, 1]``, true flags.
        episode: ``[N]``. steps: ``[N]``, steps from the row before to the fall that ends the episode, -1 where none does.
        data_hash: of the dataset.
    """

    prediction: Prediction
    before: Tensor
    truth: Tensor
    contact: Tensor
    termination: Tensor
    episode: Tensor
    steps: Tensor
    data_hash: str = ""


def predict_one_step(world_model: WorldModel, selection: Selection, number: int) -> OneStep:
    """Predict rows of the episodes from the true rows before them, at least H of these, in at most ``number`` windows."""
    episodes = selection.episodes
    # Evenly chosen, so that rows before falls stay as rare as they are.
    starts = covering_starts(episodes.lengths, selection.ids, world_model.history, _CHUNK, number)
    parts = list(foretell(world_model, episodes, starts, _CHUNK))
    fields = ("mean", "log_std", "contact", "termination")
    prediction = Prediction(*(torch.cat([getattr(part.prediction, name) for part in parts], dim=1) for name in fields))
    before, truth, contact, row = (torch.cat([getattr(p, name) for p in parts]) for name in ("before", "truth", "contact", "row"))
    episode = episodes.episode_of_row[row]
    last = (episodes.offsets + episodes.lengths - 1)[episode]
    return OneStep(
        prediction=prediction,
        before=before,
        truth=truth,
        contact=contact,
        termination=episodes.termination[row].float().unsqueeze(-1),
        episode=episode,
        steps=torch.where(episodes.termination[last], last - row + 1, falls.NO_FALL),
        data_hash=episodes.content_hash(),
    )


# -- heads ------------------------------------------------------------------------------------------------------------------


def head_cells(probability: Tensor, truth: Tensor, episode: Tensor, settings: CalibrationSettings) -> dict[str, Cell]:
    """Return ``calibration_error``, ``recall``, ``precision`` (threshold 0.5) and ``base_rate`` of heads ``[N, C]``, pooled."""
    probability, truth = probability.double(), truth.double()
    found = (probability >= 0.5).double()
    hits = (found * truth).sum(dim=1)
    ones = torch.full_like(hits, truth.shape[1])
    by_row = probability_bins(probability, truth, torch.ones_like(truth, dtype=torch.bool), _BINS)  # [3, N, bins]
    bins = trajectory_sums(by_row.movedim(0, 1).flatten(1), episode)
    return {
        "calibration_error": from_sums(lambda total: binned_error(total.reshape(-1, 3, _BINS).movedim(1, 0)), bins, settings),
        "recall": share(hits, truth.sum(dim=1), episode, settings, "no positive row, so nothing to be found"),
        "precision": share(hits, found.sum(dim=1), episode, settings, "never predicted, so no prediction to be right"),
        "base_rate": share(truth.sum(dim=1), ones, episode, settings),
    }


def heads(rows: OneStep, settings: CalibrationSettings) -> dict[str, dict[str, Cell]]:
    """Judge the contact and the termination head by the mean probability of the members."""
    logits = {"contact": rows.prediction.contact, "termination": rows.prediction.termination}
    truths = {"contact": rows.contact, "termination": rows.termination}
    return {name: head_cells(logits[name].sigmoid().mean(dim=0), truths[name], rows.episode, settings) for name in logits}


# -- falls ------------------------------------------------------------------------------------------------------------------


def foresight(score: Tensor, steps: Tensor, episode: Tensor, within: int, settings: CalibrationSettings) -> Cell:
    """Return the AUROC of ``score [N]`` for a fall within so many steps, with its interval."""
    if not bool((steps >= 0).any()):
        return missing(NO_FALL, settings.level, places(episode)[1])
    return falls.foresight(score, steps, episode, within, settings.level, settings.resamples, settings.seed).plain()


def _scores(prediction: Prediction, estimate: Estimate) -> dict[str, Tensor]:
    """Return what may foretell a fall, ``[N]`` each."""
    return {
        "disagreement": estimate(prediction),
        "noise_estimate": aleatoric(prediction),
        "termination_head": prediction.termination.sigmoid().mean(dim=0)[:, 0],
    }


def fall_cells(rows: OneStep, settings: CalibrationSettings) -> dict[str, dict[str, Cell]]:
    """Return the foresight of falls of the disagreement, the expected noise and the termination head, for each of ``WITHIN``.

    The score of a row is the prediction of what follows it. The fall itself is the last row that is predicted.
    """
    table = {
        name: {str(within): foresight(score, rows.steps, rows.episode, within, settings) for within in WITHIN}
        for name, score in _scores(rows.prediction, settings.estimate).items()
    }
    if rows.prediction.num_members == 1:
        number = places(rows.episode)[1]
        table["disagreement"] = {str(within): missing(ONE_MEMBER, settings.level, number) for within in WITHIN}
    return table


def fall_rows(rows: OneStep, estimate: Estimate) -> dict[str, Any]:
    """Return every row within 25 steps of a fall and some others, to pair two models by episode."""
    near = (rows.steps >= 0) & (rows.steps <= max(WITHIN))
    chosen = torch.cat([near.nonzero()[:, 0], evenly((~near).nonzero()[:, 0], _OTHERS)]).sort().values
    scores = _scores(rows.prediction.map(lambda tensor: tensor[:, chosen]), estimate)
    table: dict[str, Any] = {name: shortened(column) for name, column in scores.items()}
    return table | {"steps": rows.steps[chosen].tolist(), "episode": rows.episode[chosen].tolist()}
