"""Forecasts brought to scale: standard deviations before and after each recalibration, fitted on calibration episodes alone.

All but ``conformal`` give a standard deviation again, so the forecast stays Gaussian. A conformal recalibration gives the half
width of one interval at a time, so it is fitted anew for every level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rwmu.errors import DataError
from rwmu.uncertainty.calibration_sample import Groups, Sample
from rwmu.uncertainty.functional.scores import as_levels
from rwmu.uncertainty.recalibration import Conformal, Constant, Isotonic, PerHorizon, Recalibration

RAW = "raw"
CONFORMAL = "conformal"
LEVELS = tuple(index / 20 for index in range(1, 20))  # of reliability curves
NOMINAL = (0.683, 0.95)
FITTED_LEVELS = tuple(sorted({*LEVELS, *NOMINAL}))
# What stands for "after recalibration": the first that could be fitted. Chosen beforehand, not by its result.
PREFERRED = ("conformal", "per_horizon", "isotonic", "constant")
_LARGEST = 4_000_000  # numbers that an isotonic function is evaluated on at once, its knots counted


@dataclass(frozen=True)
class Gaussians:
    """Forecasts of G kept steps: mean, std and truth ``[G, B, D]``, valid ``[G, B]``, episode ``[B]``, data_hash of the dataset."""

    mean: Tensor
    std: Tensor
    truth: Tensor
    valid: Tensor
    episode: Tensor
    data_hash: str

    def sample(self, groups: Groups) -> Sample:
        """Return what a recalibration is fitted to."""
        return Sample(self.std, (self.mean - self.truth).abs(), self.episode, self.data_hash, groups, self.valid)

    def flat(self) -> Gaussians:
        """Return the same with all steps as one, for what does not depend on the step."""
        steps, batch = self.valid.shape
        flat = [tensor.reshape(1, steps * batch, -1) for tensor in (self.mean, self.std, self.truth)]
        return Gaussians(flat[0], flat[1], flat[2], self.valid.reshape(1, -1), self.episode.repeat(steps), self.data_hash)


def half_widths(std: Tensor, levels: Sequence[float] = FITTED_LEVELS) -> Tensor:
    """Return half the widths of the central intervals of Gaussians: ``[L, ...]``."""
    factor = 2.0**0.5 * torch.erfinv(as_levels(levels))
    widths: Tensor = factor.to(std).reshape(-1, *[1] * std.ndim) * std
    return widths


class Fitted:
    """One method, fitted; or the reason why it could not be.

    Args:
        method: ``raw`` or a name of :data:`rwmu.uncertainty.recalibration.METHODS`.
        calibration: forecasts on calibration episodes, of the same kept steps as those to be scored; None where there are none.
        groups: of dimensions, each recalibrated by itself.
        why: why ``calibration`` is None.
    """

    def __init__(self, method: str, calibration: Gaussians | None, groups: Groups, why: str = "") -> None:
        self.method, self.reason = method, ""
        self._of_level: dict[float, Recalibration] = {}
        self._reason_of_level: dict[float, str] = {}
        if method == RAW:
            return
        if calibration is None:
            self.reason = why
            return
        try:
            self._fit(calibration, groups)
        except DataError as error:
            self.reason = str(error)

    def _fit(self, calibration: Gaussians, groups: Groups) -> None:
        if self.method != CONFORMAL:
            kinds: dict[str, type[Constant] | type[PerHorizon] | type[Isotonic]]
            kinds = {kind.method: kind for kind in (Constant, PerHorizon, Isotonic)}
            basis = calibration.flat() if self.method == Constant.method else calibration
            self._recalibration: Recalibration = kinds[self.method].fit(basis.sample(groups))
            return
        sample = calibration.sample(groups)
        for level in FITTED_LEVELS:
            try:
                self._of_level[level] = Conformal.fit(sample, level)
            except DataError as error:
                self._reason_of_level[level] = str(error)

    def to_dict(self) -> dict[str, Any]:
        """Return what was fitted as plain values.

        Returns:
            ``by_level``: level as text -> recalibration, of conformal, and ``reason_by_level`` for those that have none;
            ``recalibration``, of the other methods (either for
            :func:`rwmu.uncertainty.recalibration.recalibration_from_dict`); or ``reason``, where there is none at all.
        """
        if self.method == CONFORMAL and self._of_level:
            by_level = {f"{level:g}": fitted.to_dict() for level, fitted in self._of_level.items()}
            return {"by_level": by_level, "reason_by_level": {f"{level:g}": why for level, why in self._reason_of_level.items()}}
        if hasattr(self, "_recalibration"):
            return {"recalibration": self._recalibration.to_dict()}
        return {"reason": self.reason or next(iter(self._reason_of_level.values()), "nothing to fit")}

    def check_unseen(self, episode: Tensor, data_hash: str) -> None:
        """Refuse episodes that this was fitted on."""
        fitted = [self._recalibration] if hasattr(self, "_recalibration") else list(self._of_level.values())
        for recalibration in fitted:
            recalibration.check_unseen(episode, data_hash)

    def why_not(self, place: int, level: float | None = None) -> str:
        """Return why there is no forecast (conformal: no interval of ``level``) at the kept step ``place``; empty if there is."""
        if self.method == RAW or self.reason:
            return self.reason
        if self.method == CONFORMAL:
            if level is None:
                return "a conformal recalibration gives intervals, not a distribution"
            if level in self._reason_of_level:
                return self._reason_of_level[level]
            return self._too_late(self._of_level[level], place)
        return "" if self.method == Constant.method else self._too_late(self._recalibration, place)

    def _too_late(self, recalibration: Recalibration, place: int) -> str:
        if place < recalibration.steps:
            return ""
        return f"too few calibration episodes live to see this step for the recalibration '{self.method}'"

    def std(self, std: Tensor, place: int) -> Tensor:
        """Return the standard deviations ``[B, D]`` of the kept step ``place``, brought to scale."""
        if self.method == RAW:
            return std
        step = torch.tensor(place)
        knots = self._recalibration.knots_x.shape[-1] if isinstance(self._recalibration, Isotonic) else 1
        rows = max(1, _LARGEST // (std.shape[-1] * knots))
        parts = [self._recalibration.apply(part, step) for part in torch.split(std, rows)]
        return torch.cat(parts).clamp(min=torch.finfo(std.dtype).tiny ** 0.25)

    def half_width(self, std: Tensor, place: int, level: float) -> Tensor:
        """Return half the width ``[B, D]`` of the interval that should hold the truth with probability ``level``."""
        if self.method == CONFORMAL:
            return self._of_level[level].apply(std, torch.tensor(place))
        return half_widths(self.std(std, place), (level,))[0]
