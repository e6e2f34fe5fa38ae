"""How a run is measured."""

from __future__ import annotations

from rwmu.settings import Count, Counts, FilmedSeconds, Seed, WholeNumber, settings


@settings("evaluation")
class EvaluationSettings:
    """Deployment in the simulator, and the world model's error on test episodes.

    Attributes:
        num_envs: one episode each.
        seed: of starts and commands, the same for every policy and every run.
        horizons: steps ahead at which the model's error is measured. num_windows: of the test episodes, on which it is.
        num_dream_envs: of each policy that is rolled inside the model.
        dream_steps: of the behaviour policies and of checkpoints there; ours is rolled for a full episode.
        learning_points: checkpoints that training has kept of the policy, evenly spaced, of which dream and simulator are compared.
        cache: folder of the deployments of policies that never change; None for none.
        video_s: length of the video; None for none.
    """

    num_envs: Count = 256
    seed: Seed = 1000
    horizons: Counts = (1, 8, 24, 100)
    num_windows: Count = 400
    num_dream_envs: Count = 128
    dream_steps: Count = 200
    learning_points: WholeNumber = 8
    cache: str | None = None
    video_s: FilmedSeconds | None = None
