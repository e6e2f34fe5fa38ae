from __future__ import annotations

import pytest

from experiments.benchmarks import gemm, plain
from experiments.benchmarks.sizes import KINDS, Kind, Sizes
from tests.experiments import SlowingMachine

SIZES = [
    Sizes(state=6, action=2, contact=3, hidden=16, head=8, history=4, forecast=3, members=3),
    Sizes(state=5, action=3, contact=2, hidden=12, layers=3, head=7, history=2, forecast=1, members=1),
    Sizes(state=9, action=4, contact=1, hidden=8, layers=1, head=16, history=1, forecast=5, members=2),
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_training_formula_is_what_torch_counts(kind: Kind, sizes: Sizes) -> None:
    counted = gemm.count_flops(plain.training_step(kind, sizes, batch=7))
    assert gemm.training_flops(kind, sizes, 7) == counted


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_imagination_formula_is_what_torch_counts(kind: Kind, sizes: Sizes) -> None:
    counted = gemm.count_flops(plain.imagination_step(kind, sizes, envs=7))
    assert gemm.imagination_flops(kind, sizes, 7) == counted


def test_formulas_by_hand() -> None:
    """One layer of one unit, one input each: every product is one multiplication and one addition times what is written here."""
    sizes = Sizes(state=1, action=1, contact=1, hidden=1, layers=1, head=1, history=2, forecast=2, members=2)
    assert gemm.base_flops(sizes) == 2 * (3 * 2 + 3 * 1)
    heads = 2 * 4 + 2 * 4  # mean, log-std; contact, termination: two products of one element each
    assert gemm.imagination_flops("shared", sizes, 1) == 2 * 18 + 2 * heads
    assert gemm.imagination_flops("shared", sizes, 1, plain=False) == 2 * 18 + 2 * 4 + 8  # means alone
    assert gemm.imagination_flops("independent", sizes, 10, plain=False) == 10 * (3 * 18 + 2 * 4 + 8)
    # Rows are 2 of history and 1 of forecast. No gradient: 12 a row of data (inputs), 6 at the start (hidden state).
    state, auxiliary = 3 * 3 * 18 - 2 * 12 - 6, 3 * 3 * 18 - 3 * 12 - 6
    assert gemm.training_flops("shared", sizes, 1) == 2 * (state + auxiliary + 3 * 2 * heads)
    assert gemm.training_flops("shared", sizes, 1, plain=False) == (state - 54) + 2 * 54 + auxiliary + 2 * 3 * 2 * heads
    assert gemm.training_flops("independent", sizes, 1, plain=False) == gemm.training_flops("shared", sizes, 1)
    # Four rows of three distinct windows: the histories and the auxiliary base three times, the forecasts four times.
    least = 2 * (3 * (state - 54) + 4 * 54 + 3 * auxiliary + 4 * 3 * 2 * heads)
    assert gemm.training_flops("independent", sizes, 4, plain=False, distinct=3) == least
    assert gemm.distinct_windows(4) == 3  # 4 (1 - 0.75^4) = 2.73


def test_gemm_rates_are_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gemm.gemm_flops((2, 3, 5)) == 60
    assert gemm.count_flops(gemm.gemm((2, 3, 5))) == 60
    clock = SlowingMachine(monkeypatch)
    monkeypatch.setattr(gemm, "gemm", lambda shape, device: clock.function("gemm", 0.01))
    rate = gemm.gemm_rates([(10, 10, 10)], seconds=1.0)["10x10x10"]
    # The first call is a warm-up; the second finds that two calls are a sample; the best sample is the third and the fourth.
    assert rate == pytest.approx(2000 / (0.01 * (1.01**2 + 1.01**3) / 2))
