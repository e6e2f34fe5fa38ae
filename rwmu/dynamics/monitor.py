"""Watch the uncertainty while the world model is trained: torchmetrics over the validation windows, logged beside the error."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rwmu.records import Rollout
from rwmu.uncertainty.estimates import epistemic
from rwmu.uncertainty.functional.scores import gaussian_interval
from rwmu.uncertainty.measure import Measure
from rwmu.uncertainty.metrics import Coverage, ErrorCorrelation, GaussianCRPS, GaussianNLL

LEVEL = 0.683  # of the intervals whose coverage is logged


class UncertaintyMonitor(Callback):
    """Log four numbers of every validation; training and the choice of weights do not see them.

    ``validation/nll``, ``validation/crps`` and ``validation/coverage_683`` are of the members' own Gaussians one step after true
    histories, pooled over members and dimensions, normalised. ``validation/rank_correlation`` is that of the members' disagreement
    with the error of the ensemble-mean rollout, within each step and averaged over the horizon; a single member has none, and none
    is logged.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the last validation."""
        for metric in self._metrics.values():
            metric.reset()

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any) -> None:
        """Add what :meth:`rwmu.dynamics.module.DynamicsModule.validation_step` returned."""
        self.update(outputs["rollout"], outputs["truth"])

    def update(self, rollout: Rollout, truth: Tensor) -> None:
        """Add a rollout from common histories.

        Args:
            truth: ``[K, B, D]``, normalised.
        """
        steps, members, _, dims = rollout.mean.shape
        if not self._metrics:
            alone: dict[str, Any] = {"sync_on_compute": False}  # each of several processes sees all windows
            shape: dict[str, Any] = {"steps": 1, "dims": dims, "members": members, **alone}
            metrics = {"nll": GaussianNLL(**shape), "crps": GaussianCRPS(**shape), "coverage_683": Coverage([LEVEL], **shape)}
            ranking = {"rank_correlation": ErrorCorrelation(steps, depth="within_step", **alone)} if members > 1 else {}
            self._metrics = {name: metric.to(truth.device) for name, metric in {**metrics, **ranking}.items()}
        mean, std = (tensor[0, :, None] for tensor in (rollout.mean, rollout.log_std.exp()))  # [E, 1, B, D]
        for name in ("nll", "crps"):
            self._metrics[name].update(mean, std, truth[:1])
        self._metrics["coverage_683"].update(*gaussian_interval(mean, std, [LEVEL]), truth[:1])
        if members > 1:
            error = (rollout.feedback[:, 0] - truth).square().mean(dim=-1).sqrt()
            disagreement = torch.stack([epistemic(rollout.at(k)) for k in range(steps)])
            self._metrics["rank_correlation"].update(disagreement, error)

    def found(self) -> dict[str, float]:
        """Return every number that there is, by its name in the log."""
        measures: dict[str, Measure] = {name: metric.compute() for name, metric in self._metrics.items()}
        return {f"validation/{name}": float(m.tensor().squeeze()) for name, m in measures.items() if bool(m.available.all())}

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Log."""
        module.log_dict(self.found(), sync_dist=True)
