"""Let a policy learn in phases: easy rewards and slow commands first, the task itself last; each ends by what the dream shows.

From random weights the exact rewards of a walking task teach to stand or to fall: a gait pays only once it is nearly there. A phase
changes the rewards, the commands, the rules of the dream, the scale of the penalty and the coefficients of PPO; the task that the
policy is for stays what it is. Nothing here asks a simulator: an offline method may not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rwmu.errors import ConfigError
from rwmu.policy.rsl_rl import PpoSettings, set_coefficients
from rwmu.settings import Count, Positive, WholeNumber, choose, made, settings
from rwmu.tasks.velocity import VelocityTask

_log = logging.getLogger(__name__)

Share = Annotated[float, Field(gt=0.0, le=1.0)]


@settings("policy.curriculum.phases.commands")
class CommandGrowth:
    """Commands that grow while they are followed.

    Attributes:
        first: the share of the task's command range that a phase begins with.
        step: added to the share after an iteration in which every term of ``above`` was passed.
        above: reward term -> its mean over an iteration, unweighted (0 .. 1 of a tracking term).
    """

    first: Share = 1.0
    step: Positive = 0.02
    above: Mapping[str, float] = Field(default_factory=dict)


@settings("policy.curriculum.phases")
class Phase:
    """One part of the training.

    Attributes:
        rewards: term -> what of it differs here: its ``weight``, and arguments of its function.
        commands: how the command range grows.
        imagination: what differs of the rules of the dream, by name (see :class:`~rwmu.imagination.rules.DreamRules`).
        penalty_scale: times the penalty, for this phase; below 0 disagreement is sought.
        ppo: what differs of PPO's coefficients, by name (see :data:`rwmu.policy.rsl_rl.COEFFICIENTS`).
        until: reward term -> its mean over an iteration, unweighted, from which on the phase may end. It then ends
            ``settle`` iterations later, counted from the first iteration with the full command range in which all are passed.
        settle: see ``until``.
        max_iterations: the phase ends after so many, whatever was reached; None for no such end.
    """

    rewards: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    commands: Annotated[CommandGrowth, BeforeValidator(made(CommandGrowth))] = Field(default_factory=CommandGrowth)
    imagination: Mapping[str, Any] = Field(default_factory=dict)
    penalty_scale: float = 1.0
    ppo: Mapping[str, Any] = Field(default_factory=dict)
    until: Mapping[str, float] = Field(default_factory=dict)
    settle: WholeNumber = 0
    max_iterations: Count | None = None


@settings("policy.curriculum")
class Curriculum:
    """The phases of a training, by name and in their order; see :class:`Phase`.

    Raises:
        ConfigError: there is none, one names a rule that there is not, or one cannot end although another follows.
    """

    phases: Mapping[str, Annotated[Phase, BeforeValidator(made(Phase))]]

    def __post_init__(self) -> None:
        if not self.phases:
            raise ConfigError("policy.curriculum.phases is empty; name one phase or more, or give policy.curriculum=null.")
        for name, phase in list(self.phases.items())[:-1]:
            if not phase.until and phase.max_iterations is None:
                raise ConfigError(
                    f"policy.curriculum.phases.{name} can never end, but another phase follows it; give it until or max_iterations."
                )

    def check(self, task: VelocityTask, rules: Any, ppo: PpoSettings) -> None:
        """Refuse a phase that names what there is not, or waits for what cannot be, before anything is trained.

        Args:
            rules: of the dream (:class:`rwmu.imagination.rules.DreamRules`).

        Raises:
            ConfigError: one sentence with the phase.
        """
        for name, phase in self.phases.items():
            where = f"policy.curriculum.phases.{name}"
            for term in phase.rewards:
                choose(f"{where}.rewards", term, task.weights)
            varied = task.varied(phase.rewards)
            rules.varied(phase.imagination, f"{where}.imagination")
            ppo.varied(phase.ppo, f"{where}.ppo")
            for key, terms in (("until", phase.until), ("commands.above", phase.commands.above)):
                for term, bound in terms.items():
                    choose(f"{where}.{key}", term, varied.weights)
                    if varied.weights[term] == 0.0:
                        raise ConfigError(f"{where}.{key} waits for {term}, whose weight is 0 there; give it a weight.")
                    if varied.weights[term] > 0.0 and "_exp" in term and bound >= 1.0:
                        raise ConfigError(f"{where}.{key}.{term} is {bound:g}, but no robot reaches 1; the phase would never end.")
            if phase.until and phase.commands.first < 1.0 and not phase.commands.above:
                raise ConfigError(f"{where}.commands begins below the full range and never grows; give it above.")


@dataclass
class Progress:
    """Where in its curriculum a training is.

    Args:
        curriculum: the phases. task, rules, settings: those that the policy is for; phases are varied from them.

    Attributes:
        phase: index of the phase. iteration: iterations spent in it.
        share: of the task's command range. settled: iterations since its ``until`` was first passed at the full range.
    """

    curriculum: Curriculum
    task: VelocityTask
    rules: Any
    settings: PpoSettings
    phase: int = 0
    iteration: int = 0
    share: float = 0.0
    settled: int = 0

    def __post_init__(self) -> None:
        self.curriculum.check(self.task, self.rules, self.settings)
        self.share = self.share or self.current.commands.first

    @property
    def name(self) -> str:
        """Return the name of the phase."""
        return list(self.curriculum.phases)[self.phase]

    @property
    def current(self) -> Phase:
        """Return the phase."""
        return self.curriculum.phases[self.name]

    @property
    def is_last(self) -> bool:
        """Return whether no phase follows."""
        return self.phase == len(self.curriculum.phases) - 1

    @property
    def finished(self) -> bool:
        """Return whether the last phase has ended."""
        return self.is_last and self._ends

    @property
    def _ends(self) -> bool:
        phase = self.current
        reached = bool(phase.until) and self.settled > phase.settle
        return reached or (phase.max_iterations is not None and self.iteration >= phase.max_iterations)

    def apply(self, env: Any, ppo: Any) -> None:
        """Let PPO, and an environment by its ``adapt`` (:meth:`rwmu.imagination.env.ImaginedEnv.adapt`), be those of the phase."""
        where = f"policy.curriculum.phases.{self.name}"
        task = self.task.varied(self.current.rewards, self.share)
        env.adapt(task, self.rules.varied(self.current.imagination, f"{where}.imagination"), self.current.penalty_scale)
        set_coefficients(ppo, self.settings.varied(self.current.ppo, f"{where}.ppo"))

    def advance(self, env: Any, ppo: Any, row: Mapping[str, float]) -> None:
        """Go on by one iteration, and to the next phase where this one has reached what it waits for.

        Args:
            row: the iteration's metrics; ``imagined/<term>`` is the mean of a reward term, times its weight.
        """
        means = {term: row[f"imagined/{term}"] / weight for term, weight in env.task.weights.items() if weight != 0.0}
        phase, share = self.current, self.share
        self.iteration += 1
        if phase.until and share >= 1.0 and (self.settled or _passed(means, phase.until)):
            self.settled += 1
        if share < 1.0 and phase.commands.above and _passed(means, phase.commands.above):
            self.share = min(1.0, share + phase.commands.step)
        if self._ends and not self.is_last:
            ended, spent = self.name, self.iteration
            self.phase, self.iteration, self.settled = self.phase + 1, 0, 0
            self.share = self.current.commands.first
            _log.info("The phase '%s' ended after %d iterations; '%s' begins.", ended, spent, self.name)
            self.apply(env, ppo)
        elif self.share != share:
            self.apply(env, ppo)

    def warn_if_unfinished(self) -> None:
        """Say so where the iterations were over before the last phase began."""
        if not self.is_last:
            reached = f"its commands had {self.share:.0%} of the task's range"
            _log.warning(
                "The curriculum's phase '%s' did not end within policy.iterations (%s): the policy never learnt in the last phase.",
                *(self.name, reached),
            )

    def metrics(self) -> dict[str, float]:
        """Return what is logged of an iteration."""
        return {
            "curriculum/phase": float(self.phase),
            "curriculum/command_share": self.share,
            "curriculum/penalty_scale": self.current.penalty_scale,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs."""
        return {"name": self.name, "iteration": self.iteration, "share": self.share, "settled": self.settled}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        names = list(self.curriculum.phases)
        choose("The interrupted training", saved["name"], names)
        self.phase = names.index(saved["name"])
        self.iteration, self.share, self.settled = saved["iteration"], saved["share"], saved["settled"]


def _passed(means: Mapping[str, float], bounds: Mapping[str, float]) -> bool:
    return all(means[term] >= bound for term, bound in bounds.items())


def begin(curriculum: Curriculum | None, env: Any, ppo: Any, settings: PpoSettings) -> Progress | None:
    """Put an environment and rsl-rl's PPO, which has ``settings``, into the first phase of a curriculum; None without one."""
    if curriculum is None:
        return None
    progress = Progress(curriculum, env.task, env.rules, settings)
    progress.apply(env, ppo)
    return progress
