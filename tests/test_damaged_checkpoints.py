"""Checkpoints damaged in a few hundred ways, generated: each is refused in one sentence, or reads as what was written."""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rwmu.dynamics import published
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.policy import older
from rwmu.policy.rsl_rl import PpoSettings, build_actor, load_actor, read_checkpoint
from tests.dynamics.test_world_model import small

OTHERS: list[Any] = [
    *(None, 5, -1, 2.5, "word", True, [], [1, 2], {}, {"x": 1}, {1: {2: 3}}, float("nan")),
    *(torch.zeros(2), torch.full((3,), torch.nan), torch.zeros(1).expand(10**6, 10**6), torch.zeros(2, dtype=torch.complex64)),
]


# Where another value of the right type is another value, and nobody can know: counts, names, notes.
HARMLESS = (
    *("infos", "critic_state", "optimizer_state", "iter", "count", "_var", "('obs_norm_state_dict',) 'gone'"),
    *("training", "data_hash", "robot", "layout", "history", "seed", "window", "prior_hidden_size"),
)


def policy() -> dict[str, Any]:
    torch.manual_seed(0)
    actor = dict(build_actor(PpoSettings(hidden_dims=(5, 4)), 6, 3).state_dict())
    critic = {
        "mlp.0.weight": torch.zeros(4, 6),
        "mlp.0.bias": torch.zeros(4),
        "mlp.2.weight": torch.zeros(1, 4),
        "mlp.2.bias": torch.zeros(1),
    }
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}
    return {
        "actor_state_dict": actor,
        "critic_state_dict": critic,
        "optimizer_state_dict": optimizer,
        "iter": 3,
        "infos": {"robot": "anymal_d", "activation": "elu", "std_range": [0.05, 2.0]},
    }


def older_policy() -> dict[str, Any]:
    new = policy()
    weights = older.to_actor_critic(new["actor_state_dict"], new["critic_state_dict"])
    norm = {"_mean": torch.ones(1, 6), "_var": torch.ones(1, 6), "_std": torch.ones(1, 6), "count": torch.tensor(9)}
    return {"model_state_dict": weights, "obs_norm_state_dict": norm, "iter": 3, "infos": None}


def world_model(folder: Path) -> dict[str, Any]:
    small("shared").save(folder / "whole.pt")
    return dict(torch.load(folder / "whole.pt", weights_only=True))


def published_model() -> dict[str, Any]:
    sizes = {"hidden_size": 5, "num_layers": 1, "head_hidden_size": 4}
    model = SharedEnsemble(3, 2, 1, 2, auxiliary_base="separate", skip=False, learn_bounds=True, **sizes)
    return {published.KEY: published.to_published(model)}


def load_policy(path: Path) -> Any:
    return load_actor(path).model.state_dict()


def load_model(path: Path) -> Any:
    return WorldModel.load(path).content_hash()


def convert_policy(path: Path) -> Any:
    older.import_checkpoint(path, path.with_name("converted"))
    return load_policy(path.with_name("converted"))


def load_published(path: Path) -> Any:
    return dict(published.load_published(path).state_dict())


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "policy": (lambda folder: policy(), load_policy),
    "older policy": (lambda folder: older_policy(), convert_policy),
    "world model": (world_model, load_model),
    "published model": (lambda folder: published_model(), load_published),
}


def changed(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield contents with one value, at any depth, left out or of another type."""

    def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        for key in node if isinstance(node, dict) else ():
            yield (*path, key)
            yield from places(node[key], (*path, key))

    for place in places(content):
        for other in ["gone", *OTHERS]:
            altered = copy.deepcopy(content)
            node = altered
            for key in place[:-1]:
                node = node[key]
            if type(other) is type(node[place[-1]]) and not isinstance(other, torch.Tensor) and other == node[place[-1]]:
                continue  # what it should be
            if isinstance(other, str) and other == "gone":
                del node[place[-1]]
            else:
                node[place[-1]] = other
            yield f"{place} {other!r:.40}", altered
    yield from (("the whole", other) for other in OTHERS)


def refused_or_whole(read: Callable[[Path], Any], path: Path, name: str) -> Any:
    """Read a file; returns what was read, or None where it was refused in one sentence."""
    try:
        return read(path)
    except CheckpointError as error:
        sentence = str(error)
    assert sentence.count("\n") == 0, name
    assert len(sentence) < 500, name
    return None


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("kind", READERS)
def test_a_value_that_is_not_what_it_should_be(kind: str, tmp_path: Path) -> None:
    make, read = READERS[kind]
    content, path, accepted = make(tmp_path), tmp_path / "model.pt", []
    cases = list(changed(content))
    step = max(1, len(cases) // 70)  # coprime to the number of damages a place, so that each place and each damage comes up
    step += step % (len(OTHERS) + 1) == 0
    for name, altered in cases[::step]:
        torch.save(altered, path)
        if refused_or_whole(read, path, name) is not None:
            accepted.append(name)
    torch.save(content, path)
    assert read(path) is not None
    assert [name for name in accepted if not any(word in name for word in HARMLESS)] == []


@pytest.mark.parametrize("kind", READERS)
def test_bytes_that_are_missing_or_flipped(kind: str, tmp_path: Path) -> None:
    make, read = READERS[kind]
    path = tmp_path / "model.pt"
    torch.save(make(tmp_path), path)
    whole, bytes_ = read(path), path.read_bytes()
    random = np.random.default_rng(0)
    for length in [0, 1, 4, *random.integers(5, len(bytes_), 15).tolist()]:
        path.write_bytes(bytes_[:length])
        assert refused_or_whole(read, path, f"cut at {length}") is None
    for place in random.integers(0, len(bytes_), 60).tolist():
        flipped = bytearray(bytes_)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        found = refused_or_whole(read, path, f"flipped at {place}")
        assert found is None or same(found, whole), place


@pytest.mark.parametrize("kind", READERS)
def test_a_folder_and_files_of_other_programs(kind: str, tmp_path: Path) -> None:
    read = READERS[kind][1]
    (tmp_path / "folder").mkdir()
    compressed, squeezed = io.BytesIO(), io.BytesIO()
    torch.save({"x": torch.zeros(1000)}, compressed)
    with zipfile.ZipFile(compressed) as source, zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part))
    others = {"empty": b"", "text": b"words", "zip": squeezed.getvalue(), "hdf5": b"\x89HDF\r\n\x1a\n", "nothing": b"\x00" * 100}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for name in [*others, "folder", "none"]:
        with pytest.raises(CheckpointError, match=name):
            read(tmp_path / name)


def test_a_numpy_scalar_in_a_whole_file_is_named(tmp_path: Path) -> None:
    torch.save(policy() | {"iter": np.float64(3.0)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="numpy") as caught:
        load_actor(tmp_path / "model.pt")
    assert "truncated" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for group, key in (
        ("actor_state_dict", "mlp.2.bias"),
        ("critic_state_dict", "mlp.0.weight"),
        ("optimizer_state_dict", "state"),
    ):
        content = policy()
        broken = (
            {0: {"exp_avg": torch.full((3,), torch.inf)}} if key == "state" else torch.full_like(content[group][key], torch.nan)
        )
        content[group] = content[group] | {key: broken}
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(CheckpointError, match=group):
            read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("added", "word"),
    [("rnn.weight_ih_l0", "rnn.weight_ih_l0"), ("distribution.log_std_param", "log_std_param"), ("mlp.1.weight", "mlp.1.weight")],
)
def test_an_actor_of_another_kind_is_named(added: str, word: str, tmp_path: Path) -> None:
    content = policy()
    content["actor_state_dict"][added] = torch.zeros(4, 4)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=word):
        load_actor(tmp_path / "model.pt")


def test_one_is_not_taken_for_the_other(tmp_path: Path) -> None:
    torch.save(policy(), tmp_path / "policy.pt")
    torch.save(world_model(tmp_path), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"policy\.checkpoint"):
        WorldModel.load(tmp_path / "policy.pt")
    with pytest.raises(CheckpointError, match=r"trainer\.checkpoint"):
        load_actor(tmp_path / "model.pt")


def test_what_is_left_aside_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(policy() | {"rnd_state_dict": {}}, tmp_path / "model.pt")
    load_actor(tmp_path / "model.pt")
    assert "rnd_state_dict" in caplog.text
    torch.save(older_policy() | published_model(), tmp_path / "older.pt")
    convert_policy(tmp_path / "older.pt")
    load_published(tmp_path / "older.pt")
    assert published.KEY in caplog.text
    assert "model_state_dict" in caplog.text
    assert "obs_norm" not in caplog.text.split("older.pt")[1], "it is used"
