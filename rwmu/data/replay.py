"""Go through recorded episodes with a task: what it remembers at every row, and what it would have paid for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.errors import DataError
from rwmu.files import json_ready
from rwmu.records import Reward
from rwmu.tasks.velocity import TaskMemory, VelocityTask

# What the task remembers -> the field that it is made of.
_REMEMBERED = {"air_time_s": "foot", "contact_time_s": "foot", "last_air_time_s": "foot", "previous_joint_vel": "joint_vel"}
_ROWS_AT_A_TIME = 100_000  # in float64, with every quantity that a reward may ask for


def contact_times(episodes: Episodes, task: VelocityTask) -> TaskMemory:
    """Return what the task remembers of the feet at every row, ``[R, F]`` each, as if it had followed each episode from its start.

    The contacts of an episode's first row are not folded in: the task starts with all times zero and counts from the first step.
    Command, last action and joint velocity are left zero; :func:`recall` fills them in.
    """
    foot = task.robot.contact_layout.part(episodes.contact, "foot").bool()
    rows, running = task.start(episodes.num_rows), task.start(episodes.num_episodes)
    # Longest first, so that the episodes still running are a prefix.
    order = episodes.lengths.argsort(descending=True)
    lengths, offsets = episodes.lengths[order], episodes.offsets[order]
    for t in range(1, int(lengths.max())):
        alive = int((lengths > t).sum())
        running = running.take(slice(alive))
        here = offsets[:alive] + t
        running.record_contact(foot[here], task.step_dt)
        for name in ("air_time_s", "contact_time_s", "last_air_time_s"):
            getattr(rows, name)[here] = getattr(running, name)
    return rows


def recall(episodes: Episodes, task: VelocityTask, times: TaskMemory, rows: Tensor) -> TaskMemory:
    """Return all that the task remembers on reaching ``rows [S]``, given :func:`contact_times`; the command is the next one."""
    memory = times.take(rows)
    memory.command = episodes.command[rows]
    memory.last_action = episodes.action[rows]
    memory.previous_joint_vel = task.robot.state_layout.part(episodes.state[rows], "joint_vel").clone()
    return memory


def replay(episodes: Episodes, task: VelocityTask, rows: Tensor, times: TaskMemory | None = None) -> Reward:
    """Return what the task pays on reaching ``rows`` (``[S]`` int64, none of them the first of an episode), in float64.

    Args:
        times: :func:`contact_times`, where they are known already.
    """
    before = recall(episodes, task, contact_times(episodes, task) if times is None else times, rows - 1)
    memory = before.map(lambda tensor: tensor.double())
    memory.contact_time_s = before.contact_time_s  # compared with one step: to be rounded as the task rounds it
    require_extension(episodes, task)
    extension = None if episodes.extension is None or not task.extension else episodes.extension[rows].double()
    return task.reward(memory, episodes.state[rows].double(), episodes.action[rows].double(), episodes.contact[rows], extension)


def require_extension(episodes: Episodes, task: VelocityTask) -> None:
    """Refuse data without what the task's rewards ask a simulator for.

    Raises:
        DataError: names the columns.
    """
    if task.extension and episodes.extension_dim != len(task.extension):
        raise DataError(
            f"The task's rewards ask for {', '.join(task.extension)}, which only a simulator computes, but the data have an "
            f"extension of {episodes.extension_dim} columns; collect data with this task."
        )


def paid_where_unknown(episodes: Episodes, task: VelocityTask) -> Episodes:
    """Return episodes whose rewards nobody knows with those that ``task`` pays, if all is known that its rewards ask for."""
    needed = {_REMEMBERED.get(name, name) for name in task.rewards.asked}
    if "reward" not in episodes.unknown or needed & episodes.unknown:
        return episodes
    unknown = [name for name in episodes.attributes["unknown"] if name != "reward"]
    return repaid(episodes.with_attributes(unknown=unknown), task)


def repaid(episodes: Episodes, task: VelocityTask) -> Episodes:
    """Return the episodes with the rewards that ``task`` pays for them; nobody pays for the first row of one.

    They keep their hash: a world model that was trained on them has seen no rewards, and goes on knowing its data.
    """
    reward = episodes.reward.clone()
    together = torch.bincount(episodes.last_rows // _ROWS_AT_A_TIME)
    for ids in torch.split(torch.arange(episodes.num_episodes), together.tolist()):
        part = episodes.select(ids)
        paid_for = torch.ones(part.num_rows, dtype=torch.bool)
        paid_for[part.offsets] = False
        rows = paid_for.nonzero()[:, 0]
        reward[episodes.rows_of(ids)[rows]] = replay(part, task, rows).total.to(reward.dtype)
    rewards = {"rewards": json_ready(task.rewards.describe())}
    paid = replace(episodes, reward=reward, attributes={**episodes.attributes, **rewards})
    vars(paid)["_hash"] = episodes.content_hash()  # where Episodes keeps it, once it is known
    return paid
