"""RWM-U's ensemble: E heads on one GRU base; with a separate auxiliary base, no skip and learnt bounds it is the published one."""

from __future__ import annotations

from typing import Any

from rwmu.dynamics.recurrent import RecurrentEnsemble


class SharedEnsemble(RecurrentEnsemble):
    """E heads on one GRU base that sees every member's rows; arguments as :class:`RecurrentEnsemble`, less ``num_bases``."""

    def __init__(self, state_dim: int, action_dim: int, contact_dim: int, num_members: int, **sizes: Any) -> None:
        super().__init__(state_dim, action_dim, contact_dim, num_members, num_bases=1, **sizes)
