from __future__ import annotations

import pytest

from rwmu.report import cells, wording
from tests.measure.exploit.made_up import interval

FEW, RARE = "5 independent trajectories are needed", "104 of 300 resamples could not be measured"
NO_ENDS = {**interval(0.5, reason="one fall"), "low": None, "high": None}


def test_every_interval_is_followed_by_the_number_of_trajectories() -> None:
    assert cells.cell(interval(0.93, 0.05)) == "0.93 [0.88, 0.98] (64)"
    assert cells.cell(interval(0.93, 0.05), "{:.3f}".format) == "0.930 [0.880, 0.980] (64)"
    assert cells.cell(interval(0.8, 0.001), "{:.2f}".format) == "0.80 [0.80, 0.80] (64) no width"


def test_what_is_lacking_is_said() -> None:
    assert cells.cell(interval(None)) == cells.cell(None) == "–"
    assert cells.cell({**NO_ENDS, "reason": FEW}) == "0.5 (64, no interval: too few episodes)"
    assert cells.cell({**NO_ENDS, "reason": RARE}) == "0.5 (64, no interval: too few cases)"
    assert cells.cell(NO_ENDS) == "0.5 (64, no interval: see below)"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.00012, "0.01 %"), (0.012, "1.2 %"), (0.683, "68 %"), (0.99, "99 %"), (-0.23, "−23 %")]
)
def test_shares_have_as_many_digits_as_say_something(share: float, text: str) -> None:
    assert wording.percent(share) == text


def test_reasons_stand_below_a_table_once_each_with_their_places() -> None:
    good, few, absent = interval(1.0), {**interval(1.0, reason=FEW), "low": None, "high": None}, interval(None, reason="no split.")
    rows = {"1": {"nll": good, "crps": few}, "8": {"nll": good, "crps": few}, "24": {"nll": absent, "crps": absent}}
    assert cells.reasons(rows, {"nll": "NLL", "crps": "CRPS"}) == [
        f"No interval: CRPS at 1 and 8: {FEW}.",
        "Not measured: everything at 24: no split.",
    ]
