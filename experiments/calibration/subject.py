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
    """A run, read and checked; nothing is written into its folder.

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
        """Read a run's folder.

        Args:
            data: another dataset of the same robot to test on.

        Raises:
            UserError: one sentence on what is missing or does not fit.
        """
        config = _config(run)
        parts = Parts(config)

        def episodes(path: Path) -> Episodes:
            if not path.is_file():
                raise DataError(f"There is no data file {path}; run this where the run was made, or collect the data again there.")
            return obtain(path, robot=parts.robot)

        world_model = WorldModel.load(_world_model_path(run, config)).freeze()
        own = episodes(Path(config.data.path))
        world_model.check_fits(parts.robot, own.content_hash())
        splits = split(own, config)
        test, path = Selection(own, splits["test"]), str(config.data.path)
        if data is not None:
            tested = episodes(data)
            if tested.content_hash() != own.content_hash():
                # Split as a run on these data splits them: by the seed that they were collected with.
                ids = split(tested, config, tested.attributes.get("seed"))["test"]
                fitted = torch.cat([own_ids for name, own_ids in splits.items() if name != "test"])
                test, path = _unseen(Selection(tested, ids), Selection(own, fitted), str(data))
        if not len(test.ids):
            raise DataError(
                f"There are no test episodes in {path}: the run's data.fractions.test is 0; train with a share above 0."
            )
        calibration = Selection(own, splits["calibration"]) if len(splits["calibration"]) else None
        return cls(f"{config.name}, seed {config.seed}", run, config, parts, world_model, test, calibration, path)

    def estimate(self) -> tuple[str, Estimate]:
        """Return name and function of the disagreement that the run's penalty sees."""
        return fitted_estimate(self.config.penalty, self.folder / "checkpoints")

    def actor(self, level: str | None = None) -> tuple[str, Actor]:
        """Return who acts under noise, in words, and the policy: the behaviour policy ``level``, or the run's clone or policy."""
        for words, path in (("the run's clone", "policy/clone.pt"), ("the run's policy", "policy.pt")):
            if level is None and (self.folder / "checkpoints" / path).is_file():
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


def split(episodes: Episodes, config: DictConfig, seed: int | None = None) -> dict[str, torch.Tensor]:
    """Return the splits that training made, by the same shares and, unless another is given, the same seed."""
    own = config.seed if config.data.get("seed") is None else config.data.seed
    fractions = dict(config.data.get("fractions", DEFAULT_FRACTIONS))
    found = split_episodes(episodes.num_episodes, fractions, own if seed is None else seed, episodes.levels)
    nothing = torch.empty(0, dtype=torch.int64)
    return {"test": nothing, "calibration": nothing} | found


def _unseen(tested: Selection, fitted: Selection, path: str) -> tuple[Selection, str]:
    """Leave out episodes that the run was trained or calibrated on; returns the others, and the path in words."""
    ids = tested.ids
    if not len(ids):
        return tested, path
    seen = begin_alike(tested.episodes, ids, fitted.episodes, fitted.ids)
    if bool(seen.all()):
        raise DataError(
            f"All {len(ids)} test episodes of {path} are also in the run's own data, and not as test episodes; leave data= out to "
            "test on those, or collect with another seed."
        )
    if number := int(seen.sum()):
        path += f" (without {number} of its {len(ids)} test episodes, which the run was trained or calibrated on)"
    return Selection(tested.episodes, ids[~seen]), path
