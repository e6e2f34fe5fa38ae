"""Weights of the published form: what goes in comes out bit for bit, sizes are the weights' own, and misfits are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rwmu.data.normalizer import Normalizer
from rwmu.dynamics import published
from rwmu.dynamics.published import KEY, from_published, import_checkpoint, load_published, published_normalizer, to_published
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.dynamics.unroll import unroll
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import CheckpointError
from rwmu.records import Window
from rwmu.robots.anymal_d import anymal_d
from tests.experiments.published import load_published as load_plain
from tests.reference import load

FORM = {"auxiliary_base": "separate", "skip": False, "learn_bounds": True}


def recorded(name: str = "dynamics_ensemble3") -> dict[str, Tensor]:
    return {key.removeprefix("weights/"): tensor for key, tensor in load(name).items() if key.startswith("weights/")}


def refusal(weights: dict[str, Tensor]) -> str:
    with pytest.raises(CheckpointError) as error:
        from_published(weights)
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["dynamics_ensemble1", "dynamics_ensemble3"])
def test_weights_come_back_bit_for_bit(name: str) -> None:
    weights = recorded(name)
    again = to_published(from_published(weights))
    assert set(again) == set(weights)
    for key, tensor in weights.items():
        assert again[key].dtype == tensor.dtype == torch.float64
        assert torch.equal(again[key], tensor), key


def test_our_own_ensemble_comes_back_bit_for_bit() -> None:
    model = SharedEnsemble(5, 2, 3, 4, hidden_size=7, num_layers=1, head_hidden_size=6, side_head_hidden_size=3, seed=3, **FORM)
    again = from_published(to_published(model))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    for name in ("num_members", "hidden_size", "num_layers", "head_hidden_size", "side_head_hidden_size", "contact_dim"):
        assert again.arguments[name] == model.arguments[name], name


def test_sizes_are_read_off_the_weights() -> None:
    arguments = from_published(recorded()).arguments
    expected = {"state_dim": 6, "action_dim": 2, "contact_dim": 3, "num_members": 3, "num_bases": 1, "num_layers": 2}
    expected |= {"hidden_size": 16, "head_hidden_size": 8, "side_head_hidden_size": 8, "extension_dim": 0}
    assert {name: arguments[name] for name in expected} == expected


def test_it_predicts_what_a_plain_reader_of_the_weights_does() -> None:
    """``torch.nn.GRU`` and explicit layers, on weights of one layer and other sizes."""
    model = SharedEnsemble(4, 2, 2, 2, hidden_size=5, num_layers=1, head_hidden_size=3, seed=1, **FORM).double()
    weights = to_published(model)
    draw = torch.Generator().manual_seed(0)
    state, action = (torch.randn(3, 6, size, generator=draw, dtype=torch.double) for size in (4, 2))
    flags = torch.zeros(3, 6, 1)
    with torch.no_grad():
        plain = load_plain(weights, 5, 1).predict(state[:, :5], action[:, 1:6])
        ours = unroll(from_published(weights), Window(state[None], action[None], flags[None], flags[None]), 5).at(0)
    for name in ("mean", "log_std", "contact", "termination"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name), rtol=0, atol=1e-12)


def test_an_extension_head_comes_and_goes() -> None:
    model = SharedEnsemble(4, 2, 2, 2, hidden_size=5, num_layers=1, head_hidden_size=3, extension_dim=2, **FORM)
    weights = to_published(model)
    assert weights["auxiliary_heads.1.extension_layers.2.weight"].shape == (2, 3)
    again = from_published(weights)
    assert again.arguments["extension_dim"] == 2
    assert again.extension_head is not None
    assert torch.equal(again.extension_head.weight_output, model.extension_head.weight_output)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "key",
    [
        "state_base.memory.rnn.weight_hh_l0",
        "auxiliary_base.memory.rnn.bias_ih_l1",
        "state_heads.0.state_min_logstd",
        "state_heads.2.state_logstd_layers.2.bias",
        "auxiliary_heads.1.termination_layers.0.weight",
    ],
)
def test_a_missing_tensor_is_named(key: str) -> None:
    weights = recorded()
    weights.pop(key)
    assert f"lacks the tensor '{key}'" in refusal(weights)


@pytest.mark.parametrize(
    "key", ["auxiliary_heads.3.contact_layers.0.weight", "state_heads.0.state_mean_layers.4.weight", "optimizer"]
)
def test_an_unknown_tensor_is_named(key: str) -> None:
    assert f"has the tensor '{key}'" in refusal(recorded() | {key: torch.zeros(2, 2).double()})


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("state_base.memory.rnn.weight_hh_l1", (48, 15), (48, 16)),
        ("auxiliary_base.memory.rnn.weight_ih_l0", (48, 7), (48, 8)),
        ("state_heads.1.state_mean_layers.2.weight", (5, 8), (6, 8)),
        ("state_heads.0.state_log_delta_logstd", (6,), (1, 6)),
        ("auxiliary_heads.2.contact_layers.2.bias", (4,), (3,)),
    ],
)
def test_a_tensor_of_another_shape_is_named_with_both(key: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    message = refusal(recorded() | {key: torch.zeros(shape).double()})
    assert f"'{key}'" in message
    assert f"shape {list(shape)}" in message
    assert str(list(expected)) in message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("state_base.memory.rnn.weight_hh_l0", torch.zeros(()), "state_base.memory.rnn.weight_hh_l0"),
        ("state_heads.0.state_mean_layers.0.weight", [1.0], "state_heads.0.state_mean_layers.0.weight"),
        ("state_heads.1.state_mean_layers.2.bias", torch.full((6,), torch.nan).double(), "state_heads.1.state_mean_layers.2.bias"),
        ("state_base.memory.rnn.bias_hh_l0", torch.zeros(48), "but others are of torch.float"),
    ],
)
def test_what_is_no_weight_is_named(key: str, value: Tensor, words: str) -> None:
    assert words in refusal(recorded() | {key: value})


@pytest.mark.parametrize(
    ("option", "value"), [("skip", True), ("auxiliary_base", "shared"), ("backbone", "mlp"), ("prior_scale", 0.5)]
)
def test_ensembles_of_another_form_are_refused(option: str, value: object) -> None:
    model = SharedEnsemble(4, 2, 2, 2, hidden_size=5, num_layers=1, **(FORM | {option: value}))
    with pytest.raises(CheckpointError, match=option):
        to_published(model)


def test_a_checkpoint_file_is_read(tmp_path: Path) -> None:
    torch.save({KEY: recorded(), "model_state_dict": {}, "iter": 3}, tmp_path / "model_3.pt")
    again = to_published(load_published(tmp_path / "model_3.pt"))
    assert all(torch.equal(again[key], tensor) for key, tensor in recorded().items())


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK broken")
    torch.save({"model_state_dict": {}}, tmp_path / "other.pt")
    torch.save({KEY: torch.zeros(3)}, tmp_path / "odd.pt")
    for name, words in (("none.pt", "no checkpoint"), ("broken.pt", "truncated"), ("other.pt", KEY), ("odd.pt", KEY)):
        with pytest.raises(CheckpointError, match=words) as error:
            load_published(tmp_path / name)
        assert name in str(error.value)


# -- files --------------------------------------------------------------------------------------------------------------------


def anymal_checkpoint(path: Path, seed: int = 2, state: int = 45) -> dict[str, Tensor]:
    """Write a published checkpoint of ANYmal D's sizes; returns its weights."""
    weights = to_published(SharedEnsemble(state, 12, 8, 2, hidden_size=6, num_layers=2, head_hidden_size=5, seed=seed, **FORM))
    torch.save({KEY: weights, "model_state_dict": {}, "iter": 1, "infos": None}, path)
    return weights


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["published", *arguments])
    published.main()


def test_the_command_converts_and_converts_back_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = anymal_checkpoint(tmp_path / "model.pt")
    called(monkeypatch, f"{tmp_path}/model.pt", f"{tmp_path}/dynamics.pt", "--history", "16")
    said = capsys.readouterr().out
    for setting in (
        "dynamics.num_members=2",
        "dynamics.hidden_size=6",
        "dynamics.num_layers=2",
        "dynamics.skip=false",
        "data.history=16",
    ):
        assert setting in said
    model = WorldModel.load(tmp_path / "dynamics.pt")
    assert (model.history, model.data_hash, model.robot, model.num_members) == (16, "", "anymal_d", 2)
    model.check_fits(anymal_d(), "the hash of any data")
    called(monkeypatch, f"{tmp_path}/dynamics.pt", f"{tmp_path}/again.pt")
    assert "mean" not in capsys.readouterr().out, "its normaliser is the published one"
    again = torch.load(tmp_path / "again.pt", weights_only=True)[KEY]
    assert set(again) == set(weights)
    assert all(torch.equal(again[key], tensor) for key, tensor in weights.items())


def test_the_published_normaliser_by_hand() -> None:
    """Columns in the state's order: velocities 3 + 3, gravity 3, joints 12 + 12, torques 12."""
    normalizer = published_normalizer(anymal_d())
    mean, std = normalizer.mean.tolist(), normalizer.std.tolist()
    assert mean[:33] == [0.0] * 8 + [-1.0] + [0.0] * 24
    assert mean[33:] == [-2, -2, 2, 2, -6, 8, -6, 8, 12, -12, 12, -12]
    expected = [0.5, 0.5, 0.1, 0.3, 0.3, 0.5, 0.02, 0.02, 0.04, *[0.15] * 12, *[1.0] * 4, *[1.5] * 4, *[2.5] * 4, *[15.0] * 12]
    assert std == pytest.approx(expected)


def test_a_model_with_another_normaliser_is_exported_with_a_word_on_it(tmp_path: Path) -> None:
    anymal_checkpoint(tmp_path / "model.pt")
    model = import_checkpoint(tmp_path / "model.pt", tmp_path / "dynamics.pt")
    assert model.history == 32
    model.normalizer = Normalizer(model.normalizer.mean + 0.5, model.normalizer.std, model.normalizer.names)
    model.save(tmp_path / "dynamics.pt")
    assert "no place for its normaliser" in published.convert(tmp_path / "dynamics.pt", tmp_path / "again.pt")


def test_mistakes_with_files_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.pt").write_bytes(b"PK broken")
    torch.save({"model_state_dict": {}}, tmp_path / "policy.pt")
    anymal_checkpoint(tmp_path / "other.pt", state=40)
    anymal_checkpoint(tmp_path / "good.pt")
    mistakes = (["none.pt"], "no checkpoint"), (["broken.pt"], "truncated"), (["policy.pt"], KEY), (["other.pt"], "40 state")
    for (name,), words in mistakes:
        with pytest.raises(SystemExit) as stopped:
            called(monkeypatch, f"{tmp_path}/{name}", f"{tmp_path}/out.pt")
        err = capsys.readouterr().err
        assert stopped.value.code == 2
        assert words in err
        assert err.count("\n") == 1, err
    with pytest.raises(CheckpointError, match="history is 0"):
        import_checkpoint(tmp_path / "good.pt", tmp_path / "out.pt", history=0)
    assert not (tmp_path / "out.pt").exists()
