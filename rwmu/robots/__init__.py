"""What is the robot: joints, posture, gains, contacts, mirrors, its model; one file a robot."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rwmu.errors import ConfigError

if TYPE_CHECKING:
    from rwmu.robots.robot import Robot

PUBLISHED = "anymal_d"  # whose the published datasets and checkpoints are, which do not say so


def robot_named(name: str) -> Robot:
    """Return a robot by the name that data and checkpoints have of it: ``rwmu.robots.NAME`` makes it by its function NAME.

    Raises:
        ConfigError: there is none.
    """
    if not name.isidentifier():
        raise ConfigError(f"There is no robot '{name}'.")
    return robot_at(f"{__name__}.{name}.{name}")


def robot_called(word: str) -> Robot:
    """Return what a user calls by its name, or by the dotted name of a function that makes it."""
    return robot_at(word) if "." in word else robot_named(word)


def robot_at(dotted: str) -> Robot:
    """Return what the function of a dotted name makes, such as ``my_package.my_robot``.

    Raises:
        ConfigError: there is no such function.
    """
    module, _, function = dotted.rpartition(".")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"There is no robot '{dotted}' ({error}); give the dotted name of a function that makes one.") from error
    robot: Robot = make()
    return robot
