"""Columns that say nothing: constant, flags that never change, rewards that nobody gave; and what scales them."""

from __future__ import annotations

import torch
from torch import Tensor

from rwmu.data.audit.context import Context, rows_within
from rwmu.data.audit.findings import Finding, listed, warning
from rwmu.data.episodes import Episodes

_RELATIVE = 1e-6  # as the normaliser: what varies less than this times its size is constant but for rounding
_OTHERS_ON, _MORE = 0.3, 0.2  # share of the rows with another limb down, and how much more often than feet, that no walk has
_SHIFTED, _SCALED = 1.0, 3.0  # deviations of the normaliser


def constant_columns(episodes: Episodes, context: Context) -> list[Finding]:
    """Find state and action columns, and those of an extension, that have one value throughout.

    Where a normaliser is to be fitted on the data, a constant state column makes that impossible.
    """
    looked_at = {"state": episodes.state, "action": episodes.action[rows_within(episodes)]}
    if episodes.extension is not None:
        looked_at["extension"] = episodes.extension
    findings = []
    for array, values in looked_at.items():
        dead = constant(values).tolist()
        if not dead:
            continue
        named = [context.layout.names()[i] if array == "state" else f"{array}[{i}]" for i in dead]
        grave = array != "action" and context.settings.normalizer is None
        why = "they cannot be normalised" if grave else "a model learns nothing of them"
        sentence = f"{array.capitalize()} columns never vary: {listed(named)}; {why}: check sensors and order of columns."
        numbers = {"columns": named, "values": values[0, dead].tolist()}
        findings.append(Finding(f"constant_{array}", "error" if grave else "warning", sentence, numbers))
    return findings


def constant(values: Tensor) -> Tensor:
    """Return the columns of ``[R, X]`` that have one value but for rounding, int64."""
    if len(values) < 2:
        return torch.empty(0, dtype=torch.int64)
    low, high = values.amin(0), values.amax(0)
    size = torch.maximum(low.abs(), high.abs()).clamp(min=_RELATIVE)
    return ((high - low) <= _RELATIVE * size).nonzero().squeeze(-1)


def contacts(episodes: Episodes, context: Context) -> list[Finding]:
    """Find contact columns that are never on or always on; of feet they are suspect, elsewhere worth knowing."""
    share, columns, findings = episodes.contact.float().mean(0), context.robot.contact_layout.names(), []
    for fixed, words in ((0.0, "never"), (1.0, "always")):
        names = [name for name, value in zip(columns, share.tolist(), strict=True) if value == fixed]
        if names:
            suspect = words == "always" or any(name.startswith("foot") for name in names)
            advice = "check the sensor, its threshold and the order of the columns" if suspect else "a model cannot foretell them"
            sentence = f"Contacts are {words} on: {listed(names)}; {advice}."
            findings.append(Finding(f"contact_{words}_on", "warning" if suspect else "note", sentence, {"columns": names}))
    return findings


def contact_order(episodes: Episodes, context: Context) -> list[Finding]:
    """Find contacts of other limbs that are on far more often than those of feet: exchanged, or inverted."""
    feet, others = (contact.float().mean() for contact in context.feet_and_others(episodes))
    if not (others > _OTHERS_ON and others > feet + _MORE):  # NaN where there are no others
        return []
    sentence = (
        f"Other limbs touch the ground in {others:.0%} of the rows, feet in {feet:.0%}: check the order of contacts (feet last) "
        "and that 1 is a contact; or the robot lies down most of the time."
    )
    return [warning("contact_order", sentence, others=float(others), feet=float(feet))]


def rewards_known(episodes: Episodes, context: Context) -> list[Finding]:
    """Say where rewards are unknown, and find rewards that are one value throughout although they should be known."""
    if "reward" in episodes.unknown:
        sentence = "Rewards are unknown (the file has none): returns of these data mean nothing and are not computed."
        return [Finding("reward_unknown", "note", sentence)]
    given = episodes.reward[rows_within(episodes)]
    if not len(constant(given.unsqueeze(-1))):
        return []
    sentence = "The reward is one value throughout: record it, or name it in the attribute 'unknown'."
    return [warning("constant_reward", sentence, value=float(given[0]))]


def normalizer_mismatch(episodes: Episodes, context: Context) -> list[Finding]:
    """Compare a normaliser that is to be used with the data's own means and deviations: it should bring them near to 0 and 1."""
    normalizer, names = context.settings.normalizer, context.layout.names()
    if normalizer is None:
        return []
    if normalizer.names != names:
        pairs = zip([*normalizer.names, *[None] * len(names)], names, strict=False)
        theirs, ours = next(((a, b) for a, b in pairs if a != b), (normalizer.names[-1], None))
        sentence = f"The normaliser has the column {theirs} where the data have {ours}: it belongs to a model of other data."
        return [Finding("normalizer_columns", "error", sentence, {"columns": len(normalizer.names)})]
    mean = episodes.state.double().mean(0)
    std = (episodes.state.double() - mean).square().mean(0).sqrt()
    shift, ratio = (mean - normalizer.mean.double()) / normalizer.std.double(), std / normalizer.std.double()
    distance = torch.maximum(shift.abs() / _SHIFTED, torch.maximum(ratio, 1.0 / ratio.clamp(min=1e-12)) / _SCALED)
    off = [name for name, far in zip(names, distance.tolist(), strict=True) if far > 1.0]
    if not off:
        return []
    worst = int(distance.argmax())
    sentence = (
        f"The normaliser does not fit {len(off)} of {len(names)} state columns ({listed(off)}): it leaves {names[worst]} with mean "
        f"{float(shift[worst]):.3g} and deviation {float(ratio[worst]):.3g} instead of 0 and 1; were its data in other units?"
    )
    numbers = {"columns": off, "worst": names[worst], "mean": float(shift[worst]), "deviation": float(ratio[worst])}
    return [warning("normalizer_mismatch", sentence, **numbers)]
