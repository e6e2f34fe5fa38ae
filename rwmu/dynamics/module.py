"""The Lightning module: one training step, the optimiser and its schedule, validation by rollout error."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from rwmu.dynamics.checks import check_finite
from rwmu.dynamics.losses import LossSettings, total_loss
from rwmu.dynamics.members import MemberViews
from rwmu.dynamics.processes import add_up, rank_and_number
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.errors import TrainingError
from rwmu.records import Batch, Noise, Rollout, Window
from rwmu.settings import Fraction, NotNegative, Positive, WholeNumber, settings


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
        by_parameter = [torch.linalg.vector_norm(p.grad.flatten(1), dim=1) for p in own if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(by_parameter), dim=0)  # [E]
        factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for p in own:
            if p.grad is not None:
                p.grad.mul_(factor.view(-1, *[1] * (p.dim() - 1)))
        norms.append(norm)
    if common:
        norms.append(nn.utils.clip_grad_norm_(common, max_norm).view(1))
    return torch.cat(norms)


_ROWS_IN_TURN = 128
_LEAST_ROWS_AT_ONCE = 128
_ADVICE = "checkpoints written before are kept. Lower trainer.optimizer.learning_rate, or look for outliers in the data."


@settings("trainer.optimizer")
class OptimizerSettings:
    """How weights follow gradients.

    Attributes:
        learning_rate, weight_decay: of AdamW.
        gradient_clip: largest norm of each member's gradient.
        warmup_steps, final_fraction: of the schedule: linear warm-up, cosine down to ``final_fraction`` of the rate.
        forecast_growth: fraction of the training over which the forecast grows from 1 step to the windows' K; 0 has it whole
            from the start. One-step training is cheap and comes first; the model learns to live with its own errors thereafter.
        one_by_one: whether to train independent members in turn; None does so on CPUs, unless batches are small.
    """

    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 1e-5
    gradient_clip: Positive = 1.0
    warmup_steps: WholeNumber = 50
    final_fraction: Fraction = 0.02
    forecast_growth: Fraction = 0.0
    one_by_one: bool | None = None


class DynamicsModule(lightning.LightningModule):
    """Train an ensemble on batches of normalised windows ``[E or 1, B, H + K, .]``.

    Members that share nothing are trained one after the other within a step, each through its own backward pass (``one_by_one``):
    the same gradients from a fraction of the memory, and on a CPU in less time, because a member's activations stay in the cache.
    Of large batches each takes a part of its rows at a time, down to a quarter of them, for memory's sake.

    Args:
        model: the ensemble.
        loss: settings of the loss.
        max_steps: length of the learning-rate schedule.
        optimizer: how weights follow gradients.
        validation_horizon: steps of the validation rollout.
        seed: of the noise that is fed back.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: LossSettings,
        max_steps: int,
        optimizer: OptimizerSettings | None = None,
        validation_horizon: int = 24,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # for one_by_one, and because processes add up their gradients here, not in DDP's hooks
        self.model: Any = model
        self.loss, self.optimizer = loss, optimizer or OptimizerSettings()
        self.max_steps, self.validation_horizon = max_steps, validation_horizon
        members: int = self.model.num_members  # type: ignore[assignment]
        self._noise = [torch.Generator().manual_seed((seed + 1) * 7_368_787 + member) for member in range(members)]

    def _draw_noise(self, batch: Batch) -> Noise:
        """Draw the standard normals that the loss needs, each member's from its own stream."""
        state, forecast = batch.window.state, batch.window.length - self.loss.history

        def draw(steps: int, needed: bool, columns: int = state.shape[-1]) -> Tensor | None:
            if not (needed and steps):
                return None
            shape = (steps, batch.num_rows, columns)
            return torch.stack([torch.randn(shape, generator=generator) for generator in self._noise], dim=1).to(state)

        sampled, latents = self.loss.needs_sample, getattr(self.model, "num_latents", 0)
        return Noise(
            draw(forecast, self.loss.feedback == "sample"),
            draw(forecast, sampled),
            draw(self.loss.scored_history, sampled),
            draw(batch.window.length - 1, latents > 0, latents),
        )

    def forecast_at(self, step: int, longest: int) -> int:
        """Return K at a training step."""
        if self.has_full_forecast(step):
            return longest
        return 1 + int((longest - 1) * step / (self.optimizer.forecast_growth * self.max_steps))

    def has_full_forecast(self, step: int) -> bool:
        """Return whether the forecast has stopped growing at a training step."""
        return step >= self.optimizer.forecast_growth * self.max_steps

    def _cut(self, batch: Batch) -> Batch:
        """Cut the windows to the forecast of this step: every other time at their end, else at their beginning.

        A fall is always an episode's last row, so it can only be a window's last row, and cutting it off would hide every fall.
        """
        window = batch.window
        rows = self.loss.history + self.forecast_at(self.global_step, window.length - self.loss.history)
        first = window.length - rows if self.global_step % 2 else 0
        return replace(batch, window=window.map(lambda tensor: tensor[:, :, first : first + rows]))

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Take one step of the optimiser and of its schedule, and log the terms of the loss."""
        batch = self._cut(batch)
        losses = self._gradients_of_all(batch, self._draw_noise(batch))
        norms = clip_gradient_norm_per_member(self.model, self.optimizer.gradient_clip, self.model.num_members)
        self._refuse_non_finite(batch, losses, norms)
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        optimizer.step()  # type: ignore[union-attr]
        schedule.step()  # type: ignore[union-attr]
        self.log("train/loss", total_loss(losses, self.loss.weights), prog_bar=True)
        self.log_dict({f"train/{name}": term.mean() for name, term in losses.items()})
        self.log("train/gradient_norm", norms.mean())

    def _gradients_of_all(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Do as :meth:`gradients`, each of the processes that train together on its part of the rows."""
        rank, number = rank_and_number()
        if number == 1:
            return self.gradients(batch, noise)
        own = torch.arange(rank, batch.num_rows, number, device=self.device)
        losses = self.gradients(batch.part(own), noise.part(own))
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        add_up([*gradients, *losses.values()], len(own) / batch.num_rows)  # all are means over rows
        return losses

    def gradients(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Leave in ``.grad`` the gradient of the loss, summed over members so that a member's does not depend on E.

        Returns:
            term -> ``[E]``, without gradient.
        """
        members = self._in_turn(batch.num_rows)
        if members is None:
            self.model.zero_grad(set_to_none=True)
            losses = self.model.losses(batch, self.loss, noise)
            torch.autograd.backward(total_loss(losses, self.loss.weights) * self.model.num_members)
            for parameter in self.model.parameters():  # zero rather than none, as one by one: the optimiser decays both alike
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            return {name: term.detach() for name, term in losses.items()}
        members.zero_grad()
        parts = []
        for index, member in enumerate(members):
            parts.append(self._gradients_of_one(member, batch.of_member(index), noise.of_member(index)))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _gradients_of_one(self, member: RecurrentEnsemble, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Add up a member's gradient over parts of its rows: every term is a mean over rows, so the sum is that of all at once."""
        total: dict[str, Tensor] = {}
        for index in batch.sorted_parts(max(_LEAST_ROWS_AT_ONCE, batch.num_rows // 4)):
            share = len(index) / batch.num_rows
            losses = member.losses(batch.part(index), self.loss, noise.part(index))
            torch.autograd.backward(total_loss(losses, self.loss.weights) * share)
            total = {name: total.get(name, 0.0) + term.detach() * share for name, term in losses.items()}
        return total

    def _in_turn(self, rows: int) -> MemberViews | None:
        """Return the members, if they are to be trained one by one on ``rows`` rows each."""
        independent = isinstance(self.model, RecurrentEnsemble) and self.model.num_bases == self.model.num_members > 1
        one_by_one = self.optimizer.one_by_one
        # With few rows, the calls cost more than the sums: one call for all members then pays.
        wanted = (self.device.type == "cpu" and rows >= _ROWS_IN_TURN) if one_by_one is None else one_by_one
        return self._members if wanted and independent else None

    @cached_property
    def _members(self) -> MemberViews:
        return MemberViews(self.model)

    def _refuse_non_finite(self, batch: Batch, losses: dict[str, Tensor], norms: Tensor) -> None:
        """Stop before the optimiser's step where a loss or a gradient is no number: the data's fault, or a member's."""
        if bool(torch.cat([*losses.values(), norms]).isfinite().all()):  # one question: a device is waited for
            return
        check_finite(batch.window)
        found = {**losses, "gradient": norms[: self.model.num_members]}
        bad = [f"{name} of member {m}" for name, term in found.items() for m, x in enumerate(term) if not torch.isfinite(x)]
        where = ", ".join(bad) or "gradient of the base"
        raise TrainingError(f"The training of the world model became non-finite at step {self.global_step} ({where}); {_ADVICE}")

    def validation_step(self, window: Window, batch_index: int) -> dict[str, Any]:
        """Log the normalised error of the ensemble-mean rollout, the figure that stops training early.

        Returns:
            ``rollout``, and the ``truth [K, B, D]`` that it should have found, for callbacks.
        """
        rows = window.map(lambda tensor: tensor[:, : self.loss.history + self.validation_horizon])
        common = rows.map(lambda tensor: tensor.unsqueeze(0))
        rollout = unroll(self.model, common, self.loss.history)
        truth = rows.state[:, self.loss.history :].transpose(0, 1)
        error = rollout.feedback[:, 0] - truth
        by_step = error.square().mean((1, 2)).sqrt()  # [K]
        if not bool(by_step.isfinite().all()):  # Lightning would stop here too, but as if the training were complete
            self._explain_non_finite_rollout(common, rollout)
        found = {"rollout": by_step.mean(), "one_step": by_step[0], "last_step": by_step[-1]}
        for name, value in found.items():
            self.log(f"validation/{name}_error", value, prog_bar=name == "rollout", batch_size=len(rows.state), sync_dist=True)
        return {"rollout": rollout, "truth": truth}

    def _explain_non_finite_rollout(self, window: Window, rollout: Rollout) -> None:
        check_finite(window)
        broken = ~rollout.mean.isfinite().all(-1).all(-1)  # [K, E]
        first = broken[broken.any(1)][:1]  # where it begins: later steps have it from the mean that is fed back
        names = [f"member {member}" for member in first.nonzero()[:, 1].tolist()] or ["its error"]
        where = f"at step {self.global_step} ({', '.join(names)})"
        raise TrainingError(f"The world model's rollout on validation windows became non-finite {where}; {_ADVICE}")

    def _schedule(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.optimizer.warmup_steps))
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.max_steps)))
        return warm * (self.optimizer.final_fraction + (1.0 - self.optimizer.final_fraction) * cosine)

    def configure_optimizers(self) -> Any:
        """Return AdamW (one pass over the weights, ``fused``) with warm-up and cosine decay."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=self.optimizer.learning_rate, weight_decay=self.optimizer.weight_decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the noise streams, so that a resumed run goes on as if never interrupted."""
        checkpoint["noise_streams"] = [generator.get_state() for generator in self._noise]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the noise streams."""
        for generator, state in zip(self._noise, checkpoint["noise_streams"], strict=True):
            generator.set_state(state)
