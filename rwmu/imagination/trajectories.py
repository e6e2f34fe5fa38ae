"""How far trajectories spread: every member goes its own way, several times, and what they say of step k is taken together.

The one-step sigma knows nothing of the errors that pile up on the way to step k; the spread of whole trajectories does (PETS,
arXiv:1805.12114, section 5: each particle keeps its member).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rwmu.dynamics.checks import check_window
from rwmu.dynamics.unroll import forecast, warm_up
from rwmu.errors import ConfigError
from rwmu.interfaces import Dynamics
from rwmu.numerics import stream
from rwmu.records import Window
from rwmu.uncertainty.spread import Spread, mixture

_ROWS = 1024  # windows x samples that each member goes through at once; a number of rows, so that no draw depends on E


def member_streams(seed: int, num_members: int) -> list[torch.Generator]:
    """Return each member's own stream of noise, which does not depend on how many there are."""
    return [stream(seed, member, *b"spread") for member in range(num_members)]


@torch.no_grad()
def trajectory_spread(
    dynamics: Dynamics,
    window: Window,
    history: int,
    samples: int = 20,
    feedback: Literal["sample", "mean"] = "sample",
    seed: int = 0,
) -> Spread:
    """Roll every member out on its own and return what all trajectories say of each step together, ``[K, B, D]``.

    Args:
        window: ``[1, B, H + K, .]``, normalised; the first H (``history``) rows and all actions are used.
        samples: S trajectories a member.
        feedback: ``sample`` feeds back each trajectory's own draw; ``mean`` propagates each member's mean, which makes one
            trajectory a member and leaves out the noise that piles up.

    Raises:
        ConfigError: ``samples`` or ``feedback`` make no sense. DataError: the window does not fit.
    """
    if feedback not in ("sample", "mean"):
        raise ConfigError(f"The feedback of trajectories is {feedback!r}, but must be sample or mean.")
    if samples < 1 or (feedback == "mean" and samples != 1):
        raise ConfigError(f"samples is {samples}, but must be at least 1, and 1 where means are propagated: they are all the same.")
    check_window(dynamics, window, history)
    streams = member_streams(seed, dynamics.num_members)
    parts = []
    for rows in torch.split(torch.arange(window.state.shape[1]), max(1, _ROWS // samples)):
        part = window.map(lambda tensor, rows=rows: tensor[:, rows])
        parts.append(_spread(dynamics, part, history, samples, streams if feedback == "sample" else None))
    mean, std = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("mean", "std"))
    return Spread(mean, std, parts[0].paths)


def _spread(dynamics: Dynamics, window: Window, history: int, samples: int, streams: list[torch.Generator] | None) -> Spread:
    """Return the spread of a few windows; with ``streams`` of noise, of samples, else of propagated means."""
    batch, steps = window.state.shape[1], window.length - history
    carry = warm_up(dynamics, window.map(lambda tensor: tensor[:, :, :history]))
    # Histories are read once, and go on as S rows each: [M, B * S, .].
    carry = carry.take(torch.arange(batch, device=window.state.device).repeat_interleave(samples))
    last, ahead = window.state[:, :, history - 1], window.action[:, :, history:]
    state, action = (tensor.repeat_interleave(samples, dim=1) for tensor in (last, ahead))
    noise: Tensor | None = None
    if streams is not None:
        shape = (steps, batch * samples, window.state.shape[-1])
        noise = torch.stack([torch.randn(shape, generator=stream) for stream in streams], dim=1).to(window.state)
    rollout = forecast(dynamics, carry, state, action, "mean" if noise is None else "sample", noise)

    def by_path(tensor: Tensor) -> Tensor:  # [K, E, B * S, D] -> [K, E * S, B, D]
        return torch.unflatten(tensor, 2, (batch, samples)).transpose(2, 3).flatten(1, 2)

    return mixture(by_path(rollout.mean), by_path(rollout.log_std))
