from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from rwmu.data.bootstrap import BootstrapWindows
from rwmu.data.normalizer import Normalizer
from rwmu.data.settings import DataSettings
from rwmu.data.windows import gather, window_starts
from rwmu.errors import CheckpointError, ConfigError, DataError
from rwmu.records import Window
from tests.data.synthetic import ROBOT, numbered_episodes, varied_episodes

LENGTHS = [20, 9, 31, 12, 40, 8, 25, 33, 14, 22, 27, 18]
EPISODES = numbered_episodes(LENGTHS, terminated=[2, 4])
TRAIN = torch.tensor([0, 1, 2, 4, 6, 7, 8, 9, 10])  # episode 1 is shorter than the windows
AS_IT_IS = Normalizer(torch.zeros(45), torch.ones(45))
LENGTH = 10


def stream(**options: Any) -> BootstrapWindows:
    names = ("mirrors", "rounds", "seed", "num_members", "batches_per_epoch")
    others = {name: options.pop(name) for name in names if name in options}
    arguments: dict[str, Any] = {"episodes": EPISODES, "rounds": [TRAIN], "normalizer": AS_IT_IS, "num_members": 3, "seed": 5}
    return BootstrapWindows(settings=settings(**{"batch_size": 16} | options), **arguments | others)


def settings(length: int = LENGTH, **options: Any) -> DataSettings:
    """Return settings of windows of ``length`` rows."""
    return DataSettings(history=length - 2, forecast=2, **options)


def take(windows: BootstrapWindows, number: int) -> Window:
    """Return ``number`` batches joined along the batch axis, ``[E, number * B, T, ·]``."""
    batches = list(islice(windows, number))
    names = ("state", "action", "contact", "termination")
    return Window(*(torch.cat([getattr(batch.window, name) for batch in batches], dim=1) for name in names))


def episodes_seen(window: Window) -> list[set[int]]:
    """Return the episodes that each member has seen."""
    return [set((member[:, 0, 0] // 1000).long().tolist()) for member in window.state]


def test_batches_are_windows_of_training_episodes() -> None:
    window = take(stream(), 40)
    assert window.state.shape == (3, 640, LENGTH, 45)
    number = window.state[..., 0]
    assert torch.equal(number, number[..., :1] + torch.arange(LENGTH))
    assert (number[..., 0] // 1000 == number[..., -1] // 1000).all()
    assert set().union(*episodes_seen(window)) <= set(TRAIN.tolist()) - {1}


def test_the_action_of_the_next_row_follows_the_state() -> None:
    window = take(stream(), 10)
    assert torch.equal(window.action[..., 1:, 0], window.state[..., :-1, 0] + 1)
    bits = (window.contact * 2 ** torch.arange(8)).sum(-1)
    assert torch.equal(bits, window.state[..., 0] % 256)
    last_rows = {2030.0, 4039.0}
    terminated = window.state[..., 0][window.termination[..., 0] == 1.0]
    assert set(terminated.tolist()) <= last_rows
    assert torch.isin(window.state[..., 0], torch.tensor(sorted(last_rows))).sum() == len(terminated)


def test_each_member_sees_its_own_resample_and_nothing_else_for_ever() -> None:
    windows = stream()
    for member, seen in enumerate(episodes_seen(take(windows, 200))):
        assert seen == set(windows.member_episodes[member].tolist())
        assert seen < set(TRAIN.tolist()) - {1}  # a resample leaves about a third of the episodes out
    assert len({tuple(ids.tolist()) for ids in windows.member_episodes}) == 3


@pytest.mark.parametrize("bootstrap", ["episodes", "weights"])
def test_a_later_round_is_resampled_by_itself_and_leaves_the_resample_of_the_first(bootstrap: str) -> None:
    first, both = (stream(rounds=rounds, bootstrap=bootstrap) for rounds in ([TRAIN[:4]], [TRAIN[:4], TRAIN[4:]]))
    for before, after in zip(first.member_episodes, both.member_episodes, strict=True):
        assert torch.equal(after[: len(before)], before)
        assert len(after) == len(TRAIN) - 1
        assert set(after[len(before) :].tolist()) <= set(TRAIN[4:].tolist())
    assert stream(rounds=[TRAIN, TRAIN[:0]]).member_episodes[0].tolist() == stream().member_episodes[0].tolist(), (
        "none is long enough"
    )


def test_episodes_drawn_twice_are_seen_twice_as_often() -> None:
    windows = stream()
    window = take(windows, 500)
    for member, ids in enumerate(windows.member_episodes):
        drawn = torch.bincount(ids, minlength=12) * (EPISODES.lengths - LENGTH + 1).clamp(min=0)
        share = torch.bincount((window.state[member, :, 0, 0] // 1000).long(), minlength=12) / 8000
        assert (share - drawn / drawn.sum()).abs().max() < 0.02


def test_without_bootstrap_all_members_see_all_episodes_in_their_own_order() -> None:
    window = take(stream(bootstrap="windows"), 200)
    assert episodes_seen(window) == [set(TRAIN.tolist()) - {1}] * 3
    assert not torch.equal(window.state[0], window.state[1])


@pytest.mark.parametrize("mirrors", [(), ("left_right",)])
def test_common_windows_are_weighted_by_each_members_resample(mirrors: tuple[str, ...]) -> None:
    windows = stream(bootstrap="weights", batch_size=400, mirrors=[ROBOT.mirrors[name] for name in mirrors])
    batch = windows.batch()
    assert batch.window.state.shape[:2] == (1, 400)
    assert batch.rows is None
    assert batch.weight is not None
    episode = (batch.window.state[0, :, 0, 0] // 1000).long()  # the forward velocity, which this mirror leaves as it is
    for member, ids in enumerate(windows.member_episodes):
        drawn = torch.bincount(ids, minlength=12).float()
        sizes = (EPISODES.lengths - LENGTH + 1).clamp(min=0).float()
        usable = torch.isin(torch.arange(12), TRAIN) & (sizes > 0)
        scale = sizes[usable].sum() / (drawn * sizes).sum()  # so that a window of the data weighs 1 on average
        torch.testing.assert_close(batch.weight[member], (drawn * scale)[episode])


def test_in_batch_resamples_are_fresh_as_published() -> None:
    windows = stream(bootstrap="in_batch")
    first, second = windows.batch(), windows.batch()
    for batch in (first, second):
        assert batch.window.state.shape[0] == 1
        assert batch.rows is not None
        assert batch.rows.shape == (3, 16)
        assert batch.rows.min() >= 0
        assert batch.rows.max() < 16
    assert not torch.equal(first.rows, second.rows)  # type: ignore[arg-type]
    assert not torch.equal(first.rows[0], first.rows[1])  # type: ignore[index]
    alone = stream(bootstrap="in_batch", num_members=1).batch()
    assert torch.equal(alone.rows[0], first.rows[0])  # type: ignore[index]
    assert torch.equal(alone.window.state, first.window.state)
    assert len(stream(bootstrap="in_batch").state_dict()["generators"].unique(dim=0)) == 1 + 3  # no two streams are alike


def test_an_unknown_bootstrap_is_refused() -> None:
    with pytest.raises(ConfigError, match="bootstrap"):
        stream(bootstrap="own")


def test_the_seed_decides_the_batches() -> None:
    one, same, other = (take(stream(seed=seed), 3).state for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_members_rows_do_not_depend_on_the_number_of_members() -> None:
    options = {"mirrors": [ROBOT.mirrors["left_right"]], "beginnings": 0.2}
    few, many = (take(stream(num_members=number, **options), 4) for number in (1, 5))
    assert torch.equal(few.state[0], many.state[0])
    assert torch.equal(few.action[0], many.action[0])


def test_the_asked_share_of_a_batch_begins_an_episode() -> None:
    window = take(stream(beginnings=0.5), 1)
    assert (window.state[:, :8, 0, 0] % 1000 == 0).all()
    assert (window.state[:, 8:, 0, 0] % 1000 > 0).any()


def test_mirrored_windows_are_mirrored_whole_and_before_normalisation() -> None:
    """Every window equals the normalised image of the true one under one of the mirrors, about equally often."""
    episodes = varied_episodes(LENGTHS)
    ids = torch.arange(len(LENGTHS))
    normalizer = Normalizer.fit(episodes.state, ROBOT.state_layout)
    names = ["identity", "left_right", "front_back", "both"]
    mirrors = [ROBOT.mirrors[name] for name in names]
    windows = BootstrapWindows(episodes, [ids], normalizer, settings(batch_size=400, bootstrap="windows"), mirrors=mirrors[1:])
    window = windows.batch().window
    true = gather(episodes, window_starts(episodes.lengths, ids, LENGTH), LENGTH)
    images = [
        torch.cat([normalizer.normalize(m.state(true.state)), m.action(true.action), m.contact(true.contact)], -1) for m in mirrors
    ]
    drawn = torch.cat([window.state[0], window.action[0], window.contact[0]], -1).flatten(1)
    counts = []
    for image in images:
        nearest = torch.cdist(drawn, image.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").min(1).values
        counts.append(int((nearest < 1e-4).sum()))
    assert sum(counts) == 400
    assert min(counts) > 60


def test_states_are_normalised_and_actions_are_not() -> None:
    normalizer = Normalizer(torch.full((45,), 1000.0), torch.full((45,), 4.0))
    plain = BootstrapWindows(EPISODES, [TRAIN], AS_IT_IS, settings(batch_size=8), 2).batch().window
    scaled = BootstrapWindows(EPISODES, [TRAIN], normalizer, settings(batch_size=8), 2).batch().window
    assert torch.equal(scaled.state, (plain.state - 1000.0) / 4.0)
    assert torch.equal(scaled.action, plain.action)


def test_a_restored_stream_goes_on_where_it_was() -> None:
    windows = stream(mirrors=[ROBOT.mirrors["left_right"]], beginnings=0.1)
    take(windows, 3)
    saved = windows.state_dict()
    expected = take(windows, 3).state
    restored = stream(mirrors=[ROBOT.mirrors["left_right"]], beginnings=0.1)
    restored.load_state_dict(saved)
    assert torch.equal(take(restored, 3).state, expected)


def test_the_stream_of_another_number_of_members_is_refused() -> None:
    with pytest.raises(CheckpointError, match="3 streams of data, but this run has 2"):
        stream(num_members=2).load_state_dict(stream().state_dict())


def test_an_epoch_has_the_asked_number_of_batches() -> None:
    windows = stream(batches_per_epoch=7)
    assert len(windows) == 7
    assert len(list(windows)) == 7
    with pytest.raises(TypeError, match="no end"):
        len(stream())


@pytest.mark.parametrize(
    "options",
    [{"batch_size": -4}, {"beginnings": 1.5}, {"endings": -0.1}],
)
def test_impossible_sizes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"data.{next(iter(options))}"):
        stream(**options)


def test_more_than_a_whole_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="beginnings"):
        stream(beginnings=0.6, endings=0.5)


def test_an_episode_of_exactly_one_window_takes_part() -> None:
    windows = stream(length=20, bootstrap="windows")
    assert windows.member_episodes[0].tolist() == [0, 2, 4, 6, 7, 9, 10]  # episode 0 has 20 rows


def test_too_short_episodes_are_refused() -> None:
    with pytest.raises(DataError, match="No training episode is long enough for windows of 50 rows"):
        stream(length=50)


@pytest.mark.parametrize("endings", [0.0, 0.25])
def test_how_much_more_frequent_falls_are_in_batches_is_known(endings: float) -> None:
    windows = stream(endings=endings, bootstrap="windows")
    in_batches = take(windows, 1000).termination[:, :, -5:].mean().item()
    lengths = [LENGTHS[episode] for episode in TRAIN.tolist() if LENGTHS[episode] >= LENGTH]
    in_episodes = 2 / (sum(lengths) - len(lengths))
    assert windows.termination_odds_ratio(5) == pytest.approx(in_batches / in_episodes, rel=0.1)


def test_how_much_more_frequent_falls_are_in_batches_worked_by_hand() -> None:
    """Three episodes of 3, 5 and 7 windows, of which one falls, and 12 + 14 + 16 rows that are no first ones.

    Of 16 windows 4 end in the fall and 4 begin an episode; each of the other 8 ends in the fall with probability 1/15. With 2
    scored rows a window, (1/4 + 1/2 * 1/15) / 2 = 17/120 of the scored rows are falls, and 1/39 of the episodes' rows.
    """
    episodes = numbered_episodes([12, 14, 16], terminated=[1])
    windows = BootstrapWindows(episodes, [torch.arange(3)], AS_IT_IS, settings(batch_size=16, beginnings=0.25, endings=0.25))
    assert windows.termination_odds_ratio(2.0) == pytest.approx(17 / 120 * 39, rel=1e-12)
