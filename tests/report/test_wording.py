from __future__ import annotations

import pytest

from rwmu.report import cells, wording
from tests.measure.exploit.made_up import interval

FEW, RARE = "5 independent trajectories are needed", "104 of 300 resamples could not be measured"
NO_ENDS = {**interval(0.5, reason="one fall"), "low": None, "high": None}


def test_every_interval_is_followed_by_the_number_of_starts() -> None:
    assert wording.figure(interval(0.93, 0.05)) == "0.93 [0.88, 0.98] (64 starts)"
    assert cells.cell(interval(0.93, 0.05)) == "0.93 [0.88, 0.98] (64)"
    assert cells.cell(interval(0.93, 0.05), "{:.3f}".format) == "0.930 [0.880, 0.980] (64)"
    assert wording.share(interval(0.012, 0.002)) == "1.2 % [1 %, 1.4 %] (64 starts)"
    assert cells.share_cell({**interval(0.12, 0.02), "trajectories": 1, "low": 0.0}) == "12 % [0 %, 14 %] (1)"


def test_what_is_lacking_is_said() -> None:
    assert wording.figure(interval(None, reason="no fall")) == "not measured (no fall)"
    assert wording.figure(NO_ENDS) == "0.50 (no interval: one fall; 64 starts)"
    assert cells.cell(interval(None)) == cells.share_cell(None) == "–"
    assert cells.cell({**NO_ENDS, "reason": FEW}) == "0.5 (64, no interval: too few episodes)"
    assert cells.cell({**NO_ENDS, "reason": RARE}) == "0.5 (64, no interval: too few cases)"
    assert cells.cell(NO_ENDS) == "0.5 (64, no interval: see below)"


def test_an_interval_whose_ends_read_alike_is_said_to_have_no_width() -> None:
    assert wording.figure(interval(1.0, 0.0), 3) == "1.000 [1.000, 1.000] (64 starts, no width)"
    assert cells.cell(interval(0.8, 0.001), "{:.2f}".format) == "0.80 [0.80, 0.80] (64) no width"
    assert cells.cell(interval(0.8, 0.001)) == "0.8 [0.799, 0.801] (64)"
    assert wording.share(interval(0.0, 0.0)) == "none (64 starts)", "no resample of nothing has something"
    assert wording.share(interval(0.0, 0.0), "its rows") == "none of its rows (64 starts)"
    assert wording.share(interval(0.2, 0.1), "its rows") == "20 % [10 %, 30 %] (64 starts) of its rows"
    assert cells.share_cell(interval(0.0, 0.0)) == "none (64)"


def test_cautions_are_said_where_they_are_due() -> None:
    narrow = cells.cell(interval(1.0, 0.0))
    assert wording.caution(20, cells.cell(interval(0.9))) == ""
    assert "falls from 19 starts are few (below 20)" in wording.caution(19)
    assert "not certainty" in wording.caution(20, "", narrow)
    assert "are few" not in wording.caution(20, narrow)


def test_counts_and_falls_have_their_nouns() -> None:
    assert wording.falls({"falls": 13, "judged": 12, "left_out": 1, "starts": 7}) == "12 falls from 7 starts"
    assert wording.falls({"falls": 1, "judged": 1, "left_out": 0, "starts": 1}) == "1 fall from 1 start"
    assert wording.falls({"falls": 2, "judged": 0, "left_out": 2, "starts": 0}) == "no fall to judge"


@pytest.mark.parametrize(("share", "text"), [(0.0, "none"), (0.00012, "0.012 %"), (0.012, "1.2 %"), (0.99, "99 %")])
def test_shares_have_as_many_digits_as_say_something(share: float, text: str) -> None:
    assert wording.percent(share) == text


def test_reasons_stand_below_a_table_once_each_with_their_places() -> None:
    good, few = interval(1.0), {**interval(1.0, reason=FEW), "low": None, "high": None}
    no_split, no_density = interval(None, reason="no split."), interval(None, reason="no distribution")
    rows = {
        "1, as it is": {"nll": good, "crps": few},
        "1, isotonic": {"nll": no_split, "crps": no_split},
        "1, conformal": {"nll": no_density, "crps": no_density},
        "8, as it is": {"nll": good, "crps": few},
        "8, isotonic": {"nll": no_split, "crps": no_split},
        "8, conformal": {"nll": no_density, "crps": good},
    }
    assert cells.reasons(rows, {"nll": "NLL", "crps": "CRPS"}) == [
        f"No interval: CRPS at 1 and 8 (as it is): {FEW}.",
        "Not measured: everything at 1 and 8 (isotonic): no split.",
        "Not measured: NLL at 1 and 8 (conformal); CRPS at 1 (conformal): no distribution.",
    ]
    of_horizons = {"1": {"nll": good}, "8": {"nll": no_split}, "24": {"nll": no_split}}
    assert cells.reasons(of_horizons, {"nll": "NLL"}) == ["Not measured: everything at 8 and 24: no split."]
    assert cells.reasons(rows, {"absent": "absent"}) == ["Not measured: everything: not part of this analysis."]
