"""Fit what of a penalty depends on the world model: how much its members disagree, and err, on episodes they were not fitted to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.files import read_json, write_json
from rwmu.imagination.penalty import typical_disagreement
from rwmu.imagination.rehearsal import Rehearsal, rehearse
from rwmu.interfaces import Penalty
from rwmu.robots.layout import StateLayout
from rwmu.settings import NotNegative, choose, settings
from rwmu.uncertainty.calibration_sample import Sample, groups_of
from rwmu.uncertainty.estimates import EPISTEMIC, NOISE, Estimate, uncertainty_estimate
from rwmu.uncertainty.recalibration import Recalibration, method_of, needed_trajectories

_log = logging.getLogger(__name__)

_WINDOWS = 256  # of validation episodes, on which what members typically disagree is measured


@settings("penalty")
class PenaltyRecipe:
    """How a penalty is made once there is a world model: what it is fitted to is said here, and the penalty knows nothing of it.

    Attributes:
        form: the penalty's class, called with ``weight``, ``step_dt``, ``estimate`` and what was fitted.
        weight: lambda; with 0, what is penalised does not matter.
        estimate: of the disagreement (or of the noise that members expect), see
            :func:`rwmu.uncertainty.estimates.uncertainty_estimate`.
        centred: take off what is typical, so that falling, which ends the penalty, is not attractive.
        standardised: weigh each dimension by one over its typical std on the calibration split.
        quantile: of the disagreement on the calibration split, beyond which the unknown begins; None for no boundary.
        method: of the recalibration, see :mod:`rwmu.uncertainty.recalibration`; None for none.
        by_field: recalibrate each field of the state's layout by itself. level: of ``conformal``.
    """

    form: Callable[..., Any]
    weight: NotNegative = 0.0
    estimate: str = "std"
    centred: bool = False
    standardised: bool = False
    quantile: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    method: Literal["constant", "per_horizon", "isotonic", "conformal"] | None = None
    by_field: bool = False
    level: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9

    def __post_init__(self) -> None:
        choose("penalty.estimate", self.estimate, (*EPISTEMIC, *NOISE))
        if self.method is not None:
            needed_trajectories(self.method, self.level)
        self.unfitted(step_dt=1.0)  # what the class itself refuses stops a run before it starts

    # What a weight of 0 makes needless is not fitted.
    @property
    def _centred(self) -> bool:
        return self.centred and self.weight > 0.0

    @property
    def _method(self) -> str | None:
        return self.method if self.weight > 0.0 else None

    @property
    def _standardised(self) -> bool:
        return self.standardised and (self.weight > 0.0 or self.quantile is not None)

    @property
    def needs_calibration(self) -> bool:
        """Return whether the calibration split is needed."""
        return self._standardised or self.quantile is not None or self._method is not None

    def check(self, num_members: int, calibration_share: float) -> None:
        """Refuse what can be seen to fail before anything is trained; say what is allowed, but may not be meant.

        Raises:
            ConfigError: one member. DataError: no calibration split.
        """
        if num_members > 1 and not self.weight and self.quantile is None:
            _log.warning("The penalty's weight is 0: %d members are fitted, but what they disagree costs nothing.", num_members)
        of_disagreement = self.estimate not in NOISE or self._standardised
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
        """Refuse a calibration split (``lengths`` of its episodes) that is too small for the method, before anything is trained."""
        needed = 1 if self._method is None else needed_trajectories(self._method, self.level)
        found = int((lengths > history).sum())
        if self.needs_calibration and found < needed:
            raise DataError(
                f"This penalty needs {needed} calibration episodes of more than {history} rows, but there are {found}; collect "
                "more, or give data.fractions.calibration a larger share."
            )

    def unfitted(self, step_dt: float, **fitted: Any) -> Penalty:
        """Return the penalty with what was ``fitted``; with nothing, every disagreement costs and nothing is unknown."""
        penalty: Penalty = self.form(weight=self.weight, step_dt=step_dt, estimate=self.estimate, **fitted)
        return penalty

    def fit(self, world_model: WorldModel, data: OfflineDataModule, horizon: int, step_dt: float) -> tuple[Penalty, dict[str, Any]]:
        """Return the penalty fitted to how much this model's members disagree and err on held-out episodes, and what was fitted.

        Args:
            horizon: K, steps of an imagined episode. step_dt: of a control step, s.
        """
        fitted: dict[str, Any] = {}
        if self.needs_calibration:
            if not world_model.knows_its_data:
                _log.warning(
                    "It is not known what data the world model was trained on; if the calibration episodes are among them, the "
                    "penalty may be too optimistic."
                )
            rehearsal = rehearse(world_model, data.episodes, data.splits["calibration"], horizon)
            fitted = self.arguments(rehearsal, data.robot.state_layout)
        if self._centred and self._method is None:
            window = data.windows("validation", world_model.history + data.forecast, _WINDOWS, world_model.normalizer)
            estimate = uncertainty_estimate(self.estimate, fitted.get("dimension_weights"))
            fitted["typical"] = typical_disagreement(world_model, window, estimate)
        return self.unfitted(step_dt, **fitted), fitted

    def arguments(self, rehearsal: Rehearsal, layout: StateLayout) -> dict[str, Any]:
        """Return what the calibration split says, as arguments of the penalty's class; ``typical`` only where it is recalibrated.

        Raises:
            DataError: fewer independent trajectories than the method needs.
        """
        found: dict[str, Any] = {}
        if self._standardised:
            found["dimension_weights"] = 1.0 / rehearsal.typical_std()
        if self.quantile is not None:
            estimate = uncertainty_estimate(self.estimate, found.get("dimension_weights"))
            found["threshold"] = rehearsal.quantile(estimate, self.quantile)
        if self._method is not None:
            found |= self._recalibrate(rehearsal, layout, found.get("dimension_weights"))
        return found

    def _recalibrate(self, rehearsal: Rehearsal, layout: StateLayout, weights: Tensor | None) -> dict[str, Any]:
        groups = groups_of(layout, "field" if self.by_field else "state")
        sizes = [size for _, size in groups]
        disagreement = rehearsal.disagreement(uncertainty_estimate(self.estimate, weights, sizes))  # [K, B, G]
        error = torch.stack([part.sum(dim=-1) for part in torch.split(rehearsal.error, sizes, dim=-1)], dim=-1)
        single = tuple((name, 1) for name, _ in groups)
        sample = Sample(disagreement, error, rehearsal.episode, rehearsal.data_hash, single, rehearsal.valid)
        kind = method_of(str(self._method))
        options: dict[str, Any] = {"level": self.level} if self._method == "conformal" else {"target": "error"}
        recalibration = kind.fit(sample, **options)
        found: dict[str, Any] = {"recalibration": recalibration, "sizes": sizes}
        if self._centred:
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


def save_fitted(path: Path, model_hash: str, fitted: Mapping[str, Any]) -> None:
    """Write what a penalty was fitted to, with the model's hash; ``recalibration_from_dict`` reads a recalibration."""
    plain = {name: entry.to_dict() if isinstance(entry, Recalibration) else entry for name, entry in fitted.items()}
    write_json(path, {"model_hash": model_hash, **plain})


def fitted_estimate(penalty: object, checkpoints: Path) -> tuple[str, Estimate]:
    """Return name and function of the disagreement that a run's penalty sees, with any weights that were fitted for it.

    Args:
        penalty: of the run, as it is configured; without an ``estimate`` it counts as one on the members' std.
        checkpoints: the run's folder of them, with ``penalty.json`` if anything was fitted.
    """
    name, file = str(getattr(penalty, "estimate", "std")), checkpoints / "penalty.json"
    again = "bring it back, or delete the run's policy and train it anew"
    weights = read_json(file, again).get("dimension_weights") if file.exists() else None
    if weights is None:
        return name, uncertainty_estimate(name)
    if not isinstance(weights, list) or not all(isinstance(weight, float) and weight > 0.0 for weight in weights):
        raise CheckpointError(f"{file} has other dimension_weights than numbers above 0; {again}.")
    return f"{name}, standardised", uncertainty_estimate(name, torch.tensor(weights))
