"""Training is interrupted and goes on: from the last validation, in another folder, and not at all once it has been stopped."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rwmu.data.datamodule import OfflineDataModule
from rwmu.data.settings import DataSettings
from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import TERMS, LossSettings
from rwmu.dynamics.module import DynamicsModule
from rwmu.dynamics.training import MONITORED, TrainerSettings, train
from rwmu.dynamics.unroll import Feedback
from rwmu.errors import CheckpointError, ConfigError
from rwmu.files import write_torch
from rwmu.loggers import CsvLogger
from tests.fakes import anymal_d, random_episodes


class Scripted(DynamicsModule):
    """A module whose validation errors are made up, and whose training may be interrupted."""

    errors: dict[int, float]
    interrupted_at: int | None = None

    def training_step(self, *arguments: Any) -> Any:
        if self.global_step == self.interrupted_at:
            raise KeyboardInterrupt
        return super().training_step(*arguments)

    def log(self, name: str, value: Any, *arguments: Any, **named: Any) -> None:
        if name == MONITORED:
            value = torch.tensor(self.errors[self.global_step])
        super().log(name, value, *arguments, **named)


def trained(
    folder: Path,
    errors: dict[int, float],
    interrupted_at: int | None = None,
    patience: int = 9,
    feedback: Feedback = "mean",
    devices: int = 1,
    loggers: Sequence[Any] = (),
) -> Tensor:
    """Train for 8 steps, validated every 2, from where the folder leaves it; returns all weights, and where the streams are."""
    torch.manual_seed(0)
    episodes, robot = random_episodes([40] * 20), anymal_d()
    sizes: dict[str, Any] = {"history": 4, "forecast": 2, "batch_size": 5, "validation_horizon": 4, "validation_windows": 8}
    data = OfflineDataModule(episodes, robot, DataSettings(**sizes), num_members=2, batches_per_epoch=2)
    model = IndependentEnsemble(45, 12, 8, 2, hidden_size=6, num_layers=1, head_hidden_size=5)
    settings = LossSettings(history=4, weights=dict.fromkeys(TERMS, 1.0), history_burn_in=2, feedback=feedback)
    module = Scripted(model, settings, 8, validation_horizon=4)
    module.errors, module.interrupted_at = errors, interrupted_at
    steps: dict[str, Any] = {"max_steps": 8, "validate_every": 2, "patience": patience}
    how = TrainerSettings(settings, module.optimizer, **steps, accelerator="cpu", devices=devices)
    fitted = train(module, data, how, folder, partial(list, loggers), progress=False)
    found = [*fitted.state_dict().values(), data.state_dict()["generators"].float()]
    return torch.cat([tensor.detach().reshape(-1) for tensor in found])


def step_of(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True)["global_step"])


FIRST_IS_BEST = {2: 1.0, 4: 2.0, 6: 3.0, 8: 4.0}
LAST_IS_BEST = {2: 4.0, 4: 3.0, 6: 2.0, 8: 1.0}


class Whole(NamedTuple):
    """What uninterrupted trainings come to."""

    first_is_best: Tensor
    last_is_best: Tensor
    noisy: Tensor


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    return Whole(
        trained(folder / "first", FIRST_IS_BEST),
        trained(folder / "last", LAST_IS_BEST),
        trained(folder / "noisy", LAST_IS_BEST, feedback="sample"),
    )


def test_every_validation_leaves_a_checkpoint_to_resume_from(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", FIRST_IS_BEST, interrupted_at=7)
    assert step_of(tmp_path / "cut" / "last.ckpt") == 6, "not at the best validation alone"
    assert step_of(tmp_path / "cut" / "best.ckpt") == 2
    assert torch.equal(trained(tmp_path / "cut", FIRST_IS_BEST), whole.first_is_best)
    assert step_of(tmp_path / "cut" / "last.ckpt") == 8
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_the_noise_that_is_fed_back_goes_on_where_it_was(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", LAST_IS_BEST, interrupted_at=7, feedback="sample")
    assert torch.equal(trained(tmp_path / "cut", LAST_IS_BEST, feedback="sample"), whole.noisy)


def test_a_moved_folder_resumes_to_the_same_model(whole: Whole, tmp_path: Path) -> None:
    """The best weights are those of the first validation, also where Lightning would forget their score: in another folder."""
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", FIRST_IS_BEST, interrupted_at=5)
    shutil.move(tmp_path / "cut", tmp_path / "moved")
    assert torch.equal(trained(tmp_path / "moved", FIRST_IS_BEST), whole.first_is_best)
    assert not (tmp_path / "cut").exists()


def test_what_has_been_stopped_early_is_not_trained_on(tmp_path: Path) -> None:
    """The validation at step 6 is the second without improvement and stops; resumed, the one at step 8 would have been the best."""
    late = {2: 1.0, 4: 2.0, 6: 3.0, 8: 0.5}
    stopped = trained(tmp_path, late, patience=2)
    assert step_of(tmp_path / "last.ckpt") == 6
    for _ in range(2):
        assert torch.equal(trained(tmp_path, late, patience=2), stopped)
        assert step_of(tmp_path / "last.ckpt") == 6


def test_two_processes_go_on_where_one_was_and_train_as_one_does(whole: Whole, tmp_path: Path) -> None:
    """Of each five windows one process takes three and the other two; the noise that is fed back is that of their rows."""
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", LAST_IS_BEST, interrupted_at=3, feedback="sample")
    parts = trained(tmp_path / "parts", LAST_IS_BEST, feedback="sample", devices=2)
    torch.testing.assert_close(parts, whole.noisy, rtol=0.0, atol=1e-6)
    assert step_of(tmp_path / "parts" / "last.ckpt") == 8
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_more_devices_than_windows_of_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="devices is 6"):
        trained(tmp_path, LAST_IS_BEST, devices=6)


def test_a_clusters_variables_are_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "elsewhere"}.items():
        monkeypatch.setenv(name, value)
    trained(tmp_path, LAST_IS_BEST)
    assert step_of(tmp_path / "last.ckpt") == 8


def test_rows_of_metrics_are_on_the_disk_before_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after the checkpoint of step 6 loses no row up to there, however seldom the logger writes."""
    logger, rows = CsvLogger(str(tmp_path / "logs"), "curves", flush_logs_every_n_steps=1000), {}

    def look(path: Path, content: dict[str, Any]) -> None:
        metrics = (tmp_path / "logs/curves/version_0/metrics.csv").read_text()
        rows[content["global_step"]] = metrics.count("\n")
        write_torch(path, content)

    monkeypatch.setattr("rwmu.dynamics.checkpoints.write_torch", look)
    trained(tmp_path, LAST_IS_BEST, loggers=[logger])
    assert sorted(rows) == [2, 4, 6, 8]
    assert [rows[step] for step in (2, 4, 6, 8)] == [3, 5, 7, 9], "a header, and a row of training and one of validation each"


def test_a_full_disk_leaves_the_checkpoint_before_and_nothing_half(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path.write_bytes

    def full(path: Path, content: memoryview) -> int:
        if "last" not in path.name or not (tmp_path / "cut/last.ckpt").is_file():
            return written(path, content)
        written(path, content[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"cut/last\.ckpt"):
            trained(tmp_path / "cut", LAST_IS_BEST)
    assert step_of(tmp_path / "cut/last.ckpt") == 2
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert torch.equal(trained(tmp_path / "cut", LAST_IS_BEST), whole.last_is_best)


def test_a_checkpoint_that_is_cut_off_is_refused_and_the_whole_one_named(whole: Whole, tmp_path: Path) -> None:
    trained(tmp_path, FIRST_IS_BEST)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"last\.ckpt .* best\.ckpt"):
        trained(tmp_path, FIRST_IS_BEST)
    shutil.copyfile(tmp_path / "best.ckpt", last)
    assert torch.equal(trained(tmp_path, FIRST_IS_BEST), whole.first_is_best), "as the sentence says"
