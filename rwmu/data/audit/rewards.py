"""Are the recorded rewards what the task would have paid? A fault of commands, contacts or rewards themselves shows there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rwmu.data.audit.findings import Findings, finding
from rwmu.data.audit.view import View
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


def rewards(view: View) -> Findings:
    """Replay the task over some episodes and compare what it pays with the rewards of the data.

    Clean data of the simulator agree to 2e-8. Where states are as noisy as the task's observations, correlations are 0.967 to
    0.993 (recipes 'mixed' and 'random', and robots that only walk or stand); twice as noisy, they fall to 0.87, but means over ten
    rows still agree. Nothing is said where rewards or commands are unknown, or where the task is of other layouts or another step.
    """
    task, robot, step_dt = view.settings.task, view.robot, view.step_dt
    if task is None or step_dt is None or abs(step_dt / task.step_dt - 1.0) > 1e-3:
        return
    layouts = (robot.state_layout, robot.contact_layout)
    if {"reward", "command"} & view.episodes.unknown or layouts != (task.robot.state_layout, task.robot.contact_layout):
        return
    view = replace(view, episodes=excerpt(view.episodes))
    rows = view.rows_within(before=2, behind=1)  # whose reward a replay can know
    recorded = view.episodes.reward[rows].double()
    if len(rows) < _FEWEST_ROWS or float(recorded.std()) == 0.0:
        return
    paid = replay(view.episodes, task, rows)
    correlation, slope = agreement(paid.total, recorded)
    numbers = {"correlation": correlation, "slope": slope, "rows": len(rows)}
    in_rows, in_means = agrees(paid.total, recorded), agrees(means(paid.total), means(recorded))
    fitting = "" if in_rows else _what_fits(view, task, rows, paid)
    name, terms = (
        ("reward_mismatch", _TELLING_TERMS) if fitting or not (in_rows or in_means) else ("reward_contacts", _CONTACT_TERMS)
    )
    off = _off(paid, recorded, task, terms)
    held = " and ".join(f"{term} {value:.2f} times" for term, value in off.items())
    if name == "reward_mismatch" or off:
        fitting = fitting or (f"; it holds {held} what this task's does" if off else "")
        yield finding(name, numbers | off, {"fitting": fitting, "held": held})


def excerpt(episodes: Episodes) -> Episodes:
    """Return the beginnings of episodes that are spread evenly over all of them, some 40,000 rows in all."""
    lengths = episodes.lengths.clamp(max=_LONGEST)
    number = max(1, min(episodes.num_episodes, int(_MOST_ROWS / float(lengths.double().mean()))))
    some = episodes.select(torch.linspace(0, episodes.num_episodes - 1, number).round().long())
    kept = torch.arange(some.num_rows) - some.offsets[some.episode_of_row] < _LONGEST
    rows = {name: getattr(some, name)[kept] for name in some.row_arrays}
    return replace(some, **rows, lengths=some.lengths.clamp(max=_LONGEST))


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


def _what_fits(view: View, task: VelocityTask, rows: Tensor, paid: Reward) -> str:
    """Return in words under which change of the data the two agree, nothing where none is found."""
    episodes = view.episodes
    recorded = episodes.reward[rows]
    together, slope = agreement(paid.total, recorded)
    if abs(together) >= _CORRELATION:
        return f": it is {slope:.3g} times what the task pays"
    for shift, words in ((1, "late"), (-1, "early")):
        if agreement(paid.total, episodes.reward[rows + shift])[0] >= _CORRELATION:
            return f": it fits if rewards stand one row too {words}"
    swapped = episodes.contact.clone()
    if 2 * int(view.feet.sum()) == len(view.feet):
        swapped[:, view.feet], swapped[:, ~view.feet] = episodes.contact[:, ~view.feet], episodes.contact[:, view.feet]
    changes = {
        "commands have the other sign": {"command": -episodes.command},
        "feet and other limbs are exchanged in the contacts": {"contact": swapped},
        "contacts are inverted": {"contact": ~episodes.contact},
    }
    for words, change in changes.items():
        if agreement(replay(replace(episodes, **change), task, rows).total, recorded)[0] >= _CORRELATION:  # type: ignore[arg-type]
            return f": it fits if {words}"
    return ""


def _off(paid: Reward, recorded: Tensor, task: VelocityTask, names: tuple[str, ...]) -> dict[str, float]:
    """Return how many times the recorded rewards hold each of the terms ``names`` that they hold too much or too little of."""
    terms = {name: task.step_dt * task.weights[name] * term for name, term in paid.terms.items()}
    factor, deviation = shares(torch.stack(list(terms.values()), dim=-1), recorded)
    found = zip(terms, factor.tolist(), deviation.tolist(), strict=True)
    return {name: value for name, value, error in found if name in names and abs(value - 1.0) > max(_OFF, _DEVIATIONS * error)}


def shares(terms: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Regress ``total [S]`` on ``terms [S, X]``; return the factors ``[X]``, 1 where a term does not vary, and their deviations."""
    varying = terms.std(0) > 1e-9
    known = torch.cat([terms[:, varying], torch.ones(len(terms), 1, dtype=terms.dtype)], dim=-1)
    scale = known.square().mean(0).sqrt()
    known = known / scale
    inverse = torch.linalg.pinv(known.T @ known, hermitian=True)
    weights = inverse @ (known.T @ total)
    variance = (total - known @ weights).square().mean()
    factor, deviation = torch.ones_like(terms[0]), torch.zeros_like(terms[0])
    factor[varying] = (weights / scale)[:-1]
    deviation[varying] = ((variance * inverse.diagonal()).clamp(min=0.0).sqrt() / scale)[:-1]
    return factor, deviation
