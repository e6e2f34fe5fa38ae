"""Columns that say nothing: constant, flags that never change, contacts of other limbs, rewards that nobody gave."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.findings import Finding, listed, place
from rwmu.data.episodes import Episodes
from rwmu.robots.robot import Robot

_RELATIVE = 1e-6  # as the normaliser: what varies less than this times its size is constant but for rounding
_THIGHS_ON, _MORE = 0.3, 0.2  # share of the rows with a thigh down, and how much more often than feet, that no walk has


def constant_columns(episodes: Episodes, robot: Robot, fitted: bool = True) -> list[Finding]:
    """Find state and action columns, and those of an extension, that have one value throughout.

    Args:
        fitted: whether a normaliser is to be fitted on the data, which a constant state column makes impossible.
    """
    findings = []
    led_to = torch.ones(episodes.num_rows, dtype=torch.bool)
    led_to[episodes.offsets] = False
    looked_at = {"state": (episodes.state, robot.state_layout.names()), "action": (episodes.action[led_to], None)}
    if episodes.extension is not None:
        looked_at["extension"] = (episodes.extension, None)
    for array, (values, names) in looked_at.items():
        dead = constant(values)
        if not len(dead):
            continue
        named = [names[i] if names else f"{array}[{i}]" for i in dead.tolist()]
        grave = array != "action" and fitted
        findings.append(
            Finding(
                f"constant_{array}",
                "error" if grave else "warning",
                f"{array.capitalize()} columns never vary: {listed(named)}; "
                + ("they cannot be normalised: " if grave else "a model learns nothing of them: ")
                + "check the sensor or the order of the columns, or collect more varied data.",
                {"columns": named, "values": values[0, dead].tolist() if len(values) else []},
            )
        )
    return findings


def constant(values: Tensor) -> Tensor:
    """Return the columns of ``[R, X]`` that have one value but for rounding, int64."""
    if len(values) < 2:
        return torch.empty(0, dtype=torch.int64)
    low, high = values.amin(0), values.amax(0)
    size = torch.maximum(low.abs(), high.abs()).clamp(min=_RELATIVE)
    return ((high - low) <= _RELATIVE * size).nonzero().squeeze(-1)


def contacts(episodes: Episodes, robot: Robot) -> list[Finding]:
    """Find contact columns that are never on or always on; of feet they are suspect, elsewhere worth knowing."""
    share = episodes.contact.float().mean(0)
    findings = []
    feet = {name for name in robot.contact_layout.names() if name.startswith("foot")}
    for fixed, words in ((0.0, "never"), (1.0, "always")):
        names = [name for name, value in zip(robot.contact_layout.names(), share.tolist(), strict=True) if value == fixed]
        if not names:
            continue
        suspect = words == "always" or bool(feet & set(names))
        findings.append(
            Finding(
                f"contact_{words}_on",
                "warning" if suspect else "note",
                f"Contacts are {words} on: {listed(names)}; "
                + ("check the sensor, its threshold and the order of the columns." if suspect else "a model cannot foretell them."),
                {"columns": names},
            )
        )
    return findings


def contact_order(episodes: Episodes, robot: Robot) -> list[Finding]:
    """Find contacts of thighs that are on far more often than those of feet: exchanged, or inverted."""
    thigh, foot = (float(robot.contact_layout.part(episodes.contact, name).float().mean()) for name in ("undesired", "foot"))
    if thigh <= _THIGHS_ON or thigh <= foot + _MORE:
        return []
    sentence = (
        f"Thighs touch the ground in {thigh:.0%} of the rows, feet in {foot:.0%}: contacts are exchanged or inverted, or the robot "
        "lies down most of the time; check the order of the columns (thighs first) and that 1 is a contact."
    )
    return [Finding("contact_order", "warning", sentence, {"thigh": thigh, "foot": foot})]


def terminations(episodes: Episodes) -> list[Finding]:
    """Find out whether terminations fire at all, and where they should not."""
    total = int(episodes.termination.sum())
    if not total:
        return [
            Finding(
                "no_termination",
                "warning",
                "The termination column never fires: these data teach nothing about falls, and a policy optimised on them is "
                "not told what to avoid; add episodes that end in falls.",
                {"terminations": 0},
            )
        ]
    inside = episodes.termination.clone()
    inside[episodes.offsets + episodes.lengths - 1] = False
    if not inside.any():
        return []
    row = int(inside.nonzero()[0])
    return [
        Finding(
            "termination_inside",
            "warning",
            f"{int(inside.sum())} of {total} terminations stand before the last row of their episode, the first in "
            f"{place(episodes, row)}: split episodes where they terminate.",
            {"terminations": total, "inside": int(inside.sum())},
        )
    ]


def rewards(episodes: Episodes) -> list[Finding]:
    """Say where rewards are unknown, and find rewards that are one value throughout although they should be known."""
    if "reward" in episodes.unknown:
        sentence = "Rewards are unknown (the file has none): returns of these data mean nothing and are not computed."
        return [Finding("reward_unknown", "note", sentence)]
    led_to = torch.ones(episodes.num_rows, dtype=torch.bool)
    led_to[episodes.offsets] = False
    if not len(constant(episodes.reward[led_to].unsqueeze(-1))):
        return []
    sentence = (
        "The reward is one value throughout: returns of these data mean nothing; record it, or name it in the attribute 'unknown'."
    )
    return [Finding("constant_reward", "warning", sentence, {"value": float(episodes.reward[led_to][0])})]
