"""Does a normaliser that is to be used with the data fit them?"""

from __future__ import annotations

import torch

from rwmu.data.audit.findings import Finding, listed
from rwmu.data.episodes import Episodes
from rwmu.data.normalizer import Normalizer
from rwmu.robots.layout import StateLayout

_SHIFTED = 1.0  # deviations of the normaliser
_SCALED = 3.0


def normalizer_mismatch(episodes: Episodes, layout: StateLayout, normalizer: Normalizer) -> list[Finding]:
    """Compare a normaliser with the data's own means and deviations: it should bring them near to 0 and 1."""
    if normalizer.names != layout.names():
        pairs = zip([*normalizer.names, *[None] * layout.size], layout.names(), strict=False)
        theirs, ours = next(((a, b) for a, b in pairs if a != b), (normalizer.names[-1], None))
        sentence = f"The normaliser has the column {theirs} where the data have {ours}: it belongs to a model of other data."
        return [Finding("normalizer_columns", "error", sentence, {"columns": len(normalizer.names)})]
    mean = episodes.state.double().mean(0)
    std = (episodes.state.double() - mean).square().mean(0).sqrt()
    shift = (mean - normalizer.mean.double()) / normalizer.std.double()
    ratio = std / normalizer.std.double()
    off = (shift.abs() > _SHIFTED) | (ratio > _SCALED) | (ratio < 1.0 / _SCALED)
    if not off.any():
        return []
    distance = torch.maximum(shift.abs() / _SHIFTED, torch.maximum(ratio, 1.0 / ratio.clamp(min=1e-12)) / _SCALED)
    worst = int(distance.argmax())
    named = [name for name, bad in zip(layout.names(), off.tolist(), strict=True) if bad]
    sentence = (
        f"The normaliser does not fit {len(named)} of {layout.size} state columns ({listed(named)}): it leaves "
        f"{layout.names()[worst]} with mean {float(shift[worst]):.3g} and deviation {float(ratio[worst]):.3g} instead of 0 and 1; "
        "use a model with data in the units of those that it was trained on."
    )
    numbers = {"columns": named, "worst": layout.names()[worst], "mean": float(shift[worst]), "deviation": float(ratio[worst])}
    return [Finding("normalizer_mismatch", "warning", sentence, numbers)]
