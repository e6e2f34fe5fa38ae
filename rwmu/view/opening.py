"""Open a run to be looked at: its model, what is usual of it, and what may be chosen of policies and episodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from rwmu.data.episodes import Episodes
from rwmu.errors import ConfigError, UserError
from rwmu.imagination.fitting import fitted_estimate
from rwmu.interfaces import Actor
from rwmu.measure.windows import Selection
from rwmu.policy.optimise import kept
from rwmu.policy.rsl_rl import load_actor
from rwmu.runs.evaluation import policy_path
from rwmu.runs.experiment import Experiment
from rwmu.runs.folder import RunFolder
from rwmu.simulators.actors import policy_levels
from rwmu.tasks.velocity import VelocityTask
from rwmu.view.dream import Dream
from rwmu.view.judgement import Usual
from rwmu.view.session import Session
from rwmu.view.sources import Recorded, Simulated

_log = logging.getLogger(__name__)

Policies = dict[str, Callable[[], Actor]]


@dataclass(frozen=True)
class Opened:
    """A run that can be looked at.

    Attributes:
        session: begun. simulated: the robot in the simulator; None where there is none, and ``absent`` says why.
        policies: name -> what loads it, the run's own first. episodes: of the run's data.
    """

    session: Session
    simulated: Simulated | None
    absent: str
    policies: Policies
    episodes: Episodes

    def recorded(self, episode: int) -> Recorded:
        """Return an episode of the run's data as a source.

        Raises:
            DataError: there is none of that number.
        """
        return Recorded(self.episodes, episode, self.session.task.robot, self.session.task.step_dt)


def open_run(
    experiment: Experiment,
    folder: RunFolder,
    checkpoint: str | None = None,
    episode: int | None = None,
    command: tuple[float, float, float] = (0.5, 0.0, 0.0),
    seed: int = 0,
    restart_s: float = 2.0,
) -> Opened:
    """Open a run.

    Args:
        checkpoint: of the policy; None for the run's. episode: of the data, to begin with; None for the simulator.
        command: m/s, m/s and rad/s. seed: of the simulator. restart_s: after which dreams begin anew.

    Raises:
        ConfigError: it has no world model; or nobody moves: it has no simulator, or no policy, and no episode is given.
    """
    if not folder.world_model.is_file() and experiment.trainer.checkpoint is None:
        raise ConfigError(f"The run in {folder.path} has no world model yet, and so no dream; let it finish (resume=) first.")
    data, task = experiment.data_in(folder), experiment.task
    world_model = experiment.method.world_model(data, folder)
    _, estimate = fitted_estimate(experiment.penalty, folder.checkpoints)
    held_out = Selection(data.episodes, data.splits["test"])
    usual = Usual.measured(world_model, held_out, estimate, max(1, round(restart_s / task.step_dt)))
    own = policy_path(experiment, folder) if checkpoint is None else Path(checkpoint)
    policies = policies_of(task, own, folder)
    if own is None:
        _log.info("The run in %s has no policy yet; '%s' acts.", folder.path, next(iter(policies)))
    simulated, absent = _simulated(experiment, policies, command, seed)
    if simulated is None and episode is None:
        raise ConfigError(f"{absent.rstrip('.')}; recorded episodes can be looked at all the same: give episode=0.")
    source = Recorded(data.episodes, episode, task.robot, task.step_dt) if episode is not None else simulated
    assert source is not None
    session = Session(task, Dream(world_model, estimate, experiment.imagination.clip), usual, source, restart_s)
    return Opened(session, simulated, absent, policies, data.episodes)


def policies_of(task: VelocityTask, own: Path | None, folder: RunFolder) -> Policies:
    """Return the policies that may act, by name: the run's own, its checkpoints, latest first, and the robot's shipped ones."""
    others = {path.name: path for path in reversed(kept(folder.checkpoints / "policy").values())}
    paths = others if own is None else {own.name: own} | {name: path for name, path in others.items() if name != own.name}
    found: Policies = {name: partial(load_actor, path, task.robot) for name, path in paths.items()}
    return found | {f"shipped: {name}": load for name, load in reversed([*policy_levels(task).actors.items()])}


def _simulated(
    experiment: Experiment, policies: Policies, command: tuple[float, float, float], seed: int
) -> tuple[Simulated | None, str]:
    """Return the robot in the simulator with the first policy, or None and why there is none."""
    load = next(iter(policies.values()))
    try:
        env = experiment.make_env(num_envs=1, seed=seed, auto_reset=False)
        env.poses()
    except UserError as error:
        return None, str(error)
    return Simulated(env, load(), torch.tensor(command)), ""
