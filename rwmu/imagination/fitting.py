"""Fit what of a penalty depends on the world model: how much its members disagree, and err, on episodes they were not fitted to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import ConfigError, DataError
from rwmu.imagination.rehearsal import Rehearsal
from rwmu.robots.layout import StateLayout
from rwmu.uncertainty.calibration_sample import Sample, groups_of
from rwmu.uncertainty.estimates import NOISE, Estimate, uncertainty_estimate
from rwmu.uncertainty.recalibration import Recalibration, method_of, needed_trajectories


@dataclass(frozen=True)
class PenaltyFit:
    """What is fitted for a penalty.

    Attributes:
        estimate: of the disagreement, see :func:`rwmu.uncertainty.estimates.uncertainty_estimate`.
        centred: take off what is typical, so that falling, which ends the penalty, is not attractive.
        standardised: weigh each dimension by one over its typical std.
        quantile: of the disagreement on the calibration split, beyond which the unknown begins; None for no boundary.
        method: of the recalibration, see :mod:`rwmu.uncertainty.recalibration`; None for none.
        by_field: recalibrate each field of the state's layout by itself. level: of ``conformal``.
        weight: of the penalty; with 0, what is penalised does not matter.
    """

    estimate: str = "std"
    centred: bool = False
    standardised: bool = False
    quantile: float | None = None
    method: str | None = None
    by_field: bool = False
    level: float = 0.9
    weight: float = 0.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> PenaltyFit:
        """Take from a penalty's configuration what is fitted, less what its weight of 0 makes needless, and leave the rest."""
        fit = cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})
        if settings.get("weight"):
            return fit
        return cls() if fit.quantile is None else replace(fit, centred=False, method=None)

    def __post_init__(self) -> None:
        uncertainty_estimate(self.estimate)
        if self.quantile is not None and not 0.0 < self.quantile <= 1.0:
            raise ConfigError(f"penalty.quantile is {self.quantile}, but must be above 0 and at most 1.")
        if self.method is not None:
            needed_trajectories(self.method, self.level)

    @property
    def needs_calibration(self) -> bool:
        """Return whether the calibration split is needed."""
        return self.standardised or self.quantile is not None or self.method is not None

    def check(self, num_members: int, calibration_share: float) -> None:
        """Refuse what can be seen to fail before anything is trained.

        Raises:
            ConfigError: one member. DataError: no calibration split.
        """
        of_disagreement = self.estimate not in NOISE or self.standardised
        if num_members == 1 and of_disagreement and (self.needs_calibration or self.weight > 0.0):
            raise ConfigError(
                "This penalty is on the members' disagreement, and one member has none; give dynamics.num_members=5, penalty=none, "
                "or the noise that it predicts: penalty.estimate=noise (without penalty.standardised)."
            )
        if self.needs_calibration and not calibration_share > 0.0:
            raise DataError(
                "This penalty is fitted on the calibration split, which has no episodes; give data.fractions.calibration a share "
                "above 0, or choose penalty=mopo."
            )

    def check_episodes(self, lengths: Tensor, history: int) -> None:
        """Refuse a calibration split that is too small for the method, before anything is trained.

        Args:
            lengths: rows of each of its episodes. history: H.

        Raises:
            DataError: with both numbers.
        """
        needed = 1 if self.method is None else needed_trajectories(self.method, self.level)
        found = int((lengths > history).sum())
        if self.needs_calibration and found < needed:
            raise DataError(
                f"This penalty needs {needed} calibration episodes of more than {history} rows, but there are {found}; collect "
                "more, or give data.fractions.calibration a larger share."
            )

    def arguments(self, rehearsal: Rehearsal, layout: StateLayout) -> dict[str, Any]:
        """Return what the calibration split says, as arguments of the penalty's class; ``typical`` only where it is recalibrated.

        Raises:
            DataError: fewer independent trajectories than the method needs.
        """
        found: dict[str, Any] = {}
        if self.standardised:
            found["dimension_weights"] = 1.0 / rehearsal.typical_std()
        if self.quantile is not None:
            estimate = uncertainty_estimate(self.estimate, found.get("dimension_weights"))
            found["threshold"] = rehearsal.quantile(estimate, self.quantile)
        if self.method is not None:
            found |= self._recalibrate(rehearsal, layout, found.get("dimension_weights"))
        return found

    def _recalibrate(self, rehearsal: Rehearsal, layout: StateLayout, weights: Tensor | None) -> dict[str, Any]:
        groups = groups_of(layout, "field" if self.by_field else "state")
        sizes = [size for _, size in groups]
        disagreement = rehearsal.disagreement(uncertainty_estimate(self.estimate, weights, sizes))  # [K, B, G]
        error = torch.stack([part.sum(dim=-1) for part in torch.split(rehearsal.error, sizes, dim=-1)], dim=-1)
        single = tuple((name, 1) for name, _ in groups)
        sample = Sample(disagreement, error, rehearsal.episode, rehearsal.data_hash, single, rehearsal.valid)
        kind = method_of(str(self.method))
        options: dict[str, Any] = {"level": self.level} if self.method == "conformal" else {"target": "error"}
        recalibration = kind.fit(sample, **options)
        found: dict[str, Any] = {"recalibration": recalibration, "sizes": sizes}
        if self.centred:
            found["typical"] = typical_error(recalibration, disagreement, rehearsal.valid)
        return found


def typical_error(recalibration: Recalibration, disagreement: Tensor, valid: Tensor) -> Tensor:
    """Return the mean expected error at each step that any trajectory lives to see, ``[K']``.

    Args:
        disagreement: ``[K, B, G]``. valid: ``[K, B]`` bool.
    """
    number = int(valid.any(dim=1).long().cumprod(dim=0).sum())
    expected = recalibration.apply(disagreement[:number]).sum(dim=-1)  # [K', B]
    weight = valid[:number].to(expected)
    return torch.where(valid[:number], expected, 0.0).sum(dim=1) / weight.sum(dim=1)


def fitted_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return fitted arguments as plain values, to be saved with the run; ``recalibration_from_dict`` reads the recalibration."""
    plain = {name: entry.to_dict() if isinstance(entry, Recalibration) else entry for name, entry in arguments.items()}
    return {name: entry.tolist() if isinstance(entry, Tensor) else entry for name, entry in plain.items()}


def fitted_estimate(settings: Mapping[str, Any], checkpoints: Path) -> tuple[str, Estimate]:
    """Return name and function of the disagreement that a run's penalty sees, with any weights that were fitted for it.

    Args:
        settings: the penalty's configuration. checkpoints: the run's folder of them, with ``penalty.json`` if anything was fitted.
    """
    name, file = str(settings.get("estimate", "std")), checkpoints / "penalty.json"
    weights = json.loads(file.read_text()).get("dimension_weights") if file.is_file() else None
    if weights is None:
        return name, uncertainty_estimate(name)
    return f"{name}, standardised", uncertainty_estimate(name, torch.tensor(weights))
