"""A stand-in of Isaac Lab's environment, made of rows: its reward and termination functions run on it unmodified.

It has what rows hold, under Isaac Lab's names; a function that asks for anything else is refused with a :class:`NotHeld`. Contacts
are forces along z that are above 1 N or none: a function may compare them with 1 N, and no more. Times of contacts have the step's
own contacts in them, as Isaac Lab's have, where our own terms see them a step later. Joint accelerations are over a control step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.mjcf import body_tree
from rwmu.robots.robot import Robot

ROBOT, CONTACTS = "robot", "contact_forces"  # Isaac Lab's names of the articulation and of the contact sensor
STRONG_N, WEAK_N = 100.0, 0.0  # what stands for a contact, and for none
_HISTORY = 3  # physics steps of a contact sensor's history

Table = Mapping[str, Callable[[], Any]]


class NotHeld(Exception):
    """Name what a function asks for and rows do not hold, as Isaac Lab calls it."""


class Value:
    """A quantity as Isaac Lab 3 gives it: ``.torch`` is the tensor, and an index gives a part of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.torch, self.shape, self.device = tensor, tensor.shape, tensor.device

    def __getitem__(self, index: Any) -> Tensor:
        return self.torch[index]


class Part:
    """A part of the environment: what its table has, computed when it is asked for.

    Args:
        path: before a name that is not held. absent: names that Isaac Lab's own part does not have either.
    """

    def __init__(self, path: str, table: Table, absent: Collection[str] = ()) -> None:
        self._path, self._table, self._absent = path, table, absent

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in self._absent:
            raise AttributeError(name)
        if name not in self._table:
            raise NotHeld(f"{self._path}{name}")
        return self._table[name]()

    def keys(self) -> list[str]:
        """Return what there is."""
        return list(self._table)

    def __getitem__(self, name: str) -> Any:
        if name not in self._table:
            raise NotHeld(f"scene['{name}']")
        return self._table[name]()


def matching(patterns: str | Sequence[str], names: Sequence[str], preserve_order: bool = False) -> tuple[list[int], list[str]]:
    """Return where the names stand that match one of the expressions, and the names; capitals do not matter.

    Raises:
        NotHeld: an expression matches none.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found = [[i for i, name in enumerate(names) if re.fullmatch(pattern, name, re.IGNORECASE)] for pattern in patterns]
    for pattern, places in zip(patterns, found, strict=True):
        if not places:
            raise NotHeld(f"'{pattern}', of which the robot has none")
    places = list(dict.fromkeys(place for group in found for place in group))
    places = places if preserve_order else sorted(places)
    return places, [names[place] for place in places]


class StandIn:
    """The stand-in of one robot's environments.

    Args:
        commands: Isaac Lab's names of the velocity command. cfg: of Isaac Lab's environment, handed on as it is.

    Attributes:
        rows: quantities by the names of :class:`~rwmu.tasks.velocity.VelocityTask`, ``action`` always; set before a function runs.
        read: their names that were asked for since it was cleared.
        body_names: the bodies of the robot's model, and feet that Isaac Lab makes bodies of.
        known: names of those whose contacts rows have.
        strong, weak: force of a contact and of none, N.
        elsewhere: ``[bodies]``, force and time where rows know nothing of a body; None for zero.
    """

    def __init__(self, robot: Robot, step_dt: float, commands: Sequence[str] = ("base_velocity",), cfg: Any = None) -> None:
        self.robot, self.step_dt, self.commands, self.cfg = robot, step_dt, tuple(commands), cfg
        model = body_tree(robot)
        bodies = [body.attrib["name"] for body in model.iter("body")]
        self.known = [*robot.contacts.undesired, *robot.contacts.feet]
        named = {name.lower() for name in bodies}
        self.body_names = bodies + [name for name in robot.contacts.names if name.lower() not in named]
        lower = [name.lower() for name in self.body_names]
        self._columns = torch.tensor([lower.index(name.lower()) for name in self.known])
        self._terminating = torch.tensor([lower.index(name.lower()) for name in robot.contacts.terminating])
        self._centre = _centre_of_mass(model, robot.name)
        self._moved: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        self.rows: Mapping[str, Any] = {}
        self.read: set[str] = set()
        self.strong, self.weak = STRONG_N, WEAK_N
        self.elsewhere: Tensor | None = None
        self.data, self.contacts = self._robot_data(), self._contact_data()
        self.env = self._environment()

    @property
    def held(self) -> str:
        """Return what there is, in words."""
        return (
            f"{ROBOT}.data: {', '.join(self.data)}; {ROBOT}.actuators: applied_effort; {CONTACTS}: {', '.join(self.contacts)}, "
            f"compute_first_contact, compute_first_air, of {', '.join(self.known)}; action_manager: action, prev_action; "
            f"command_manager: get_command of {', '.join(self.commands)}; joints {', '.join(self.robot.joint_names)}; bodies "
            f"{', '.join(self.body_names)}"
        )

    # -- rows -----------------------------------------------------------------------------------------------------------------

    def _row(self, name: str) -> Tensor:
        self.read.add(name)
        value: Tensor = self.rows[name]
        return value

    def _like(self, name: str, value: Tensor) -> Tensor:
        """Return a constant beside the rows; it is moved to an accelerator once."""
        action = self.rows["action"]
        key = name, action.device, action.dtype
        if key not in self._moved:
            with torch.inference_mode(False):
                self._moved[key] = value.to(action) if value.is_floating_point() else value.to(action.device)
        return self._moved[key]

    def _bodies(self, feet: Tensor, undesired: Tensor | None = None) -> Tensor:
        """Spread columns over all bodies, ``[B, bodies]``; where rows know nothing it is ``elsewhere``."""
        spread = feet.new_zeros(len(feet), len(self.body_names))
        if self.elsewhere is not None:
            spread += self.elsewhere
        columns = self._like("columns", self._columns)
        known = feet if undesired is None else torch.cat([undesired, feet], 1)
        return spread.index_copy(1, columns[len(columns) - known.shape[1] :], known)

    def _force(self) -> Tensor:
        """Return forces ``[B, bodies, 3]``, N."""
        flags = [self._row(name) for name in ("foot", "undesired")]
        along_z = self._bodies(*(self.weak + (self.strong - self.weak) * flag for flag in flags))
        if "terminating" in self.rows:
            flag = self.weak + (self.strong - self.weak) * self._row("terminating")
            along_z.index_copy_(1, self._like("terminating", self._terminating), flag.expand(-1, len(self._terminating)))
        return torch.stack([torch.zeros_like(along_z), torch.zeros_like(along_z), along_z], -1)

    def _times(self) -> dict[str, Tensor]:
        """Return the feet's times ``[B, F]`` (s) with this step's contacts in them."""
        foot = self._row("foot") > 0.0
        air, contact, last = (self._row(name) for name in ("air_time_s", "contact_time_s", "last_air_time_s"))
        return {
            "current_air_time": torch.where(foot, 0.0, air + self.step_dt),
            "current_contact_time": torch.where(foot, contact + self.step_dt, 0.0),
            "last_air_time": torch.where(foot & (air > 0.0), air + self.step_dt, last),
        }

    def _first(self, name: str, dt: float, abs_tol: float | None = None) -> Value:
        since = self._bodies(self._times()[name])
        tolerance = 0.5 * self.step_dt if abs_tol is None else abs_tol
        return Value(((since > 0.0) & (since < dt + tolerance)).to(since.dtype))

    # -- Isaac Lab's names ----------------------------------------------------------------------------------------------------

    def _robot_data(self) -> Table:
        robot = self.robot

        def state(name: str) -> Callable[[], Value]:
            return lambda: Value(self._row(name))

        def constant(name: str, value: Tensor) -> Callable[[], Value]:
            return lambda: Value(self._like(name, value).expand(len(self.rows["action"]), *value.shape))

        def of_mass() -> Value:
            return Value(
                self._row("base_lin_vel") + torch.linalg.cross(spin(), self._like("centre", self._centre).expand_as(spin()))
            )

        def spin() -> Tensor:
            return self._row("base_ang_vel")

        def acceleration() -> Value:
            return Value((self._row("joint_vel") - self._row("previous_joint_vel")) / self.step_dt)

        default = robot.default_joint_pos
        table: dict[str, Callable[[], Any]] = {
            "root_link_lin_vel_b": state("base_lin_vel"),
            **dict.fromkeys(("root_lin_vel_b", "root_com_lin_vel_b"), of_mass),
            **dict.fromkeys(("root_ang_vel_b", "root_link_ang_vel_b", "root_com_ang_vel_b"), state("base_ang_vel")),
            "projected_gravity_b": state("projected_gravity"),
            "joint_pos": lambda: Value(self._row("joint_pos") + self._like("default", default)),
            "joint_vel": state("joint_vel"),
            "joint_acc": acceleration,
            "default_joint_pos": constant("default", default),
            "default_joint_vel": constant("still", torch.zeros_like(default)),
        }
        limits = torch.stack([robot.joint_lower, robot.joint_upper], -1) + default[:, None]
        if bool(limits.isfinite().all()):  # some robots have none
            table["soft_joint_pos_limits"] = constant("limits", limits)
        return table

    def _contact_data(self) -> Table:
        def history() -> Value:
            return Value(self._force()[:, None].expand(-1, _HISTORY, -1, -1))

        def time(name: str) -> Callable[[], Value]:
            return lambda: Value(self._bodies(self._times()[name]))

        times = ("current_air_time", "current_contact_time", "last_air_time")
        return {
            **dict.fromkeys(("net_normal_forces_w_history", "net_forces_w_history"), history),
            **dict.fromkeys(("net_normal_forces_w", "net_forces_w"), lambda: Value(self._force())),
            **{name: time(name) for name in times},
        }

    def _environment(self) -> Part:
        joints, bodies = self.robot.joint_names, self.body_names

        def find(names: Sequence[str]) -> Callable[[], Any]:
            return lambda: lambda patterns, preserve_order=False, **_: matching(patterns, names, preserve_order)

        def first(name: str) -> Callable[[], Any]:
            return lambda: lambda dt, abs_tol=None: self._first(name, dt, abs_tol)

        def always(value: Any) -> Callable[[], Any]:
            return lambda: value

        effort = Part(f"{ROBOT}.actuators.", {"applied_effort": lambda: Value(self._row("joint_torque"))})
        common: dict[str, Callable[[], Any]] = {
            "num_instances": lambda: len(self.rows["action"]),
            "body_names": always(list(bodies)),
        }
        articulation = common | {
            "data": always(Part(f"{ROBOT}.data.", self.data)),
            "actuators": always(effort),
            "joint_names": always(list(joints)),
            "num_joints": always(len(joints)),
            "num_bodies": always(len(bodies)),
            "find_joints": find(joints),
            "find_bodies": find(bodies),
        }
        sensor = common | {
            "data": always(Part(f"{CONTACTS}.data.", self.contacts)),
            "cfg": always(Part(f"{CONTACTS}.cfg.", {"track_air_time": always(True), "force_threshold": always(1.0)})),
            "sensor_names": always(list(bodies)),
            "num_sensors": always(len(bodies)),
            **dict.fromkeys(("find_sensors", "find_bodies"), find(bodies)),
            "compute_first_contact": first("current_contact_time"),
            "compute_first_air": first("current_air_time"),
        }
        entities = {ROBOT: always(Part(f"{ROBOT}.", articulation, absent=("find_sensors", "num_sensors")))}
        sensors = {CONTACTS: always(Part(f"{CONTACTS}.", sensor))}
        scene = entities | sensors | {"sensors": always(Part("scene.sensors.", sensors)), "cfg": lambda: self.cfg.scene}
        return Part("", self._managers() | {"scene": always(Part("scene.", scene))})

    def _managers(self) -> dict[str, Callable[[], Any]]:
        def command(name: str) -> Tensor:
            if name not in self.commands:
                raise NotHeld(f"the command '{name}'")
            return self._row("command")

        action: Table = {"action": lambda: self._row("action"), "prev_action": lambda: self._row("last_action")}
        managers = {"action_manager": action, "command_manager": {"get_command": lambda: command}}
        managers |= {f"{name}_manager": {} for name in ("termination", "reward", "observation", "event", "curriculum")}
        parts = {name: (lambda part: lambda: part)(Part(f"{name}.", table)) for name, table in managers.items()}
        return parts | {
            "num_envs": lambda: len(self.rows["action"]),
            "device": lambda: self.rows["action"].device,
            "step_dt": lambda: self.step_dt,
            "cfg": lambda: self.cfg,
        }


def _centre_of_mass(model: ElementTree.Element, robot: str) -> Tensor:
    """Return where the base has its centre of mass, ``[3]``, m from its origin: Isaac Lab means the velocity of this point."""
    inertial = model.find("worldbody/body/inertial")
    if inertial is None:
        raise ConfigError(
            f"The base of the robot '{robot}' has no inertial element, so nobody knows its centre of mass; give it one."
        )
    return torch.tensor([float(number) for number in inertial.attrib["pos"].split()])
