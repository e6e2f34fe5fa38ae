"""What a run folder may ask for: somebody else may have made it, and building what its ``config.yaml`` names runs code.

A folder's configuration builds what the shipped configurations name, Lightning's loggers, and whatever lies in modules that the
user names on the command line (``trust=my.module``). What a folder says about itself counts for nothing, so a run with a class of
one's own needs ``trust=`` to be resumed or measured, too. Its values are plain: nothing is looked up in the environment. Nothing in
the folder links to a place outside of it, where results would be written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rwmu.errors import ConfigError
from rwmu.runs.configuration import config_directory

_LOGGERS = "lightning.pytorch.loggers"
_WORDS = ("_target_", "_partial_")  # of Hydra's, what a configuration needs; the others change how arguments are read
_OF_WANDB = ("run-", "offline-run-")  # its own folders link to its logs
_LARGEST = 1_000_000  # bytes
_PARTS = ("task", "simulator", "data", "dynamics", "penalty", "imagination", "policy", "algorithm", "evaluation", "machine")


def modules(given: Any) -> list[str]:
    """Return the modules that ``trust=`` names: one, or a list."""
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else [given]
    wrong = [name for name in names if not (isinstance(name, str) and all(part.isidentifier() for part in name.split(".")))]
    if wrong:
        raise ConfigError(f"trust has {wrong[0]!r}, but names modules of Python, such as trust=my_package.penalties.")
    return names


def read_config(path: Path, trusted: Sequence[str] = ()) -> DictConfig:
    """Return the configuration of a run folder, checked: it may be built.

    Args:
        path: of ``config.yaml``. trusted: modules that the user answers for.

    Raises:
        ConfigError: it is damaged, or names code that does not ship with the package.
    """
    plain = read_plain(path)
    if missing := [part for part in _PARTS if part not in plain]:
        raise ConfigError(f"{path} is not all of the configuration of a run: it has no {missing[0]}; begin a new run.")
    for key, value in _every_leaf(plain):
        _check(key, value, trusted, path)
    return OmegaConf.create(plain | {"trust": list(trusted)})


def read_plain(path: Path) -> dict[Any, Any]:
    """Return the configuration of a run folder as plain values, to be looked at; nothing may be built of it.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path} is far too large for the configuration of a run; begin a new run.")
        text = path.read_text(encoding="utf-8")
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ConfigError(f"{path} has a YAML alias, which no run writes; begin a new run.")
        plain = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read ({reason}); bring it back, or begin a new run.") from None
    if not isinstance(plain, dict) or not {"seed", "name", "trainer"} <= set(plain) or not text.endswith("\n"):
        raise ConfigError(f"{path} is not, or not all of, the configuration of a run; begin a new run.")
    return plain


def _every_leaf(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of whatever is neither mapping nor list; no dictionary, where one key could hide another."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _every_leaf(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _every_leaf(value, f"{key}[{index}]")
    else:
        yield key, node


def foreign(config: Any) -> list[str]:
    """Return the modules of a configuration's targets that neither ship nor are Lightning's loggers."""
    targets = [str(value) for key, value in _every_leaf(config) if key.rpartition(".")[2] == "_target_"]
    return sorted({target.rpartition(".")[0] for target in targets if not _ships(target)})


def _ships(target: str) -> bool:
    return target in shipped() or target.rpartition(".")[0] == _LOGGERS


@cache
def shipped() -> frozenset[str]:
    """Return every target that the shipped configurations name."""
    files = [OmegaConf.to_container(OmegaConf.load(path)) for path in config_directory().rglob("*.yaml")]
    return frozenset(str(value) for key, value in _every_leaf(files) if key.rpartition(".")[2] == "_target_")


def _check(key: str, value: Any, trusted: Sequence[str], path: Path) -> None:
    name = key.rpartition(".")[2]
    if name == "_target_":
        if not isinstance(value, str):
            raise ConfigError(f"{path} has {value!r} as {key}, but the name of a class or function was expected.")
        if not (_ships(value) or any(f"{value}.".startswith(f"{module}.") for module in trusted)):
            module = value.rpartition(".")[0]
            raise ConfigError(
                f"{path} names {value} ({key}), which does not ship with rwmu, and building it runs its code; if it is yours, or "
                f"you trust it, add trust={module}."
            )
    elif name.startswith("_") and name not in _WORDS:
        raise ConfigError(f"{path} has the key {key}, which no run writes; begin a new run.")
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{path} refers to something else in {key} ({value}), which no run writes; give the value itself.")
    if key.startswith("logger.") and isinstance(value, str) and ("/" in value or "\\" in value or ".." in value):
        raise ConfigError(f"{path} has a path in {key} ({value}), but loggers write into the run's folder.")


def check_links(folder: Path) -> None:
    """Refuse links out of a run folder: what a run writes would land there, over somebody's files.

    Raises:
        ConfigError: names the link.
    """
    inside = folder.resolve()
    for place, folders, files in os.walk(inside):
        for name in [*folders, *files]:
            path = Path(place) / name
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise ConfigError(f"{path} is a link that leaves the run folder; put the file or folder itself in its place.")
        folders[:] = [name for name in folders if not name.startswith(_OF_WANDB)]
