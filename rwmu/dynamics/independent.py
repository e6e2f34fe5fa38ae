"""The fully independent ensemble: E models that share nothing but the call."""

from __future__ import annotations

from typing import Any

from rwmu.dynamics.recurrent import RecurrentEnsemble


class IndependentEnsemble(RecurrentEnsemble):
    """E whole models with their own bases and heads; arguments as :class:`RecurrentEnsemble`, less ``num_bases``."""

    def __init__(self, state_dim: int, action_dim: int, contact_dim: int, num_members: int, **sizes: Any) -> None:
        super().__init__(state_dim, action_dim, contact_dim, num_members, num_bases=num_members, **sizes)
