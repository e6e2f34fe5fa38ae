"""Reward and termination functions of Isaac Lab's managers as functions of named quantities, tried before they are used.

One can be computed from rows if it asks for nothing that they do not hold (:mod:`rwmu.tasks.stand_in`), if nothing changes with
what they leave open (how large a contact's force is, which other bodies touch the ground), and if it gives a row the same number in
any company and at any time.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, Signature
from typing import Any

import torch
from torch import Tensor

from rwmu.robots.robot import Robot
from rwmu.tasks.stand_in import NotHeld, StandIn

_PLAIN = (bool, int, float, str, type(None))
_WITH_UNIT = {"threshold_s": "threshold"}  # our name of an argument -> Isaac Lab's: recipes vary ours


@dataclass(frozen=True)
class LabTerms:
    """What a task of Isaac Lab's managers is made of; each term has ``func`` and ``params``, as in its configuration.

    Attributes:
        name: of the task. rewards: name -> term, with ``weight``. terminations: name -> term, without those that cut episodes short
            (``time_out``): a task of ours does that itself.
        commands: names of the velocity command. cfg: of the environment, which some functions read.
    """

    name: str
    rewards: Mapping[str, Any]
    terminations: Mapping[str, Any]
    commands: tuple[str, ...] = ("base_velocity",)
    cfg: Any = field(default=None, repr=False)


def resolved(term: Any, scene: Any, env: Any) -> Callable[[Any], Tensor]:
    """Return a function of the environment: the term's, with its entities found in ``scene``; classes are made.

    Raises:
        NotHeld: ``scene`` lacks an entity.
    """
    function, params = _parts(term)
    _find(params, scene)
    if inspect.isclass(function):
        make: Any = function
        made = copy.copy(term)
        made.params = params
        function = make(made, env)
    return partial(function, **params)


def _parts(term: Any) -> tuple[Any, dict[str, Any]]:
    """Return a term's function and all its arguments, copied: entities are written to when they are found."""
    called = term.func.__call__ if inspect.isclass(term.func) else term.func
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(called).parameters.items()
        if parameter.default is not Parameter.empty
    }
    return term.func, copy.deepcopy(defaults | dict(term.params))


def _find(value: Any, scene: Any) -> None:
    if isinstance(value, Mapping):
        for item in value.values():
            _find(item, scene)
    elif isinstance(value, list | tuple):
        for item in value:
            _find(item, scene)
    elif hasattr(value, "resolve") and hasattr(value, "name"):
        if value.name not in scene.keys():  # noqa: SIM118  # Isaac Lab's scene is no mapping
            raise NotHeld(f"scene['{value.name}']")
        value.resolve(scene)


class LabFunction:
    """One of Isaac Lab's functions as a function of named quantities; its plain arguments may be given too, by name."""

    def __init__(self, term: Any, stand_in: StandIn) -> None:
        self._stand_in, self._run = stand_in, resolved(term, stand_in.env.scene, stand_in.env)
        function, params = _parts(term)
        self.plain = {name: value for name, value in params.items() if isinstance(value, _PLAIN)}
        others = ", ".join(f"{name}={_words(value)}" for name, value in params.items() if name not in self.plain)
        self.__module__, self.__qualname__ = function.__module__, f"{function.__qualname__}({others})"
        self.ask({"action"})

    def ask(self, quantities: Iterable[str]) -> None:
        """Ask for these from now on, besides the action."""
        asked = [Parameter(name, Parameter.KEYWORD_ONLY) for name in sorted({"action", *quantities})]
        ours = [own for own, lab in _WITH_UNIT.items() if lab in self.plain]
        self.__signature__ = Signature(
            asked + [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in (*self.plain, *ours)]
        )

    def __call__(self, **given: Any) -> Tensor:
        """Return the term, ``[B]``, of the action's type; what is not one of its arguments is a quantity."""
        given = {_WITH_UNIT.get(name, name): value for name, value in given.items()}
        arguments = {name: given.pop(name) for name in self.plain if name in given}
        self._stand_in.rows = given
        value: Tensor = self._run(self._stand_in.env, **arguments)
        return value.to(given["action"].dtype)


def _words(value: Any) -> str:
    """Return an argument in words: an entity by the names that it asks for."""
    if not hasattr(value, "resolve"):
        return repr(value)
    asked = [getattr(value, kind, None) for kind in ("joint_names", "body_names")]
    return ":".join([value.name, *(str(names) for names in asked if names is not None)])


def _sample(robot: Robot, step_dt: float, batch: int = 8) -> dict[str, Any]:
    """Return rows to try functions with: of all sizes, with and without contacts, some of them commanded to stand."""
    generator = torch.Generator().manual_seed(0)

    def normal(size: int) -> Tensor:
        return torch.randn(batch, size, generator=generator)

    def flags(size: int) -> Tensor:
        return (torch.rand(batch, size, generator=generator) < 0.5).float()

    joints, feet = robot.num_joints, len(robot.contacts.feet)
    rows: dict[str, Any] = {part.name: normal(part.size) for part in robot.state_layout.fields}
    rows |= {part.name: flags(part.size) for part in robot.contact_layout.fields}
    rows["projected_gravity"] = torch.nn.functional.normalize(rows["projected_gravity"], dim=1)
    rows |= {name: normal(joints) for name in ("action", "last_action", "previous_joint_vel")}
    rows |= {"command": normal(3) * flags(1)}
    rows["air_time_s"] = step_dt * (20.0 * normal(feet)).abs().round() * flags(feet)
    rows["contact_time_s"] = torch.where(rows["air_time_s"] > 0.0, 0.0, step_dt * (20.0 * normal(feet)).abs().round())
    rows["last_air_time_s"] = step_dt * (20.0 * normal(feet)).abs().round()
    return rows | {"joint_lower": robot.joint_lower, "joint_upper": robot.joint_upper, "step_dt": step_dt}


class Trial:
    """Try functions on rows."""

    def __init__(self, robot: Robot, step_dt: float, stand_in: StandIn) -> None:
        self.rows, self.stand_in = _sample(robot, step_dt), stand_in
        self.terminating = (torch.arange(len(self.rows["action"])) % 2).float()[:, None]

    def function(self, term: Any) -> LabFunction:
        """Return a term's function, which then asks for what it needs.

        Raises:
            NotHeld: it cannot be computed from rows, with the reason.
        """
        made = self._made(term)
        self.stand_in.read.clear()
        first = self._value(made)
        made.ask(self.stand_in.read & set(self.rows))
        few = {name: value[:3] if _is_batch(value, len(first)) else value for name, value in self.rows.items()}
        if not _same(self._value(made), first) or not _same(self._value(made, few), first[:3]):
            raise NotHeld("a memory of its own, or the other environments")
        with _changed(self.stand_in, strong=1.001, weak=0.999):
            if not _same(self._value(made), first):
                raise NotHeld("the size of contact forces, of which is known whether they exceed 1 N")
        bodies = self.stand_in.body_names
        apart = 1e3 * torch.eye(len(bodies))
        if not self._same_elsewhere(made, first, apart.sum(0)):
            touching = [body for body, there in zip(bodies, apart, strict=True) if not self._same_elsewhere(made, first, there)]
            raise NotHeld(f"the contacts of {', '.join(touching)}")
        return made

    def _same_elsewhere(self, function: LabFunction, first: Tensor, there: Tensor) -> bool:
        with _changed(self.stand_in, elsewhere=there):
            return _same(self._value(function), first)

    def is_the_robots_own(self, term: Any) -> bool:
        """Return whether a termination says no more than that a geom of the robot's terminating group touches the ground."""
        try:
            value = self._value(self._made(term), self.rows | {"terminating": self.terminating})
        except NotHeld:
            return False
        return _same(value, self.terminating[:, 0])

    def _made(self, term: Any) -> LabFunction:
        self.stand_in.rows = self.rows
        with _reasons():
            return LabFunction(term, self.stand_in)

    def _value(self, function: LabFunction, rows: Mapping[str, Any] | None = None) -> Tensor:
        rows = self.rows if rows is None else rows
        with _reasons():
            value = function(**rows)
        if value.shape != rows["action"].shape[:1]:
            raise NotHeld(f"another shape: it returns {tuple(value.shape)} for {len(rows['action'])} environments")
        return value


@contextmanager
def _changed(thing: Any, **values: Any) -> Iterator[None]:
    """Let attributes of an object be others for a while."""
    before = {name: getattr(thing, name) for name in values}
    vars(thing).update(values)
    try:
        yield
    finally:
        vars(thing).update(before)


@contextmanager
def _reasons() -> Iterator[None]:
    """Let whatever a function of somebody else's raises be a reason why it cannot be computed."""
    try:
        yield
    except NotHeld:
        raise
    except Exception as error:
        raise NotHeld(f"something else ({type(error).__name__}: {' '.join(str(error).split())})") from error


def _is_batch(value: Any, batch: int) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and len(value) == batch


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True)
