"""A robot that moves and its dream beside it, step by step, with what the model says and how far it is off."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rwmu.interfaces import Actor
from rwmu.records import Window
from rwmu.simulators.poses import moved, rotated
from rwmu.tasks.velocity import VelocityTask
from rwmu.view.dream import Dream, Watched
from rwmu.view.judgement import Usual, Verdict, verdict
from rwmu.view.sources import Row, Source

Floats = NDArray[np.float64]
_JUDGED_S = 0.2  # over which means are judged


@dataclass(frozen=True)
class Frame:
    """What there is to see at one step.

    Attributes:
        time_s: since the session began. row: the robot's. dream_age_s: since the dream's history.
        watched: what the model says; None until there is a history. ghosts: ``[E, 7 + A]``, poses of the members' dreams.
    """

    time_s: float
    row: Row
    dream_age_s: float
    watched: Watched | None
    ghosts: Floats | None


@dataclass(frozen=True)
class Strip:
    """One moment of what is plotted; NaN where there is no dream."""

    time_s: float
    next_disagreement: float
    next_error: float
    disagreement: float
    error: float

    @classmethod
    def of(cls, frame: Frame) -> Strip:
        """Return what is plotted of a frame; dreams by their mean."""
        seen = frame.watched
        if seen is None:
            return cls(frame.time_s, *[float("nan")] * 4)
        dreamt = float(seen.disagreement.mean()), float(seen.error.mean())
        return cls(frame.time_s, seen.next_disagreement, seen.next_error, *dreamt)


class Session:
    """Move a robot and dream of it.

    Args:
        dream: of the world model. usual: what its disagreement and errors are on held-out episodes.
        restart_s: after which the dream begins anew from the robot's history. memory_s: how long strips are.

    Attributes:
        source: of the robot's rows; :meth:`begin` after a change. restart_s: as given.
        dreaming_actor: a policy that acts in the dream, on what is dreamt; None repeats the robot's actions.
        fallen_s: how long the robot has lain, s; None while it is up. strips: the latest, oldest first.
    """

    def __init__(
        self, task: VelocityTask, dream: Dream, usual: Usual, source: Source, restart_s: float = 2.0, memory_s: float = 10.0
    ) -> None:
        self.task, self.dream, self.usual, self.source = task, dream, usual, source
        self.restart_s, self._restart = restart_s, False
        self.dreaming_actor: Actor | None = None
        self.strips: deque[Strip] = deque(maxlen=round(memory_s / task.step_dt))
        self._history: deque[Row] = deque(maxlen=dream.world_model.history)
        self._time_steps = 0
        self.fallen_s: float | None = None
        self._ghosts: Floats | None = None
        self._last_action: Tensor
        self.begin()

    def begin(self) -> Frame:
        """Begin an episode of the source; there is no dream until there is a history."""
        self._history.clear()
        self._ghosts, self.fallen_s = None, None
        return self._seen(self.source.begin(), None)

    def restart_dream(self) -> None:
        """Let the dream begin anew at the next step."""
        self._restart = True

    def push(self, change: Tensor) -> None:
        """Kick the robot, and what is dreamt of it, by a planar velocity ``[2]``, m/s in the world's frame.

        Raises:
            ConfigError: it cannot be.
        """
        self.source.push(change)
        row, layout = self._history[-1], self.task.robot.state_layout
        poses = row.pose[None] if self._ghosts is None else np.concatenate([self._ghosts, row.pose[None]])
        kick = np.broadcast_to(np.append(change.numpy(), 0.0), (len(poses), 3))
        in_base = torch.from_numpy(rotated(poses[:, 3:7] * (1.0, -1.0, -1.0, -1.0), kick)).float()
        pushed = row.state.clone()
        layout.part(pushed, "base_lin_vel").add_(in_base[-1])
        self._history[-1] = replace(row, state=pushed)
        if self._ghosts is not None:
            self.dream.push(in_base)

    def step(self) -> Frame:
        """Go on by a control step; an episode that is over begins again."""
        dreamt = None if self._ghosts is None else self._dreamt_actions()
        row = self.source.advance()
        if row is None:
            return self.begin()
        watched = None
        if self._ghosts is not None:
            actions = row.action.expand(self.dream.num_members, -1) if dreamt is None else dreamt
            watched = self.dream.step(actions, row.action, row.state)
            self._last_action = actions
            states = watched.state.double().numpy()
            self._ghosts = moved(self._ghosts, states, self.task.robot, self.task.step_dt)
        return self._seen(row, watched)

    def _dreamt_actions(self) -> Tensor | None:
        """Return the actions ``[E, A]`` of the policy that acts in the dream; None where nobody does."""
        if self.dreaming_actor is None:
            return None
        command = self._history[-1].command.expand(self.dream.num_members, -1)
        return self.dreaming_actor(self.task.observe(self.dream.state, command, self._last_action))

    def _seen(self, row: Row, watched: Watched | None) -> Frame:
        """Remember a row, let the dream begin if it is due, and return what there is to see."""
        step_dt = self.task.step_dt
        self._history.append(row)
        self._time_steps += 1
        if self.fallen_s is not None or row.terminated:
            self.fallen_s = step_dt + (self.fallen_s or 0.0)
        age_s = self.dream.age_steps * step_dt
        frame = Frame(self._time_steps * step_dt, row, age_s, watched, None if self._ghosts is None else self._ghosts.copy())
        self.strips.append(Strip.of(frame))
        due = self._ghosts is None or self._restart or age_s >= self.restart_s - 0.5 * step_dt
        if due and len(self._history) == self._history.maxlen:
            self._begin_dream()
        return frame

    def _begin_dream(self) -> None:
        rows = self._history

        def stacked(name: str) -> Tensor:  # [1, H, .]
            return torch.stack([getattr(row, name) for row in rows]).unsqueeze(0)

        ended = torch.tensor([[[float(row.terminated)] for row in rows]])
        self.dream.begin(Window(stacked("state"), stacked("action"), stacked("contact"), ended))
        self._ghosts = np.repeat(rows[-1].pose[None], self.dream.num_members, axis=0)
        self._last_action = rows[-1].action.expand(self.dream.num_members, -1)
        self._restart = False

    # -- what is made of it ---------------------------------------------------------------------------------------------------

    def curves(self) -> dict[str, Floats]:
        """Return the strips by name, ``[T]`` each."""
        return {field.name: np.array([getattr(strip, field.name) for strip in self.strips]) for field in fields(Strip)}

    def verdicts(self) -> tuple[Verdict, Verdict] | None:
        """Return the verdict on forecasts of the next row, and on the dream, over the last moments; None where nothing is known."""
        latest = list(self.strips)[-max(1, round(_JUDGED_S / self.task.step_dt)) :]
        known = [strip for strip in latest if np.isfinite(strip.error)]
        if not known:
            return None
        mean: dict[str, Any] = {name: float(np.mean([getattr(strip, name) for strip in known])) for name in vars(self.usual)}
        usual = self.usual
        ahead = verdict(mean["next_disagreement"], mean["next_error"], usual.next_disagreement, usual.next_error)
        return ahead, verdict(mean["disagreement"], mean["error"], usual.disagreement, usual.error)
