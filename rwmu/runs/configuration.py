"""Find the configurations and check what a user wrote: an unknown key, option or value stops at once, in one sentence."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

import rwmu
from rwmu.errors import ConfigError
from rwmu.settings import close_match

# Groups that lay values over the others; they may set existing keys only.
OVERLAYS = ("scale", "experiment")

# Keys that a user may choose from a few words.
CHOICES: dict[str, tuple[str, ...]] = {
    "stages": ("data", "dynamics", "policy", "deployment", "report"),
    "policy.init": ("clone", "scratch"),
    "dynamics.auxiliary_base": ("shared", "separate"),
    "penalty.estimate": ("std", "variance", "largest", "pairwise", "noise", "noise_largest"),
    "penalty.method": ("constant", "per_horizon", "isotonic", "conformal"),
    "dynamics.backbone": ("gru", "mlp"),
    "dynamics.loss.state_loss": ("gaussian_nll", "beta_nll", "squared_error", "sampled_squared_error"),
    "dynamics.loss.feedback": ("mean", "sample", "truth"),
    "data.bootstrap": ("episodes", "windows", "weights", "in_batch", "none"),
    "trainer.matmul_precision": ("highest", "high", "medium"),
    "imagination.device": ("cpu", "cuda", "auto"),
}

# Keys that take a word or a number; what is built of them checks which.
WORD_OR_NUMBER = ("imagination.termination",)

# Keys that have a value, but may be null; those that are null in their file may be anyway.
NULLABLE = (
    *("imagination.termination", "imagination.max_tilt", "imagination.clip", "evaluation.cache", "evaluation.video_s"),
    *("data.recipe", "dynamics.side_head_hidden_size", "policy.ppo.mirrors_per_batch"),
)

# Keys of lists -> how many entries they have (None: one or more), and one that might be.
ENTRIES: dict[str, tuple[int | None, float]] = {
    "task.command_range": (3, 1.0),
    "simulator.start.joint_scale": (2, 1.0),
    "policy.ppo.std_range": (2, 1.0),
    "policy.ppo.hidden_dims": (None, 128),
    "evaluation.horizons": (None, 8),
}

# Dotted key pattern -> least value, greatest value, whether the least itself is allowed. The first pattern that fits counts.
RANGES: tuple[tuple[str, float, float, bool], ...] = (
    ("seed", 0, 2**31 - 1, True),
    ("*.num_validation_windows", 1, math.inf, True),
    ("*num_*", 1, math.inf, True),
    ("evaluation.horizons", 1, math.inf, True),
    ("*_size", 1, math.inf, True),
    ("data.history", 1, math.inf, True),
    ("data.forecast", 1, math.inf, True),
    ("*warmup_iterations", 0, math.inf, True),
    ("*iterations", 1, math.inf, True),
    ("*epochs", 1, math.inf, True),
    ("*_every", 1, math.inf, True),
    ("policy.anchor_weight", 0, math.inf, True),
    ("dynamics.optimizer.warmup_steps", 0, math.inf, True),
    ("dynamics.optimizer.gradient_clip", 0, math.inf, False),
    ("dynamics.optimizer.weight_decay", 0, math.inf, True),
    ("dynamics.loss.weights.*", 0, math.inf, True),
    ("task.rewards.*.variance", 0, math.inf, False),
    ("task.command_range", 0, math.inf, True),
    ("policy.ppo.entropy_coef", 0, math.inf, True),
    ("simulator.model.timestep", 0, math.inf, False),
    ("simulator.model.effort_limit", 0, math.inf, False),
    ("*steps", 1, math.inf, True),
    ("*fraction", 0, 1, True),
    ("*fractions.*", 0, 1, True),
    ("*learning_rate", 0, math.inf, False),
    ("*_s", 0, math.inf, False),
    ("*_dt", 0, math.inf, False),
    ("penalty.weight", 0, math.inf, True),
    ("penalty.quantile", 0, 1, False),
    ("penalty.level", 0, 1, False),
    ("penalty.kappa", 0, math.inf, False),
    ("*observation_noise", 0, math.inf, True),
)


def config_directory() -> Path:
    """Return where the configurations are: inside the package in a wheel, beside it in a clone."""
    package = Path(rwmu.__file__).resolve().parent
    for directory in (package / "configs", package.parent / "configs"):
        if (directory / "train.yaml").is_file():
            return directory
    raise ConfigError(f"No configurations lie in or beside {package}; install rwmu again.")


def groups(directory: Path, own: Path | None = None) -> dict[str, list[str]]:
    """Return the options of every configuration group, by group; a leading underscore marks what options share.

    Args:
        own: a folder of the user's, whose options join those of the groups that there are.
    """

    def options(folder: Path) -> set[str]:
        return {file.stem for file in folder.glob("[!_]*.yaml")}

    names = [folder.name for folder in sorted(directory.iterdir()) if folder.is_dir()]
    return {name: sorted(options(directory / name) | (options(own / name) if own else set())) for name in names}


def compose_config(config_name: str, overrides: Sequence[str] = (), own: Path | None = None) -> DictConfig:
    """Return the configuration ``config_name`` with overrides, within a Hydra job or outside of any.

    Args:
        own: a folder of the user's with further options; within a job, Hydra knows of it.
    """
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
            example = f"{key}='{value}'"
            how = (
                f"Quote its value, whose characters mean something else, and that once more for the shell: {shlex.quote(example)}."
            )
            raise ConfigError(f"'{argument}' cannot be read. {how}") from None
        raise ConfigError(f"'{argument}' is no setting; write it as key=value, for example seed=1.") from None


def check_overrides(config_name: str, arguments: Sequence[str], options: Mapping[str, list[str]], own: Path | None = None) -> None:
    """Refuse an unknown group, option or key among command-line overrides, naming the close match.

    Args:
        config_name: the entry point's primary configuration.
        arguments: ``key=value``, ``group=option`` or ``+experiment=name``.
        options: the options of every group. own: see :func:`compose_config`.
    """
    parsed = [override for override in map(_parse, arguments) if not override.key_or_group.startswith("hydra")]
    chosen = [override for override in parsed if override.key_or_group in options]
    for override in chosen:
        _check_option(override, options)
    selection = [o.input_line or "" for o in chosen if not o.is_sweep_override() and not o.is_delete()]
    known = _nodes(leaves(_plain(compose_config(config_name, selection, own))))
    for override in parsed:
        key = override.key_or_group
        if override not in chosen and key not in known:
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


def check_config(config: DictConfig, config_name: str, choices: Mapping[str, str | None]) -> None:
    """Refuse unknown keys (of an experiment's file, say), values of the wrong type, and impossible values.

    Args:
        config: the composed configuration.
        config_name: the entry point's primary configuration.
        choices: the chosen option of every group; keys must exist without the overlays' help, and types must be theirs.
    """
    selection = [
        f"{group}={option}" for group, option in choices.items() if group not in OVERLAYS and not group.startswith("hydra")
    ]
    reference = leaves(_plain(compose_config(config_name, selection)))
    for key, value in leaves(_plain(config)).items():
        if value is None and key in NULLABLE and key in _nodes(reference):
            continue
        if key == "logger" and not value:
            continue  # all of them deleted
        if key not in reference:
            raise ConfigError(f"The configuration has no key '{key}'{close_match(key, reference) or '.'}")
        _check_type(key, value, reference[key])
        _check_choice(key, value)
        _check_entries(key, value)
        for number in value if isinstance(value, list) else [value]:
            _check_range(key, number)


def check_changes(group: str, changes: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    """Refuse values of the wrong type, or impossible ones, that are to replace those of an earlier run."""
    for name, value in changes.items():
        if value is not None:
            _check_type(f"{group}.{name}", value, reference.get(name))
            _check_range(f"{group}.{name}", value)


def _check_type(key: str, value: Any, reference: Any) -> None:
    if value is None and reference is not None and key not in NULLABLE:
        raise ConfigError(f"{key} is null, but must have a value, such as {reference!r}.")
    if value is None or reference is None or (key in WORD_OR_NUMBER and isinstance(value, str | int | float)):
        return
    accepted: dict[type, tuple[tuple[type, ...], str]] = {
        bool: ((bool,), "true or false"),
        int: ((int,), "a whole number"),
        float: ((int, float), "a number"),
        str: ((str,), "a word"),
        list: ((list,), "a list"),
        dict: ((dict,), "a mapping"),
    }
    types, description = accepted[type(reference)]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ConfigError(f"{key} is {value!r}, but must be {description}, such as {reference!r}.")


def _check_choice(key: str, value: Any) -> None:
    if key not in CHOICES or value is None:
        return
    for word in value if isinstance(value, list) else [value]:
        if word not in CHOICES[key]:
            match = close_match(str(word), CHOICES[key])
            raise ConfigError(f"{key} has '{word}'{match or ';'} Choose from: {', '.join(CHOICES[key])}.")


def _check_entries(key: str, value: Any) -> None:
    """Refuse a list of another length than its key has, or with an entry of another type; what is no list, too."""
    if key not in ENTRIES or value is None:
        return
    number, example = ENTRIES[key]
    wanted = f"{number} numbers" if number else "one number or more"
    if not isinstance(value, list) or (len(value) != number if number else not value):
        raise ConfigError(f"{key} is {value!r}, but must be a list of {wanted}, such as {[example] * (number or 1)}.")
    for entry in value:
        _check_type(f"An entry of {key}", entry, example)


def _check_range(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise ConfigError(f"{key} is {value}, but must be finite.")
    for pattern, least, greatest, inclusive in RANGES:
        if fnmatch(key, pattern):
            if not (least <= value <= greatest) or (value == least and not inclusive):
                bound = f"{'at least' if inclusive else 'above'} {least:g}"
                bound += f" and at most {greatest:g}" if greatest < math.inf else ""
                raise ConfigError(f"{key} is {value}, but must be {bound}.")
            return
