"""When training stops for want of improvement."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import TERMS, LossSettings
from rwmu.dynamics.module import DynamicsModule, OptimizerSettings
from rwmu.dynamics.training import MONITORED, PatientStopping


def stops_at(errors: list[float], growth: float, patience: int = 2, every: int = 10) -> int | None:
    """Return the step at which training stops, given the error of each validation."""
    settings = LossSettings(history=5, weights=dict.fromkeys(TERMS, 1.0), history_burn_in=2)
    model = IndependentEnsemble(4, 2, 3, 1, hidden_size=6, num_layers=1, head_hidden_size=5)
    module = DynamicsModule(model, settings, every * len(errors), OptimizerSettings(forecast_growth=growth))
    stopping = PatientStopping(MONITORED, patience=patience, check_on_train_epoch_end=False)
    trainer: Any = SimpleNamespace(
        state=SimpleNamespace(fn="fit"),
        sanity_checking=False,
        should_stop=False,
        fast_dev_run=False,
        current_epoch=0,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
    )
    for index, error in enumerate(errors):
        trainer.global_step = every * (index + 1)
        trainer.callback_metrics = {MONITORED: torch.tensor(error)}
        stopping.on_validation_end(trainer, module)
        if trainer.should_stop:
            return int(trainer.global_step)
    return None


WORSE_WHILE_IT_GROWS = [1.0, 2.0, 3.0, 4.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5]


def test_without_growth_two_validations_without_improvement_stop() -> None:
    assert stops_at(WORSE_WHILE_IT_GROWS, growth=0.0) == 30


def test_what_is_asked_for_grows_before_patience_is_counted() -> None:
    assert stops_at(WORSE_WHILE_IT_GROWS, growth=0.5) is None
    assert stops_at([*WORSE_WHILE_IT_GROWS[:6], 4.6, 4.7, 4.8, 4.9], growth=0.5) == 80
