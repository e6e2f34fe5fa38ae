"""Write files whole or not at all, whatever writes them; JSON that is always valid (no NaN, no tensors)."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rwmu.errors import CheckpointError, UserError

_SHOWN = 200  # characters of somebody else's error
_log = logging.getLogger(__name__)


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
        CheckpointError: one sentence; flipped bytes count as damage, too.
    """
    import torch  # only here, see above

    if not path.is_file():
        raise CheckpointError(f"There is no {what} at {path}; give the path of {example}.")
    try:
        archived = zipfile.is_zipfile(path)  # as torch.save writes since its version 1.6
        if archived:
            _require_undamaged(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        told = f"{path} cannot be read as a {what}"
        if isinstance(error, pickle.UnpicklingError) and archived:
            found = re.search(r"GLOBAL (\S+)", reason)
            other = f" ({found[1]})" if found else ""
            raise CheckpointError(
                f"{told}: it holds other things{other} than tensors and plain values, and reading them could run code; save it "
                "without them."
            ) from error
        why = reason.partition(". ")[0][:_SHOWN] or type(error).__name__
        raise CheckpointError(f"{told} ({why}); it may be truncated, or otherwise damaged.") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} is not a {what}: it holds one {type(content).__name__} instead of values by name.")
    _require_stored(content, path)
    return content


def _require_undamaged(path: Path) -> None:
    """Compare every part of what ``torch.save`` wrote with the checksum that it has of it: torch does not."""
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size for part in archive.infolist()):
            raise ValueError("a part is compressed, which torch.save never does")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of its part {damaged} differs")


def _require_stored(content: Any, path: Path) -> None:
    """Refuse tensors that are larger than what is stored of them: one number, repeated by a stride of 0, may fill any memory."""
    from torch import Tensor, strided  # only here, see above

    waiting, seen = [("", content)], set()
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{key}".lstrip("."), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}[{index}]", item) for index, item in enumerate(value)]
        elif isinstance(value, Tensor):
            plain = value.layout is strided and value.device.type == "cpu" and not value.is_quantized
            if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise CheckpointError(f"{path} has the tensor '{name}' of shape {list(value.shape)}, but does not store as much.")


def tell_left_aside(path: Path, content: Mapping[str, Any], used: Collection[str]) -> None:
    """Say which parts of a file nobody asks for: nothing is ignored without a word."""
    left = [str(key) for key in content if key not in used]
    if left:
        _log.warning("%s has more than is used of it; left aside: %s.", path, ", ".join(left))


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """Read a file of JSON values by name.

    Args:
        mend: what errors say to do.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {mend}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it holds no values by name); {mend}.")
    return content


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
