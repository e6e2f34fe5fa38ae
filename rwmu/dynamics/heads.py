"""Prediction heads with a leading member axis: one batched matrix product a layer for all members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rwmu.dynamics.layers import affine, uniform
from rwmu.errors import ConfigError
from rwmu.records import Followed, follow

_WIDEST = 40.0


def check_bounds(min_log_std: float, max_log_std: float) -> None:
    """Refuse bounds of the log standard deviation that leave nothing between them, or more than float32 can hold the square of."""
    if not -_WIDEST <= min_log_std < max_log_std <= _WIDEST:
        bounds = f"dynamics.min_log_std is {min_log_std} and dynamics.max_log_std {max_log_std}"
        raise ConfigError(f"{bounds}, but both must be within +-{_WIDEST:g}, the lesser first.")


def softly_between(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Keep ``x`` between two bounds (Chua et al. 2018, arXiv:1805.12114, appendix A.1)."""
    below = high - functional.softplus(high - x)
    return low + functional.softplus(below - low)


class MemberMLP(nn.Module):
    """E perceptrons of one hidden layer (ReLU): ``[E or 1, N, F] -> [E, N, O]``.

    Args:
        num_features, hidden_size, num_outputs: sizes of each.
        generators: one a member, for the initialisation (uniform in +-1/sqrt(fan in), as PyTorch's).
        output_scale: factor on the initial weights of the last layer.
        output_bias: initial bias of the last layer; None draws it like the weights.
    """

    def __init__(
        self,
        num_features: int,
        hidden_size: int,
        num_outputs: int,
        generators: list[torch.Generator],
        output_scale: float = 1.0,
        output_bias: float | None = None,
    ) -> None:
        super().__init__()
        of_features, of_hidden = num_features**-0.5, hidden_size**-0.5
        self.weight_hidden = uniform((hidden_size, num_features), of_features, generators)
        self.bias_hidden = uniform((hidden_size,), of_features, generators)
        self.weight_output = uniform((num_outputs, hidden_size), output_scale * of_hidden, generators)
        self.bias_output = uniform((num_outputs,), of_hidden, generators)
        if output_bias is not None:
            nn.init.constant_(self.bias_output, output_bias)

    def forward(self, features: Tensor) -> Tensor:
        """Apply each member's perceptron to its features, or all to the same ones."""
        return side_by_side([self], features)[0]

    def followed(self, features: Tensor, followed: Followed) -> Tensor:
        """Apply to each row only the perceptron of the member that it follows: ``[E or 1, B, F] -> [1, B, O]``."""
        if self.weight_hidden.shape[0] == 1:
            return self(features)  # type: ignore[no-any-return]
        rows = follow(features, followed.member)[0, followed.order]
        outputs = []
        for member, own in enumerate(torch.split(rows, followed.sizes)):
            hidden = functional.relu(torch.addmm(self.bias_hidden[member], own, self.weight_hidden[member].T))
            outputs.append(torch.addmm(self.bias_output[member], hidden, self.weight_output[member].T))
        return torch.cat(outputs)[followed.inverse].unsqueeze(0)


def side_by_side(heads: Sequence[MemberMLP], features: Tensor) -> list[Tensor]:
    """Apply perceptrons that read the same features ``[E or 1, N, F]``: one matrix product for all their hidden layers."""
    if not heads:
        return []
    weights: list[Tensor] = [head.weight_hidden for head in heads]
    biases: list[Tensor] = [head.bias_hidden for head in heads]
    weight, bias = (parts[0] if len(heads) == 1 else torch.cat(parts, dim=1) for parts in (weights, biases))
    members = weight.shape[0]
    if features.shape[0] < members:
        # Common features: one matrix product with all members' weights side by side.
        flat = functional.linear(features[0], weight.flatten(0, 1), bias.flatten())
        hidden = functional.relu(torch.unflatten(flat, 1, (members, -1)).transpose(0, 1))
    else:
        hidden = functional.relu(affine(features, weight, bias))
    parts = torch.split(hidden, [part.shape[1] for part in weights], dim=-1)
    return [affine(part, head.weight_output, head.bias_output) for head, part in zip(heads, parts, strict=True)]


class Prior(nn.Module):
    """Randomised prior functions: a fixed random function of each member's own (Osband et al. 2018, arXiv:1806.03335).

    It is added to what the member predicts. Training on data cancels it there; away from data it stays, and the members disagree.
    It is a function of the latest row alone, not of what a base makes of the rows, for that is trained and may be shared.

    Args:
        num_inputs: D + A. hidden_size, num_outputs: of each member's perceptron.
        scale: its weight, in units of the normalised state.
        generators: one a member.
    """

    def __init__(
        self, num_inputs: int, hidden_size: int, num_outputs: int, scale: float, generators: list[torch.Generator]
    ) -> None:
        super().__init__()
        self.scale = scale
        self.function = MemberMLP(num_inputs, hidden_size, num_outputs, generators).requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``[E, N, O]`` for inputs ``[E or 1, N, I]``."""
        value: Tensor = self.function(inputs)
        return self.scale * value


class StateHead(nn.Module):
    """Mean (residual) and bounded log standard deviation of the next state, for E members.

    The log standard deviation is kept softly between ``min_log_std`` and ``min_log_std + exp(log_delta_log_std)``, per dimension,
    parametrised as the published code does.

    Args:
        hidden_sizes: of the hidden layers of the mean's and the log standard deviation's perceptrons.
        learn_bounds: whether the bounds are trained; then the loss needs its bound term.
        min_log_std, max_log_std: the initial bounds.

    Attributes:
        prior: added to the mean if set, see :class:`Prior`.
    """

    def __init__(
        self,
        num_features: int,
        hidden_sizes: tuple[int, int],
        state_dim: int,
        generators: list[torch.Generator],
        min_log_std: float = -6.0,
        max_log_std: float = 1.0,
        learn_bounds: bool = False,
    ) -> None:
        super().__init__()
        members = len(generators)
        self.prior: Prior | None = None
        # A small start: the first prediction is nearly "nothing changes", with the spread of a step.
        self.mean = MemberMLP(num_features, hidden_sizes[0], state_dim, generators, output_scale=0.3, output_bias=0.0)
        self.log_std = MemberMLP(num_features, hidden_sizes[1], state_dim, generators, output_scale=0.3, output_bias=-1.5)
        delta = torch.tensor(max_log_std - min_log_std, device="cpu").log().item()  # also where shapes alone are built
        self.min_log_std = nn.Parameter(torch.full((members, 1, state_dim), min_log_std), requires_grad=learn_bounds)
        self.log_delta_log_std = nn.Parameter(torch.full((members, 1, state_dim), delta), requires_grad=learn_bounds)

    def bound(self, log_std: Tensor) -> Tensor:
        """Keep what the perceptron of the log standard deviation returns between the bounds."""
        low = self.min_log_std
        return softly_between(log_std, low, low + self.log_delta_log_std.exp())

    def predict_mean(self, features: Tensor, inputs: Tensor, state: Tensor) -> Tensor:
        """Return the mean ``[E, N, D]`` of what follows ``state [E or 1, N, D]``, read with its action."""
        change = self.mean(features)
        if self.prior is not None:
            change = change + self.prior(inputs)
        mean: Tensor = state + change
        return mean
