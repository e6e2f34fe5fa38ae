"""Mirror images of a legged robot: signed permutations of any vector whose columns have names.

A left-right mirror reflects the plane y = 0, a front-back mirror the plane x = 0. Which joint or contact goes where follows from
names, and which sign it takes from the joint's axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.layout import StateLayout
from rwmu.settings import choose

# A vector keeps the components in the plane. A pseudovector (angular velocity, rotation of a joint) keeps the other one.
_VECTOR = {"left_right": (1.0, -1.0, 1.0), "front_back": (-1.0, 1.0, 1.0)}
_PSEUDOVECTOR = {name: tuple(-sign for sign in signs) for name, signs in _VECTOR.items()}
AXES = ("roll", "pitch", "yaw")


@dataclass(frozen=True)
class SignedPermutation:
    """Map x to sign * x[..., index]: ``[X]`` int64, where each output column comes from, and ``[X]``, 1 or -1."""

    index: Tensor
    sign: Tensor

    def __call__(self, vector: Tensor) -> Tensor:
        """Map ``[..., X]`` vectors."""
        return vector[..., self.index.to(vector.device)] * self.sign.to(device=vector.device, dtype=vector.dtype)

    def after(self, other: SignedPermutation) -> SignedPermutation:
        """Return the map that applies ``other`` first, then this one."""
        return SignedPermutation(other.index[self.index], self.sign * other.sign[self.index])

    @classmethod
    def concatenate(cls, parts: Sequence[SignedPermutation]) -> SignedPermutation:
        """Join maps of blocks that stand one behind another."""
        index, start = [], 0
        for part in parts:
            index.append(part.index + start)
            start += len(part.index)
        return cls(torch.cat(index), torch.cat([part.sign for part in parts]))

    @classmethod
    def identity(cls, size: int) -> SignedPermutation:
        """Return the map that changes nothing."""
        return cls(torch.arange(size), torch.ones(size))


@dataclass(frozen=True)
class Images:
    """M maps of the same vectors, one of which is chosen for each: where each column comes from, and its sign, ``[M, X]``."""

    index: Tensor
    sign: Tensor

    @classmethod
    def stack(cls, maps: Sequence[SignedPermutation]) -> Images:
        """Join maps of vectors of one size."""
        return cls(torch.stack([each.index for each in maps]), torch.stack([each.sign for each in maps]))

    def __call__(self, which: Tensor, vectors: Tensor) -> Tensor:
        """Return the images ``which`` (int64) of ``vectors [..., X]``; leading axes of ``which`` are those of the vectors, or 1."""
        index, sign = (table[which].to(vectors.device) for table in (self.index, self.sign))
        return vectors.gather(-1, index.expand_as(vectors)) * sign.to(vectors.dtype)


@dataclass(frozen=True)
class Mirror:
    """One mirror image of the whole robot.

    Attributes:
        name: ``identity``, ``left_right``, ``front_back`` or ``both``.
        action: the map of anything with one column a joint.
        fields: the maps of other fields by name, ``command`` among them.
        state_layout: of the robot's state. contacts: names of the fields of its contacts.
    """

    name: str
    action: SignedPermutation
    fields: Mapping[str, SignedPermutation]
    state_layout: StateLayout
    contacts: tuple[str, ...]

    @cached_property
    def state(self) -> SignedPermutation:
        """Return the map of the robot's state ``[..., D]``."""
        return self.of(self.state_layout)

    @cached_property
    def contact(self) -> SignedPermutation:
        """Return the map of its contacts ``[..., C]``."""
        return SignedPermutation.concatenate([self.fields[name] for name in self.contacts])

    @property
    def command(self) -> SignedPermutation:
        """Return the map of commands ``[..., 3]``."""
        return self.fields["command"]

    def of(self, layout: StateLayout) -> SignedPermutation:
        """Return the map of vectors of a layout: fields by their names, those of unknown name joint by joint.

        Raises:
            ConfigError: a field has an unknown name and another size than there are joints.
        """
        images = {field: self.fields.get(field.name, self.action) for field in layout.fields}
        for field, image in images.items():
            if len(image.index) != field.size:
                raise ConfigError(f"Nobody knows the mirror image of the field '{field.name}' of {field.size} columns.")
        return SignedPermutation.concatenate(list(images.values()))


def mirrors_of(
    reflections: Mapping[str, Mapping[str, str]],
    joints: Sequence[str],
    axes: Sequence[str],
    contacts: Mapping[str, Sequence[str]],
    state_layout: StateLayout,
) -> dict[str, Mirror]:
    """Build the mirrors of a robot by name: the identity, its reflections and, where there are two, ``both``.

    Args:
        reflections: ``left_right`` and ``front_back``, or one of them -> the parts of names (between underscores) that change
            places. What has none of these parts lies in the plane and is its own image.
        joints: names. axes: ``roll``, ``pitch`` or ``yaw`` of each, the same for a joint and its image.
        contacts: field -> names of its columns.
    """
    sizes = {"base_lin_vel": 3, "base_ang_vel": 3, "projected_gravity": 3, "command": 3}
    sizes |= {group: len(geoms) for group, geoms in contacts.items()}
    same = {name: SignedPermutation.identity(size) for name, size in sizes.items()}
    group = {"identity": (SignedPermutation.identity(len(joints)), same)}
    for name, swaps in reflections.items():
        choose("The robot's reflections", name, _VECTOR)
        signs = torch.tensor([_PSEUDOVECTOR[name][AXES.index(axis)] for axis in axes])
        touched = {field: SignedPermutation(_images(geoms, swaps), torch.ones(len(geoms))) for field, geoms in contacts.items()}
        group[name] = SignedPermutation(_images(joints, swaps), signs), _motions(name) | touched
    if len(reflections) == 2:
        (first, first_fields), (second, second_fields) = (group[name] for name in reflections)
        group["both"] = second.after(first), {name: second_fields[name].after(first_fields[name]) for name in sizes}
    return {name: Mirror(name, action, fields, state_layout, tuple(contacts)) for name, (action, fields) in group.items()}


def _motions(name: str) -> dict[str, SignedPermutation]:
    vector, pseudovector = _VECTOR[name], _PSEUDOVECTOR[name]
    signs = {
        "base_lin_vel": vector,
        "base_ang_vel": pseudovector,
        "projected_gravity": vector,
        "command": (vector[0], vector[1], pseudovector[2]),  # planar velocity and yaw rate
    }
    return {field: SignedPermutation(torch.arange(3), torch.tensor(three)) for field, three in signs.items()}


def _images(names: Sequence[str], swaps: Mapping[str, str]) -> Tensor:
    """Return the index of each name's mirror image among ``names``."""
    both_ways = {**swaps, **{image: part for part, image in swaps.items()}}
    images = ["_".join(both_ways.get(part, part) for part in name.split("_")) for name in names]
    for name, image in zip(names, images, strict=True):
        if image not in names:
            raise ConfigError(f"The mirror image of '{name}' would be '{image}', which the robot does not have.")
    return torch.tensor([names.index(image) for image in images])
