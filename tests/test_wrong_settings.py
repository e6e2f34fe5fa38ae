"""Settings of every kind of nonsense, generated: each is refused in one sentence, or makes objects that can be begun with."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from omegaconf import OmegaConf

from rwmu.runs.checks import check_experiment
from rwmu.runs.command_line import explain
from rwmu.runs.configuration import check_config, compose_config, leaves
from rwmu.runs.experiment import build

NONSENSE: list[Any] = [
    *(-1, 0, 5, 10**12, 1e9, 1e-12, -0.5, float("inf"), float("nan"), "maybe", "", True, None, [], [1, "x"], {}),
    *({"_target_": "no.such.Thing"}, {"_target_": 5}, "a/b", "\u00e9\n"),
]
TARGETS: list[Any] = ["no.such.Thing", "nodots", "", 5, None, "os.getcwd", "rwmu.settings.choose", "rwmu.nowhere"]
PLAIN: Any = OmegaConf.to_container(compose_config("train", ["scale=smoke", "stages=[data,dynamics,policy]"]), resolve=True)
KEYS = list(leaves(PLAIN))
PARTS = 2  # so that several processes may share the work


def cases() -> list[tuple[str, Any]]:
    """Return a value for every second key, the same one every time."""
    draw = random.Random(0)
    kinds = {key: TARGETS if key.endswith(("_target_", "_partial_")) else NONSENSE for key in KEYS}
    return [(key, draw.choice(kinds[key])) for key in KEYS[::2]]


def begin(key: str, value: Any) -> None:
    """Begin a run, up to the making of its folder, with another value somewhere."""
    plain = copy.deepcopy(PLAIN)
    *path, last = key.split(".")
    node = plain
    for name in path:
        node = node[name]
    node[last] = value
    config = OmegaConf.create(plain)
    check_config(config, "train", {"scale": "smoke", "experiment": None})
    check_experiment(build(config))


@pytest.mark.parametrize("part", range(PARTS))
def test_nonsense_is_told_in_one_sentence(part: int) -> None:
    wrong: dict[str, str] = {}
    refused = 0
    for key, value in cases()[part::PARTS]:
        try:
            begin(key, value)
        except Exception as error:
            sentence = explain(error)
            refused += 1
            if sentence is None or "\n" in sentence or len(sentence) > 400:
                wrong[f"{key}={value!r}"] = sentence or f"{type(error).__name__}: {error}"
    assert wrong == {}
    assert refused > 20, "most of it is nonsense"
