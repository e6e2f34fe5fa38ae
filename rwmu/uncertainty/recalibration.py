"""Bring an uncertainty to the scale of the error, by what was observed on the calibration split alone.

Ranking and scale are two questions: at long horizons the members' disagreement ranks errors well while it is many times too small.
Four methods mend the scale, each per group of dimensions if so wanted:

- ``constant``: one factor.
- ``per_horizon``: one factor for each step of the forecast.
- ``isotonic``: any function that does not decrease, fitted by monotone regression of the error on the uncertainty. Kuleshov et al.
  (2018, arXiv:1807.00263) use the same regression on the frequencies of quantiles; here it is the error itself.
- ``conformal``: the factor for which intervals of uncertainty x factor hold the truth with a given probability, whatever the
  distribution, at every step: split conformal prediction with normalised residuals (Lei et al. 2018, section 5.2,
  arXiv:1604.04173).

The first three have a ``target``: ``std`` gives the root mean square error to be expected (for one factor, the maximum-likelihood
scale of Gaussians), ``error`` the mean absolute error.

Rows of one trajectory resemble each other, so what counts is how many independent trajectories (episodes) there are. Every object
remembers which it was fitted on, and :meth:`Recalibration.check_unseen` refuses to be scored on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from rwmu.errors import ConfigError, DataError
from rwmu.settings import choose
from rwmu.uncertainty.calibration_sample import FittedOn, Groups, Sample
from rwmu.uncertainty.conformal import conformal_quantile
from rwmu.uncertainty.monotone import interpolate, isotonic_knots

Target = Literal["std", "error"]


@dataclass(frozen=True)
class Recalibration:
    """What the methods have in common.

    Attributes:
        groups: ``(name, dimensions)``; G of them, D dimensions in all.
        target: what :meth:`apply` returns.
        fitted_on: which trajectories.
    """

    groups: Groups
    target: str
    fitted_on: FittedOn

    method: ClassVar[str]
    needed: ClassVar[int] = 2  # independent trajectories: one is an anecdote

    def apply(self, uncertainty: Tensor, step: Tensor | None = None) -> Tensor:
        """Return the uncertainty on the scale of the target.

        Args:
            uncertainty: ``[..., D]``.
            step: int64 that broadcasts to ``[...]``, the step of the forecast, 0 for the first; None where the first axis of
                ``uncertainty`` holds all steps in their order.
        """
        if uncertainty.shape[-1] != self.num_dimensions:
            raise ValueError(f"the uncertainty has {uncertainty.shape[-1]} dimensions, but {self.num_dimensions} were fitted")
        if step is None:
            step = torch.arange(uncertainty.shape[0], device=uncertainty.device).view(-1, *[1] * (uncertainty.ndim - 2))
        return self._apply(uncertainty, step.clamp(max=self.steps - 1))

    def _apply(self, uncertainty: Tensor, step: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """Return how many steps were fitted; later ones are treated as the last."""
        raise NotImplementedError

    @property
    def num_dimensions(self) -> int:
        """Return D."""
        return sum(size for _, size in self.groups)

    def check_unseen(self, episode: Tensor | Iterable[int], data_hash: str = "") -> None:
        """Refuse to be scored on episodes that this was fitted on.

        Args:
            episode: ids. data_hash: of the dataset that they are of; where either side's is unknown, equal ids count as equal.

        Raises:
            DataError: names some of them.
        """
        if data_hash and self.fitted_on.data_hash and data_hash != self.fitted_on.data_hash:
            return
        ids = episode.tolist() if isinstance(episode, Tensor) else episode
        seen = sorted(set(ids) & set(self.fitted_on.episodes))
        if seen:
            named = ", ".join(map(str, seen[:5])) + (", ..." if len(seen) > 5 else "")
            raise DataError(
                f"The recalibration '{self.method}' was fitted on {len(seen)} of these episodes ({named}) and cannot be scored on "
                "them; score it on the test split."
            )

    def __str__(self) -> str:
        by_group = f", {len(self.groups)} groups" if len(self.groups) > 1 else ""
        return f"{self.method} ({self.target}{by_group}), fitted on {self.fitted_on}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values (JSON, or a checkpoint read with ``weights_only``)."""
        return {"method": self.method, **{name: _plain(entry) for name, entry in asdict(self).items()}}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Return what :meth:`to_dict` described, of this class."""
        fitted_on = saved["fitted_on"]
        values: dict[str, Any] = {
            "groups": tuple((str(name), int(size)) for name, size in saved["groups"]),
            "target": str(saved["target"]),
            "fitted_on": FittedOn(str(fitted_on["data_hash"]), tuple(fitted_on["episodes"]), int(fitted_on["windows"])),
        }
        tables = [name for name in saved if name not in (*values, "method")]
        return cls(**values | {name: torch.tensor(saved[name], dtype=torch.float64) for name in tables})

    def _group_of_dimension(self, device: torch.device) -> Tensor:
        sizes = torch.tensor([size for _, size in self.groups], device=device)
        return torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes)


def _plain(entry: Any) -> Any:
    if isinstance(entry, Tensor):
        return entry.tolist()
    if isinstance(entry, dict):
        return {name: _plain(part) for name, part in entry.items()}
    return [_plain(part) for part in entry] if isinstance(entry, (list, tuple)) else entry


@dataclass(frozen=True)
class _Scaling(Recalibration):
    """A factor for each step and group.

    Attributes:
        factor: ``[K, G]`` float64; K is 1 where all steps have one in common.
    """

    factor: Tensor

    @property
    def steps(self) -> int:
        """Return K."""
        return len(self.factor)

    def _apply(self, uncertainty: Tensor, step: Tensor) -> Tensor:
        factor = self.factor.to(uncertainty)[step]
        return uncertainty * factor[..., self._group_of_dimension(uncertainty.device)]

    @classmethod
    def _of_cells(cls, sample: Sample, target: str, steps: list[slice], of: Callable[[Tensor, Tensor, Tensor], float]) -> Self:
        factor = [[of(*cell) for cell in row] for row in sample.cells(steps)]
        return cls(sample.named_groups, target, sample.fitted_on(), torch.tensor(factor, dtype=torch.float64))

    @classmethod
    def _to_target(cls, sample: Sample, target: Target, per_horizon: bool) -> Self:
        choose("The target of a recalibration", target, get_args(Target))
        steps = _steps(sample, cls.method, cls.needed, per_horizon)
        return cls._of_cells(sample, target, steps, lambda uncertainty, error, _: _factor(uncertainty, error, target))


def _factor(uncertainty: Tensor, error: Tensor, target: str) -> float:
    if target == "std":
        return math.sqrt(float((error / uncertainty).square().mean()))
    return float(error.sum() / uncertainty.sum())


def _steps(sample: Sample, method: str, needed: int, per_horizon: bool = True, hint: str = "") -> list[slice]:
    """Return what of a forecast is fitted apart: the first steps that enough trajectories live to see, or all steps as one."""
    found = sample.trajectories() if per_horizon else torch.tensor([sample.fitted_on().trajectories])
    enough = found >= needed
    if not bool(enough[0]):
        raise DataError(
            f"The recalibration '{method}' needs {needed} independent trajectories, but the calibration split has {int(found[0])}: "
            f"collect more, or give data.fractions.calibration a larger share{hint}."
        )
    number = len(enough) if bool(enough.all()) else int((~enough).int().argmax())
    return [slice(k, k + 1) for k in range(number)] if per_horizon else [slice(None)]


@dataclass(frozen=True)
class Constant(_Scaling):
    """One factor for all steps."""

    method: ClassVar[str] = "constant"

    @classmethod
    def fit(cls, sample: Sample, target: Target = "std") -> Constant:
        """Fit to the calibration split.

        Raises:
            DataError: fewer trajectories than are needed.
        """
        return cls._to_target(sample, target, per_horizon=False)


@dataclass(frozen=True)
class PerHorizon(_Scaling):
    """One factor for each step of the forecast."""

    method: ClassVar[str] = "per_horizon"

    @classmethod
    def fit(cls, sample: Sample, target: Target = "std") -> PerHorizon:
        """Fit to the calibration split, up to the last step that enough trajectories live to see.

        Raises:
            DataError: fewer trajectories than are needed even at the first step.
        """
        return cls._to_target(sample, target, per_horizon=True)


@dataclass(frozen=True)
class Conformal(_Scaling):
    """Half the width of an interval that holds the truth with probability ``level``, at each step.

    The guarantee is for a further trajectory that is exchangeable with those fitted on, averaged over its rows and the dimensions
    of the group, and over draws of the calibration split: coverage is at least ``level``. With one row a trajectory, it is at most
    1 / (trajectories + 1) more.
    """

    method: ClassVar[str] = "conformal"

    @classmethod
    def fit(cls, sample: Sample, level: float = 0.9) -> Conformal:
        """Fit to the calibration split, up to the last step that enough trajectories live to see.

        Raises:
            DataError: fewer trajectories than the level needs even at the first step: level / (1 - level), rounded up.
        """
        needed = needed_trajectories(cls.method, level)
        steps = _steps(sample, cls.method, needed, hint=f", or lower the level of {level:g}")
        return cls._of_cells(
            sample, f"interval of {level:g}", steps, lambda u, e, episode: conformal_quantile(e / u, episode, level)
        )


@dataclass(frozen=True)
class Isotonic(Recalibration):
    """A function of the uncertainty that does not decrease, for each group and step.

    Attributes:
        knots_x, knots_y: ``[K, G, Q]`` float64; short rows repeat their last knot.
    """

    knots_x: Tensor
    knots_y: Tensor

    method: ClassVar[str] = "isotonic"
    needed: ClassVar[int] = 5  # a whole function, not one number

    @classmethod
    def fit(cls, sample: Sample, target: Target = "std") -> Isotonic:
        """Fit to the calibration split, up to the last step that enough trajectories live to see.

        Raises:
            DataError: fewer trajectories than are needed.
        """
        choose("The target of a recalibration", target, get_args(Target))
        steps = _steps(sample, cls.method, cls.needed)
        power = 2.0 if target == "std" else 1.0
        knots = [[isotonic_knots(u, e**power) for u, e, _ in row] for row in sample.cells(steps)]
        longest = max(len(x) for row in knots for x, _ in row)
        x, y = (torch.stack([torch.stack([_padded(pair[axis], longest) for pair in row]) for row in knots]) for axis in (0, 1))
        return cls(sample.named_groups, target, sample.fitted_on(), x, y ** (1.0 / power))

    @property
    def steps(self) -> int:
        """Return K."""
        return len(self.knots_x)

    def _apply(self, uncertainty: Tensor, step: Tensor) -> Tensor:
        group = self._group_of_dimension(uncertainty.device)
        shape = (*uncertainty.shape, self.knots_x.shape[-1])
        x, y = (knots.to(uncertainty)[step][..., group, :].expand(shape) for knots in (self.knots_x, self.knots_y))
        return interpolate(uncertainty, x, y)


def _padded(knots: Tensor, length: int) -> Tensor:
    return torch.cat([knots, knots[-1:].expand(length - len(knots))])


Method = type[Constant] | type[PerHorizon] | type[Isotonic] | type[Conformal]
METHODS: dict[str, Method] = {kind.method: kind for kind in (Constant, PerHorizon, Isotonic, Conformal)}


def method_of(name: str) -> Method:
    """Return the class of a method.

    Raises:
        ConfigError: the name is unknown.
    """
    choose("The recalibration", name, METHODS)
    return METHODS[name]


def needed_trajectories(name: str, level: float = 0.9) -> int:
    """Return the fewest independent trajectories that a method can be fitted on.

    Args:
        level: of ``conformal``, which needs level / (1 - level): with fewer, no finite interval can be promised to hold the truth.

    Raises:
        ConfigError: the method is unknown, or the level makes no sense.
    """
    kind = method_of(name)
    if kind is not Conformal:
        return kind.needed
    if not 0.0 < level < 1.0:
        raise ConfigError(f"The level of a conformal recalibration is {level}, but must be between 0 and 1.")
    return math.ceil(level / (1.0 - level) - 1e-9)


def recalibration_from_dict(saved: Mapping[str, Any]) -> Recalibration:
    """Return the recalibration, of any method, that ``to_dict`` described."""
    return method_of(str(saved["method"])).from_dict(saved)
