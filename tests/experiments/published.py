"""The plain implementation with the weights of the published code."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from experiments.benchmarks.plain import PlainEnsemble, Sizes


def load_published(weights: Mapping[str, Tensor], history: int, forecast: int) -> PlainEnsemble:
    """Return the ensemble with the weights of a published state dict, of whatever sizes."""
    renamed = {_own_name(name): value for name, value in weights.items()}
    inputs, head, state = (
        renamed[name].shape for name in ("state_base.weight_ih_l0", "state_heads.0.mean.0.weight", "state_heads.0.mean.2.bias")
    )
    sizes = Sizes(
        state=state[0],
        action=inputs[1] - state[0],
        contact=renamed["auxiliary_heads.0.contact.2.bias"].shape[0],
        hidden=head[1],
        layers=sum(name.startswith("state_base.weight_ih") for name in renamed),
        head=head[0],
        history=history,
        forecast=forecast,
        members=sum(name.endswith("min_log_std") for name in renamed),
    )
    model = PlainEnsemble(sizes).to(next(iter(renamed.values())).dtype)
    model.load_state_dict(renamed)
    return model


def _own_name(name: str) -> str:
    for published, own in (
        ("base.memory.rnn.", "base."),
        (".state_mean_layers.", ".mean."),
        (".state_logstd_layers.", ".log_std."),
        (".state_min_logstd", ".min_log_std"),
        (".state_log_delta_logstd", ".log_delta_log_std"),
        (".contact_layers.", ".contact."),
        (".termination_layers.", ".termination."),
    ):
        name = name.replace(published, own)
    return name
