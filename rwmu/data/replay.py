"""Go through recorded episodes with a task: what it remembers at every row, and what it would have paid for it."""

from __future__ import annotations

from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.records import Reward
from rwmu.tasks.velocity import TaskMemory, VelocityTask


def contact_times(episodes: Episodes, task: VelocityTask) -> TaskMemory:
    """Return what the task remembers of the feet at every row, ``[R, 4]`` each, as if it had followed each episode from its start.

    The contacts of an episode's first row are not folded in: the task starts with all times zero and counts from the first step.
    Command, last action and joint velocity are left zero.
    """
    foot = task.robot.contact_layout.part(episodes.contact, "foot").bool()
    rows = task.start(episodes.num_rows)
    running = task.start(episodes.num_episodes)
    names = ("air_time_s", "contact_time_s", "last_air_time_s")
    # Longest first, so that the episodes still running are a prefix.
    order = episodes.lengths.argsort(descending=True)
    lengths, offsets = episodes.lengths[order], episodes.offsets[order]
    for t in range(1, int(lengths.max())):
        alive = int((lengths > t).sum())
        for name in names:
            setattr(running, name, getattr(running, name)[:alive])
        here = offsets[:alive] + t
        running.record_contact(foot[here], task.step_dt)
        for name in names:
            getattr(rows, name)[here] = getattr(running, name)
    return rows


def replay(episodes: Episodes, task: VelocityTask, rows: Tensor) -> Reward:
    """Return what the task pays on reaching ``rows`` (``[S]`` int64, none of them the first of an episode), in float64."""
    before, layout = rows - 1, task.robot.state_layout
    times = contact_times(episodes, task)
    memory = TaskMemory(
        command=episodes.command[before].double(),
        last_action=episodes.action[before].double(),
        previous_joint_vel=layout.part(episodes.state, "joint_vel")[before].double(),
        air_time_s=times.air_time_s[before].double(),
        contact_time_s=times.contact_time_s[before],  # compared with one step: to be rounded as the task rounds it
        last_air_time_s=times.last_air_time_s[before].double(),
    )
    return task.reward(memory, episodes.state[rows].double(), episodes.action[rows].double(), episodes.contact[rows])
