"""The recurrent state-space model of Dreamer (arXiv:1811.04551, arXiv:2301.04104), a baseline of the RWM paper (Fig. 4).

Of the rows before row t, a deterministic state h_t knows everything; a latent z_t says what row t is, beyond what h_t foresees:

    h_{t+1} = GRU(h_t, [z_t, a_{t+1}]),   prior p(z_t | h_t),   posterior q(z_t | h_t, s_t),   s_{t+1} from (h_{t+1}, z_{t+1}).

Rows that are given are read by the posterior, true ones and those that are fed back alike; the row that follows is predicted with a
latent of the prior. Latents are Gaussians: their means are latents too, with which evaluation is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rwmu.dynamics.decoder import Decoder, Outputs
from rwmu.dynamics.layers import RowLinear
from rwmu.dynamics.losses import KL, LossSettings, member_losses, predict_batch
from rwmu.dynamics.vectorised import VectorisedEnsemble, single_models
from rwmu.records import Batch, Carry, Noise, Prediction, TensorRecord, Window
from rwmu.settings import Count, Few, Fraction, NotNegative, WholeNumber, checked

_LEAST_STD = 0.1


@dataclass(frozen=True)
class RSSMCarry(Carry):
    """The deterministic state h of the next row to be read, ``[E, B, W]``."""

    hidden: Tensor


@dataclass(frozen=True)
class Gaussian(TensorRecord):
    """A distribution of latents: ``mean`` and ``std [..., Z]``."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor | None) -> Tensor:
        """Return a reparameterised sample for standard normal ``noise``; without noise, the mean."""
        return self.mean if noise is None else self.mean + self.std * noise

    def divergence_from(self, other: Gaussian) -> Tensor:
        """Return KL(self || other) in nats, ``[...]``."""
        ratio = (self.std / other.std).square()
        distance = ((self.mean - other.mean) / other.std).square()
        return 0.5 * (ratio + distance - 1.0 - ratio.log()).sum(-1)


class RSSM(nn.Module):
    """One member; arguments as :class:`RSSMEnsemble`."""

    def __init__(
        self,
        action_dim: int,
        hidden_size: int,
        num_layers: int,
        latent_size: int,
        free_nats: float,
        balance: float,
        outputs: Outputs,
    ) -> None:
        super().__init__()
        self.state_dim, self.action_dim, self.contact_dim = outputs.state_dim, action_dim, outputs.contact_dim
        self.extension_dim, self.hidden_size, self.latent_size = outputs.extension_dim, hidden_size, latent_size
        self.free_nats, self.balance = free_nats, balance

        def perceptron(inputs: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for layer in range(num_layers):
                layers += [RowLinear(inputs if layer == 0 else hidden_size, hidden_size), nn.ReLU()]
            return nn.Sequential(*layers, RowLinear(hidden_size, 2 * latent_size))

        self.of_input = RowLinear(latent_size + action_dim, 3 * hidden_size)
        self.of_hidden = RowLinear(hidden_size, 3 * hidden_size)
        self.prior_net = perceptron(hidden_size)
        self.posterior_net = perceptron(hidden_size + self.state_dim)
        self.decoder = Decoder(hidden_size + latent_size, outputs)

    def initial_carry(self, batch: int) -> RSSMCarry:
        """Return zeros."""
        return RSSMCarry(self.of_hidden.weight.new_zeros(batch, self.hidden_size))

    def prior(self, hidden: Tensor) -> Gaussian:
        """Return what is foreseen of a row from the rows before it."""
        return self._gaussian(self.prior_net(hidden))

    def posterior(self, hidden: Tensor, state: Tensor) -> Gaussian:
        """Return what is known of a row that is given."""
        return self._gaussian(self.posterior_net(torch.cat([hidden, state], dim=-1)))

    @staticmethod
    def _gaussian(outputs: Tensor) -> Gaussian:
        mean, spread = outputs.chunk(2, dim=-1)
        return Gaussian(mean, _LEAST_STD + functional.softplus(spread))

    def _cell(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """Advance the deterministic state; ``torch.nn.GRUCell`` has no batching rule for ``vmap``."""
        input_r, input_z, input_n = self.of_input(inputs).chunk(3, dim=-1)
        hidden_r, hidden_z, hidden_n = self.of_hidden(hidden).chunk(3, dim=-1)
        candidate = torch.tanh(input_n + torch.sigmoid(input_r + hidden_r) * hidden_n)
        return torch.lerp(candidate, hidden, torch.sigmoid(input_z + hidden_z))

    def read(
        self, carry: RSSMCarry, state: Tensor, action: Tensor, noise: Tensor | None = None
    ) -> tuple[RSSMCarry, Prediction, Tensor]:
        """Read rows; see :class:`~rwmu.dynamics.vectorised.VectorisedEnsemble`.

        Args:
            noise: ``[B, T, 2 Z]``, of the posterior of each row and of the prior of the next; None for means.

        Returns:
            Carry, predictions, and what each row cost in information that the rows before it did not have: the balanced
            divergence of posterior and prior, ``[B, T]``.
        """
        of_row, of_next = (None, None) if noise is None else noise.chunk(2, dim=-1)
        hiddens = [carry.hidden]
        for t in range(state.shape[1]):
            latent = self.posterior(hiddens[-1], state[:, t]).sample(None if of_row is None else of_row[:, t])
            hiddens.append(self._cell(torch.cat([latent, action[:, t]], dim=-1), hiddens[-1]))
        along = torch.stack(hiddens, dim=1)  # [B, T + 1, W]
        before, after = along[:, :-1], along[:, 1:]
        latent = self.prior(after).sample(of_next)
        prediction = self.decoder(torch.cat([after, latent], dim=-1), state)
        return RSSMCarry(hiddens[-1]), prediction, self._divergence(self.posterior(before, state), self.prior(before))

    def _divergence(self, posterior: Gaussian, prior: Gaussian) -> Tensor:
        """Balance which of the two is drawn to the other, and leave the first nats free (arXiv:2010.02193, arXiv:2301.04104)."""
        of_prior = posterior.detach().divergence_from(prior).clamp(min=self.free_nats)
        of_posterior = posterior.divergence_from(prior.detach()).clamp(min=self.free_nats)
        return self.balance * of_prior + (1.0 - self.balance) * of_posterior


class RSSMEnsemble(VectorisedEnsemble):
    """E recurrent state-space models that share nothing; its loss has the further term ``kl``.

    Args:
        state_dim, action_dim, contact_dim: D, A, C.
        num_members: E.
        hidden_size: W, of the deterministic state. latent_size: Z.
        num_layers: hidden layers of the perceptrons of prior and posterior.
        free_nats: a row's divergence below which it costs nothing.
        kl_balance: share of the divergence that trains the prior; the rest trains the posterior.
        seed: of the initialisation. outputs: further fields of :class:`~rwmu.dynamics.decoder.Outputs`.

    Attributes:
        num_latents: standard normals that a row needs in training, 2 Z.
        arguments: of the constructor, by name.
    """

    @checked("dynamics")
    def __init__(
        self,
        state_dim: Count,
        action_dim: Count,
        contact_dim: WholeNumber,
        num_members: Few,
        hidden_size: Count = 256,
        num_layers: Few = 1,
        latent_size: Count = 32,
        free_nats: NotNegative = 1.0,
        kl_balance: Fraction = 0.8,
        seed: int = 0,
        **outputs: Any,
    ) -> None:
        own = {name: value for name, value in locals().items() if name not in ("self", "__class__", "outputs")}
        predicted = Outputs(state_dim, contact_dim, **outputs)
        make = partial(RSSM, action_dim, hidden_size, num_layers, latent_size, free_nats, kl_balance, predicted)
        super().__init__(single_models(make, num_members, seed))
        self.arguments: dict[str, Any] = own | vars(predicted)
        self.num_latents = 2 * latent_size

    def losses(self, batch: Batch, settings: LossSettings, noise: Noise | None = None) -> dict[str, Tensor]:
        """Return the usual terms, of predictions with sampled latents where ``noise`` has some, and ``kl``.

        The latter is the mean over the true rows that are read after the burn-in, in nats.
        """
        batch = batch if isinstance(batch, Batch) else Batch(batch)
        reader = _Reader(self, None if noise is None else noise.latent)
        losses = member_losses(self, batch, settings, noise, partial(predict_batch, reader))
        by_row = torch.cat(reader.divergences, dim=2)[:, :, settings.history_burn_in :]  # [E, B', T]
        divergence = by_row.sum(2) / max(1, by_row.shape[2])
        return {**losses, KL: (divergence if batch.weight is None else divergence * batch.weight).mean(1)}


class _Reader:
    """An ensemble that takes its latents from noise, row after row, and notes the divergence of the true rows.

    Args:
        noise: ``[T, E, B, 2 Z]``; None for means.
    """

    def __init__(self, ensemble: RSSMEnsemble, noise: Tensor | None) -> None:
        self._ensemble, self._noise = ensemble, noise
        self._read = 0
        self.divergences: list[Tensor] = []
        self.num_members, self.contact_dim = ensemble.num_members, ensemble.contact_dim
        self.state_dim, self.action_dim = ensemble.state_dim, ensemble.action_dim
        self.initial_carry, self.losses = ensemble.initial_carry, ensemble.losses

    def _call(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction, Tensor]:
        first, self._read = self._read, self._read + state.shape[2]
        noise = None if self._noise is None else self._noise[first : self._read].permute(1, 2, 0, 3)  # [E, B, T, 2 Z]
        found: tuple[Carry, Prediction, Tensor] = self._ensemble.call("read", carry, state, action, noise)
        return found

    def observe(self, carry: Carry, window: Window) -> tuple[Carry, Prediction]:
        """Read true rows."""
        carry, prediction, divergence = self._call(carry, window.state[:, :, :-1], window.action[:, :, 1:])
        self.divergences.append(divergence)
        return carry, prediction

    def step(self, carry: Carry, state: Tensor, action: Tensor) -> tuple[Carry, Prediction]:
        """Read a row that was fed back."""
        carry, prediction, _ = self._call(carry, state.unsqueeze(2), action.unsqueeze(2))
        return carry, prediction.map(lambda tensor: tensor[:, :, 0])
