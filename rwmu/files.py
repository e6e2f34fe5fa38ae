"""Write files whole or not at all, whatever writes them; JSON that is always valid (no NaN, no tensors).

Libraries that write a format of their own (torch, Lightning, HDF5) write it to memory, and :func:`write_bytes` puts it on the disk:
on a full one they would leave halves, or crash.
"""

from __future__ import annotations

import glob
import io
import json
import logging
import math
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from rwmu.errors import CheckpointError, UserError

_SHOWN = 200  # characters of somebody else's error
_FOLDER = 0x10  # an attribute in archives; torch leaves the memory for such a part as it finds it
_log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a neighbour to be written, which takes the name ``path`` once it is whole; a failure leaves ``path`` as it was.

    The folder is made if there is none, and the neighbour goes with a failure.

    Raises:
        OSError: it names ``path``, whatever failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = neighbour(path)
    try:
        yield partial
        with partial.open("r+b") as written:  # a power cut after the renaming would leave an empty file
            os.fsync(written.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename is None or str(partial) in (str(error.filename), str(error.filename2)):  # as copying has it
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        partial.unlink(missing_ok=True)


def refuse_replacing(folder: Path, mend: str = "give another path") -> None:
    """Refuse a path for a new folder where something lies already.

    Args:
        mend: what the error says to do.

    Raises:
        UserError: one sentence.
    """
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already, and a folder is never replaced; {mend}.")


@contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Give a folder to be filled, which takes the name ``path`` once it is whole; a failure leaves nothing.

    Raises:
        UserError: something lies there already, or the folder cannot be written.
    """
    refuse_replacing(path)
    partial = neighbour(path)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); choose a folder that can.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def neighbour(path: Path) -> Path:
    """Return where this process writes what is to take the name ``path`` once it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes have left half written under a folder in which nobody else writes."""
    _remove(folder.rglob(".*.partial*"))


def _remove(partials: Iterable[Path]) -> None:
    for partial in partials:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes waiting that want to make ``path`` as well, and remove what killed ones have left of it."""
    place = path.with_name(f".{path.name}.lock")
    lock = try_lock(place, wait=True)
    while lock is not None and not _lies_at(lock, place):  # whoever held it before has removed it
        lock.close()
        lock = try_lock(place, wait=True)
    with lock or nullcontext():
        _remove(path.parent.glob(f".{glob.escape(path.name)}.*.partial*"))
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def _lies_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def try_lock(path: Path, wait: bool = False) -> IO[str] | None:
    """Return an open file that holds the lock of ``path``, or None where somebody else holds it; it ends with its last process.

    Where there are no locks (Windows, some network file systems) nobody is kept off.

    Args:
        wait: until nobody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):
        pass
    return file


def write_text(path: Path, text: str) -> None:
    """Write ``text``."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content``."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` as valid JSON."""
    write_text(path, json.dumps(json_ready(value), indent=indent, allow_nan=False) + "\n")


def write_torch(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as ``torch.save`` does."""
    import torch  # only here: whoever writes no weights starts seconds earlier

    written = io.BytesIO()
    torch.save(content, written)
    write_bytes(path, written.getbuffer())


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
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size or part.external_attr & _FOLDER:
                raise ValueError(f"its part {part.filename} is compressed or a folder, which torch.save never writes")
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
