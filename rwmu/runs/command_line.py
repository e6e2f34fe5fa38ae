"""Make a command of a function: Hydra composes its configuration, and a user's mistake ends in one sentence and status 2."""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from rwmu.errors import ConfigError, UserError
from rwmu.runs.configuration import check_config, check_overrides, config_directory, groups, mistake
from rwmu.runs.terminal import any_terminal

STATUS_USER_ERROR = 2
STATUS_INTERRUPTED = 130

# By these Lightning would be told, on import, that another process writes the logs.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")

# Errors of files that are the place's, not ours: no permission, nothing to be written there, no room, a folder for a file.
_OF_THE_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
)

# What torch, CUDA and Python say where memory does not suffice, or sizes are beyond any memory.
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|not enough memory|can't allocate memory|out of memory|Storage size calculation overflowed"
)

# Hydra's flags that take a value of their own.
_LONG = ("--cfg", "--config-name", "--config-dir", "--config-path", "--info", "--package")
_VALUED_FLAGS = (*_LONG, "-c", "-sc", "-cn", "-cd", "-cp", "-i", "-p")


def command(config_name: str, bare: str | None = None) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Decorate a function of a configuration; the result reads ``sys.argv``, as ``hydra.main``'s does.

    Args:
        bare: what to say where no setting is given at all; None where the defaults will do.
    """

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        failures: list[Exception] = []
        home, known = os.getpid(), False

        def job(config: DictConfig) -> None:
            if failures:  # of an earlier job of a sweep
                return
            try:
                if not known:
                    check_config(config, config_name, HydraConfig.get().runtime.choices)
                with as_one_process():
                    _import_rsl_rl()
                    function(config)
            except Exception as error:  # carried past Hydra, which would print it in its own way
                failures.append(error)
                if os.getpid() != home:  # a launcher's process, from which only what is raised comes back
                    raise

        def main() -> None:
            nonlocal known
            failures.clear()
            # Python's end would go through half a million objects of torch's for seconds, while a scheduler waits to kill.
            atexit.register(gc.freeze)
            # Hydra then hands exceptions on instead of printing them its own way.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            with any_terminal(), mistakes_in_one_sentence():
                if bare is not None and len(sys.argv) == 1:
                    raise ConfigError(bare)
                directory, own = config_directory(), own_directory(sys.argv[1:])
                several = bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(sys.argv))
                check_overrides(config_name, settings(sys.argv[1:]), groups(directory, own), own, several)
                known = own is None and "{" not in "".join(sys.argv)  # every key: of the shipped files, or just checked
                hydra.main(version_base="1.3", config_path=str(directory), config_name=config_name)(job)()
                if failures:
                    raise failures[0]

        return main

    return decorate


def _import_rsl_rl() -> None:
    """Import rsl-rl without Weights & Biases, which it would import though its writer is not used: a second of every command."""
    if "wandb" not in sys.modules:
        sys.modules["wandb"] = None  # type: ignore[assignment] # Python's way to say that there is none
        try:
            import rsl_rl.utils  # noqa: F401
        finally:
            del sys.modules["wandb"]


@contextmanager
def as_one_process() -> Iterator[None]:
    """Work as the only process that there is, whatever a cluster has numbered, and take its SIGTERM for Ctrl-C.

    A run of Weights & Biases that was begun within ends with it.
    """
    for name in _RANKS:
        os.environ.pop(name, None)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish(exit_code=int(sys.exc_info()[0] is not None))


@contextmanager
def mistakes_in_one_sentence() -> Iterator[None]:
    """Leave with one sentence and a status of its own where a user's mistake or an interruption ends what is done within."""
    try:
        yield
    except KeyboardInterrupt:
        stop("Interrupted.", STATUS_INTERRUPTED)
    except Exception as error:
        if _of_an_interrupted_import(error):
            stop("Interrupted.", STATUS_INTERRUPTED)
        sentence = explain(error)
        if sentence is None:  # a defect of ours: the traceback is wanted
            raise
        stop(sentence, STATUS_USER_ERROR)


def _of_an_interrupted_import(error: BaseException) -> bool:
    """Return whether it began with Ctrl-C while compiled code (torch, MuJoCo) was imported, which makes an ImportError of it."""
    return any(isinstance(one, ImportError) and isinstance(one.__cause__, KeyboardInterrupt) for one in _chain(error))


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and what it came of, the latest first; Hydra raises some again, so that they come of themselves."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def settings(arguments: list[str]) -> list[str]:
    """Return the arguments that are overrides, not Hydra's flags and not their values."""
    before = ["", *arguments]
    return [word for word, last in zip(arguments, before, strict=False) if not word.startswith("-") and last not in _VALUED_FLAGS]


def own_directory(arguments: list[str]) -> Path | None:
    """Return the user's own folder of configurations (``--config-dir``), which must be there, or None."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd", type=Path)
    own: Path | None = parser.parse_known_args(arguments)[0].config_dir
    if own is not None and not own.is_dir():
        raise ConfigError(f"There is no folder {own} to take configurations from; mend --config-dir.")
    return own


def explain(error: BaseException) -> str | None:
    """Return the sentence for a user's mistake, wherever in the chain of causes it is, or None for anything else."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
    if isinstance(error, InstantiationException):
        told = mistake(error)
        return None if told is None else str(told)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(error).strip().splitlines()[0]
    if isinstance(error, OSError) and error.errno in _OF_THE_PLACE:
        return f"{error.filename2 or error.filename or 'A file'} cannot be read or written: {error.strerror}."
    if isinstance(error, MemoryError | RuntimeError) and _OUT_OF_MEMORY.search(f"{type(error).__name__}: {error}"):
        first = str(error).strip().partition("\n")[0][:200]
        lower = "data.batch_size, imagination.num_envs, evaluation.num_envs or dynamics.hidden_size"
        return f"This needs more memory than there is ({first}); lower {lower}."
    if isinstance(error, yaml.YAMLError):
        return f"A configuration file is not YAML: {' '.join(str(error).split())}."
    return None


def stop(sentence: str, status: int) -> None:
    """Print one sentence to standard error and leave."""
    print(sentence, file=sys.stderr)
    raise SystemExit(status)
