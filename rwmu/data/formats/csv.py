"""Read and write the flat table of the published RWM datasets: CSV without header, one row a step.

::

    45 state columns | 12 action columns | 8 contact columns (4 undesired, 4 foot) | 1 termination column

The sizes are the robot's. A row holds the state and the action that *produced* it, as :mod:`rwmu.records` has it.

What the table leaves open, and what is done about it:

- **Where episodes end.** The released file is ten episodes of 1000 rows behind one another, and its termination column is zero
  throughout: windows cut across its seams would teach a model that a walking robot may vanish and reappear elsewhere.
  :func:`~rwmu.data.seams.find_seams` finds them in the joints, the file is split there, and the audit says so.
- **Commands and rewards.** There are none, so these hold zeros, and the attribute ``unknown`` names them. Dynamics and imagination
  use neither; a behaviour clone cannot be made of these data, and their returns mean nothing.
- **The action of an episode's first row** produced nothing that is known; it is zero in ``Episodes``, and no window uses it.
- **Terminations in the first row of an episode**, as a simulator writes them that resets before it observes, belong to a state
  that the file does not hold; they are dropped, and the audit says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import InstanceOf
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.data.fitness import UnfitDataError, audit
from rwmu.data.formats.registry import Format, existing, writing
from rwmu.data.seams import find_seams
from rwmu.errors import DataError
from rwmu.robots import PUBLISHED, robot_named
from rwmu.robots.robot import Robot
from rwmu.settings import Positive, checked

STEP_DT = 0.02  # s, of the published datasets
UNKNOWN = ("command", "reward", "seeds")

_KEPT = 100  # seams that the report names
_CHUNK_ROWS = 4096  # written at once


@checked("")
def load(path: str | Path, robot: InstanceOf[Robot] | None = None, step_dt: Positive = STEP_DT) -> Episodes:
    """Read a table and split it into episodes; the audit tells what the attribute ``import_report`` holds.

    Args:
        robot: gives the columns; that of the published datasets by default. step_dt: seconds between rows.

    Raises:
        DataError: one sentence that names line and column, for a file that is missing, empty, or not such a table.
    """
    path, robot = existing(Path(path)), robot or robot_named(PUBLISHED)
    episodes = split_table(torch.from_numpy(_read(path, robot)), robot, step_dt)
    audit(episodes, robot, f"The data file {path}")
    return episodes


def split_table(table: Tensor, robot: Robot, step_dt: float) -> Episodes:
    """Return the episodes in the rows ``[R, D + A + C + 1]`` of a table.

    What was found is said in ``import_report``: the first rows of episodes that begin without a mark (``seams``, the first hundred
    of ``num_seams``), ``num_terminations``, those of them that stand in first rows, and first rows whose action was not zero.
    """
    layout = robot.state_layout
    state, action, contact, last = torch.split(table, [layout.size, robot.num_joints, robot.contact_layout.size, 1], dim=-1)
    found = last.squeeze(-1).bool()
    jumps = torch.zeros(len(table), dtype=torch.bool)
    jumps[find_seams(state, layout, step_dt)] = True
    begins = jumps.clone()
    begins[0] = True
    # A flag beside a state that has just jumped speaks of a state before the jump, which the file does not hold.
    marked = (found & ~begins).roll(1)
    begins |= marked
    first = begins.nonzero().squeeze(-1)
    action, termination = action.clone(), found & ~begins
    seams = (jumps & ~marked).nonzero().squeeze(-1).tolist()
    report = {
        "seams": seams[:_KEPT],
        "num_seams": len(seams),
        "num_terminations": int(found.sum()),
        "num_dropped_terminations": int((found & begins).sum()),
        "num_dropped_actions": int(action[first].any(-1).sum()),
    }
    action[first] = 0.0
    return Episodes(
        state=state.contiguous(),
        action=action,
        contact=contact.bool(),
        termination=termination,
        command=torch.zeros(len(table), 3),
        reward=torch.zeros(len(table)),
        lengths=torch.diff(first, append=torch.tensor([len(table)])),
        levels=["unknown"] * len(first),
        seeds=torch.zeros(len(first), dtype=torch.int64),
        attributes={"robot": robot.name, "layout": layout.describe(), "step_dt": step_dt, "unknown": list(UNKNOWN)}
        | {"import_report": report},
    )


def save(episodes: Episodes, path: str | Path) -> None:
    """Write ``episodes`` as a table, whole or not at all; every float32 with nine digits, which name it exactly.

    Commands, rewards, extensions, levels, seeds and the places where episodes end without a termination are lost; :func:`load`
    finds the last again where the joints jump.
    """
    numbers = torch.cat([episodes.state, episodes.action], dim=-1)
    flags = torch.cat([episodes.contact, episodes.termination.unsqueeze(-1)], dim=-1).int()
    line = ",".join(["%.9g"] * numbers.shape[-1] + ["%d"] * flags.shape[-1]) + "\n"
    with writing(Path(path)) as partial, partial.open("w", encoding="ascii") as file:
        for values, bits in zip(torch.split(numbers, _CHUNK_ROWS), torch.split(flags, _CHUNK_ROWS), strict=True):
            file.writelines(line % (*v, *b) for v, b in zip(values.tolist(), bits.tolist(), strict=True))


# -- reading --------------------------------------------------------------------------------------------------------------


def column_names(robot: Robot) -> list[str]:
    """Return one name a column of the table."""
    actions = [f"action[{i}]" for i in range(robot.num_joints)]
    return [*robot.state_layout.names(), *actions, *robot.contact_layout.names(), "termination"]


def _read(path: Path, robot: Robot) -> NDArray[np.float32]:
    """Return the table ``[R, D + A + C + 1]``, all of it finite and the flags 0 or 1."""
    names = column_names(robot)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is refused below
            table = np.loadtxt(path, dtype=np.float32, delimiter=",", comments=None, ndmin=2, encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"The data file {path} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        _explain(path, names, robot)
        raise DataError(f"The data file {path} is not a table of numbers ({error}).") from error
    if not table.size:
        raise DataError(f"The data file {path} is empty; give a CSV file with at least one row.")
    if table.shape[1] != len(names):
        _explain(path, names, robot)
    no_flag = (table != 0.0) & (table != 1.0)
    no_flag[:, : robot.state_layout.size + robot.num_joints] = False
    _refuse("non_finite", ~np.isfinite(table), "a finite number is expected; remove these rows", table, path, names)
    _refuse("flags", no_flag, "0 or 1 is expected; check the order of its columns", table, path, names)
    return table


def _refuse(check: str, wrong: NDArray[np.bool_], wanted: str, table: NDArray[np.float32], path: Path, names: list[str]) -> None:
    """Refuse a table that is wrong somewhere, naming the first line and column."""
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        line = next(line for i, (line, _) in enumerate(_rows(path)) if i == row)
        found = f"the value {table[row, column]:g} in line {line}, column {names[column]}, where {wanted}"
        raise UnfitDataError(check, f"The data file {path} has {found} ({wrong.sum()} such values in all).")


def _explain(path: Path, names: list[str], robot: Robot) -> None:
    """Raise :class:`DataError` for the first line that is no row of ``names``; numpy counts rows, and names no column."""
    for line, cells in _rows(path):
        if len(cells) != len(names):
            sizes = f"{robot.state_layout.size} state + {robot.num_joints} action + {robot.contact_layout.size} contact"
            raise DataError(
                f"The data file {path} must have {len(names)} columns ({sizes} + 1 termination, for the robot '{robot.name}'), but "
                f"line {line} has {len(cells)}."
            )
        for name, cell in zip(names, cells, strict=True):
            try:
                float("no number" if "_" in cell else cell)
            except ValueError:
                found = f"{cell.strip()[:20]!r} in line {line}, column {name}"
                sentence = (
                    f"The data file {path} has {found}, where a number is expected; there is no header, and no cell is empty."
                )
                raise DataError(sentence) from None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number (from 1) and cells of every line that is not blank."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line, text in enumerate(file, start=1):
            if text.strip("\r\n"):
                yield line, text.strip("\r\n").split(",")


FORMAT = Format("published", (".csv",), load, save, lost="commands, rewards, levels, seeds, extensions and time-outs")
