"""Policies of rsl-rl's older checkpoints: what comes in computes the same, and goes out bit for bit."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rsl_rl.algorithms import PPO
from rsl_rl.modules import EmpiricalNormalization
from tensordict import TensorDict
from torch import Tensor, nn

from rwmu.errors import CheckpointError
from rwmu.policy import older
from rwmu.policy.rsl_rl import PpoSettings, build_ppo, load_actor, load_checkpoint
from rwmu.robots.anymal_d import anymal_d

ROBOT = anymal_d()


class ActorCritic(nn.Module):
    """The older module in its plainest form: its names, and nothing of rsl-rl 5."""

    def __init__(self, inputs: int = 48, outputs: int = 12, hidden: tuple[int, ...] = (20, 16), critic_inputs: int = 48) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.actor = self._network(inputs, hidden, outputs)
        self.critic = self._network(critic_inputs, hidden[::-1], 1)
        self.std = nn.Parameter(0.1 + 3.0 * torch.rand(outputs))

    @staticmethod
    def _network(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ELU()]
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def weights(**sizes: Any) -> dict[str, Tensor]:
    return dict(ActorCritic(**sizes).state_dict())


def saved(path: Path, content: dict[str, Any] | None = None, **changes: Any) -> Path:
    torch.save({"model_state_dict": content or weights(), "iter": 7, "infos": None} | changes, path)
    return path


def new_ppo(hidden: tuple[int, ...]) -> PPO:
    """Return PPO for an environment that is asked for nothing but its sizes."""
    observation = TensorDict({"policy": torch.zeros(2, 48)}, batch_size=[2])
    task = SimpleNamespace(robot=ROBOT)
    env: Any = SimpleNamespace(num_envs=2, num_actions=12, device="cpu", task=task, get_observations=lambda: observation)
    return build_ppo(env, PpoSettings(hidden_dims=hidden))


def adam_step(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def one_sentence(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


# -- the same policy ------------------------------------------------------------------------------------------------------


def test_an_imported_actor_computes_what_a_plain_network_with_its_weights_does(tmp_path: Path) -> None:
    module = ActorCritic()
    older.import_checkpoint(saved(tmp_path / "old.pt", dict(module.state_dict())), tmp_path / "new.pt")
    policy = load_actor(tmp_path / "new.pt", ROBOT)
    observation = torch.randn(9, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(policy(observation), module.actor(observation))
    assert torch.equal(policy.std, module.std)  # also where it is beyond this project's own range


def test_sizes_are_the_files(tmp_path: Path) -> None:
    module = ActorCritic(inputs=5, outputs=2, hidden=(7,), critic_inputs=9)
    older.import_checkpoint(saved(tmp_path / "old.pt", dict(module.state_dict())), tmp_path / "new.pt")
    first, last = module.actor[0], module.actor[2]
    observation = torch.randn(4, 5)
    expected = torch.nn.functional.elu(observation @ first.weight.T + first.bias) @ last.weight.T + last.bias
    assert torch.allclose(load_actor(tmp_path / "new.pt")(observation), expected, atol=1e-6)


def test_both_networks_and_the_optimiser_go_on_in_ppo(tmp_path: Path) -> None:
    """One more step of Adam on the old module and in PPO gives the same weights, actor, critic and deviation."""
    module = ActorCritic(hidden=(16, 16))
    adam = torch.optim.Adam(module.parameters(), lr=3e-4)
    adam_step(list(module.parameters()), adam, seed=0)
    old = saved(tmp_path / "old.pt", {k: v.clone() for k, v in module.state_dict().items()}, optimizer_state_dict=adam.state_dict())
    older.import_checkpoint(old, tmp_path / "new.pt")
    ppo = new_ppo((16, 16))
    assert load_checkpoint(tmp_path / "new.pt", ppo) == 7
    assert torch.equal(ppo.critic.mlp[0].weight, module.critic[0].weight)
    assert ppo.learning_rate == 3e-4
    adam_step(list(module.parameters()), adam, seed=1)
    adam_step([*ppo.actor.parameters(), *ppo.critic.parameters()], ppo.optimizer, seed=1)
    exported = older.to_actor_critic(ppo.actor.state_dict(), ppo.critic.state_dict())
    assert set(exported) == set(module.state_dict())
    for key, tensor in module.state_dict().items():
        assert torch.equal(exported[key], tensor), key


@pytest.mark.parametrize("optimizer", [None, {"state": {}, "param_groups": [{"params": [0]}]}, "adam"])
def test_without_a_fitting_optimiser_a_new_one_is_begun(optimizer: Any, tmp_path: Path) -> None:
    content = weights(hidden=(16, 16))
    older.import_checkpoint(saved(tmp_path / "old.pt", content, optimizer_state_dict=optimizer), tmp_path / "new.pt")
    ppo = new_ppo((16, 16))
    load_checkpoint(tmp_path / "new.pt", ppo)
    assert ppo.optimizer.state_dict()["state"] == {}


def test_moments_of_a_logarithm_are_not_those_of_the_deviation(tmp_path: Path) -> None:
    module = ActorCritic(hidden=(16, 16))
    adam = torch.optim.Adam(module.parameters())
    adam_step(list(module.parameters()), adam, seed=0)
    content = dict(module.state_dict())
    content["log_std"] = content.pop("std").log()
    older.import_checkpoint(saved(tmp_path / "old.pt", content, optimizer_state_dict=adam.state_dict()), tmp_path / "new.pt")
    assert torch.load(tmp_path / "new.pt", weights_only=True)["optimizer_state_dict"]["state"] == {}


# -- round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logarithm", [False, True])
def test_an_imported_policy_goes_out_bit_for_bit(logarithm: bool, tmp_path: Path) -> None:
    content = weights()
    if logarithm:
        content["log_std"] = content.pop("std").log()
    old = saved(tmp_path / "old.pt", content)
    older.import_checkpoint(old, tmp_path / "new.pt")
    older.export_checkpoint(tmp_path / "new.pt", tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert again["iter"] == 7
    assert set(again["model_state_dict"]) == set(content)
    for key, tensor in content.items():
        assert torch.equal(again["model_state_dict"][key], tensor), key
    ActorCritic().load_state_dict(again["model_state_dict"], strict=not logarithm)


def test_a_logarithm_is_imported_as_the_deviation_that_it_means(tmp_path: Path) -> None:
    content = weights()
    content["log_std"] = torch.zeros_like(content.pop("std"))
    older.import_checkpoint(saved(tmp_path / "old.pt", content), tmp_path / "new.pt")
    assert load_actor(tmp_path / "new.pt").std.tolist() == [1.0] * 12


def test_a_deviation_that_has_changed_goes_out_instead_of_the_imported_logarithm(tmp_path: Path) -> None:
    content = weights()
    content["log_std"] = content.pop("std").log()
    older.import_checkpoint(saved(tmp_path / "old.pt", content), tmp_path / "new.pt")
    changed = torch.load(tmp_path / "new.pt", weights_only=True)
    changed["actor_state_dict"]["distribution.std_param"].fill_(0.7)
    torch.save(changed, tmp_path / "new.pt")
    older.export_checkpoint(tmp_path / "new.pt", tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)["model_state_dict"]
    assert "log_std" not in again
    assert torch.equal(again["std"], torch.full((12,), 0.7))


def test_the_command_converts_whichever_form_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "old.pt")
    for source, target in (("old.pt", "new.pt"), ("new.pt", "again.pt")):
        monkeypatch.setattr(sys, "argv", ["older", str(tmp_path / source), str(tmp_path / target)])
        older.main()
    again = torch.load(tmp_path / "again.pt", weights_only=True)["model_state_dict"]
    assert all(torch.equal(again[key], tensor) for key, tensor in weights().items())
    assert "rsl-rl 5" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["older", str(tmp_path / "none.pt"), str(tmp_path / "x.pt")])
    with pytest.raises(SystemExit) as stopped:
        older.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_is_replaced_unasked_and_the_source_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = saved(tmp_path / "old.pt"), tmp_path / "new.pt"
    before = source.read_bytes()
    target.write_bytes(b"precious")
    (tmp_path / "link.pt").symlink_to(source)

    def converts(*arguments: str) -> bool:
        monkeypatch.setattr(sys, "argv", ["older", *arguments])
        try:
            older.main()
        except SystemExit:
            return False
        return True

    assert not converts(str(source), str(target))
    assert target.read_bytes() == b"precious"
    assert "--overwrite" in capsys.readouterr().err
    for itself in (source, tmp_path / "link.pt"):
        assert not converts(str(source), str(itself), "--overwrite")
    assert source.read_bytes() == before
    assert converts(str(source), str(target), "--overwrite")
    assert target.read_bytes() != b"precious"


# -- bad input ------------------------------------------------------------------------------------------------------------


def refusal(content: dict[str, Any]) -> str:
    with pytest.raises(CheckpointError) as error:
        older.from_actor_critic(content)
    return one_sentence(error)


def test_unknown_keys_are_named() -> None:
    assert "the key 'normalizer._mean'" in refusal(weights() | {"normalizer._mean": torch.zeros(1, 48)})
    assert "the key 'memory_a.rnn.weight_ih_l0'" in refusal(weights() | {"memory_a.rnn.weight_ih_l0": torch.zeros(4, 4)})
    assert "the key 'actor.1.weight'" in refusal(weights() | {"actor.1.weight": torch.zeros(20, 20)})


@pytest.mark.parametrize("key", ["actor.0.weight", "actor.2.bias", "critic.2.weight", "critic.4.bias"])
def test_missing_keys_are_named(key: str) -> None:
    content = weights()
    content.pop(key)
    assert f"lacks the key '{key}'" in refusal(content)


def test_one_deviation_is_expected() -> None:
    content = weights()
    assert "both of the keys 'std' and 'log_std'" in refusal(content | {"log_std": content["std"]})
    content.pop("std")
    assert "neither of the keys 'std' and 'log_std'" in refusal(content)


@pytest.mark.parametrize(
    ("key", "shape", "sentence"),
    [
        ("actor.2.weight", (16, 21), "[16, 21] under the key 'actor.2.weight', but [16, 20] was expected"),
        ("actor.0.weight", (20,), "[20] under the key 'actor.0.weight', but [20, inputs] was expected"),
        ("critic.0.bias", (3,), "[3] under the key 'critic.0.bias', but [16] was expected"),
        ("std", (11,), "[11] under the key 'std', but [12] was expected"),
    ],
)
def test_shapes_that_do_not_fit_are_named(key: str, shape: tuple[int, ...], sentence: str) -> None:
    assert sentence in refusal(weights() | {key: torch.zeros(shape)})


def test_a_critic_of_several_values_is_refused() -> None:
    assert "but [1, 20] was expected" in refusal(
        weights() | {"critic.4.weight": torch.zeros(2, 20), "critic.4.bias": torch.zeros(2)}
    )


def test_values_that_are_no_weights_are_named() -> None:
    content = weights()
    assert "torch.float64 under the key 'std'" in refusal(content | {"std": content["std"].double()})
    assert "list under the key 'std'" in refusal(content | {"std": [1.0]})
    assert "under the key 'std' that are no finite numbers" in refusal(content | {"std": content["std"] / 0.0})


def normalizer(inputs: int = 48, seed: int = 2) -> nn.Module:
    """Return rsl-rl's normaliser of observations after it has seen some."""
    generator = torch.Generator().manual_seed(seed)
    made = EmpiricalNormalization(inputs)
    made.update(3.0 + torch.rand(inputs, generator=generator) * torch.randn(64, inputs, generator=generator))
    return made.eval()


@pytest.mark.parametrize("critics", ["critic_obs_norm_state_dict", "privileged_obs_norm_state_dict", None])
def test_normalised_observations_are_folded_into_the_first_layer(critics: str | None, tmp_path: Path) -> None:
    """The same actions and values, for normalisers beside the weights (rsl-rl 2) and within them (rsl-rl 3)."""
    old, own, theirs = ActorCritic(), normalizer(), normalizer(seed=3)
    if critics is None:
        inside = {"actor_obs_normalizer": own, "critic_obs_normalizer": theirs}
        within = {f"{name}.{key}": tensor for name, module in inside.items() for key, tensor in module.state_dict().items()}
        saved(tmp_path / "old.pt", dict(old.state_dict()) | within)
    else:
        beside = {"obs_norm_state_dict": own.state_dict(), critics: theirs.state_dict()}
        saved(tmp_path / "old.pt", dict(old.state_dict()), **beside)
    older.import_checkpoint(tmp_path / "old.pt", tmp_path / "new.pt")
    observation = 3.0 + torch.randn(9, 48)
    found, expected = load_actor(tmp_path / "new.pt", ROBOT)(observation), old.actor(own(observation)).detach()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float((found - old.actor(observation).detach()).abs().max()) > 0.1, "it matters"
    critic = torch.load(tmp_path / "new.pt", weights_only=True)["critic_state_dict"]
    old.critic.load_state_dict({key.removeprefix("mlp."): tensor for key, tensor in critic.items()})
    expected = ActorCritic().critic(theirs(observation))
    torch.testing.assert_close(old.critic(observation), expected, rtol=1e-4, atol=1e-4)


def test_so_are_those_of_an_actor_of_rsl_rl_5(tmp_path: Path) -> None:
    old, own = ActorCritic(), normalizer()
    actor, critic = older.from_actor_critic(old.state_dict())
    actor |= {f"obs_normalizer.{key}": tensor for key, tensor in own.state_dict().items()}
    torch.save({"actor_state_dict": actor, "critic_state_dict": critic, "iter": 1, "infos": None}, tmp_path / "new.pt")
    observation = 3.0 + torch.randn(9, 48)
    expected = old.actor(own(observation)).detach()
    torch.testing.assert_close(load_actor(tmp_path / "new.pt", ROBOT)(observation), expected, rtol=1e-4, atol=1e-4)


def test_a_normaliser_of_other_sizes_is_refused() -> None:
    for change in ({"_mean": torch.zeros(1, 47)}, {"_std": -torch.ones(1, 48)}, {"_std": torch.full((1, 48), torch.nan)}):
        own = {f"actor_obs_normalizer.{key}": tensor for key, tensor in (normalizer().state_dict() | change).items()}
        assert f"actor_obs_normalizer.{next(iter(change))}" in refusal(weights() | own)


def test_files_that_are_none_of_these_are_refused(tmp_path: Path) -> None:
    target = tmp_path / "new.pt"
    (tmp_path / "broken.pt").write_bytes(b"PK broken")
    torch.save({"actor_state_dict": {}, "iter": 0}, tmp_path / "other.pt")
    for name, sentence in (("none.pt", "There is no"), ("broken.pt", "cannot be read"), ("other.pt", "no 'model_state_dict'")):
        with pytest.raises(CheckpointError, match=sentence) as error:
            older.import_checkpoint(tmp_path / name, target)
        assert name in one_sentence(error)
    with pytest.raises(CheckpointError, match="lacks the key 'critic_state_dict'") as error:
        older.export_checkpoint(tmp_path / "other.pt", target)
    one_sentence(error)
    assert not target.exists()


def test_networks_that_the_older_form_cannot_hold_are_refused() -> None:
    actor, critic = older.from_actor_critic(weights())
    with pytest.raises(CheckpointError, match=r"'obs_normalizer\._mean' in its critic") as error:
        older.to_actor_critic(actor, critic | {"obs_normalizer._mean": torch.zeros(48)})
    one_sentence(error)
    actor.pop("distribution.std_param")
    with pytest.raises(CheckpointError, match=r"lacks the key 'distribution\.std_param' in its actor"):
        older.to_actor_critic(actor, critic)
