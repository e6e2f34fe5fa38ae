"""Write files whole or not at all, whatever writes them; JSON that is always valid (no NaN, no tensors)."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rwmu.errors import CheckpointError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a neighbour to be written, which takes the name ``path`` once it is whole; a failure leaves ``path`` as it was.

    The folder is made if there is none, and the neighbour goes with a failure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text``."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content``."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as valid JSON."""
    write_text(path, json.dumps(json_ready(value), indent=indent, allow_nan=False) + "\n")


def write_torch(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as ``torch.save`` does."""
    import torch  # only here: whoever writes no weights starts seconds earlier

    with replacing(path) as partial:
        torch.save(content, partial)


def read_torch(path: Path, what: str, example: str) -> Mapping[str, Any]:
    """Read a file of tensors and plain values; code in it is never run (``weights_only``).

    Args:
        what, example: how errors call it, and what they say to give.

    Raises:
        CheckpointError: one sentence.
    """
    import torch  # only here, see above

    if not path.is_file():
        raise CheckpointError(f"There is no {what} at {path}; give the path of {example}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read as a {what} ({type(error).__name__}); it may be truncated.") from error
    return content if isinstance(content, Mapping) else {}


def copy_file(source: Path, path: Path) -> None:
    """Copy a file."""
    with replacing(path) as partial:
        shutil.copyfile(source, partial)


def json_ready(value: Any) -> Any:
    """Turn tensors, arrays, paths and mappings into plain JSON values; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if hasattr(value, "tolist"):  # a tensor, an array, or a number of one
        return json_ready(value.tolist())
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
