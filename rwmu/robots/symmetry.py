"""Mirror images of a legged robot: signed permutations of states, actions, contacts and observations.

A left-right mirror reflects the plane y = 0, a front-back mirror the plane x = 0. Both leave every reward of the velocity task
unchanged; only the left-right mirror leaves the *dynamics* of a robot unchanged whose centre of mass is off-centre in x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rwmu.robots.layout import StateLayout

# Vectors keep the sign of the components in the plane; pseudovectors (angular velocity, yaw command) the others.
_VECTOR = {"left_right": (1.0, -1.0, 1.0), "front_back": (-1.0, 1.0, 1.0)}
_PSEUDOVECTOR = {"left_right": (-1.0, 1.0, -1.0), "front_back": (1.0, -1.0, -1.0)}


@dataclass(frozen=True)
class SignedPermutation:
    """Map x to sign * x[..., index].

    Attributes:
        index: ``[X]`` int64, where each output column comes from.
        sign: ``[X]``, 1 or -1.
    """

    index: Tensor
    sign: Tensor

    def __call__(self, vector: Tensor) -> Tensor:
        """Map ``[..., X]`` vectors."""
        return vector[..., self.index.to(vector.device)] * self.sign.to(device=vector.device, dtype=vector.dtype)

    def after(self, other: SignedPermutation) -> SignedPermutation:
        """Return the map that applies ``other`` first, then this one."""
        return SignedPermutation(other.index[self.index], self.sign * other.sign[self.index])

    @classmethod
    def concatenate(cls, parts: list[SignedPermutation]) -> SignedPermutation:
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
class Mirror:
    """One mirror image of the whole robot.

    Attributes:
        name: ``identity``, ``left_right``, ``front_back`` or ``both``.
        state, action, contact, observation, command: the maps of each vector.
    """

    name: str
    state: SignedPermutation
    action: SignedPermutation
    contact: SignedPermutation
    observation: SignedPermutation
    command: SignedPermutation

    def after(self, other: Mirror, name: str) -> Mirror:
        """Return the mirror that applies ``other`` first, then this one."""
        parts = ("state", "action", "contact", "observation", "command")
        return Mirror(name, **{part: getattr(self, part).after(getattr(other, part)) for part in parts})


def _signs(signs: tuple[float, ...]) -> SignedPermutation:
    return SignedPermutation(torch.arange(len(signs)), torch.tensor(signs))


def quadruped_mirrors(
    state_layout: StateLayout,
    observation_layout: StateLayout,
    legs: tuple[str, ...],
    joint_signs: Mapping[str, tuple[float, ...]],
    contact_groups: int,
) -> dict[str, Mirror]:
    """Build the four mirrors of a quadruped with type-major joints (all hips, all thighs, all shanks).

    Args:
        state_layout, observation_layout: with fields of the velocity task's names.
        legs: names of the form ``LF`` (left/right, front/hind), in joint order.
        joint_signs: for ``left_right`` and ``front_back``, the sign that each joint type takes.
        contact_groups: how many blocks of one flag a leg the contacts hold.
    """
    swapped = {"left_right": {"L": "R", "R": "L"}, "front_back": {"F": "H", "H": "F"}}

    def leg_permutation(kind: str) -> Tensor:
        rename = swapped[kind]
        return torch.tensor([legs.index("".join(rename.get(letter, letter) for letter in leg)) for leg in legs])

    def build(kind: str) -> Mirror:
        leg = leg_permutation(kind)
        joints = SignedPermutation.concatenate(
            [SignedPermutation(leg, torch.full((len(legs),), sign)) for sign in joint_signs[kind]]
        )
        contact = SignedPermutation.concatenate([SignedPermutation(leg, torch.ones(len(legs)))] * contact_groups)
        vector, pseudo = _VECTOR[kind], _PSEUDOVECTOR[kind]
        command = _signs((vector[0], vector[1], pseudo[2]))
        by_field = {
            "base_lin_vel": _signs(vector),
            "base_ang_vel": _signs(pseudo),
            "projected_gravity": _signs(vector),
            "command": command,
        }

        def of(layout: StateLayout) -> SignedPermutation:
            return SignedPermutation.concatenate([by_field.get(field.name, joints) for field in layout.fields])

        return Mirror(kind, of(state_layout), joints, contact, of(observation_layout), command)

    left_right, front_back = build("left_right"), build("front_back")
    same = SignedPermutation.identity
    identity = Mirror(
        "identity",
        same(state_layout.size),
        same(len(left_right.action.index)),
        same(len(left_right.contact.index)),
        same(observation_layout.size),
        same(3),
    )
    both = front_back.after(left_right, "both")
    return {mirror.name: mirror for mirror in (identity, left_right, front_back, both)}
