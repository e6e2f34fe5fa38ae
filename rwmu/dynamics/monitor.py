"""Watch the uncertainty while the world model is trained: four numbers of the validation windows, logged beside the error."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rwmu.records import Rollout
from rwmu.uncertainty.estimates import epistemic
from rwmu.uncertainty.functional.ranking import within_step_correlation
from rwmu.uncertainty.functional.scores import gaussian_crps, gaussian_nll, half_widths

LEVEL = 0.683  # of the intervals whose coverage is logged
SCORES = ("nll", "crps", "coverage_683")


class UncertaintyMonitor(Callback):
    """Log four numbers of every validation; training and the choice of weights do not see them.

    ``validation/nll``, ``validation/crps`` and ``validation/coverage_683`` are of the members' own Gaussians one step after true
    histories, pooled over members and dimensions, normalised. ``validation/rank_correlation`` is that of the members' disagreement
    with the error of the ensemble-mean rollout, within each step and averaged over the horizon; a single member has none, and none
    is logged.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._sums: list[Tensor] = []  # of each batch, [3]: of SCORES
        self._number = 0  # of values in each sum, over all batches
        self._rows: list[Tensor] = []  # of each batch, [2, K, B]: disagreement and error

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the last validation."""
        self._forget()

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any) -> None:
        """Add what :meth:`rwmu.dynamics.module.DynamicsModule.validation_step` returned."""
        self.update(outputs["rollout"], outputs["truth"])

    def update(self, rollout: Rollout, truth: Tensor) -> None:
        """Add a rollout from common histories.

        Args:
            truth: ``[K, B, D]``, normalised.
        """
        mean, std, first = (tensor[0].double() for tensor in (rollout.mean, rollout.log_std.exp(), truth))  # [E, B, D]
        inside = (first - mean).abs() <= half_widths(std, (LEVEL,))[0]
        scores = (gaussian_nll(mean, std, first), gaussian_crps(mean, std, first), inside.double())
        self._sums.append(torch.stack([score.sum() for score in scores]))
        self._number += mean.numel()
        if rollout.mean.shape[1] > 1:
            error = (rollout.feedback[:, 0] - truth).square().mean(dim=-1).sqrt()
            disagreement = torch.stack([epistemic(rollout.at(k)) for k in range(len(error))])
            self._rows.append(torch.stack([disagreement, error]))

    def found(self) -> dict[str, float]:
        """Return every number that there is, by its name in the log."""
        means = torch.stack(self._sums).sum(dim=0) / self._number
        found = dict(zip((f"validation/{name}" for name in SCORES), means.tolist(), strict=True))
        if self._rows:
            disagreement, error = torch.cat(self._rows, dim=-1)
            rank = within_step_correlation(disagreement, error, torch.ones_like(error, dtype=torch.bool))
            found |= {"validation/rank_correlation": float(rank)} if bool(rank.available) else {}
        return found

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log."""
        module.log_dict(self.found(), sync_dist=True)
