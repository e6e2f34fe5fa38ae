"""Train a world model with Lightning: one bar, early stopping, checkpoints to resume from, the best weights kept.

Several devices are as many processes, which exist for as long as the training lasts and no longer; see
:mod:`rwmu.dynamics.processes`.
"""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerStatus
from torch import nn
from tqdm import tqdm

from rwmu.data.datamodule import OfflineDataModule
from rwmu.dynamics.checkpoints import BEST, LAST, WholeCheckpoints, read_checkpoint
from rwmu.dynamics.checkpoints import checkpoints as checkpoint_callbacks
from rwmu.dynamics.losses import LossSettings
from rwmu.dynamics.module import DynamicsModule, OptimizerSettings
from rwmu.dynamics.monitor import UncertaintyMonitor
from rwmu.dynamics.processes import in_processes
from rwmu.errors import ConfigError
from rwmu.loggers import EveryLogger
from rwmu.numerics import ThreadGuard
from rwmu.settings import Count
from rwmu.settings import settings as validated

MONITORED = "validation/rollout_error"


@validated("trainer")
class TrainerSettings:
    """How a world model is trained.

    Attributes:
        loss, optimizer: what is minimised, and how.
        max_steps: at most.
        validate_every: steps between two validations; each leaves a checkpoint to resume from.
        patience: validations without a better rollout error before training stops, once the forecast has its full length.
        accelerator: as Lightning's. devices: how many of them share each batch, of ``data.batch_size`` windows in all.
        strategy: Lightning's, by which several do so.
        checkpoint: a world model to use instead of training one.
        start_from: a world model whose weights training starts from.
        freeze_auxiliary: keep the contact and termination heads, and any base of their own, as ``start_from`` has them.
    """

    loss: LossSettings
    optimizer: OptimizerSettings
    max_steps: Count = 1500
    validate_every: Count = 100
    patience: Count = 5
    accelerator: str = "auto"
    devices: Count = 1
    strategy: Literal["auto", "ddp"] = "auto"
    checkpoint: str | None = None
    start_from: str | None = None
    freeze_auxiliary: bool = False

    def __post_init__(self) -> None:
        if self.max_steps < self.validate_every:
            raise ConfigError(
                f"trainer.max_steps is {self.max_steps}, but must be at least trainer.validate_every ({self.validate_every}): "
                "weights are chosen by validation."
            )
        if self.freeze_auxiliary and self.start_from is None:
            raise ConfigError("trainer.freeze_auxiliary keeps weights as they are, so trainer.start_from must say whose.")


class EveryStep(Callback):
    """Keep the bar, and an eye on the threads, up to date.

    Args:
        bar: over all steps; shows the loss and the validation error. guard: of the threads.
    """

    def __init__(self, bar: Any, guard: ThreadGuard) -> None:
        self.bar, self.guard = bar, guard

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Set the bar to where training stands."""
        self.bar.initial = self.bar.n = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Look at the threads from time to time."""
        self.guard.check()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Advance the bar; its figures, for which a device is waited for, only where it is drawn anew."""
        if not self.bar.update(trainer.global_step - self.bar.n):
            return
        shown = {"loss": "train/loss", "error": MONITORED}
        values = {label: float(trainer.callback_metrics.get(name, math.nan)) for label, name in shown.items()}
        self.bar.set_postfix({label: f"{value:.3g}" for label, value in values.items()}, refresh=False)


class PatientStopping(EarlyStopping):
    """Stop without improvement, but only once the forecast has its full length: until then the model is asked for more and more."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop at once where training had been stopped before it was resumed (interrupted while the model was measured, say)."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Compare with the best error, if it is time to."""
        if isinstance(module, DynamicsModule) and not module.has_full_forecast(trainer.global_step):
            return
        super().on_validation_end(trainer, module)


def _quiet_lightning() -> None:
    """Silence what Lightning says at every start; what it warns of stays, but for what does not concern a user."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # ours gather from memory: workers only cost
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # that is what resuming means
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 with torch 2.13


def train(
    module: DynamicsModule,
    data: OfflineDataModule,
    settings: TrainerSettings,
    checkpoints: Path,
    loggers: Callable[[], list[Any]],
    progress: bool = True,
) -> nn.Module:
    """Train, from the last checkpoint if there is one, and return the ensemble with its best weights.

    Args:
        module: untrained.
        checkpoints: gets ``best.ckpt`` and ``last.ckpt``.
        loggers: makes those of Lightning, in each process that trains; only the first writes.

    Raises:
        KeyboardInterrupt: on Ctrl-C; ``last.ckpt`` is that of the last validation.
        ConfigError: there are more devices than windows in a batch.
    """
    fit = partial(_fit, module, data, settings, checkpoints, loggers, progress)
    if settings.devices > data.settings.batch_size:
        raise ConfigError(
            f"trainer.devices is {settings.devices}, but a batch has only {data.settings.batch_size} windows to be shared "
            "(data.batch_size)."
        )
    if settings.devices == 1:
        fit()
    else:
        data.load_state_dict(in_processes(fit, settings.devices))
    module.load_state_dict(read_checkpoint(checkpoints / BEST)["state_dict"])
    model: nn.Module = module.model.cpu()
    return model


def _fit(
    module: DynamicsModule,
    data: OfflineDataModule,
    settings: TrainerSettings,
    checkpoints: Path,
    loggers: Callable[[], list[Any]],
    progress: bool,
    rank: int = 0,
) -> dict[str, Any]:
    """Train in this process, one of ``settings.devices``; returns where the training stream stands."""
    _quiet_lightning()
    best, last_validation = checkpoint_callbacks(checkpoints, MONITORED)
    stop = PatientStopping(MONITORED, patience=settings.patience, check_on_train_epoch_end=False)
    bar = tqdm(total=settings.max_steps, desc="world model", unit="step", disable=not progress or rank > 0)
    guard, logged = ThreadGuard(), loggers()
    trainer = Trainer(
        max_steps=settings.max_steps,
        max_epochs=-1,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=settings.strategy if settings.devices > 1 else "auto",
        plugins=[LightningEnvironment(), WholeCheckpoints()],  # a cluster's variables speak of processes that are not ours
        use_distributed_sampler=False,
        logger=logged,
        callbacks=[best, last_validation, stop, UncertaintyMonitor(), EveryStep(bar, guard)],
        log_every_n_steps=min(10, settings.validate_every),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = checkpoints / LAST
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SystemExit:
        if trainer.state.status == TrainerStatus.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    finally:
        bar.close()
        guard.restore()
        signal.signal(signal.SIGINT, on_interrupt)  # Lightning leaves it ignored after an interruption
    EveryLogger(logged).close()
    return data.state_dict()
