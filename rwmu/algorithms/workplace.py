"""Where an algorithm works: a folder for what it makes, and a memory of the steps that are done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Workplace(Protocol):
    """What an algorithm needs of the place in which it runs; :class:`rwmu.runs.folder.RunFolder` is one.

    A step that is done is not done again when an interrupted run goes on. Steps of an online algorithm have a round each.
    """

    progress: bool

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        ...

    @property
    def world_model(self) -> Path:
        """Return where the world model lies, or will."""
        ...

    @property
    def policy(self) -> Path:
        """Return where the policy lies, or will."""
        ...

    def loggers(self, stage: str) -> list[Any]:
        """Return Lightning's loggers for one stage."""
        ...

    def begins(self, step: str, round: int = 0) -> bool:
        """Return whether a step is asked for and not yet done."""
        ...

    def step(self, step: str, round: int = 0) -> AbstractContextManager[None]:
        """Time a step, and note that it is done if it finishes."""
        ...

    def seconds(self) -> dict[str, float]:
        """Return how long each step has taken so far, s, over all rounds and sessions."""
        ...

    def measured(self, part: str) -> Path:
        """Return where a part of what was measured lies, or will."""
        ...

    def write_measured(self, part: str, results: Mapping[str, Any]) -> None:
        """Keep a part of what was measured."""
        ...
