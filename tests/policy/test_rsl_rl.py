"""rsl-rl's PPO, actors and checkpoints as this package builds them."""

import pickle

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

from rwmu.errors import CheckpointError, ConfigError
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.policy.regularisation import MirrorAugmentation
from rwmu.policy.rsl_rl import PpoSettings, actor_std, build_ppo, load_actor, load_checkpoint, runner_config, save_checkpoint
from rwmu.tasks.velocity import observation_layout
from tests.fakes import anymal_d, known_world_model, quiet_task, random_episodes

SMALL = {"hidden_dims": (16, 8), "num_steps_per_env": 4}
INFOS = {"robot": "anymal_d", "activation": "elu"}


@pytest.fixture(scope="module")
def env():
    return ImaginedEnv(
        known_world_model(1), quiet_task(), random_episodes([20]), torch.arange(10), MopoPenalty(0.0, 0.02), DreamRules(num_envs=8)
    )


@pytest.fixture
def ppo(env):
    torch.manual_seed(0)
    return build_ppo(env, PpoSettings(**SMALL))


def rollout(env, ppo):
    with torch.inference_mode():
        observation = env.get_observations()
        for _ in range(ppo.storage.num_transitions_per_env):
            following, reward, done, extras = env.step(ppo.act(observation).clone())
            ppo.process_env_step(following, reward, done, extras)
            observation = following
        ppo.compute_returns(observation)


def test_building_prints_nothing_and_obeys_the_settings(env, capsys):
    ppo = build_ppo(env, PpoSettings(**SMALL, init_std=0.4, gamma=0.9, mirrors_per_batch=0))
    assert capsys.readouterr().out == ""
    assert [tuple(p.shape) for n, p in ppo.actor.mlp.named_parameters() if "weight" in n] == [(16, 48), (8, 16), (12, 8)]
    assert ppo.gamma == 0.9
    assert ppo.symmetry.data_augmentation_func.per_batch == 0
    torch.testing.assert_close(actor_std(ppo.actor), torch.full((12,), 0.4))


@pytest.mark.parametrize(("per_batch", "factor"), [(None, 4), (3, 4), (1, 2)])
def test_batches_are_repeated_under_the_mirrors(env, per_batch, factor):
    ppo = build_ppo(env, PpoSettings(**SMALL, mirrors_per_batch=per_batch))
    rollout(env, ppo)
    batch = next(iter(ppo.storage.mini_batch_generator(1, 1)))
    observation, action, advantage = batch.observations["policy"].clone(), batch.actions.clone(), batch.advantages.clone()
    ppo.symmetry.augment_batch(batch, 32)
    assert batch.observations["policy"].shape == (32 * factor, 48)
    assert batch.actions.shape == (32 * factor, 12)
    assert torch.equal(batch.observations["policy"][:32], observation)
    mirrors, layout = anymal_d().mirrors, observation_layout(anymal_d())
    used = set()
    for part in range(1, factor):
        rows = slice(32 * part, 32 * (part + 1))
        (name,) = [n for n, m in mirrors.items() if torch.equal(m.of(layout)(observation), batch.observations["policy"][rows])]
        assert torch.equal(mirrors[name].action(action), batch.actions[rows])
        assert torch.equal(batch.advantages[rows], advantage)
        used.add(name)
    assert len(used) == factor - 1
    assert "identity" not in used
    losses = ppo.update()
    assert all(value == value for value in losses.values())


def test_drawn_mirrors_change_from_batch_to_batch():
    augment = MirrorAugmentation(anymal_d(), ("left_right", "front_back", "both"), 1)
    action = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    seen = {tuple(augment(None, None, action)[1][2:].flatten().tolist()) for _ in range(30)}
    assert len(seen) == 3


def test_an_unknown_mirror_is_named():
    with pytest.raises(ConfigError, match="upside_down"):
        MirrorAugmentation(anymal_d(), ("upside_down",))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_mini_batches", 0),
        ("gamma", 1.5),
        ("schedule", "sometimes"),
        ("hidden_dims", ()),
        ("mirrors_per_batch", 9),
        ("init_std", 0.0),
    ],
)
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"policy\.ppo\.{name}"):
        PpoSettings(**({"mirrors": ("left_right",)} | {name: value}))


def test_checkpoints_are_those_of_rsl_rls_runner(env, ppo, tmp_path):
    rollout(env, ppo)
    ppo.update()
    path = tmp_path / "model_7.pt"
    save_checkpoint(path, ppo, 7, INFOS)
    runner = OnPolicyRunner(env, runner_config(PpoSettings(**SMALL)), log_dir=None, device="cpu")
    assert runner.load(str(path)) == INFOS
    assert runner.current_learning_iteration == 7
    observation = torch.randn(5, 48)
    theirs = runner.get_inference_policy()(TensorDict({"policy": observation}, batch_size=[5]))
    assert torch.equal(load_actor(path, anymal_d())(observation), theirs)


def test_what_the_runner_writes_can_be_read(env, ppo, tmp_path):
    runner = OnPolicyRunner(env, runner_config(PpoSettings(**SMALL)), log_dir=str(tmp_path), device="cpu")
    runner.logger.save_model = lambda *arguments: None
    runner.save(str(tmp_path / "theirs.pt"))
    assert load_checkpoint(tmp_path / "theirs.pt", ppo) == 0
    observation = torch.randn(5, 48)
    theirs = runner.get_inference_policy()(TensorDict({"policy": observation}, batch_size=[5]))
    assert torch.equal(load_actor(tmp_path / "theirs.pt")(observation), theirs)


@pytest.mark.parametrize(("saved", "within"), [(0.3, 0.3), (1e-3, 0.05), (9.0, 2.0)])
def test_a_sampled_policy_has_the_noise_it_was_saved_with_within_its_range(env, ppo, tmp_path, saved: float, within: float):
    ppo.actor.distribution.std_param.data.fill_(saved)
    save_checkpoint(tmp_path / "model.pt", ppo, 0, INFOS)
    actor = load_actor(tmp_path / "model.pt")
    observation = torch.zeros(4000, 48)
    generator = torch.Generator().manual_seed(0)
    noise = actor.as_sampled(generator)(observation) - actor(observation)
    assert actor.std.tolist() == pytest.approx([within] * 12)
    assert float(noise.std()) == pytest.approx(within, rel=0.02)
    assert torch.equal(actor(observation), actor(observation))


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was run",))


def test_unfit_checkpoints_are_refused_in_one_sentence(env, ppo, tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(CheckpointError, match="There is no policy checkpoint at"):
        load_actor(path)
    save_checkpoint(path, ppo, 0, {"robot": "another"})
    with pytest.raises(CheckpointError, match="trained for robot 'another', not 'anymal_d'"):
        load_actor(path, anymal_d())
    other = build_ppo(env, PpoSettings(hidden_dims=(8, 8), num_steps_per_env=4))
    with pytest.raises(CheckpointError, match="other sizes"):
        load_checkpoint(path, other)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(CheckpointError, match="truncated"):
        load_actor(path)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="no 'actor_state_dict'"):
        load_actor(path)
    torch.save({"actor_state_dict": Trap()}, path, pickle_module=pickle)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_actor(path)


def test_a_policy_of_other_sizes_is_refused(tmp_path):
    shapes = {
        "mlp.0.weight": (4, 47),
        "mlp.0.bias": (4,),
        "mlp.2.weight": (12, 4),
        "mlp.2.bias": (12,),
        "distribution.std_param": (12,),
    }
    weights = {key: torch.zeros(shape) for key, shape in shapes.items()}
    torch.save({"actor_state_dict": weights, "iter": 0, "infos": None}, tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match="maps 47 observations to 12 actions"):
        load_actor(tmp_path / "small.pt", anymal_d())
