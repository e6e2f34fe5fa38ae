"""Robots that mjlab brings: what is to be known of them is said by names, and nothing of them is copied here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import torch
from torch import Tensor

from rwmu.errors import MissingExtraError

_RATE = 20.0 * 3.1415926535  # rad/s, of mjlab's joints without load: 10 Hz
_SOFT = 0.9
_DRAWN = ("name", "type", "size", "pos", "quat", "fromto")  # what else a shape has is no matter of its picture
_KEPT = ("body", "freejoint", "joint", "inertial", "geom")


@dataclass(frozen=True)
class MjlabAsset:
    """A robot of mjlab's, whose posture, gains and action scale the :class:`~rwmu.robots.robot.Robot` has, too.

    Attributes:
        entity: dotted name of the function that returns its ``EntityCfg``.
        joints: names in the order of mjlab's model, which is that of the actions of mjlab's policies.
        imu: where the velocity that these policies observe is measured, in the base's frame, m.
        geoms: regular expression of the shapes that make up a contact of ours, ``{}`` being its name.
    """

    entity: str
    joints: tuple[str, ...]
    imu: tuple[float, float, float]
    geoms: str = r"{}\d*_collision\d*"

    def geoms_of(self, contact: str) -> str:
        """Return the regular expression of the shapes that make up a contact."""
        return self.geoms.format(re.escape(contact))


def gains(armature: float) -> tuple[float, float]:
    """Return the stiffness (N m/rad) and damping (N m s/rad) that mjlab gives a joint: 10 Hz, twice critically damped."""
    return armature * _RATE**2, 4.0 * armature * _RATE


def soft_limits(ranges: Sequence[tuple[float, float]], posture: Tensor) -> tuple[Tensor, Tensor]:
    """Return mjlab's soft limits ``[A]`` about a posture, the inner nine tenths of the joints' ranges, rad."""
    low, high = torch.tensor(ranges).T
    middle, half = 0.5 * (low + high), 0.5 * _SOFT * (high - low)
    return middle - half - posture, middle + half - posture


def drawn_bodies(file: str, visual: bool) -> list[str]:
    """Return the lines of MJCF of a robot of mjlab's to be drawn: its bodies, joints and primitives, no meshes.

    Args:
        file: of its MJCF, within mjlab. visual: as in ``Robot.bodies``; the shapes are the same.

    Raises:
        MissingExtraError: mjlab is not installed.
    """
    found = find_spec("mjlab")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "This robot's model is mjlab's, which excludes MuJoCo 4; in an environment of its own: pip install '.[mjlab]' in "
            "rwmu's folder"
        )
    root = ElementTree.parse(Path(found.submodule_search_locations[0]) / file).getroot()
    defaults = _defaults(root.find("default"), {})
    base = root.find("worldbody/body")
    assert base is not None
    _resolve(base, defaults, "")
    base.find("freejoint").set("name", "root")  # type: ignore[union-attr]
    return [line for line in ElementTree.tostring(base, encoding="unicode").splitlines() if line.strip()]


def _defaults(parent: Element | None, inherited: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return class -> what its shapes have, those of the classes around it included."""
    found: dict[str, dict[str, str]] = {}
    for child in () if parent is None else parent.findall("default"):
        own = child.find("geom")
        attributes = {**inherited, **({} if own is None else own.attrib)}
        found[str(child.get("class"))] = attributes
        found |= _defaults(child, attributes)
    return found


def _resolve(body: Element, defaults: Mapping[str, Mapping[str, str]], child_class: str) -> None:
    """Leave what moves and what is drawn, in words that need no classes."""
    child_class = body.attrib.pop("childclass", child_class)
    for part in list(body):
        kind = part.attrib.pop("class", child_class)
        if part.tag == "geom":
            shape = {**defaults.get(kind, {}), **part.attrib}
            part.attrib = {name: shape[name] for name in _DRAWN if name in shape}
        if part.tag not in _KEPT or part.get("type") == "mesh":
            body.remove(part)
        elif part.tag == "body":
            _resolve(part, defaults, child_class)
