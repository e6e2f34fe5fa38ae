"""Numbers recorded from the published code; README.md says what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Tensor]:
    """Return the numeric arrays of ``name.npz`` as tensors of their own precision."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind in "biuf"}


def load_names(name: str, key: str) -> list[str]:
    """Return an array of strings of ``name.npz`` as a list."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return [str(value) for value in file[key]]
