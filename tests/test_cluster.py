"""On a cluster: whatever it numbers, a command is one process that a scheduler may stop; several devices; a sweep by a launcher."""

from __future__ import annotations

import csv
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from rwmu.runs.command_line import as_one_process
from tests.conftest import Command, Trained
from tests.test_commands import REPOSITORY, STAGES

CLUSTER = {"RANK": "1", "LOCAL_RANK": "1", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "MASTER_ADDR": "elsewhere"}


def runs_of(workplace: Path) -> list[Path]:
    return sorted(path for path in (workplace / "runs").iterdir() if path.is_dir() and not path.is_symlink())


def test_a_scheduler_stops_a_command_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    before = signal.getsignal(signal.SIGTERM)
    with as_one_process():
        assert "RANK" not in os.environ
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_that_was_stopped_is_gone_before_it_is_killed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own end goes through every object: 2 s of a processor, 20 s on a busy machine, where schedulers wait for 10."""
    last: list[object] = []
    monkeypatch.setattr("atexit.register", last.append)
    command("train")
    assert gc.freeze in last


def test_two_devices_on_a_cluster_are_one_run_with_all_its_logs(workplace: Path, smoke: list[str], trained: Trained) -> None:
    one = trained("+experiment=rwm_base", STAGES)
    arguments = ["+experiment=rwm_base", *smoke, STAGES, "runs_dir=two/runs", "trainer.devices=2", "trainer.accelerator=cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "rwmu.train", *arguments],
        env=os.environ | CLUSTER | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (two,) = runs_of(workplace / "two")
    weights, expected = (torch.load(run / "checkpoints/dynamics.pt", weights_only=True)["state_dict"] for run in (two, one))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0.0, atol=1e-5, msg=name)
    for stage, column, rows in (("dynamics", "validation/rollout_error", 2), ("policy", "imagined/reward", 3)):
        logged = list(csv.DictReader((two / f"logs/csv/{stage}/version_0/metrics.csv").read_text().splitlines()))
        assert len([row for row in logged if row[column]]) == rows


def test_a_sweep_by_joblib(workplace: Path, command: Command, smoke: list[str]) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="hydra-joblib-launcher is not installed")
    launcher = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    arguments = (*launcher, "+experiment=rwm_base", *smoke, "stages=[data,dynamics]")
    swept = command("train", *arguments, "seed=0,1")
    assert swept.status == 0, swept.err
    assert sorted(OmegaConf.load(run / "config.yaml").seed for run in runs_of(workplace)) == [0, 1]
    assert all((run / "checkpoints/dynamics.pt").is_file() for run in runs_of(workplace))
    wrong = command("train", *arguments, "trainer.checkpoint=none.pt", "seed=2,3")
    assert wrong.status == 2, "a mistake in another process is one all the same"
    assert "none.pt" in wrong.err.strip().splitlines()[-1]
