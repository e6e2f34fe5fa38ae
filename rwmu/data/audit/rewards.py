"""Are the recorded rewards what the task would have paid? A fault of commands, contacts or rewards themselves shows there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rwmu.data.audit.context import Context, rows_within, step_of
from rwmu.data.audit.findings import Finding, warning
from rwmu.data.episodes import Episodes
from rwmu.data.replay import replay
from rwmu.records import Reward
from rwmu.tasks.velocity import VelocityTask

_MOST_ROWS, _LONGEST, _FEWEST_ROWS = 40_000, 1_000, 500  # replayed in all, of an episode, and at the least
_CORRELATION, _SLOPE = 0.95, 0.1
_BLOCK = 10  # rows averaged, where noise of the sensors is to be told from another reward
_OFF, _DEVIATIONS = 0.5, 5.0  # how far from 1 a term's share in the reward may lie
_CONTACT_TERMS = ("feet_air_time", "undesired_contacts")
_TELLING_TERMS = ("track_lin_vel_xy_exp", "track_ang_vel_z_exp", *_CONTACT_TERMS)  # noise of the sensors does not drown these


def rewards(episodes: Episodes, context: Context) -> list[Finding]:
    """Replay the task over some episodes and compare what it pays with the rewards of the data.

    Clean data of the simulator agree to 2e-8. Where states are as noisy as the task's observations, correlations are 0.967 to
    0.993 (recipes 'mixed' and 'random', and robots that only walk or stand); twice as noisy, they fall to 0.87, but means over ten
    rows still agree. Nothing is said where rewards or commands are unknown, or where the task is of other layouts or another step.
    """
    task, step_dt = context.settings.task, step_of(episodes)
    if task is None or step_dt is None or abs(step_dt / task.step_dt - 1.0) > 1e-3 or {"reward", "command"} & episodes.unknown:
        return []
    if (context.layout, context.robot.contact_layout) != (task.robot.state_layout, task.robot.contact_layout):
        return []
    some = excerpt(episodes)
    rows = rows_within(some, before=2, behind=1)  # whose reward a replay can know
    if len(rows) < _FEWEST_ROWS or float(some.reward[rows].std()) == 0.0:
        return []
    paid, recorded = replay(some, task, rows), some.reward[rows].double()
    correlation, slope = agreement(paid.total, recorded)
    numbers = {"correlation": correlation, "slope": slope, "rows": len(rows)}
    fitting = "" if agrees(paid.total, recorded) else _what_fits(some, context, task, rows, paid)
    if not fitting and (agrees(paid.total, recorded) or agrees(means(paid.total), means(recorded))):
        return _contacts(paid, recorded, task, numbers)
    off = _off(paid, recorded, task, _TELLING_TERMS)
    if not fitting and off:
        fitting = f"; it holds {_listed(off)} what this task's does"
    sentence = (
        f"The reward of the data is not that of this task (replayed over {len(rows)} rows: correlation {correlation:.2f}, slope "
        f"{slope:.3g}){fitting}; mend or recompute it, or name it in the attribute 'unknown' if it is another task's."
    )
    return [warning("reward_mismatch", sentence, **numbers, **off)]


def excerpt(episodes: Episodes) -> Episodes:
    """Return the beginnings of episodes that are spread evenly over all of them, some 40,000 rows in all."""
    lengths = episodes.lengths.clamp(max=_LONGEST)
    number = max(1, min(episodes.num_episodes, int(_MOST_ROWS / float(lengths.double().mean()))))
    some = episodes.select(torch.linspace(0, episodes.num_episodes - 1, number).round().long())
    lengths = some.lengths.clamp(max=_LONGEST)
    kept = torch.arange(some.num_rows) - some.offsets[some.episode_of_row] < _LONGEST
    return replace(some, **{name: getattr(some, name)[kept] for name in some.row_arrays}, lengths=lengths)


def agreement(paid: Tensor, recorded: Tensor) -> tuple[float, float]:
    """Return the correlation of two series ``[S]``, and the slope of the second on the first; both 0 where either is constant."""
    x, y = paid.double() - paid.double().mean(), recorded.double() - recorded.double().mean()
    xx, yy, xy = float(x.square().sum()), float(y.square().sum()), float((x * y).sum())
    return (xy / (xx * yy) ** 0.5, xy / xx) if xx > 0.0 and yy > 0.0 else (0.0, 0.0)


def agrees(paid: Tensor, recorded: Tensor) -> bool:
    """Tell whether two series ``[S]`` are the same but for noise in either: the slope lies between those of two regressions."""
    together, slope = agreement(paid, recorded)
    return together >= _CORRELATION and slope <= 1.0 + _SLOPE and slope / together**2 >= 1.0 - _SLOPE


def means(series: Tensor) -> Tensor:
    """Return the means of ten rows each, ``[S] -> [S / 10]``."""
    return series[: len(series) // _BLOCK * _BLOCK].view(-1, _BLOCK).mean(-1)


def _what_fits(episodes: Episodes, context: Context, task: VelocityTask, rows: Tensor, paid: Reward) -> str:
    """Return in words under which change of the data the two agree, nothing where none is found."""
    recorded = episodes.reward
    together, slope = agreement(paid.total, recorded[rows])
    if abs(together) >= _CORRELATION:
        return f": it is {slope:.3g} times what the task pays"
    for shift, words in ((1, "late"), (-1, "early")):
        if agreement(paid.total, recorded[rows + shift])[0] >= _CORRELATION:
            return f": it fits if rewards stand one row too {words}"
    feet, others = context.feet_and_others(episodes)
    swapped = torch.empty_like(episodes.contact)
    if feet.shape == others.shape:
        at_feet = torch.zeros(swapped.shape[-1], dtype=torch.bool)
        at_feet[context.robot.contact_layout["foot"]] = True
        swapped[:, at_feet], swapped[:, ~at_feet] = others, feet
    for array, values, words in (
        ("command", -episodes.command, "commands have the other sign"),
        ("contact", swapped, "feet and other limbs are exchanged in the contacts"),
        ("contact", ~episodes.contact, "contacts are inverted"),
    ):
        changed = replace(episodes, **{array: values})  # type: ignore[arg-type]
        if agreement(replay(changed, task, rows).total, recorded[rows])[0] >= _CORRELATION:
            return f": it fits if {words}"
    return ""


def _contacts(paid: Reward, recorded: Tensor, task: VelocityTask, numbers: dict[str, float]) -> list[Finding]:
    """Find contacts that do not go with rewards that otherwise agree: the terms of contacts are small beside the others."""
    off = _off(paid, recorded, task, _CONTACT_TERMS)
    if not off:
        return []
    sentence = (
        f"The reward of the data does not follow from their contacts as this task's does (it holds {_listed(off)} what it should; "
        "all else agrees): check the contacts, their order and rows."
    )
    return [warning("reward_contacts", sentence, **numbers, **off)]


def _off(paid: Reward, recorded: Tensor, task: VelocityTask, names: tuple[str, ...]) -> dict[str, float]:
    """Return how many times the recorded rewards hold each of the terms ``names`` that they hold too much or too little of."""
    terms = {name: task.step_dt * task.weights[name] * term for name, term in paid.terms.items()}
    factor, deviation = shares(torch.stack(list(terms.values()), dim=-1), recorded)
    found = zip(terms, factor.tolist(), deviation.tolist(), strict=True)
    return {name: value for name, value, error in found if name in names and abs(value - 1.0) > max(_OFF, _DEVIATIONS * error)}


def _listed(off: dict[str, float]) -> str:
    return " and ".join(f"{name} {value:.2f} times" for name, value in off.items())


def shares(terms: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Regress ``total [S]`` on ``terms [S, X]``; return the factors ``[X]``, 1 where a term does not vary, and their deviations."""
    varying = terms.std(0) > 1e-9
    known = torch.cat([terms[:, varying], torch.ones(len(terms), 1, dtype=terms.dtype)], dim=-1)
    scale = known.square().mean(0).sqrt()
    known = known / scale
    inverse = torch.linalg.pinv(known.T @ known, hermitian=True)
    weights = inverse @ (known.T @ total)
    variance = (total - known @ weights).square().mean()
    factor, deviation = torch.ones(terms.shape[-1], dtype=terms.dtype), torch.zeros(terms.shape[-1], dtype=terms.dtype)
    factor[varying] = (weights / scale)[:-1]
    deviation[varying] = ((variance * inverse.diagonal()).clamp(min=0.0).sqrt() / scale)[:-1]
    return factor, deviation
