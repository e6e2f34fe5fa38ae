"""A task whose rewards and terminations are those of one of Isaac Lab's manager-based tasks, for any simulator and for dreams."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from rwmu.errors import ConfigError
from rwmu.robots.robot import Robot
from rwmu.settings import choose
from rwmu.simulators.extra import quiet
from rwmu.simulators.isaaclab import require_isaaclab
from rwmu.tasks.lab import FROM, LabTask, TermsFrom
from rwmu.tasks.lab_terms import LabTerms


def isaaclab_task(
    robot: Robot,
    lab_task: str,
    terms_from: TermsFrom = "rows",
    rewards: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> LabTask:
    """Return the task; see :class:`~rwmu.tasks.lab.LabTask`.

    Args:
        lab_task: a name that ``isaaclab list_envs`` shows. settings: commands, lengths, noise and step of ours.

    Raises:
        ConfigError: Isaac Lab has no such task, or its terms ask for what rows do not hold.
    """
    require_isaaclab()
    choose("task.terms_from", terms_from, FROM)
    return LabTask(robot, terms_of(lab_task), terms_from, rewards, **settings)


def terms_of(lab_task: str) -> LabTerms:
    """Return the terms of one of Isaac Lab's tasks."""
    with quiet():
        configuration: Any = importlib.import_module("rwmu.simulators.isaaclab_config")
        cfg = configuration.of_task(lab_task, "task.lab_task")
    if not all(hasattr(cfg, group) for group in ("rewards", "terminations", "commands")):
        raise ConfigError(
            f"task.lab_task is {lab_task}, which has no managers with terms; choose a manager-based task of Isaac Lab."
        )
    terminations = {name: term for name, term in _terms(cfg.terminations).items() if not term.time_out}
    return LabTerms(lab_task, _terms(cfg.rewards), terminations, tuple(_items(cfg.commands)), cfg)


def _items(cfg: Any) -> dict[str, Any]:
    held: Mapping[str, Any] = cfg if isinstance(cfg, Mapping) else vars(cfg)
    return {name: value for name, value in held.items() if value is not None and not name.startswith("_")}


def _terms(cfg: Any) -> dict[str, Any]:
    terms = {name: term for name, term in _items(cfg).items() if hasattr(term, "func")}
    for term in terms.values():
        if isinstance(term.func, str):  # Isaac Lab imports some of its functions late
            term.func = importlib.import_module("isaaclab.utils").string_to_callable(term.func)
    return terms
