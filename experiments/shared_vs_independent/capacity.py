"""The hidden size that gives a shared base as many parameters in all as the independent members have."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.shared_vs_independent.cells import MODELS, ModelCell
from experiments.shared_vs_independent.folders import merged
from rwmu.dynamics.world_model import parameter_count
from rwmu.parts import Parts
from rwmu.runs.configuration import compose_config

LARGEST_DEVIATION = 0.02  # of the parameters, of the protocol


def parameters(overrides: Sequence[str]) -> int:
    """Return how many trained parameters the world model of a configuration has."""
    model, _ = Parts(compose_config("train", overrides)).new_dynamics(extension_dim=0)
    return parameter_count(model)


def matching_hidden_size(overrides: Sequence[str]) -> int:
    """Return the hidden size with which ``dynamics=shared`` comes nearest to the parameters of ``dynamics=independent``.

    Args:
        overrides: what both have in common.
    """
    wanted = parameters([*overrides, *MODELS["independent"]])

    def shared(hidden_size: int) -> int:
        return parameters([*overrides, *MODELS["shared_wide"], f"dynamics.hidden_size={hidden_size}"])

    low, high = 1, 2
    while shared(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:  # parameters grow with the hidden size
        middle = (low + high) // 2
        low, high = (middle, high) if shared(middle) < wanted else (low, middle)
    return min((low, high), key=lambda size: abs(shared(size) - wanted))


def complete(cell: ModelCell, overrides: Sequence[str], extra: Sequence[str] = ()) -> list[str]:
    """Return the settings of a model with its hidden size and what the user adds.

    Args:
        overrides: of the cell, or of a policy in its model. extra: of the user, which come last.
    """
    settings = merged(overrides, extra)
    if cell.model != "shared_wide" or any(item.startswith("dynamics.hidden_size=") for item in extra):
        return settings
    common = [item for item in settings if not item.startswith("dynamics=")]
    return [*settings, f"dynamics.hidden_size={matching_hidden_size(common)}"]
