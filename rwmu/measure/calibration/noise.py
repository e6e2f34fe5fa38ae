"""Rollouts under noise: when the model is asked about things off its data, does its uncertainty grow with its error?

Two kinds. **Given**, at the sizes of RWM's Fig. 3b (arXiv:2501.10100: 100 trajectories of 400 steps, scales 0, 0.1, 0.2, 0.4, 0.5
and 0.8): whatever the model is given is disturbed, every state (of the history, and each that is fed back) and every action, by
normal noise of that many standard deviations of the data; the truth is the recorded, undisturbed trajectory. The noise itself is
part of the error, so the error must grow; the question is whether the uncertainty grows with it. **Simulated**: a policy acts in
the simulator with that much noise on its actions, in their own unit; the model is given what really happened, so the truth is what
the noise led to.

Coverage is that of propagated means, as the members' paths are disturbed alike; the recalibration is fitted on undisturbed
calibration episodes, for who could recalibrate for noise that has never been seen?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from rwmu.dynamics.unroll import warm_up
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.rehearsal import covering_starts
from rwmu.interfaces import Actor
from rwmu.measure.calibration.ranking import errors_at, rank_of, rows_at
from rwmu.measure.calibration.recalibrated import RAW, Fitted
from rwmu.measure.calibration.scale import scale_at
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.calibration.stretches import Stretches, all_finite, longest_forecast
from rwmu.measure.cells import median, nothing
from rwmu.measure.recording import noisy, record
from rwmu.measure.windows import Selection, true_window
from rwmu.records import Prediction, Window, follow
from rwmu.robots.layout import StateLayout
from rwmu.settings import Count, NotNegative, settings
from rwmu.simulators.env import RobotEnv
from rwmu.uncertainty.calibration_sample import groups_of
from rwmu.uncertainty.estimates import Estimate, epistemic
from rwmu.uncertainty.metrics.ranking import ONE_MEMBER
from rwmu.uncertainty.spread import Spread, mixture

SCALES = (0.0, 0.1, 0.2, 0.4, 0.5, 0.8)
METHOD = "per_horizon"  # needs few trajectories, and gives a distribution
CELLS = ("error", "disagreement", "rank", "exploded", "coverage_683", "coverage_95", "recalibrated_683", "recalibrated_95")


@settings("noise")
class NoiseSettings:
    """How much noise, and on how many rollouts.

    Attributes:
        scales: of the noise; 0 is the rollout without it. trajectories: at most so many. steps: of each, after the history.
    """

    scales: Annotated[tuple[NotNegative, ...], Field(strict=False)] = SCALES
    trajectories: Count = 100
    steps: Count = 400


def _disturbed(window: Window, scale: float, seed: int) -> tuple[Window, Tensor]:
    """Return the window with noise on all states and actions, and the noise ``[T, B, D]`` for the states that are fed back."""
    generator = torch.Generator().manual_seed(seed)
    state = scale * torch.randn(window.state.shape, generator=generator)
    # Actions are not normalised by the model; their own deviation makes the noise on them what it is on states.
    action = scale * window.action.flatten(0, 2).std(dim=0) * torch.randn(window.action.shape, generator=generator)
    noisy = Window(window.state + state, window.action + action, window.contact, window.termination)
    return noisy, state[0].transpose(0, 1)


def _paths(
    world_model: WorldModel, window: Window, noise: Tensor, followed: Tensor | None
) -> tuple[list[Prediction], list[Tensor]]:
    """Return each step's prediction and mean ``[M, B, D]``: with ``followed [B]`` of one member, which all see, else of each."""
    dynamics, history = world_model.dynamics, world_model.history
    carry, state = warm_up(dynamics, window.map(lambda tensor: tensor[:, :, :history])), window.state[:, :, history - 1]
    predictions, paths = [], []
    for row in range(history, window.length):
        carry, prediction = dynamics.step(carry, state, window.action[:, :, row])
        path = prediction.mean if followed is None else follow(prediction.mean, followed)
        predictions.append(prediction)
        paths.append(path)
        state = path + noise[row]
    return predictions, paths


@torch.no_grad()
def disturbed_stretches(
    world_model: WorldModel,
    selection: Selection,
    steps: Sequence[int],
    noise: NoiseSettings,
    scale: float,
    seed: int,
    estimate: Estimate = epistemic,
) -> Stretches | None:
    """Roll the model along stretches of the episodes with noise of one scale on whatever it is given.

    Args:
        steps: those kept in full, ascending; the last at most ``noise.steps``.
        estimate: of the disagreement.

    Returns:
        ``spreads`` are of propagated means alone; None where no episode is long enough.
    """
    steps = [k for k in steps if k <= longest_forecast(world_model, selection)]
    if not steps:
        return None
    episodes, history, horizon = selection.episodes, world_model.history, max(steps)
    starts = covering_starts(episodes.lengths, selection.ids, history, history + noise.steps, noise.trajectories)
    window, within = true_window(world_model, episodes, starts, history + horizon)
    noisy, fed = _disturbed(window, scale, seed)
    dreams, dreamt = _paths(world_model, noisy, fed, torch.arange(len(starts)) % world_model.num_members)
    own, _ = _paths(world_model, noisy, fed, None)
    spread = mixture(torch.stack([part.mean for part in own]), torch.stack([part.log_std for part in own]))
    kept = torch.tensor(steps) - 1
    truth = window.state[0, :, history:].transpose(0, 1)
    error = (torch.cat(dreamt) - truth).abs()
    disagreement, root = torch.stack([estimate(part) for part in dreams]), error.square().mean(dim=-1).sqrt()
    finite = all_finite(root, disagreement, spread.mean, spread.std)
    lived = within[:, history:].T
    return Stretches(
        steps=tuple(steps),
        disagreement=torch.where(finite, disagreement, 0.0),
        error=torch.where(finite, root, 0.0),
        valid=lived & finite,
        episode=episodes.episode_of_row[starts],
        data_hash=episodes.content_hash(),
        member_std=torch.zeros(0),
        dream_error=error[kept],
        spreads={"propagated": Spread(spread.mean[kept], spread.std[kept], spread.paths)},
        truth=truth[kept],
        not_finite=int((lived & ~finite).sum()),
    )


class NoiseTest:
    """The test of one model, with what is fitted once for all scales and both kinds.

    Args:
        calibration: as :func:`rwmu.measure.calibration.measure.measure_calibration`.
        steps: horizons to report; those beyond ``noise.steps`` are left out.
    """

    def __init__(
        self, world_model: WorldModel, calibration: Selection | None, noise: NoiseSettings, settings: CalibrationSettings
    ) -> None:
        self.world_model, self.noise, self.settings = world_model, noise, settings
        self.steps = [k for k in settings.horizons if k <= noise.steps]
        groups = groups_of(StateLayout.from_description(world_model.layout), settings.recalibrated_by)
        found = None
        if calibration is not None and len(calibration.ids) and self.steps:
            found = disturbed_stretches(world_model, calibration, self.steps, noise, 0.0, settings.seed)
        sample, why = None if found is None else found.gaussians("propagated"), "there is no calibration split, or it is too short"
        self._fitted = {"coverage": Fitted(RAW, None, groups), "recalibrated": Fitted(METHOD, sample, groups, why)}

    def given(self, test: Selection, tick: Callable[[], Any] = lambda: None) -> dict[str, Any]:
        """Return, for each of the ``scales`` of noise on what the model is given, each horizon's ``CELLS`` and ``rollouts``.

        Args:
            tick: called after each scale.
        """
        about = (
            "Noise of so many standard deviations on every state and action that the model is given (RWM, arXiv:2501.10100, "
            f"Fig. 3b), against the recorded trajectory; at most {self.noise.trajectories} rollouts of {self.noise.steps} steps, "
            "as many as the test episodes allow."
        )
        return {"about": about, "scales": self._by_scale(lambda scale: self.row(test, scale), tick)}

    def simulated(
        self, make_env: Callable[[], RobotEnv], actor: Actor, words: str, tick: Callable[[], Any] = lambda: None
    ) -> dict[str, Any]:
        """Return the same of noise on the actions of a policy.

        Args:
            make_env: returns a fresh simulator, the same at every call, that starts no new episode by itself.
            words: what the policy is called.
        """
        steps = self.world_model.history + self.noise.steps - 1

        def row(scale: float) -> dict[str, Any]:
            recorded = record(make_env(), noisy(actor, scale, self.settings.seed), f"action noise {scale:g}", steps)
            episodes = recorded.episodes
            return self.row(Selection(episodes, (episodes.lengths > 1).nonzero()[:, 0]))

        about = (
            f"Noise of so much (in the unit of actions) on the actions of {words}, in the simulator; the model is "
            f"given what really happened: {self.noise.trajectories} rollouts of at most {self.noise.steps} steps, each of its own "
            "episode."
        )
        return {"about": about, "scales": self._by_scale(row, tick)}

    def _by_scale(self, row: Callable[[float], dict[str, Any]], tick: Callable[[], Any]) -> dict[str, Any]:
        table = {}
        for scale in self.noise.scales:
            table[f"{scale:g}"] = row(scale)
            tick()
        return table

    def row(self, test: Selection, scale: float = 0.0) -> dict[str, Any]:
        """Return each horizon's cells of one scale of noise on what the model is given."""
        arguments = (self.world_model, test, self.steps, self.noise, scale, self.settings.seed, self.settings.estimate)
        found = disturbed_stretches(*arguments)
        return {str(k): self._cells(found, k) for k in self.steps}

    def _cells(self, found: Stretches | None, horizon: int) -> dict[str, Any]:
        if found is None or horizon not in found.steps or not bool(found.valid[horizon - 1].any()):
            return nothing(CELLS, "no test episode is long enough", self.settings) | {"rollouts": 0}
        disagreement, error, episode = rows_at(found, horizon)
        errors = errors_at(found, horizon, self.settings)
        if self.world_model.num_members == 1:
            compared = nothing(("rank", "disagreement"), ONE_MEMBER, self.settings)
        else:
            compared = {
                "rank": rank_of(disagreement, error, episode, self.settings),
                "disagreement": median(disagreement, episode, self.settings),
            }
        cells: dict[str, Any] = {name: (errors | compared)[name] for name in ("error", "rank", "exploded", "disagreement")}
        place, forecasts = found.steps.index(horizon), found.gaussians("propagated")
        for prefix, fitted in self._fitted.items():
            scaled, _ = scale_at(forecasts, place, fitted, self.settings)
            cells |= {f"{prefix}_{name}": scaled[f"coverage_{name}"] for name in ("683", "95")}
        return cells | {"rollouts": len(error)}
