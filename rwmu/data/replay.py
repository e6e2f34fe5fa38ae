"""Go through recorded episodes with a task: what it remembers at every row, and what it would have paid for it."""

from __future__ import annotations

from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.records import Reward
from rwmu.tasks.velocity import TaskMemory, VelocityTask


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


def replay(episodes: Episodes, task: VelocityTask, rows: Tensor) -> Reward:
    """Return what the task pays on reaching ``rows`` (``[S]`` int64, none of them the first of an episode), in float64."""
    before = recall(episodes, task, contact_times(episodes, task), rows - 1)
    memory = before.map(lambda tensor: tensor.double())
    memory.contact_time_s = before.contact_time_s  # compared with one step: to be rounded as the task rounds it
    return task.reward(memory, episodes.state[rows].double(), episodes.action[rows].double(), episodes.contact[rows])
