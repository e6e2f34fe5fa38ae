"""What is analysed: the world model of a run, its data and splits, and the policy that acts under noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rwmu.data.episodes import Episodes
from rwmu.data.overlap import begin_alike
from rwmu.data.sources import obtain
from rwmu.data.splits import split_episodes
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError, DataError
from rwmu.interfaces import Actor
from rwmu.measure.windows import Selection
from rwmu.policy.rsl_rl import load_actor
from rwmu.runs.evaluation import world_model_path
from rwmu.runs.experiment import Experiment, build
from rwmu.runs.folder import RunFolder
from rwmu.runs.trust import modules
from rwmu.simulators.actors import policy_levels

LEVEL = "good"  # the behaviour policy where the run has none of its own


@dataclass(frozen=True)
class Subject:
    """A run, read and checked; nothing is written into its folder.

    Attributes:
        name: of the experiment and its seed. experiment: for the task and the simulator.
        test, calibration, trained_on: selections; ``calibration`` is None where the run has no such split.
        tested_on: the dataset's path, in words.
    """

    name: str
    folder: Path
    experiment: Experiment
    world_model: WorldModel
    test: Selection
    calibration: Selection | None
    trained_on: Selection
    tested_on: str

    @classmethod
    def read(cls, run: Path, data: Path | None = None, every: bool = False, trust: Any = ()) -> Subject:
        """Read a run's folder.

        Args:
            data: another dataset of the same robot to test on. every: on all of its episodes, not its test split alone.
            trust: see :mod:`rwmu.runs.trust`.

        Raises:
            UserError: one sentence on what is missing or does not fit.
        """
        folder = RunFolder.resume(run)
        experiment = build(folder.config(modules(trust)))
        robot = experiment.task.robot

        def episodes(path: Path) -> Episodes:
            if not path.is_file():
                raise DataError(f"There is no data file {path}; run this where the run was made, or collect the data again there.")
            return obtain(path, robot=robot)

        trained = world_model_path(experiment, folder)
        if trained is None or not trained.is_file():
            raise CheckpointError(f"The run {run} has no world model yet; train it first (stages=[data,dynamics]).")
        world_model = WorldModel.load(trained, experiment.fitter.model_class).freeze()
        own = episodes(experiment.data_path)
        world_model.check_fits(robot, own.content_hash())
        splits = split(own, experiment)
        test, path = Selection(own, splits["test"]), str(experiment.data_path)
        if data is not None:
            tested = episodes(data)
            if tested.content_hash() != own.content_hash():
                # Split as a run on these data splits them: by the seed that they were collected with.
                ids = split(tested, experiment, tested.attributes.get("seed"))["test"]
                ids = torch.arange(tested.num_episodes) if every else ids
                fitted = torch.cat([own_ids for name, own_ids in splits.items() if name != "test"])
                test, path = _unseen(Selection(tested, ids), Selection(own, fitted), str(data))
        if not len(test.ids):
            raise DataError(
                f"There are no test episodes in {path}: the run's data.fractions.test is 0; train with a share above 0."
            )
        calibration = Selection(own, splits["calibration"]) if len(splits["calibration"]) else None
        name, trained_on = f"{experiment.name}, seed {experiment.seed}", Selection(own, splits["train"])
        return cls(name, run, experiment, world_model, test, calibration, trained_on, path)

    def actor(self, level: str | None = None) -> tuple[str, Actor]:
        """Return who acts under noise, in words, and the policy: the behaviour policy ``level``, or the run's clone or policy."""
        for words, path in (("the run's clone", "policy/clone.pt"), ("the run's policy", "policy.pt")):
            if level is None and (self.folder / "checkpoints" / path).is_file():
                return words, load_actor(self.folder / "checkpoints" / path, self.experiment.task.robot)
        level = level or LEVEL
        return f"the behaviour policy '{level}'", policy_levels(self.experiment.task).actor(level)


def split(episodes: Episodes, experiment: Experiment, seed: int | None = None) -> dict[str, torch.Tensor]:
    """Return the splits that training made, by the same shares and, unless another is given, the same seed."""
    data, nothing = experiment.data, torch.empty(0, dtype=torch.int64)
    found = split_episodes(episodes.num_episodes, data.fractions, data.seed if seed is None else seed, episodes.levels)
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
