"""What is analysed: the world model of a run, its data and splits, and the policy that acts under noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from rwmu.data.episodes import Episodes
from rwmu.data.overlap import begin_alike
from rwmu.data.sources import obtain
from rwmu.data.splits import DEFAULT_FRACTIONS, split_episodes
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.imagination.fitting import fitted_estimate
from rwmu.interfaces import Actor
from rwmu.measure.windows import Selection
from rwmu.parts import Parts
from rwmu.policy.rsl_rl import load_actor
from rwmu.simulators.actors import policy_levels
from rwmu.uncertainty.estimates import Estimate

LEVEL = "good"  # the behaviour policy where the run has none of its own


@dataclass(frozen=True)
class Subject:
    """A run, read and checked.

    Attributes:
        name: of the experiment and its seed. parts: for the task and the simulator.
        test, calibration: selections; ``calibration`` is None where the run has no such split.
        tested_on: the dataset's path, in words.
    """

    name: str
    folder: Path
    config: DictConfig
    parts: Parts
    world_model: WorldModel
    test: Selection
    calibration: Selection | None
    tested_on: str

    @classmethod
    def read(cls, run: Path, data: Path | None = None) -> Subject:
        """Read a run's folder, writing nothing into it.

        Args:
            data: another dataset of the same robot to test on.

        Raises:
            UserError: one sentence on what is missing or does not fit.
        """
        config = _config(run)
        parts = Parts(config)
        world_model = WorldModel.load(_world_model_path(run, config)).freeze()
        own = _episodes(Path(config.data.path), parts)
        world_model.check_fits(parts.robot, own.content_hash())
        splits = _splits(own, config)
        tested, ids, path = own, splits.get("test"), str(config.data.path)
        if data is not None:
            tested = _episodes(data, parts)
            if tested.content_hash() != own.content_hash():
                # Split as a run on these data splits them: by the seed that they were collected with.
                ids, path = _splits(tested, config, tested.attributes.get("seed")).get("test"), str(data)
                ids, path = _unseen(tested, ids, own, splits, path)
        if ids is None or not len(ids):
            raise DataError(
                f"There are no test episodes in {path}: the run's data.fractions.test is 0; train with a share above 0."
            )
        calibration = splits.get("calibration")
        fitted_on = None if calibration is None or not len(calibration) else Selection(own, calibration)
        name = f"{config.name}, seed {config.seed}"
        return cls(name, run, config, parts, world_model, Selection(tested, ids), fitted_on, path)

    def estimate(self) -> tuple[str, Estimate]:
        """Return name and function of the disagreement that the run's penalty sees."""
        return fitted_estimate(self.config.penalty, self.folder / "checkpoints")

    def actor(self, level: str | None = None) -> tuple[str, Actor]:
        """Return who acts under noise, in words, and the policy: the behaviour policy ``level``, or the run's clone or policy."""
        if level is None:
            for words, path in (("the run's clone", "policy/clone.pt"), ("the run's policy", "policy.pt")):
                if (self.folder / "checkpoints" / path).is_file():
                    return words, load_actor(self.folder / "checkpoints" / path, self.parts.robot)
        level = level or LEVEL
        return f"the behaviour policy '{level}'", policy_levels().actor(level)

    def simulator(self, num_envs: int, seed: int, num_threads: int) -> Callable[[], Any]:
        """Return what makes a fresh simulator, the same at every call, that starts no new episode by itself."""
        return lambda: self.parts.simulator(num_envs=num_envs, seed=seed, num_threads=num_threads, auto_reset=False)


def _config(run: Path) -> DictConfig:
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"{run} is no run folder: it has no config.yaml; give run=runs/<date>-<experiment>-seed<k>.")
    config = OmegaConf.load(run / "config.yaml")
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{run / 'config.yaml'} is no configuration of a run.")
    return config


def _world_model_path(run: Path, config: DictConfig) -> Path:
    own, given = run / "checkpoints" / "dynamics.pt", config.dynamics.get("checkpoint")
    path = own if own.is_file() or given is None else Path(given)
    if not path.is_file():
        raise CheckpointError(f"The run {run} has no world model yet ({own}); train it first (stages=[data,dynamics]).")
    return path


def _episodes(path: Path, parts: Parts) -> Episodes:
    if not path.is_file():
        raise DataError(f"There is no data file {path}; run this where the run was made, or collect the data again there.")
    return obtain(path, robot=parts.robot)


def _unseen(
    tested: Episodes, ids: torch.Tensor | None, own: Episodes, splits: dict[str, torch.Tensor], path: str
) -> tuple[torch.Tensor | None, str]:
    """Leave out the test episodes of other data that the run has, but for testing; returns the others, and the path in words."""
    if ids is None or not len(ids):
        return ids, path
    used = torch.cat([own_ids for name, own_ids in splits.items() if name != "test"])
    seen = begin_alike(tested, ids, own, used)
    if bool(seen.all()):
        raise DataError(
            f"All {len(ids)} test episodes of {path} are also in the run's own data, and not as test episodes; leave data= out to "
            "test on those, or collect with another seed."
        )
    number = int(seen.sum())
    left_out = f" (without {number} of its {len(ids)} test episodes, which the run was trained or calibrated on)"
    return ids[~seen], path + (left_out if number else "")


def _splits(episodes: Episodes, config: DictConfig, seed: int | None = None) -> dict[str, torch.Tensor]:
    """Return the splits that training made, by the same shares and, unless another is given, the same seed."""
    fractions = dict(config.data.get("fractions", DEFAULT_FRACTIONS))
    own = config.data.get("seed")
    seed = seed if seed is not None else config.seed if own is None else own
    return split_episodes(episodes.num_episodes, fractions, seed, episodes.levels)
