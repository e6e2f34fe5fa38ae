"""What a model says of each row of true episodes one step ahead, and whether that is right: the heads, the foresight of falls.

A score belongs to the row *from* which is forecast: all that it rests on is known there, but the error, which the next row shows.
So a fall is foreseen 1 step before it, and the fallen row itself, from which nothing follows, has no score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.windows import evenly
from rwmu.dynamics.unroll import predict_rows
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.rehearsal import covering_starts
from rwmu.measure import detection
from rwmu.measure.cells import Cell, Resampling, from_sums, nothing, share, shortened
from rwmu.measure.windows import BATCH, Selection, true_window
from rwmu.records import Prediction
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.baselines import KnownStates, trivial_scores
from rwmu.uncertainty.estimates import Estimate, aleatoric, combined
from rwmu.uncertainty.functional.calibration import binned_error, probability_bins
from rwmu.uncertainty.functional.falls import NO_FALL
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER
from rwmu.uncertainty.resampling import places, trajectory_sums

_CHUNK = 16  # rows predicted, teacher-forced, after each history
_BINS = 15  # of the heads' calibration error
_NEAR = 25  # steps before a fall of which every row is handed on
_OTHERS = 1500  # rows far from falls that are handed on


@dataclass(frozen=True)
class OneStep:
    """Teacher-forced predictions of N rows, normalised.

    Attributes:
        prediction: of the rows, ``[E, N, .]``. before, truth: ``[N, D]``, the row before and the row itself.
        contact: ``[N, C]``, termination: ``[N, 1]``, true flags.
        episode, row: ``[N]`` int64, of the dataset.
        trivial: :func:`~rwmu.uncertainty.baselines.trivial_scores` of the row before, ``[N]`` each.
        steps: ``[N]``, steps from the row before to the fall that ends the episode, -1 where none does.
        step_dt: s. data_hash: of the dataset.
    """

    prediction: Prediction
    before: Tensor
    truth: Tensor
    contact: Tensor
    termination: Tensor
    episode: Tensor
    row: Tensor
    trivial: dict[str, Tensor]
    steps: Tensor
    step_dt: float
    data_hash: str = ""

    def error(self) -> Tensor:
        """Return the root mean square error over dimensions and members, each of which imagination may follow, ``[N]``."""
        return (self.prediction.mean - self.truth).square().mean((0, 2)).sqrt()

    def scores(self, estimate: Estimate) -> dict[str, Tensor]:
        """Return what may foretell a fall or an error, ``[N]`` each, the trivial scores last; one member has no disagreement."""
        found = {
            "disagreement": estimate(self.prediction),
            "noise_estimate": aleatoric(self.prediction),
            "combined": combined(self.prediction),
            "termination_head": self.prediction.termination.sigmoid().mean(dim=0)[:, 0],
        }
        if self.prediction.num_members == 1:
            del found["disagreement"], found["combined"]
        return found | self.trivial


@torch.no_grad()
def predict_one_step(
    world_model: WorldModel, selection: Selection, number: int | None = None, known: KnownStates | None = None
) -> OneStep:
    """Predict rows of the episodes from the true rows before them, at least H of these, in at most ``number`` windows.

    Args:
        known: the states that the model was trained on, for the trivial scores that rest on these.
    """
    episodes, history = selection.episodes, world_model.history
    # Evenly chosen, so that rows before falls stay as rare as they are.
    starts = covering_starts(episodes.lengths, selection.ids, history, _CHUNK, number)
    predictions: list[Prediction] = []
    columns: list[tuple[Tensor, ...]] = []
    for batch in torch.split(starts, BATCH):
        window, within = true_window(world_model, episodes, batch, history + _CHUNK)
        counts = within[:, history:]
        predicted = predict_rows(world_model.dynamics, window, history)  # [E, B, chunk, .]
        predictions.append(predicted.map(lambda tensor, counts=counts: tensor[:, counts]))
        rows = batch[:, None] + torch.arange(history, history + _CHUNK)
        columns.append((window.state[0, :, history - 1 : -1][counts], window.state[0, :, history:][counts], rows[counts]))
    before, truth, row = (torch.cat(parts) for parts in zip(*columns, strict=True))
    episode = episodes.episode_of_row[row]
    last = (episodes.offsets + episodes.lengths - 1)[episode]
    names = ("mean", "log_std", "contact", "termination")
    return OneStep(
        prediction=Prediction(*(torch.cat([getattr(part, name) for part in predictions], dim=1) for name in names)),
        before=before,
        truth=truth,
        contact=episodes.contact[row].float(),
        termination=episodes.termination[row].float().unsqueeze(-1),
        episode=episode,
        row=row,
        trivial=_trivial(world_model, episodes, row, known),
        steps=torch.where(episodes.termination[last], last - row + 1, NO_FALL),
        step_dt=float(episodes.attributes["step_dt"]),
        data_hash=episodes.content_hash(),
    )


def _trivial(world_model: WorldModel, episodes: Episodes, row: Tensor, known: KnownStates | None) -> dict[str, Tensor]:
    """Return the trivial scores of the rows before ``row [N]``; the first row of an episode has not changed."""
    first = episodes.offsets[episodes.episode_of_row[row]]
    state = episodes.state[row - 1]
    previous = episodes.state[torch.maximum(row - 2, first)]
    gravity = StateLayout.from_description(episodes.attributes["layout"]).part(state, "projected_gravity")
    normalize = world_model.normalizer.normalize
    return trivial_scores(gravity, normalize(state), normalize(previous), episodes.action[row], row - 1 - first, known)


# -- heads ------------------------------------------------------------------------------------------------------------------


def head_cells(probability: Tensor, truth: Tensor, episode: Tensor, how: Resampling) -> dict[str, Cell]:
    """Return ``calibration_error``, ``recall``, ``precision`` (threshold 0.5) and ``base_rate`` of heads ``[N, C]``, pooled."""
    probability, truth = probability.double(), truth.double()
    found = (probability >= 0.5).double()
    hits = (found * truth).sum(dim=1)
    ones = torch.full_like(hits, truth.shape[1])
    by_row = probability_bins(probability, truth, torch.ones_like(truth, dtype=torch.bool), _BINS)  # [3, N, bins]
    bins = trajectory_sums(by_row.movedim(0, 1).flatten(1), episode)
    return {
        "calibration_error": from_sums(lambda total: binned_error(total.reshape(-1, 3, _BINS).movedim(1, 0)), bins, how),
        "recall": share(hits, truth.sum(dim=1), episode, how, "no positive row, so nothing to be found"),
        "precision": share(hits, found.sum(dim=1), episode, how, "never predicted, so no prediction to be right"),
        "base_rate": share(truth.sum(dim=1), ones, episode, how),
    }


def heads(rows: OneStep, how: Resampling) -> dict[str, dict[str, Cell]]:
    """Judge the contact and the termination head by the mean probability of the members."""
    logits = {"contact": rows.prediction.contact, "termination": rows.prediction.termination}
    truths = {"contact": rows.contact, "termination": rows.termination}
    return {name: head_cells(logits[name].sigmoid().mean(dim=0), truths[name], rows.episode, how) for name in logits}


# -- falls ------------------------------------------------------------------------------------------------------------------


def fall_cells(rows: OneStep, estimate: Estimate, how: Resampling) -> dict[str, Any]:
    """Return the tables of :func:`rwmu.measure.detection.foresight`: ``falls``, its AUROCs, and ``foresight``, all others.

    Of one member they say what it lacks.
    """
    tables = detection.foresight(rows.scores(estimate), rows.steps, rows.row, rows.episode, rows.step_dt, how)
    if rows.prediction.num_members == 1:
        for table in tables.values():
            absent = nothing(next(iter(table.values())), ONE_MEMBER, how, places(rows.episode)[1])
            table |= {"disagreement": absent, "combined": absent}
    return {"falls": tables.pop("auroc"), "foresight": tables}


def falls_judged(rows: OneStep, within: int = 5) -> int:
    """Return how many falls have a row at most so many steps before them that was scored."""
    return len(torch.unique(rows.episode[(rows.steps >= 1) & (rows.steps <= within)]))


def fall_rows(rows: OneStep, estimate: Estimate) -> dict[str, Any]:
    """Return every row within ``_NEAR`` steps of a fall and some others, to pair two models by episode."""
    near = (rows.steps >= 0) & (rows.steps <= _NEAR)
    chosen = torch.cat([near.nonzero()[:, 0], evenly((~near).nonzero()[:, 0], _OTHERS)]).sort().values
    table: dict[str, Any] = {name: shortened(score[chosen]) for name, score in rows.scores(estimate).items()}
    return table | {"steps": rows.steps[chosen].tolist(), "episode": rows.episode[chosen].tolist()}
