"""What a single model makes of its features: the next state, contacts and termination."""

from __future__ import annotations

from torch import Tensor, nn

from rwmu.dynamics.heads import check_bounds, softly_between
from rwmu.dynamics.layers import RowLinear
from rwmu.records import Prediction
from rwmu.settings import Count, WholeNumber, settings


@settings("dynamics")
class Outputs:
    """What is predicted of the next row, and by perceptrons of which sizes.

    Attributes:
        state_dim, contact_dim, extension_dim: D, C, X (0 for none).
        head_hidden_size: of the hidden layer of the mean's head. side_head_hidden_size: of the others'; None for the same.
        min_log_std, max_log_std: the log standard deviation stays softly between these.
    """

    state_dim: Count
    contact_dim: WholeNumber
    extension_dim: WholeNumber = 0
    head_hidden_size: Count = 128
    side_head_hidden_size: Count | None = None
    min_log_std: float = -6.0
    max_log_std: float = 1.0

    def __post_init__(self) -> None:
        check_bounds(self.min_log_std, self.max_log_std)


class Decoder(nn.Module):
    """Perceptrons of one hidden layer (ReLU): features ``[..., F]`` and the row that they follow to a prediction ``[..., .]``.

    The mean is that row's state and a change; the log standard deviation is bounded as
    :class:`~rwmu.dynamics.heads.StateHead` bounds it.
    """

    def __init__(self, num_features: int, outputs: Outputs) -> None:
        super().__init__()
        self.bounds = outputs.min_log_std, outputs.max_log_std
        side = outputs.side_head_hidden_size or outputs.head_hidden_size

        def head(hidden_size: int, size: int) -> nn.Sequential:
            return nn.Sequential(RowLinear(num_features, hidden_size), nn.ReLU(), RowLinear(hidden_size, size))

        self.mean, self.log_std = head(outputs.head_hidden_size, outputs.state_dim), head(side, outputs.state_dim)
        # A small start: the first prediction is nearly "nothing changes", with the spread of a step.
        for part, bias in ((self.mean, 0.0), (self.log_std, -1.5)):
            nn.init.constant_(part[-1].get_parameter("bias"), bias)
            part[-1].get_parameter("weight").data.mul_(0.3)
        self.contact, self.termination = head(side, outputs.contact_dim), head(side, 1)
        self.extension = head(side, outputs.extension_dim) if outputs.extension_dim else None

    def forward(self, features: Tensor, state: Tensor) -> Prediction:
        """Predict what follows ``state [..., D]``."""
        log_std = softly_between(self.log_std(features), *self.bounds)
        extension = None if self.extension is None else self.extension(features)
        return Prediction(state + self.mean(features), log_std, self.contact(features), self.termination(features), extension)

    def freeze_auxiliary(self) -> None:
        """Train the heads of contact, termination and extension no further."""
        for head in (self.contact, self.termination, self.extension):
            if head is not None:
                head.requires_grad_(False)
