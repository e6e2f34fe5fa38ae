"""Find the configurations and check what a user wrote: an unknown key, option or value stops at once, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf

import rwmu
from rwmu.errors import ConfigError, UserError
from rwmu.runs.terminal import setting
from rwmu.settings import close_match

# Groups that lay values over the others; they may set existing keys only.
OVERLAYS = ("scale", "experiment")

# Mappings that a user may add entries to.
OPEN = ("task.rewards", "logger", "algorithm.collection.simulator", "data.policies")


def config_directory() -> Path:
    """Return where the configurations are: inside the package in a wheel, beside it in a clone."""
    package = Path(rwmu.__file__).resolve().parent
    for directory in (package / "configs", package.parent / "configs"):
        if (directory / "train.yaml").is_file():
            return directory
    raise ConfigError(f"No configurations lie in or beside {package}; install rwmu again.")


def groups(directory: Path, own: Path | None = None) -> dict[str, list[str]]:
    """Return the options of every group, those of the user's ``own`` folder too; a leading underscore marks what options share."""

    def options(folder: Path) -> set[str]:
        return {file.stem for file in folder.glob("[!_]*.yaml")}

    names = [folder.name for folder in sorted(directory.iterdir()) if folder.is_dir()]
    return {name: sorted(options(directory / name) | (options(own / name) if own else set())) for name in names}


def compose_config(config_name: str, overrides: Sequence[str] = (), own: Path | None = None) -> DictConfig:
    """Return the configuration ``config_name`` with overrides, outside of a Hydra job with options of the user's ``own`` folder."""
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, overrides=list(overrides))
    added = [] if own is None else [f"hydra.searchpath=['file://{own.resolve()}']"]
    with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3", job_name="rwmu"):
        return compose(config_name, overrides=[*overrides, *added])


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return dotted key -> value of every leaf; lists count as leaves, and so do empty mappings."""
    if not isinstance(config, Mapping) or (prefix and not config):
        return {prefix: config}
    found: dict[str, Any] = {}
    for key, value in config.items():
        found.update(leaves(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def _plain(config: DictConfig) -> dict[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return plain


def _nodes(keys: Iterable[str]) -> set[str]:
    """Return every dotted prefix of the keys, and the keys."""
    return {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 2)}


def _parse(argument: str) -> Override:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        key, equals, value = argument.partition("=")
        if equals and value and re.fullmatch(r"[~+]{0,2}[\w./@-]+", key):
            how = f"Its characters mean something else; quote them for Hydra and for the shell: {setting(key, value)}."
            raise ConfigError(f"'{argument}' cannot be read. {how}") from None
        raise ConfigError(f"'{argument}' is no setting; write it as key=value, for example seed=1.") from None


def check_overrides(
    config_name: str,
    arguments: Sequence[str],
    options: Mapping[str, list[str]],
    own: Path | None = None,
    several: bool = True,
) -> None:
    """Refuse an unknown group, option or key among command-line overrides, naming the close match.

    Args:
        arguments: ``key=value``, ``group=option`` or ``+experiment=name``.
        options: the options of every group. own: see :func:`compose_config`.
        several: whether several values of a key may be given, for a run each.
    """
    parsed = [override for override in map(_parse, arguments) if not override.key_or_group.startswith("hydra")]
    chosen = [override for override in parsed if override.key_or_group in options]
    for override in parsed:
        if override.is_sweep_override() and not several:
            raise ConfigError(f"{override.input_line} names several values; add -m to run them one after another.")
    for override in chosen:
        _check_option(override, options)
    selection = [o.input_line or "" for o in chosen if not o.is_sweep_override() and not o.is_delete()]
    known = _nodes(_known(config_name, tuple(selection)) if own is None else _keys(config_name, selection, own))
    for override in parsed:
        key = override.key_or_group
        added = override.is_add() and key.startswith(tuple(f"{mapping}." for mapping in OPEN))
        if override not in chosen and key not in known and not added:
            raise ConfigError(f"The configuration has no key '{key}'{close_match(key, known | set(options)) or '.'}")
        if override not in chosen and override.value() is None and override.input_line == key:
            raise ConfigError(f"'{key}' lacks a value; write {key}=value.")


def _check_option(override: Override, options: Mapping[str, list[str]]) -> None:
    group = override.key_or_group
    if override.is_delete():
        return
    sweep = list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(override.value())]
    for option in sweep:
        if option not in options[group]:
            match = close_match(option, options[group])
            raise ConfigError(f"There is no {group} '{option}'{match or ';'} Choose from: {', '.join(options[group])}.")
    if group == "experiment" and not override.is_add():
        raise ConfigError(f"An experiment is added with a plus sign: write +experiment={sweep[0]}.")
    if group != "experiment" and override.is_add():
        raise ConfigError(f"Every run has a {group} already: write {group}={sweep[0]}, without the plus sign.")


def _keys(config_name: str, selection: Sequence[str], own: Path | None = None) -> dict[str, Any]:
    return leaves(_plain(compose_config(config_name, selection, own)))


@cache
def _known(config_name: str, selection: tuple[str, ...]) -> dict[str, Any]:
    """Return the keys of the shipped files, which nobody changes while a process runs."""
    return _keys(config_name, selection)


def check_config(config: DictConfig, config_name: str, choices: Mapping[str, str | None]) -> None:
    """Refuse keys that no file of the chosen options has (of an experiment's file, say), naming the close match.

    What values may be is said by the objects that are built of them.

    Args:
        choices: the chosen option of every group; keys must exist without the overlays' help.
    """
    selection = [
        f"{group}={option}"
        for group, option in choices.items()
        if option is not None and group not in OVERLAYS and not group.startswith("hydra")
    ]
    known = _known(config_name, tuple(selection))
    parents = _nodes(known)
    for key, value in leaves(_plain(config)).items():
        added = key.startswith(tuple(f"{mapping}." for mapping in OPEN))
        if key not in known and not added and not (key in parents and not value):  # a mapping may be null, or empty
            raise ConfigError(f"The configuration has no key '{key}'{close_match(key, known) or '.'}")


def instantiate(node: Any) -> Any:
    """Build what a configuration node describes; a mistake in it is told in one sentence.

    Raises:
        ConfigError: an argument that the target does not take, or a target that is not there.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        told = mistake(error)
        if told is None:
            raise
        raise told from None
    except TypeError as error:  # of Hydra itself, of its own words: _partial_ and the like
        raise ConfigError(f"{' '.join(str(error).split())}.") from None


def mistake(error: InstantiationException) -> UserError | None:
    """Return what a user can mend where an object could not be built, or None where the defect is ours."""
    cause: BaseException | None = error
    while cause is not None:  # Hydra wraps what importing a target raises
        if isinstance(cause, UserError):
            return cause
        cause = cause.__cause__
    cause = error.__cause__
    words, _, key = str(error).rpartition("full_key: ")
    if cause is None or isinstance(cause, TypeError | ImportError | AttributeError):
        place = f"{key.strip()}: " if words else ""
        return ConfigError(f"{place}{' '.join(str(cause or words or error).split())}.")
    return None
