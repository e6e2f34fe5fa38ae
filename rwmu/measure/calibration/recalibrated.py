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


_KINDS: dict[str, type[Constant] | type[PerHorizon] | type[Isotonic]]
_KINDS = {kind.method: kind for kind in (Constant, PerHorizon, Isotonic)}


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
        self.method = method
        self.reason = why if calibration is None and method != RAW else ""
        # Level of the interval (conformal), or None -> what was fitted, or why it could not be.
        self._found: dict[float | None, Recalibration | str] = {}
        if method == RAW or calibration is None:
            return
        sample = (calibration.flat() if method == Constant.method else calibration).sample(groups)
        for level in FITTED_LEVELS if method == CONFORMAL else (None,):
            try:
                self._found[level] = _KINDS[method].fit(sample) if level is None else Conformal.fit(sample, level)
            except DataError as error:
                self._found[level] = str(error)

    def to_dict(self) -> dict[str, Any]:
        """Return what was fitted as plain values.

        Returns:
            ``by_level``: level as text -> recalibration, of conformal, and ``reason_by_level`` for those that have none;
            ``recalibration``, of the other methods (either for
            :func:`rwmu.uncertainty.recalibration.recalibration_from_dict`); or ``reason``, where there is none at all.
        """
        fitted = {level: found.to_dict() for level, found in self._found.items() if not isinstance(found, str)}
        reasons = {level: found for level, found in self._found.items() if isinstance(found, str)}
        if None in fitted:
            return {"recalibration": fitted[None]}
        if not fitted:
            return {"reason": self.reason or next(iter(reasons.values()), "nothing to fit")}
        by_level, reason_by_level = ({f"{level:g}": part for level, part in parts.items()} for parts in (fitted, reasons))
        return {"by_level": by_level, "reason_by_level": reason_by_level}

    def check_unseen(self, episode: Tensor, data_hash: str) -> None:
        """Refuse episodes that this was fitted on."""
        for found in self._found.values():
            if not isinstance(found, str):
                found.check_unseen(episode, data_hash)

    def why_not(self, place: int, level: float | None = None) -> str:
        """Return why there is no forecast (conformal: no interval of ``level``) at the kept step ``place``; empty if there is."""
        if self.method == RAW or self.reason:
            return self.reason
        if self.method == CONFORMAL and level is None:
            return "a conformal recalibration gives intervals, not a distribution"
        found = self._found[level if self.method == CONFORMAL else None]
        if isinstance(found, str):
            return found
        if self.method == Constant.method or place < found.steps:
            return ""
        return f"too few calibration episodes live to see this step for the recalibration '{self.method}'"

    def _recalibration(self, level: float | None = None) -> Recalibration:
        found = self._found[level]
        assert not isinstance(found, str), "why_not() was asked before"
        return found

    def std(self, std: Tensor, place: int) -> Tensor:
        """Return the standard deviations ``[B, D]`` of the kept step ``place``, brought to scale."""
        if self.method == RAW:
            return std
        recalibration, step = self._recalibration(), torch.tensor(place)
        knots = recalibration.knots_x.shape[-1] if isinstance(recalibration, Isotonic) else 1
        rows = max(1, _LARGEST // (std.shape[-1] * knots))
        parts = [recalibration.apply(part, step) for part in torch.split(std, rows)]
        return torch.cat(parts).clamp(min=torch.finfo(std.dtype).tiny ** 0.25)

    def half_width(self, std: Tensor, place: int, level: float) -> Tensor:
        """Return half the width ``[B, D]`` of the interval that should hold the truth with probability ``level``."""
        if self.method == CONFORMAL:
            return self._recalibration(level).apply(std, torch.tensor(place))
        return half_widths(self.std(std, place), (level,))[0]
