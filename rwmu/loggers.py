"""Where metrics go: Lightning's loggers, for Lightning's training and for ours."""

from __future__ import annotations

from typing import Any


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

    def close(self, status: str = "success") -> None:
        """Write what is not yet written, and end a run of Weights & Biases, so that the next stage begins its own."""
        for logger in self.loggers:
            logger.finalize(status)
            finish = getattr(logger.experiment, "finish", None)
            if finish is not None:
                finish()
