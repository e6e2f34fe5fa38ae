from __future__ import annotations

from dataclasses import dataclass

import torch

from rwmu.records import Batch, Carry, Followed, Noise, Prediction, Rollout, Window, follow


def prediction(members: int, batch: int, offset: float = 0.0) -> Prediction:
    """Member e, row b has the value 10 e + b + offset everywhere."""
    value = 10.0 * torch.arange(members).view(-1, 1, 1) + torch.arange(batch).view(1, -1, 1) + offset
    return Prediction(value.expand(-1, -1, 3), value.expand(-1, -1, 3), value.expand(-1, -1, 2), value)


def test_follow_takes_each_row_from_its_member() -> None:
    member = torch.tensor([2, 0, 1, 2])
    followed = prediction(3, 4).follow(member)
    assert followed.num_members == 1
    assert followed.mean.shape == (1, 4, 3)
    assert followed.mean[0, :, 0].tolist() == [20.0, 1.0, 12.0, 23.0]
    assert followed.contact[0, :, 1].tolist() == [20.0, 1.0, 12.0, 23.0]


def test_following_the_only_member_changes_nothing() -> None:
    tensor = torch.randn(1, 4, 3)
    assert follow(tensor, torch.zeros(4, dtype=torch.int64)) is tensor


def test_map_leaves_absent_tensors_absent() -> None:
    noise = Noise(loss=torch.ones(2, 1, 3, 4)).map(lambda tensor: tensor + 1.0)
    assert noise.feedback is noise.history is None
    assert noise.loss is not None
    assert noise.loss.eq(2.0).all()
    both = Noise(torch.ones(1), torch.ones(1)).to(torch.float64)
    assert both.feedback is not None
    assert both.loss is not None
    assert both.feedback.dtype == both.loss.dtype == torch.float64


@dataclass(frozen=True)
class Two(Carry):
    first: torch.Tensor
    second: torch.Tensor | None = None


def test_rows_of_a_carry_are_taken_and_put() -> None:
    pool = Two(torch.arange(6.0).view(2, 3))  # row b of member e is named 3 e + b
    taken = pool.take(torch.tensor([2, 0, 2]))
    assert taken.first.tolist() == [[2.0, 0.0, 2.0], [5.0, 3.0, 5.0]]
    assert taken.second is None
    taken.put(torch.tensor([1, 0]), pool.take(torch.tensor([1, 0])))
    assert taken.first.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert pool.first.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]  # what was taken is a copy
    Carry().put(torch.tensor([0]), Carry().take(torch.tensor([3])))  # of a model without memory


def test_detach_cuts_every_tensor() -> None:
    leaf = torch.ones(1, 2, 3, requires_grad=True)
    window = Window(leaf * 2, leaf * 3, leaf * 4, leaf * 5).detach()
    assert not any(tensor.requires_grad for tensor in (window.state, window.action, window.contact, window.termination))


def test_a_member_sees_its_rows_of_a_batch() -> None:
    common = Window(*(torch.randn(1, 4, 3, size) for size in (3, 2, 2, 1)))
    batch = Batch(common, rows=torch.tensor([[0, 1], [2, 3]]), weight=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert batch.num_rows == 2
    one = batch.of_member(1)
    assert one.window is common
    assert one.rows.tolist() == [[2, 3]]  # type: ignore[union-attr]
    assert one.weight.tolist() == [[3.0, 4.0]]  # type: ignore[union-attr]
    own = Batch(common.map(lambda tensor: torch.cat([tensor, tensor + 1.0])))
    assert torch.equal(own.of_member(1).window.state, common.state + 1.0)


def test_a_members_repeated_windows_are_kept_once() -> None:
    state = torch.tensor([10.0, 11.0, 12.0, 13.0]).view(1, 4, 1, 1)  # each window is its own name
    batch = Batch(Window(state, state, state, state), rows=torch.tensor([[3, 1, 3, 1], [0, 2, 1, 0]]))
    found = batch.distinct()
    assert found.window.state[..., 0, 0].tolist() == [[11.0, 13.0, 11.0], [10.0, 11.0, 12.0]]  # the first is filled up
    assert found.rows.tolist() == [[1, 0, 1, 0], [0, 2, 1, 0]]  # type: ignore[union-attr]
    again = found.distinct()  # now of windows that are each member's own
    chosen = again.window.state[..., 0, 0].gather(1, again.rows)  # type: ignore[arg-type]
    assert chosen.tolist() == [[13.0, 11.0, 13.0, 11.0], [10.0, 12.0, 11.0, 10.0]]
    whole = Batch(batch.window)
    assert whole.distinct() is whole


def test_the_rows_of_a_member_come_in_parts_with_repeats_side_by_side() -> None:
    state = torch.arange(5.0).view(1, 5, 1, 1)
    window = Window(state, state, state, state)
    batch = Batch(window, rows=torch.tensor([[4, 0, 4, 2, 0]]), weight=torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    parts = [batch.part(index) for index in batch.sorted_parts(2)]
    assert [part.rows.tolist() for part in parts] == [[[0, 0]], [[2, 4]], [[4]]]  # type: ignore[union-attr]
    assert [part.weight.tolist() for part in parts] == [[[2.0, 5.0]], [[4.0, 1.0]], [[3.0]]]  # type: ignore[union-attr]
    own = Batch(window)
    assert [own.part(index).window.state.flatten().tolist() for index in own.sorted_parts(4)] == [[0.0, 1.0, 2.0], [3.0, 4.0]]
    assert [index.tolist() for index in own.sorted_parts(5)] == [[0, 1, 2, 3, 4]]
    noise = Noise(loss=torch.arange(5.0).view(1, 1, 5, 1))
    assert noise.part(torch.tensor([3, 1])).loss.flatten().tolist() == [3.0, 1.0]  # type: ignore[union-attr]


def test_rows_are_sorted_by_the_member_that_they_follow() -> None:
    followed = Followed(torch.tensor([2, 0, 2, 1, 0]), 4)
    assert followed.sizes == [2, 1, 2, 0]
    assert followed.order.tolist() == [1, 4, 3, 0, 2]
    rows = torch.arange(5)
    assert torch.equal(rows[followed.order][followed.inverse], rows)


def test_window_length_is_its_time_axis() -> None:
    assert Window(torch.zeros(5, 7, 32, 3), torch.zeros(0), torch.zeros(0), torch.zeros(0)).length == 32


def test_a_rollout_gives_its_steps_back() -> None:
    steps = [prediction(2, 3, offset=100.0 * k) for k in range(4)]
    stacked = {name: torch.stack([getattr(step, name) for step in steps]) for name in ("mean", "log_std", "contact", "termination")}
    rollout = Rollout(**stacked, feedback=stacked["mean"])
    assert rollout.mean.shape == (4, 2, 3, 3)
    assert rollout.feedback.shape == (4, 2, 3, 3)
    for k, step in enumerate(steps):
        assert torch.equal(rollout.at(k).mean, step.mean)
        assert torch.equal(rollout.at(k).termination, step.termination)
