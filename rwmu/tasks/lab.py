"""Tasks of Isaac Lab's managers on rows: their reward and termination functions run as they are.

What rows do not tell is named before anything is trained; or the simulator computes it, and the world model predicts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, Signature
from typing import Any, Literal

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.robot import Robot
from rwmu.tasks.lab_terms import LabTerms, Trial, resolved
from rwmu.tasks.rewards import ISAAC_LAB
from rwmu.tasks.stand_in import NotHeld, StandIn
from rwmu.tasks.terms import Term, Terms, varied
from rwmu.tasks.velocity import TaskMemory, VelocityTask

TermsFrom = Literal["rows", "simulator"]
FROM: tuple[TermsFrom, ...] = ("rows", "simulator")
_MEASURED = ("track_lin_vel_xy_exp", "track_ang_vel_z_exp")  # terms of ours that deployments report, paid or not


class Collected:
    """A term that the simulator computes and the world model predicts: the quantity of its name."""

    def __init__(self, name: str) -> None:
        self.__qualname__, self.__signature__ = f"Collected({name})", Signature([Parameter(name, Parameter.KEYWORD_ONLY)])
        self.name = name

    def __call__(self, **given: Tensor) -> Tensor:
        """Return it."""
        return given[self.name]


class LabTask(VelocityTask):
    """The velocity task with rewards and terminations of one of Isaac Lab's manager-based tasks.

    Args:
        robot, settings: see :class:`~rwmu.tasks.velocity.VelocityTask`.
        lab: the terms. Those of weight 0, which Isaac Lab does not compute, are left out where rows do not hold what they ask for.
        terms_from: what happens to terms that cannot be computed from rows. ``rows`` refuses them. ``simulator`` lets the simulator
            compute them: rewards are recorded as the data's extension, which the world model is to predict; terminations end
            episodes there, which is what its termination head learns.
        rewards: term -> its ``weight`` and arguments of its function, where they are to be other than Isaac Lab's.

    Attributes:
        falls_by_contact: whether a geom of the robot's terminating group that touches the ground ends an episode.
        ended_by: the terminations that rows tell, as plain values. ended_by_simulator: names of those that only the simulator can.

    Raises:
        ConfigError: a term asks for what rows do not hold; both lists.
    """

    def __init__(
        self,
        robot: Robot,
        lab: LabTerms,
        terms_from: TermsFrom = "rows",
        rewards: Mapping[str, Mapping[str, Any]] | None = None,
        step_dt: float = 0.02,
        **settings: Any,
    ) -> None:
        stand_in, changes = StandIn(robot, step_dt, lab.commands, lab.cfg), dict(rewards or {})
        trial = Trial(robot, step_dt, stand_in)
        paid, refused = _functions(trial, lab.rewards)
        weights = {name: changes.get(name, {}).get("weight", lab.rewards[name].weight) for name in refused}
        refused = {name: missing for name, missing in refused.items() if weights[name] != 0.0}
        paid |= {name: Collected(name) for name in refused}
        ends, refused_ends = _functions(trial, lab.terminations)
        own = [name for name in refused_ends if trial.is_the_robots_own(lab.terminations[name])]
        refused_ends = {name: missing for name, missing in refused_ends.items() if name not in own}
        self.falls_by_contact = bool(own)
        _refuse_late(lab.name, refused | refused_ends)
        if (refused or refused_ends) and terms_from == "rows":
            raise ConfigError(_refusal(lab.name, refused, refused_ends, stand_in))
        self._paid_there = [lab.rewards[name] for name in refused]
        self._ended_there = [lab.terminations[name] for name in refused_ends]
        left_out = set(lab.rewards) - set(paid)
        terms = varied(self._in_order(lab, paid), {name: change for name, change in changes.items() if name not in left_out})
        super().__init__(robot, terms, step_dt=step_dt, extension=tuple(refused), **settings)
        self._ends = Terms({name: Term(function, 1.0) for name, function in ends.items()}, self._quantities) if ends else None
        self._lab_task = lab.name
        self.ended_by: Any = {} if self._ends is None else self._ends.describe()
        self.ended_by_simulator = list(refused_ends)

    @staticmethod
    def _in_order(lab: LabTerms, functions: Mapping[str, Any]) -> dict[str, Term]:
        """Return the rewards in Isaac Lab's order, for sums are rounded, and what deployments report besides."""
        terms = {name: Term(functions[name], float(term.weight)) for name, term in lab.rewards.items() if name in functions}
        return terms | {name: Term(ISAAC_LAB[name].function, 0.0) for name in _MEASURED if name not in terms}

    def describe(self) -> dict[str, Any]:
        """Return every setting as plain values; where episodes end as ours do nothing differs from our task but the rewards."""
        ours: dict[str, Any] = {"falls_by_contact": True, "ended_by": {}, "ended_by_simulator": []}
        return {name: value for name, value in super().describe().items() if name not in ours or value != ours[name]}

    def terminate(self, state: Tensor, terminating_contact: Tensor) -> Tensor:
        """Return which episodes end badly, ``[B]`` bool, by contacts and ``max_tilt``."""
        return super().terminate(state, terminating_contact & self.falls_by_contact)

    def ends(self, memory: TaskMemory, state: Tensor, action: Tensor, contact: Tensor) -> Tensor | None:
        """Return whose episodes Isaac Lab's terminations end, ``[B]`` bool, in simulator and dream; None where no rows can tell."""
        if self._ends is None:
            return None
        found = self._ends(self._quantities_of(memory, state, action, contact, None), len(state))
        return torch.stack([value > 0.5 for value in found.values()]).any(0)

    @property
    def simulated_terms(self) -> tuple[str, ...]:
        """Return names of what only a simulator can compute: rewards, then terminations."""
        return (*self.extension, *self.ended_by_simulator)

    def simulated(self, env: Any) -> Simulated:
        """Return what ``env``, the simulator's own environment, is to compute.

        Raises:
            ConfigError: the simulator cannot compute one of them either.
        """

        def function(name: str, term: Any) -> Callable[[Any], Tensor]:
            try:
                found = resolved(term, env.scene, env)
                found(env)
            except Exception as missing:  # it is somebody else's function
                told = f"{type(missing).__name__}: {' '.join(str(missing).split())}"
                raise ConfigError(
                    f"The simulator cannot compute '{name}' of {self._lab_task} ({told}); leave it out, or use another task."
                ) from missing
            return found

        rewards = [function(name, term) for name, term in zip(self.extension, self._paid_there, strict=True)]
        ends = [function(name, term) for name, term in zip(self.ended_by_simulator, self._ended_there, strict=True)]
        return Simulated(env, rewards, ends)


@dataclass(frozen=True)
class Simulated:
    """What a simulator's own environment computes of a task: columns of the extension, and ends of episodes."""

    env: Any
    rewards: Sequence[Callable[[Any], Tensor]]
    ends: Sequence[Callable[[Any], Tensor]]

    def extension(self) -> Tensor | None:
        """Return the columns, ``[B, X]`` float32, of the rows that were reached; None without any."""
        return torch.stack([term(self.env).float() for term in self.rewards], 1) if self.rewards else None

    def ended(self) -> Tensor | None:
        """Return whose episodes end, ``[B]`` bool; None where nothing can end them."""
        return torch.stack([term(self.env).bool() for term in self.ends]).any(0) if self.ends else None

    def restart(self, rows: Tensor) -> None:
        """Let terms with a memory forget that of the environments ``rows``."""
        for term in (*self.rewards, *self.ends):
            forget = getattr(getattr(term, "func", term), "reset", None)
            if forget is not None:
                forget(env_ids=rows)


def _functions(trial: Trial, terms: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the functions of terms that rows do for, and why they do not for the others."""
    functions: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, term in terms.items():
        try:
            made = trial.function(term)
            functions[name] = partial(made, **made.plain)
        except NotHeld as missing:
            refused[name] = str(missing)
    return functions, refused


def _refuse_late(lab_task: str, refused: Mapping[str, str]) -> None:
    """Refuse rewards for how an episode ends: a dream decides that once it has paid."""
    late = [name for name, missing in refused.items() if missing.startswith("termination_manager")]
    if late:
        raise ConfigError(
            f"{', '.join(late)} of {lab_task} pays for how episodes end, which is decided after rewards; leave it out "
            f"(+task.rewards.{late[0]}.weight=0) and give imagination.termination_penalty."
        )


def _refusal(lab_task: str, rewards: Mapping[str, str], ends: Mapping[str, str], stand_in: StandIn) -> str:
    listed = "; ".join(f"{name} asks for {missing}" for name, missing in {**rewards, **ends}.items())
    leave_out = f", or leave out what is paid (+task.rewards.{next(iter(rewards))}.weight=0)" if rewards else ""
    return (
        f"Terms of {lab_task} cannot be computed from rows: {listed}. Rows have {stand_in.held}. Let the simulator compute them "
        f"(task.terms_from=simulator){leave_out}."
    )


class Overlay:
    """An environment of the simulator's with some parts in place of its own, which are functions of nothing."""

    def __init__(self, env: Any, parts: Mapping[str, Callable[[], Any]]) -> None:
        self._env, self._parts = env, parts

    def __getattr__(self, name: str) -> Any:
        return self._parts[name]() if name in self._parts else getattr(self._env, name)
