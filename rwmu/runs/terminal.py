"""What is printed: to a terminal that lacks some characters, to one that has gone away, and arguments to be copied from one."""

from __future__ import annotations

import codecs
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_PLAIN = {"−": "-", "–": "-", "±": "+-", "≥": ">=", "≤": "<=", "×": "x", "…": "..."}


def setting(key: str, value: object) -> str:
    """Return ``key=value`` so quoted that the shell and Hydra read back the value."""
    text = str(value)
    if re.fullmatch(r"[\w./@:+-]+", text, re.ASCII):
        return f"{key}={text}"
    inner = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)  # as Hydra reads quotes
    return shlex.quote(f"{key}='{inner}'")


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end


class Lasting:
    """A stream to which one may go on to write when nobody reads it any more, as after ``| head``: hours of work are not lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or let it be."""
        with suppress(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, or let it be."""
        with suppress(BrokenPipeError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def any_terminal() -> Iterator[None]:
    """Write what a terminal cannot show in other characters, and nothing to one that is gone."""
    codecs.register_error("plainly", _plainly)
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plainly")
    sys.stdout, sys.stderr = (Lasting(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            _close_if_gone(stream)


def _close_if_gone(stream: Any) -> None:
    """Close a stream that nobody reads: Python would complain of it on leaving."""
    try:
        stream.flush()
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            stream.close()
