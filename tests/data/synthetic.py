"""Episodes whose values say where they stand: episode * 1000 + row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rwmu.data.episodes import Episodes
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.robot import Robot

ROBOT = anymal_d()


def numbered_episodes(
    lengths: Sequence[int], robot: Robot = ROBOT, terminated: Sequence[int] = (), levels: Sequence[str] = ()
) -> Episodes:
    """Return episodes in which state, action, command and reward of a row are episode * 1000 + row, in every column.

    The action and the reward of row 0 are zero, by the convention; the flags of a row are the last bits of its number.

    Args:
        lengths: rows of each episode, below 1000.
        robot: gives the columns.
        terminated: episodes that end in a termination.
        levels: of each episode; ``level0``, ``level1``, ``level0`` ... by default.
    """
    each = torch.tensor(lengths, dtype=torch.int64)
    offsets = each.cumsum(0) - each
    number = torch.cat([1000 * i + torch.arange(length) for i, length in enumerate(lengths)])
    led_to = number.clone()
    led_to[offsets] = 0
    termination = torch.zeros(len(number), dtype=torch.bool)
    termination[[int(offsets[i] + each[i]) - 1 for i in terminated]] = True
    bits = torch.arange(robot.contact_layout.size)
    return Episodes(
        state=number.float().unsqueeze(-1).repeat(1, robot.state_layout.size),
        action=led_to.float().unsqueeze(-1).repeat(1, robot.num_joints),
        contact=((number.unsqueeze(-1) >> bits) & 1).bool(),
        termination=termination,
        command=number.float().unsqueeze(-1).repeat(1, 3),
        reward=led_to.float(),
        lengths=each,
        levels=list(levels) or [f"level{i % 2}" for i in range(len(lengths))],
        seeds=torch.arange(len(lengths)) + 77,
        attributes={"robot": robot.name, "layout": robot.state_layout.describe(), "step_dt": 0.02, "seed": 3},
    )


def varied_episodes(lengths: Sequence[int], seed: int = 0) -> Episodes:
    """Return ANYmal episodes of random values, for what needs a spread in every column."""
    template = numbered_episodes(lengths)
    generator = torch.Generator().manual_seed(seed)
    scale = 1.0 + torch.arange(template.state.shape[-1])
    state = torch.randn(template.state.shape, generator=generator) * scale - 2.0 * scale
    action = torch.randn(template.action.shape, generator=generator)
    action[template.offsets] = 0.0
    kept = {name: getattr(template, name) for name in ("contact", "termination", "command", "reward", "lengths", "levels", "seeds")}
    return Episodes(state=state, action=action, **kept, attributes=template.attributes)
