"""Where metrics go: Lightning's loggers, for Lightning's training and for ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from rwmu.files import read_json, write_text


class WholeTable(ExperimentWriter):
    """All rows so far as a table, written whole: Lightning's writer empties the file before it adds a column."""

    def save(self) -> None:
        """Write the table."""
        if not self.metrics:
            return
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, sorted(set().union(*self.metrics)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.metrics)
        write_text(Path(self.metrics_file_path), table.getvalue())


class CsvLogger(CSVLogger):
    """Lightning's logger of tables, ``metrics.csv``, which loses no row to a kill or a full disk."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the table."""
        if self._experiment is None:
            self._experiment = WholeTable(self.log_dir)
        return self._experiment


class TensorBoard(TensorBoardLogger):
    """Lightning's logger of TensorBoard's events; metrics are called ``<stage>/<name>``, as Weights & Biases have them.

    Args:
        save_dir: holds a folder of every stage. name: of the stage. more: of Lightning's logger.
    """

    LOGGER_JOIN_CHAR = "/"

    def __init__(self, save_dir: str, name: str, **more: Any) -> None:
        super().__init__(save_dir, name, **{"prefix": name} | more)

    def log_report(self, folder: Path) -> None:
        """Add what the deployed policy did, as it stands in the report of the run in ``folder``."""
        for name, value in deployed(folder).items():
            self.experiment.add_scalar(name, value, 0)
        self.save()


def deployed(folder: Path) -> dict[str, float]:
    """Return the figures of the deployed policy in a run's report, as ``deployment/deterministic/return``."""
    deployment: Mapping[str, Any] = read_json(folder / "report.json", "make the report again")["deployment"]
    return {
        f"deployment/{how}/{name}": float(value)
        for how in ("deterministic", "sampled")
        for name, value in (deployment.get(how) or {}).items()
        if isinstance(value, int | float)
    }


def no_loggers(stage: str) -> list[Any]:
    """Return none, for any stage."""
    return []


class EveryLogger:
    """Give the same metrics to several loggers."""

    def __init__(self, loggers: list[Any]) -> None:
        self.loggers = loggers

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Record the metrics of one step."""
        for logger in self.loggers:
            logger.log_metrics(metrics, step)

    def save(self) -> None:
        """Write what is not yet written."""
        for logger in self.loggers:
            logger.save()

    def close(self, status: str = "success") -> None:
        """Write what is not yet written."""
        for logger in self.loggers:
            logger.finalize(status)
