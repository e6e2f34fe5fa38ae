"""The parity command: recorded files pass, so do files of other sizes, seeds and lengths, and a tampered one is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from experiments import parity
from experiments.benchmarks.plain import Sizes
from tests.experiments.recorded import REWARD, Arrays, air_time, dynamics_file, reward_file, tampered
from tests.reference import FOLDER, load

FILES = ["dynamics_ensemble1", "dynamics_ensemble3", REWARD]
SMALL = Sizes(state=5, action=3, contact=4, hidden=7, layers=1, head=6, history=3, forecast=6, members=2)


class Outcome(NamedTuple):
    status: int
    differing: list[str]
    out: str
    err: str


Check = Callable[..., Outcome]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Return a function that runs the command on a file, or on arrays."""

    def run(file: Path | Arrays, *options: str) -> Outcome:
        path = file if isinstance(file, Path) else tmp_path / "reference.npz"
        if not isinstance(file, Path):
            np.savez(path, **file)  # type: ignore[arg-type]
        status = parity.main([str(path), *options])
        out, err = capsys.readouterr()
        differing = [line.rsplit(maxsplit=3)[0].strip() for line in out.splitlines() if line.endswith("DIFFERS")]
        return Outcome(status, differing, out, err)

    return run


def arrays_of(name: str) -> Arrays:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


# -- what must pass -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_recorded_files_pass(name: str, check: Check) -> None:
    outcome = check(FOLDER / f"{name}.npz")
    assert outcome.status == 0, outcome.out
    compared = [line.split()[0] for line in outcome.out.splitlines()]
    recorded = [key for key in arrays_of(name) if key.split("/")[0] in ("rollout", "rollout_member", "term") or "/grad/" in key]
    missing = set(recorded) - set(compared) - {"rollout/future_action", "rollout_member/member_ids"}
    assert not missing, "every recorded quantity is compared"


@pytest.mark.parametrize(
    ("sizes", "batch", "seed"),
    [
        (SMALL, 5, 0),
        (SMALL, 5, 1),
        (Sizes(state=6, action=2, contact=3, hidden=9, layers=3, head=4, history=5, forecast=1, members=5), 4, 0),
        (Sizes(state=4, action=1, contact=1, hidden=3, layers=2, head=2, history=1, forecast=4, members=1), 3, 1),
        (Sizes(state=45, action=12, contact=8, hidden=16, layers=2, head=8, history=16, forecast=4, members=3), 2, 0),
    ],
    ids=["other sizes", "another seed", "five members, one step", "one member, one row of history", "ANYmal D"],
)
def test_files_of_other_sizes_and_seeds_pass(sizes: Sizes, batch: int, seed: int, check: Check) -> None:
    outcome = check(dynamics_file(sizes, batch, future=7, seed=seed))
    assert outcome.status == 0, outcome.out + outcome.err
    for item in ("mse/member_losses[state]", "gaussian_nll/grad/state_base", "rollout/aleatoric", "rollout_member/epistemic"):
        assert item in outcome.out


@pytest.mark.parametrize("mode", ["mse", "gaussian_nll"])
def test_a_file_with_one_objective_passes(mode: str, check: Check) -> None:
    arrays = dynamics_file(SMALL, 3, 2, seed=3)
    arrays = {name: array for name, array in arrays.items() if not name.startswith(("mse", "gaussian")) or mode in name}
    outcome = check(arrays)
    assert outcome.status == 0, outcome.out + outcome.err


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 31, "environments": [3, 7, 8, 11, 15]},
        {"steps": 1, "environments": [0]},
        {"steps": 80, "environments": [5, 4], "weight": 3.0, "penalty": -0.25},
        {"steps": 80, "environments": [9, 2, 6], "step_dt": 0.01},
    ],
    ids=["shorter", "one step", "other weights", "another step"],
)
def test_other_rewards_pass(changed: dict[str, object], check: Check) -> None:
    outcome = check(reward_file(**changed))  # type: ignore[arg-type]
    assert outcome.status == 0, outcome.out + outcome.err


def test_the_air_time_worked_out_here_is_the_recorded_one() -> None:
    file = load(REWARD)
    worked_out = air_time(file["contact_logits"][..., 4:] > 0.0, file["command"], 0.02)
    torch.testing.assert_close(worked_out, file["term/feet_air_time"], rtol=0, atol=1e-12)


# -- what must be found out -----------------------------------------------------------------------------------------------------


def test_a_tampered_weight_is_found_where_it_counts(check: Check) -> None:
    arrays = tampered(arrays_of("dynamics_ensemble3"), "weights/auxiliary_heads.1.contact_layers.2.bias", 1e-6)
    outcome = check(arrays)
    assert outcome.status == 1
    assert {"mse/member_losses[contact]", "gaussian_nll/member_losses[contact]", "rollout/contact_logits"} <= set(outcome.differing)
    assert all("contact" in name or "auxiliary_base" in name for name in outcome.differing), "nothing else depends on it"


@pytest.mark.parametrize("name", ["term/feet_air_time", "term_corrected/dof_acc_l2", "term/stand_still"])
def test_a_tampered_reward_term_is_found(name: str, check: Check) -> None:
    outcome = check(tampered(arrays_of(REWARD), name, 1e-3))
    assert outcome.status == 1
    assert f"term/{name.split('/')[1]}" in outcome.differing
    assert len([item for item in outcome.differing if item.startswith("term/")]) == 1


@pytest.mark.parametrize("name", ["mse/grad/state_base.memory.rnn.bias_hh_l0", "rollout_member/mean", "gaussian_nll/noise"])
def test_tampered_results_and_inputs_are_found(name: str, check: Check) -> None:
    outcome = check(tampered(arrays_of("dynamics_ensemble1"), name, 1e-6))
    assert outcome.status == 1
    assert name in outcome.differing or name.endswith("noise")


def test_values_that_are_no_numbers_agree_with_nothing(check: Check) -> None:
    assert check(tampered(arrays_of("dynamics_ensemble1"), "rollout/mean", np.nan)).differing == ["rollout/mean"]
    assert "rollout/mean" in check(tampered(arrays_of("dynamics_ensemble1"), "state", np.nan)).differing


def test_the_tolerance_is_the_users(check: Check) -> None:
    arrays = tampered(arrays_of("dynamics_ensemble1"), "rollout/mean", 1e-6)
    assert check(arrays, "--tolerance", "1e-5").status == 0
    assert check(arrays, "--tolerance", "1e-7").status == 1


# -- what cannot be used --------------------------------------------------------------------------------------------------------


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.status == 2, outcome.out
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert all(word in outcome.err for word in words), outcome.err


def test_files_that_cannot_be_read(check: Check, tmp_path: Path) -> None:
    refused(check(tmp_path / "none.npz"), "no reference file", "none.npz")
    whole = (FOLDER / "dynamics_ensemble1.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    refused(check(tmp_path / "half.npz"), "half.npz", "truncated")
    np.save(tmp_path / "single.npy", np.zeros(3))
    refused(check(tmp_path / "single.npy"), "single.npy")
    refused(check({"objects": np.array([{}])}), "cannot be read")


def test_a_file_of_neither_form(check: Check) -> None:
    refused(check({"x": np.zeros(3), "note": np.array("a word")}), "neither form")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("dynamics_ensemble1", "bootstrap_ids"),
        ("dynamics_ensemble1", "history_horizon"),
        ("dynamics_ensemble1", "rollout/future_action"),
        ("dynamics_ensemble1", "gaussian_nll/noise"),
        ("dynamics_ensemble1", "weights/state_heads.0.state_mean_layers.2.bias"),
        (REWARD, "step_dt"),
        (REWARD, "command"),
        (REWARD, "term/lin_vel_z_l2"),
    ],
)
def test_a_missing_array_is_named(name: str, array: str, check: Check) -> None:
    arrays = arrays_of(name)
    arrays.pop(array)
    refused(check(arrays), array.removeprefix("weights/"))


@pytest.mark.parametrize(
    ("name", "array"), [("dynamics_ensemble3", "action"), ("dynamics_ensemble3", "mse/noise"), (REWARD, "state")]
)
def test_arrays_that_do_not_fit_together(name: str, array: str, check: Check) -> None:
    arrays = arrays_of(name)
    arrays[array] = arrays[array][..., :-1]
    refused(check(arrays), "do not fit together")
