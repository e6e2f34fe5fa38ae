"""Do terminations mark falls? Whoever lies on the ground at the end has fallen; who ran out of time has not."""

from __future__ import annotations

from collections.abc import Mapping

from rwmu.data.audit.context import Context, last_rows, place
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.episodes import Episodes

_FEWEST_EPISODES = 10
_NEARLY_ALL, _MOST = 0.9, 0.5
_FALLEN = -0.5  # z of gravity: tilted by 60 degrees
_FEWEST_FALLS = 3
_UNMARKED = 0.1  # of the episodes that end fallen; a recording that stops amid a fall leaves some (3 % of the recipe 'mixed')


def terminations(episodes: Episodes, context: Context) -> list[Finding]:
    """Find out whether terminations fire at all, and where they should not."""
    total = int(episodes.termination.sum())
    if not total:
        sentence = "The termination column never fires: these data teach nothing about falls; add episodes that end in falls."
        return [warning("no_termination", sentence, terminations=0)]
    inside = episodes.termination.clone()
    inside[last_rows(episodes)] = False
    if not inside.any():
        return []
    number, where = int(inside.sum()), place(episodes, int(inside.nonzero()[0]))
    sentence = f"{number} of {total} terminations stand before the last row of their episode, the first in {where}; split there."
    return [warning("termination_inside", sentence, terminations=total, inside=number)]


def time_outs(episodes: Episodes, context: Context) -> list[Finding]:
    """Find time-outs among the terminations: nearly all episodes terminate, and most of them in the very same row."""
    terminated, longest = episodes.termination[last_rows(episodes)], int(episodes.lengths.max())
    total, in_time = int(terminated.sum()), int((terminated & (episodes.lengths == longest)).sum())
    if episodes.num_episodes < _FEWEST_EPISODES or total < _NEARLY_ALL * episodes.num_episodes or in_time <= _MOST * total:
        return []
    sentence = (
        f"{total} of {episodes.num_episodes} episodes terminate, {in_time} of them after the very same {longest - 1} steps: "
        "time-outs are marked as terminations; mark falls only."
    )
    numbers = {"terminated": total, "in_the_longest": in_time, "episodes": episodes.num_episodes}
    return [warning("time_outs_as_terminations", sentence, **numbers)]


def unmarked_falls(episodes: Episodes, context: Context) -> list[Finding]:
    """Find episodes that end on the side or on the back without a termination."""
    last, height = last_rows(episodes), context.part(episodes, "projected_gravity")[:, 2]
    fallen = height[last] > _FALLEN
    if float(height.median()) > _FALLEN:  # the sign is wrong, or the robot lies throughout
        return []
    unmarked = (fallen & ~episodes.termination[last]).nonzero().squeeze(-1).tolist()
    if len(unmarked) < _FEWEST_FALLS or len(unmarked) <= _UNMARKED * int(fallen.sum()):
        return []
    sentence = (
        f"{len(unmarked)} of {int(fallen.sum())} episodes that end tilted by more than 60 degrees are not marked as terminated "
        f"(episodes {listed(unmarked)}); mark the falls."
    )
    return [warning("unmarked_falls", sentence, unmarked=len(unmarked), fallen=int(fallen.sum()), episodes=unmarked[:20])]


def import_report(episodes: Episodes, context: Context) -> list[Finding]:
    """Say what an importer of tables did to a table (:func:`rwmu.data.formats.csv.split_table`)."""
    report = episodes.attributes.get("import_report")
    if not isinstance(report, Mapping):
        return []
    findings = []
    if report.get("num_seams"):
        sentence = (
            f"{report['num_seams']} seams that no column marks were found where joints jump (rows {listed(report['seams'])} of the "
            "table), which is split there."
        )
        findings.append(Finding("table_seams", "note", sentence, {"count": report["num_seams"], "rows": report["seams"]}))
    if report.get("num_dropped_terminations"):
        dropped, total = report["num_dropped_terminations"], report["num_terminations"]
        sentence = (
            f"{dropped} terminations stand in first rows of episodes, and are dropped; mark the last row of an episode instead."
        )
        findings.append(warning("table_terminations", sentence, dropped=dropped, all=total))
    return findings
