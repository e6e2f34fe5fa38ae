"""Are the recorded rewards what the task would have paid? A fault of commands, contacts or rewards themselves shows there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rwmu.data.audit.findings import Finding
from rwmu.data.episodes import Episodes
from rwmu.data.replay import replay
from rwmu.records import Reward
from rwmu.tasks.velocity import VelocityTask

_MOST_ROWS, _LONGEST = 40_000, 1_000  # replayed, of an episode
_FEWEST_ROWS = 500
_CORRELATION, _SLOPE = 0.95, 0.1
_BLOCK = 10  # rows averaged, where noise of the sensors is to be told from another reward
_OFF = 0.5  # how far from 1 a term's share in the reward may lie
_DEVIATIONS = 5.0
_CONTACT_TERMS = ("feet_air_time", "undesired_contacts")
_TELLING_TERMS = ("track_lin_vel_xy_exp", "track_ang_vel_z_exp", *_CONTACT_TERMS)  # noise of the sensors does not drown these


def rewards(episodes: Episodes, task: VelocityTask) -> list[Finding]:
    """Replay the task over some episodes and compare what it pays with the rewards of the data.

    Clean data of the simulator agree to 2e-8. Where states are as noisy as the task's observations, correlations are 0.967 to
    0.993 (recipes 'mixed' and 'random', and robots that only walk or stand); twice as noisy, they fall to 0.87, but means over ten
    rows still agree. Nothing is said where rewards or commands are unknown, or where they have another step than the task.
    """
    step_dt = episodes.attributes.get("step_dt")
    if {"reward", "command"} & episodes.unknown or step_dt is None or abs(float(step_dt) / task.step_dt - 1.0) > 1e-3:
        return []
    some = excerpt(episodes)
    rows = _rewarded(some)
    if len(rows) < _FEWEST_ROWS or float(some.reward[rows].std()) == 0.0:
        return []
    paid = replay(some, task, rows)
    recorded = some.reward[rows].double()
    together, slope = agreement(paid.total, recorded)
    numbers = {"correlation": together, "slope": slope, "rows": len(rows)}
    if agrees(paid.total, recorded):
        return _contacts(paid, recorded, task, numbers)
    fitting = _what_fits(some, task, rows, paid)
    if not fitting and agrees(means(paid.total), means(recorded)):
        return _contacts(paid, recorded, task, numbers)
    off = _off(paid, recorded, task, _TELLING_TERMS)
    if not fitting and off:
        fitting = f"; it holds {_listed(off)} what this task's does"
    sentence = (
        f"The reward of the data is not that of this task (replayed over {len(rows)} rows: correlation {together:.2f}, slope "
        f"{slope:.3g}){fitting}; a behaviour clone picks the best episodes by it, so mend what is at fault or recompute the "
        "reward, or name it in the attribute 'unknown' if it is another task's."
    )
    return [Finding("reward_mismatch", "warning", sentence, {**numbers, **off})]


def excerpt(episodes: Episodes) -> Episodes:
    """Return the beginnings of episodes that are spread evenly over all of them, some 40,000 rows in all."""
    lengths = episodes.lengths.clamp(max=_LONGEST)
    number = max(1, min(episodes.num_episodes, int(_MOST_ROWS / float(lengths.double().mean()))))
    ids = torch.linspace(0, episodes.num_episodes - 1, number).round().long()
    lengths = lengths[ids]
    row = torch.arange(int(lengths.sum())) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    rows = torch.repeat_interleave(episodes.offsets[ids], lengths) + row
    return replace(
        episodes,
        **{name: getattr(episodes, name)[rows] for name in episodes.row_arrays},
        lengths=lengths,
        levels=[episodes.levels[i] for i in ids.tolist()],
        seeds=episodes.seeds[ids],
    )


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


def _rewarded(episodes: Episodes) -> Tensor:
    """Return the rows whose reward a replay can know: two rows are before them, and one is behind them."""
    row = torch.arange(episodes.num_rows) - episodes.offsets[episodes.episode_of_row]
    return ((row > 1) & (row + 1 < episodes.lengths[episodes.episode_of_row])).nonzero().squeeze(-1)


def _what_fits(episodes: Episodes, task: VelocityTask, rows: Tensor, paid: Reward) -> str:
    """Return in words under which change of the data the two agree, nothing where none is found."""
    recorded = episodes.reward
    together, slope = agreement(paid.total, recorded[rows])
    if abs(together) >= _CORRELATION:
        return f": it is {slope:.3g} times what the task pays"
    for shift, words in ((1, "late"), (-1, "early")):
        if agreement(paid.total, recorded[rows + shift])[0] >= _CORRELATION:
            return f": it fits if rewards stand one row too {words}"
    for change, words in _CHANGES:
        if agreement(replay(change(episodes, task), task, rows).total, recorded[rows])[0] >= _CORRELATION:
            return f": it fits if {words}"
    return ""


def _negated(episodes: Episodes, task: VelocityTask) -> Episodes:
    return replace(episodes, command=-episodes.command)


def _inverted(episodes: Episodes, task: VelocityTask) -> Episodes:
    return replace(episodes, contact=~episodes.contact)


def _swapped(episodes: Episodes, task: VelocityTask) -> Episodes:
    """Take the columns for feet first, then the others."""
    return replace(episodes, contact=episodes.contact.roll(-len(task.robot.contacts.feet), dims=-1))


_CHANGES: tuple[tuple[Callable[[Episodes, VelocityTask], Episodes], str], ...] = (
    (_negated, "commands have the other sign"),
    (_swapped, "thighs and feet are exchanged in the contacts"),
    (_inverted, "contacts are inverted"),
)


def _contacts(paid: Reward, recorded: Tensor, task: VelocityTask, numbers: dict[str, float]) -> list[Finding]:
    """Find contacts that do not go with rewards that otherwise agree: the terms of contacts are small beside the others."""
    off = _off(paid, recorded, task, _CONTACT_TERMS)
    if not off:
        return []
    sentence = (
        f"The reward of the data does not follow from their contacts as this task's does (it holds {_listed(off)} what it should; "
        "all else agrees): contacts are inverted, exchanged or stand in other rows, or the reward counts them otherwise; check the "
        "contacts, which a model is to foretell."
    )
    return [Finding("reward_contacts", "warning", sentence, {**numbers, **off})]


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
    normal = (known / scale).T @ (known / scale)
    inverse = torch.linalg.pinv(normal, hermitian=True)
    weights = inverse @ ((known / scale).T @ total)
    variance = (total - (known / scale) @ weights).square().mean()
    factor, deviation = torch.ones(terms.shape[-1], dtype=terms.dtype), torch.zeros(terms.shape[-1], dtype=terms.dtype)
    factor[varying] = (weights / scale)[:-1]
    deviation[varying] = ((variance * inverse.diagonal()).clamp(min=0.0).sqrt() / scale)[:-1]
    return factor, deviation
