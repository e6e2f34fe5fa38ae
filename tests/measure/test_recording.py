from __future__ import annotations

import pytest
import torch

from rwmu.measure.deployment import StandingStill
from rwmu.measure.recording import Recording, noisy, record
from tests.measure.exploit.worlds import TASK, WholeEnv


def recorded(*fall_at: int | None, **options: object) -> Recording:
    commands = {0: [0.5, 0.0, 0.0], 3: [0.0, 1.0, 0.0]}
    return record(WholeEnv(list(fall_at), commands, **options), StandingStill(12), "still", num_steps=6)  # type: ignore[arg-type]


def test_episodes_end_at_their_first_fall() -> None:
    recording = recorded(4, None)
    episodes = recording.episodes
    assert episodes.lengths.tolist() == [5, 7]
    assert recording.fell.tolist() == [True, False]
    assert episodes.state[:, 0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]
    assert episodes.termination.nonzero()[:, 0].tolist() == [4]
    assert not episodes.contact[0].any()
    assert episodes.contact[1].all()
    assert recording.trajectory.tolist() == [0] * 5 + [1] * 7


def test_a_row_holds_the_command_that_the_next_action_answers() -> None:
    command = recorded(None).episodes.command[:, :2].tolist()
    assert command == [[0.5, 0.0]] * 3 + [[0.0, 1.0]] * 4


def test_a_command_drawn_for_the_next_episode_is_not_recorded() -> None:
    assert recorded(3).episodes.command[:, :2].tolist() == [[0.5, 0.0]] * 4


def test_the_terms_add_up_to_the_reward() -> None:
    recording = recorded(None, 2)
    assert torch.allclose(TASK.step_dt * recording.terms.sum(1), recording.episodes.reward, atol=1e-6)
    assert recording.names == tuple(TASK.weights)
    assert recording.episodes.reward[1:6].abs().min() > 0.0


def test_a_row_of_a_diverged_simulation_is_dropped() -> None:
    recording = recorded(4, diverge_at={0: 4})
    assert recording.episodes.lengths.tolist() == [4]
    assert not recording.fell.any()


def test_a_used_environment_is_refused() -> None:
    env = WholeEnv([None], {0: [0.0, 0.0, 0.0]})
    env.step(torch.zeros(1, 12))
    with pytest.raises(ValueError, match="not been stepped"):
        record(env, StandingStill(12), "still")  # type: ignore[arg-type]


def test_noise_on_actions_is_the_same_at_every_scale_but_for_its_size() -> None:
    first, second = (
        record(WholeEnv([None] * 40, {0: [0.0] * 3}), noisy(lambda _: torch.full((40, 12), 0.25), scale, 3), "n", 5).episodes  # type: ignore[arg-type]
        for scale in (0.1, 0.2)
    )
    acted = torch.arange(first.num_rows) % 6 != 0  # all but first rows
    torch.testing.assert_close(second.action[acted] - 0.25, 2.0 * (first.action[acted] - 0.25))
    assert (first.action[acted] - 0.25).std().item() == pytest.approx(0.1, rel=0.1)
