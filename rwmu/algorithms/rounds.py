"""The rounds of an online run: their files, the diary in which each is told, and how a policy is measured between them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from rwmu.algorithms.workplace import Workplace
from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.episodes import Episodes
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import UserError
from rwmu.files import copy_file, read_json
from rwmu.imagination.rules import DreamRules
from rwmu.interfaces import Actor
from rwmu.measure.deployment import deploy
from rwmu.measure.dream_check import compare, dream_of, level_starts
from rwmu.measure.settings import EvaluationSettings
from rwmu.simulators.env import RobotEnv

DIARY = "rounds"
_SHOWN = ("track_lin_vel_xy", "track_ang_vel_z", "return", "fall_fraction", "episode_length_s")


class Rounds:
    """The files of each round, and the diary: one record of figures a round, ``measured/rounds.json`` of a run.

    Args:
        place: of the run.
    """

    def __init__(self, place: Workplace) -> None:
        self.place = place

    def folder(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.place.checkpoints / "rounds" / f"{number:04d}"

    def episodes(self, number: int) -> Path:
        """Return where a round's episodes lie, or will."""
        return self.folder(number) / "episodes.h5"

    def model(self, number: int) -> Path:
        """Return where a round's world model lies, or will."""
        return self.folder(number) / "dynamics.pt"

    def stream(self, number: int) -> Path:
        """Return where it is kept how far a round has read the stream of windows."""
        return self.folder(number) / "stream.pt"

    def policy(self, number: int) -> Path:
        """Return where a round's policy lies, or will; a round that leaves the policy as it is has none."""
        return self.folder(number) / "policy.pt"

    def latest(self, name: str, number: int) -> Path | None:
        """Return the latest file of that name in the rounds up to ``number``, or None."""
        return next((path for n in range(number, 0, -1) if (path := self.folder(n) / name).is_file()), None)

    def collected(self) -> int:
        """Return how many rounds have been collected."""
        return next(n for n in count() if not self.episodes(n + 1).is_file())

    def told(self) -> list[dict[str, Any]]:
        """Return the records of all rounds that were begun, in their order.

        Raises:
            UserError: they are lost.
        """
        path, mend = self.place.measured(DIARY), "bring it back, or begin a new run"
        if not path.exists():
            if self.place.begins("data", 1):
                return []
            raise UserError(f"{path} is gone, which tells what the rounds were; {mend}.")
        records: Any = read_json(path, mend).get(DIARY)
        if not isinstance(records, list) or not all(isinstance(record, dict) and "round" in record for record in records):
            raise UserError(f"{path} is damaged; {mend}.")
        return records

    def of(self, number: int) -> dict[str, Any]:
        """Return the record of a round; empty where nothing is told yet."""
        return next((record for record in self.told() if record["round"] == number), {})

    def note(self, number: int, **figures: Any) -> None:
        """Add figures to the record of a round."""
        records = {record["round"]: record for record in self.told()}
        records[number] = {"round": number, **records.get(number, {}), **figures}
        self.place.write_measured(DIARY, {DIARY: [records[n] for n in sorted(records)]})

    def once(self, step: str, number: int, do: Callable[[int, Rounds, OfflineDataModule], None], data: OfflineDataModule) -> None:
        """Do a step of a round, unless it is done or nobody asks for it."""
        if self.place.begins(step, number):
            with self.place.step(step, number):
                do(number, self, data)

    def close(self, number: int) -> None:
        """Note when a round ended, in seconds of work since the run began, the first time that it is closed."""
        if "seconds" not in self.of(number):
            self.note(number, seconds=sum(self.place.seconds().values()))

    def hand_over(self, step: str, path: Path) -> None:
        """Let the latest file of a round be the run's: the step is done."""
        latest = self.latest(path.name, len(self.told()))
        if self.place.begins(step) and latest is not None:
            with self.place.step(step):
                copy_file(latest, path)


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a round, a whole number below 2^31."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0] >> 1)


def figures_of(known: Episodes, new: Episodes) -> dict[str, Any]:
    """Return what is told of a round's episodes: how many, how they ended, their reward a second; and all transitions so far.

    Args:
        known: all that were there before. new: of the round.
    """
    before, transitions = (part.num_rows - part.num_episodes for part in (known, new))
    return {
        "episodes": new.num_episodes,
        "transitions": transitions,
        "real_transitions": before + transitions,
        "falls": int(new.termination.sum()),
        "diverged": int(new.attributes.get("num_diverged", 0)),
        "collected_reward": float(new.reward.double().sum()) / (transitions * float(new.attributes["step_dt"])),
    }


def deployed(
    env: RobotEnv,
    policy: Actor,
    world_model: WorldModel,
    data: OfflineDataModule,
    settings: EvaluationSettings,
    rules: DreamRules,
) -> dict[str, Any]:
    """Return how a policy does in the simulator ``env``, and its reward a second there and in its dream."""
    simulator = deploy(env, policy)
    starts = level_starts(data.episodes, data.splits["validation"], None, world_model.history)
    sizes = (env.num_envs, settings.dream_steps, settings.seed)
    dream = deploy(dream_of(world_model, env.task, data.episodes, starts, *sizes, **rules.of_a_step()), policy)
    summary, reward = simulator.summary(), compare(dream, simulator)["terms"]["total"]
    return {**{name: summary[name] for name in _SHOWN}, "dream_reward": reward["dream"], "simulator_reward": reward["simulator"]}
