"""Do terminations mark falls? Episodes that ran out of time are none, and whoever lies on the ground at the end has fallen."""

from __future__ import annotations

from rwmu.data.audit.findings import Finding, listed
from rwmu.data.episodes import Episodes
from rwmu.robots.layout import StateLayout

_FEWEST_EPISODES = 10
_NEARLY_ALL, _MOST = 0.9, 0.5
_FALLEN = -0.5  # z of gravity: tilted by 60 degrees
_FEWEST_FALLS = 3
_UNMARKED = 0.1  # of the episodes that end fallen; a recording that stops amid a fall leaves some (3 % of the recipe 'mixed')


def time_outs(episodes: Episodes) -> list[Finding]:
    """Find time-outs among the terminations: nearly all episodes terminate, and most of them in the very same row."""
    last = episodes.offsets + episodes.lengths - 1
    terminated = episodes.termination[last]
    longest = int(episodes.lengths.max())
    in_time = terminated & (episodes.lengths == longest)
    few = episodes.num_episodes < _FEWEST_EPISODES
    if few or terminated.double().mean() < _NEARLY_ALL or in_time.sum() <= _MOST * terminated.sum():
        return []
    sentence = (
        f"{int(terminated.sum())} of {episodes.num_episodes} episodes terminate, {int(in_time.sum())} of them after the very same "
        f"{longest - 1} steps: time-outs are marked as terminations, and a model would learn that robots fall by the clock; mark "
        "falls only."
    )
    numbers = {"terminated": int(terminated.sum()), "in_the_longest": int(in_time.sum()), "episodes": episodes.num_episodes}
    return [Finding("time_outs_as_terminations", "warning", sentence, numbers)]


def unmarked_falls(episodes: Episodes, layout: StateLayout) -> list[Finding]:
    """Find episodes that end on the side or on the back without a termination.

    Args:
        layout: with ``projected_gravity``.
    """
    last = episodes.offsets + episodes.lengths - 1
    height = layout.part(episodes.state, "projected_gravity")[:, 2]
    fallen = height[last] > _FALLEN
    if float(height.median()) > _FALLEN:  # the sign is wrong, or the robot lies throughout
        return []
    unmarked = (fallen & ~episodes.termination[last]).nonzero().squeeze(-1)
    if len(unmarked) < _FEWEST_FALLS or len(unmarked) <= _UNMARKED * int(fallen.sum()):
        return []
    named = listed([str(i) for i in unmarked.tolist()])
    sentence = (
        f"{len(unmarked)} of {int(fallen.sum())} episodes that end tilted by more than 60 degrees are not marked as terminated "
        f"(episodes {named}): a model would learn that such robots go on; mark the falls."
    )
    numbers = {"unmarked": len(unmarked), "fallen": int(fallen.sum()), "episodes": unmarked[:20].tolist()}
    return [Finding("unmarked_falls", "warning", sentence, numbers)]
