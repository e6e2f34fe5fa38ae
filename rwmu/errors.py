"""Errors that a user can mend: one sentence that names the cause and the mend; and how a small command tells it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Stop with one clear sentence; the entry points print it without a traceback and exit with status 2."""


class DataError(UserError):
    """Report a dataset that cannot be used as it is."""


class CheckpointError(UserError):
    """Report a checkpoint that does not fit what it is to be used with."""


class ConfigError(UserError):
    """Report a configuration value that makes no sense."""


class TrainingError(UserError):
    """Report a training that cannot go on: what became non-finite, and what to change."""


class MissingExtraError(UserError):
    """Report an optional dependency that is not installed, with the line that installs it."""


def import_extra(module: str, otherwise: str) -> Any:
    """Import what an extra installs, or raise :class:`MissingExtraError` with the sentence ``otherwise``."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(otherwise) from None


@contextmanager
def told_in_one_sentence() -> Iterator[None]:
    """Leave with one sentence and status 2 where a user's mistake ends what is done within."""
    try:
        yield
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def convert_command(convert: Callable[..., str], description: str, **options: Any) -> None:
    """Convert the two paths on the command line, and print what ``convert(source, target, **options)`` returns.

    A target that is there already is replaced only with ``--overwrite``, and the source never.

    Args:
        options: name -> default of what else the command line may give.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("source")
    parser.add_argument("target", help="where the other form is to be written")
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace a target that is there already")
    arguments = vars(parser.parse_args())
    with told_in_one_sentence():
        refuse_overwriting(Path(arguments["target"]), arguments.pop("overwrite"), "--overwrite", Path(arguments["source"]))
        print(convert(**arguments))


def refuse_overwriting(path: Path, overwrite: bool, how: str, source: Path | None = None) -> None:
    """Refuse to write where something lies, unless it is to be replaced.

    Args:
        how: what the user gives to replace it. source: what is read, and never replaced.

    Raises:
        UserError: one sentence.
    """
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UserError(f"{path} is what is read, so it cannot be written; give another path.")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already; give another path, or {how} to replace it.")
