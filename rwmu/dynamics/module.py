"""The Lightning module: one training step, the optimiser and its schedule, validation by rollout error."""

from __future__ import annotations

import math
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from rwmu.dynamics.losses import LossSettings, member_losses, total_loss
from rwmu.dynamics.unroll import unroll
from rwmu.errors import ConfigError
from rwmu.records import Window


def clip_gradient_norm_per_member(model: nn.Module, max_norm: float, num_members: int) -> Tensor:
    """Scale each member's gradient to at most ``max_norm``; return the norms.

    Parameters with a leading member axis are clipped member by member, so that training members together equals training each
    alone; parameters without one (a shared base) as one group. Returns ``[E]`` norms of the members, and that of the shared
    group last where there is one.
    """
    own = [p for p in model.parameters() if p.grad is not None and p.shape[0] == num_members]
    common = [p for p in model.parameters() if p.grad is not None and p.shape[0] != num_members]
    norms = []
    if own:
        squares = torch.stack([p.grad.flatten(1).square().sum(1) for p in own if p.grad is not None]).sum(0)  # [E]
        norm = squares.sqrt()
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for p in own:
            if p.grad is not None:
                p.grad.mul_(factor.view(-1, *[1] * (p.dim() - 1)))
        norms.append(norm)
    if common:
        norms.append(nn.utils.clip_grad_norm_(common, max_norm).view(1))
    return torch.cat(norms)


class DynamicsModule(lightning.LightningModule):
    """Train an ensemble on windows ``[E, B, H + K, .]`` of normalised rows.

    Args:
        model: the ensemble.
        loss: settings of the loss.
        max_steps: length of the learning-rate schedule (linear warm-up, cosine down to ``final_fraction``).
        learning_rate, weight_decay: of AdamW.
        gradient_clip: largest norm of each member's gradient.
        warmup_steps, final_fraction: of the schedule.
        forecast_growth: fraction of the training over which the forecast grows from 1 step to the windows' K; 0 has it whole
            from the start. One-step training is cheap and comes first; the model learns to live with its own errors thereafter.
        validation_horizon: steps of the validation rollout.
        seed: of the noise that is fed back.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossSettings,
        max_steps: int,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-5,
        gradient_clip: float = 1.0,
        warmup_steps: int = 50,
        final_fraction: float = 0.02,
        forecast_growth: float = 0.0,
        validation_horizon: int = 24,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._refuse_impossible(max_steps, learning_rate, forecast_growth)
        self.model: Any = model
        self.loss = loss
        self.max_steps, self.learning_rate, self.weight_decay = max_steps, learning_rate, weight_decay
        self.gradient_clip, self.warmup_steps, self.final_fraction = gradient_clip, warmup_steps, final_fraction
        self.forecast_growth, self.validation_horizon = forecast_growth, validation_horizon
        members: int = self.model.num_members  # type: ignore[assignment]
        self._noise = [torch.Generator().manual_seed((seed + 1) * 7_368_787 + member) for member in range(members)]

    @staticmethod
    def _refuse_impossible(max_steps: int, learning_rate: float, forecast_growth: float) -> None:
        if max_steps < 1:
            raise ConfigError(f"trainer.max_steps is {max_steps}, but must be at least 1.")
        if not 0.0 <= forecast_growth <= 1.0:
            raise ConfigError(f"dynamics.forecast_growth is {forecast_growth}, but must be a fraction in 0..1.")
        if not learning_rate > 0.0:
            raise ConfigError(f"dynamics.learning_rate is {learning_rate}, but must be above 0.")

    def _draw_noise(self, window: Window) -> Tensor | None:
        """Draw ``[K, E, B, D]`` standard normals, each member from its own stream."""
        if self.loss.feedback != "sample":
            return None
        shape = (window.length - self.loss.history, window.state.shape[1], window.state.shape[-1])
        draws = [torch.randn(shape, generator=generator) for generator in self._noise]
        return torch.stack(draws, dim=1).to(window.state)

    def forecast_at(self, step: int, longest: int) -> int:
        """Return K at a training step."""
        growing = self.forecast_growth * self.max_steps
        return longest if step >= growing else 1 + int((longest - 1) * step / growing)

    def _cut(self, window: Window) -> Window:
        """Cut the windows to the forecast of this step: every other time at their end, else at their beginning.

        A fall is always an episode's last row, so it can only be a window's last row, and cutting it off would hide every fall.
        """
        rows = self.loss.history + self.forecast_at(self.global_step, window.length - self.loss.history)
        first = window.length - rows if self.global_step % 2 else 0
        return window.map(lambda tensor: tensor[:, :, first : first + rows])

    def training_step(self, window: Window, batch_index: int) -> Tensor:
        """Return the loss of one batch, summed over members so that a member's gradient does not depend on E, and log its terms."""
        window = self._cut(window)
        losses = member_losses(self.model, window, self.loss, self._draw_noise(window))
        loss = total_loss(losses, self.loss.weights)
        if not torch.isfinite(loss):
            bad = [f"{name} of member {m}" for name, term in losses.items() for m, x in enumerate(term) if not torch.isfinite(x)]
            raise FloatingPointError(f"The training loss became non-finite at step {self.global_step} ({', '.join(bad)}).")
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": term.mean() for name, term in losses.items()})
        summed: Tensor = loss * self.model.num_members
        return summed

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Clip per member, whatever the trainer says."""
        norms = clip_gradient_norm_per_member(self.model, self.gradient_clip, self.model.num_members)
        self.log("train/gradient_norm", norms.mean())

    def validation_step(self, window: Window, batch_index: int) -> None:
        """Log the normalised error of the ensemble-mean rollout, the figure that stops training early."""
        rows = Window(*(tensor[:, : self.loss.history + self.validation_horizon] for tensor in vars(window).values()))
        rollout = unroll(self.model, rows.map(lambda tensor: tensor.unsqueeze(0)), self.loss.history)
        error = rollout.feedback[:, 0] - rows.state[:, self.loss.history :].transpose(0, 1)
        by_step = error.square().mean((1, 2)).sqrt()  # [K]
        self.log("validation/rollout_error", by_step.mean(), prog_bar=True, batch_size=rows.state.shape[0])
        self.log("validation/one_step_error", by_step[0], batch_size=rows.state.shape[0])
        self.log("validation/last_step_error", by_step[-1], batch_size=rows.state.shape[0])

    def _schedule(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.max_steps)))
        return warm * (self.final_fraction + (1.0 - self.final_fraction) * cosine)

    def configure_optimizers(self) -> Any:
        """Return AdamW with warm-up and cosine decay."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the noise streams, so that a resumed run goes on as if never interrupted."""
        checkpoint["noise_streams"] = [generator.get_state() for generator in self._noise]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the noise streams."""
        for generator, state in zip(self._noise, checkpoint["noise_streams"], strict=True):
            generator.set_state(state)
