"""Small JSON files: written whole or not at all, and always valid JSON (no NaN, no tensors)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch


def json_ready(value: Any) -> Any:
    """Turn tensors, arrays, paths and mappings into plain JSON values; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, torch.Tensor):
        return json_ready(value.detach().cpu().tolist())
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        return json_ready(value.tolist())
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` never holds a part of it: to a neighbour first, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as valid JSON, whole or not at all."""
    write_text(path, json.dumps(json_ready(value), indent=indent, allow_nan=False) + "\n")
