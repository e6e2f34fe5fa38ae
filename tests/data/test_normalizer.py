from __future__ import annotations

import pytest
import torch

from rwmu.data.normalizer import Normalizer
from rwmu.errors import CheckpointError, DataError
from rwmu.robots.layout import Field, StateLayout

LAYOUT = StateLayout([Field("velocity", 2, "m/s"), Field("height", 1, "m")])


def test_mean_and_deviation_worked_by_hand() -> None:
    normalizer = Normalizer.fit(torch.tensor([[1.0, 0.0, 5.0], [3.0, 4.0, 5.5]]), LAYOUT)
    assert normalizer.mean.tolist() == [2.0, 2.0, 5.25]
    assert normalizer.std.tolist() == [1.0, 2.0, 0.25]
    assert normalizer.normalize(torch.tensor([4.0, 0.0, 5.25])).tolist() == [2.0, -1.0, 0.0]


def test_fitted_states_have_mean_zero_and_deviation_one() -> None:
    states = torch.randn(200_000, 3) * torch.tensor([1e-3, 1.0, 50.0]) + torch.tensor([-1.0, 0.0, 300.0])
    normalized = Normalizer.fit(states, LAYOUT).normalize(states).double()
    assert normalized.mean(0).abs().max() < 1e-4
    assert (normalized.std(0) - 1.0).abs().max() < 1e-4


def test_denormalizing_undoes_normalizing() -> None:
    normalizer = Normalizer(torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 2.0, 10.0]))
    states = torch.randn(4, 5, 3)
    torch.testing.assert_close(normalizer.denormalize(normalizer.normalize(states)), states, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, 300.1])
def test_constant_column_is_named(value: float) -> None:
    states = torch.randn(100_000, 3)
    states[:, 1] = value
    with pytest.raises(
        DataError, match=rf"velocity\[1\] never varies in the training episodes \(it is always {value:g}\)"
    ) as error:
        Normalizer.fit(states, LAYOUT)
    assert str(error.value).endswith(".")


def test_small_but_real_variation_is_no_constant() -> None:
    states = torch.randn(1000, 3)
    states[:, 2] = -1.0 + 1e-4 * states[:, 2]
    assert Normalizer.fit(states, LAYOUT).std[2].item() == pytest.approx(1e-4, rel=0.1)


def test_wrong_columns_and_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="have 4 columns, but the layout has 3"):
        Normalizer.fit(torch.randn(10, 4), LAYOUT)
    with pytest.raises(DataError, match="cannot be fitted on 1 rows"):
        Normalizer.fit(torch.randn(1, 3), LAYOUT)


def test_it_travels_in_a_state_dict_and_as_plain_lists() -> None:
    normalizer = Normalizer.fit(torch.randn(50, 3), LAYOUT)
    blank = Normalizer(torch.zeros(3), torch.ones(3))
    blank.load_state_dict(normalizer.state_dict())
    rebuilt = Normalizer.from_dict(normalizer.to_dict())
    for other in (blank, rebuilt):
        assert torch.equal(other.mean, normalizer.mean)
        assert torch.equal(other.std, normalizer.std)
    assert rebuilt.names == LAYOUT.names()
    rebuilt.assert_matches(normalizer)


def test_what_differs_is_named() -> None:
    normalizer = Normalizer(torch.zeros(3), torch.ones(3), LAYOUT.names())
    with pytest.raises(CheckpointError, match="the std of height is 1 in one and 2 in the other") as error:
        normalizer.assert_matches(Normalizer(torch.zeros(3), torch.tensor([1.0, 1.0, 2.0]), LAYOUT.names()))
    assert str(error.value).endswith(".")
    with pytest.raises(CheckpointError, match=r"the mean of velocity\[1\] is 0 in one and 0.1"):
        normalizer.assert_matches(Normalizer(torch.tensor([0.0, 0.1, 0.0]), torch.ones(3), LAYOUT.names()))
    with pytest.raises(CheckpointError, match=r"one has 'velocity\[0\]' where the other has 'speed'"):
        normalizer.assert_matches(Normalizer(torch.zeros(1), torch.ones(1), ["speed"]))
    with pytest.raises(CheckpointError, match="one has 'height' where the other has 'None'"):
        normalizer.assert_matches(Normalizer(torch.zeros(2), torch.ones(2), LAYOUT.names()[:2]))


def test_means_near_zero_match_within_a_part_of_the_deviation() -> None:
    near, far = (Normalizer(torch.tensor([mean]), torch.ones(1)) for mean in (3e-9, 3e-5))
    Normalizer(torch.tensor([1e-9]), torch.ones(1)).assert_matches(near)
    with pytest.raises(CheckpointError, match=r"the mean of state\[0\] is 1e-09 in one and 3e-05"):
        Normalizer(torch.tensor([1e-9]), torch.ones(1)).assert_matches(far)


@pytest.mark.parametrize(("mean", "std"), [(float("nan"), 1.0), (0.0, 0.0), (0.0, float("inf")), (0.0, -1.0)])
def test_impossible_numbers_are_refused(mean: float, std: float) -> None:
    with pytest.raises(DataError, match=r"in column state\[0\]"):
        Normalizer(torch.tensor([mean]), torch.tensor([std]))
