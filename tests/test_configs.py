"""Every configuration composes, builds its objects, and a mistake in one is named."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import hydra
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from rwmu.algorithms.mbpo_ppo import MbpoPpo
from rwmu.algorithms.mopo_ppo import MopoPpo
from rwmu.errors import ConfigError
from rwmu.numerics import find_device
from rwmu.runs.checks import check_experiment
from rwmu.runs.configuration import (
    OVERLAYS,
    check_config,
    check_overrides,
    compose_config,
    config_directory,
    groups,
    instantiate,
    leaves,
)
from rwmu.runs.experiment import Experiment, build
from rwmu.runs.exploit import Exploit
from rwmu.settings import close_match

OPTIONS = groups(config_directory())
OF_OTHERS = ("experiment", "diagnostics")  # groups that are no part of every run
_OF_SIMULATORS = {"isaaclab": ("simulator=isaaclab", "task=anymal_d_isaaclab"), "mjlab": ("simulator=mjlab",)}
ABSENT = [option for name, options in _OF_SIMULATORS.items() if find_spec(name) is None for option in options]
ALL = [f"{group}={option}" for group, names in OPTIONS.items() if group not in OF_OTHERS for option in names]
EVERY_OPTION = [option for option in ALL if option not in ABSENT]
EXPERIMENTS = [f"+experiment={name}" for name in OPTIONS["experiment"]]
COMMANDS = ["train", "collect", "evaluate", "play", "view"]


@cache
def composed(*overrides: str) -> DictConfig:
    """Return a configuration of the command train, which nobody changes."""
    return compose_config("train", overrides)


def choices(**changed: str) -> dict[str, str | None]:
    return dict.fromkeys(OVERLAYS) | {"scale": "laptop"} | changed


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping with a ``_target_``, however deep."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize("override", [*EXPERIMENTS, *(f"scale={name}" for name in OPTIONS["scale"])])
def test_an_overlay_has_no_keys_of_its_own(override: str) -> None:
    group, option = override.lstrip("+").split("=")
    with_it = {"algorithm": "mbpo_ppo"} if option.startswith("mbpo") else {}  # which an experiment may choose
    check_config(composed(override), "train", choices(**{group: option}, **with_it))


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_compose_alone(name: str) -> None:
    check_config(compose_config(name), name, {})


@pytest.mark.parametrize("option", OPTIONS["diagnostics"])
def test_every_diagnostic_composes(option: str) -> None:
    config = compose_config("evaluate", [f"diagnostics={option}"])
    check_config(config, "evaluate", {"diagnostics": option})
    assert (option == "exploit") == isinstance(instantiate(config.diagnostics), Exploit)


@pytest.mark.parametrize("override", EVERY_OPTION)
def test_every_value_in_the_files_is_an_argument(override: str) -> None:
    """What stands beside a ``_target_`` is what the target takes: nothing is taken away on the way, nothing is left over."""
    plain = OmegaConf.to_container(composed(override), resolve=True)
    del plain["_target_"]  # type: ignore[union-attr]  # whose identity is computed
    for node in targets(plain):
        parameters = inspect.signature(hydra.utils.get_object(node["_target_"])).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue  # checked where the keywords arrive, by test_every_experiment_is_built
        assert set(node) - {"_target_", "_partial_"} <= set(parameters), node["_target_"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_built(experiment: str) -> None:
    built = build(composed(experiment, "scale=smoke"))
    model, architecture = built.fitter.new_model(built.task.robot)
    members = {"+experiment=rwm_base": 1, "+experiment=mbpo_ppo": 3}.get(experiment, 5)
    assert model.num_members == architecture["num_members"] == members
    assert architecture["kind"] == ("shared" if "shared" in experiment or "published" in experiment else "independent")
    weights = {"+experiment=rwm_base": 0.0, "+experiment=mbpo_ppo": 0.2, "+experiment=mbpo_finetune": 0.3}
    assert built.penalty.weight == weights.get(experiment, 1.0)
    assert built.trainer.loss.history == 8
    whole = build(composed(experiment))  # at the scale that the experiment has by default
    assert sum(whole.data.fractions.values()) == pytest.approx(1.0)
    assert built.task.weights["flat_orientation_l2"] == -5.0
    assert isinstance(built.method, MbpoPpo if "mbpo" in experiment else MopoPpo)


def begin(*overrides: str, **chosen: str) -> Experiment:
    """Check a configuration as a run does before it makes its folder.

    Values are laid over a configuration that is composed once, as Hydra lays them; options of groups are composed.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [override for override in parsed if override.key_or_group not in OPTIONS and not override.is_add()]
    config = copy.deepcopy(composed(*(str(override.input_line) for override in parsed if override not in values)))
    for override in values:
        OmegaConf.update(config, override.key_or_group, override.value())
    check_config(config, "train", choices(**chosen))
    experiment = build(config)
    check_experiment(experiment)
    return experiment


@pytest.mark.parametrize("scale", OPTIONS["scale"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_begun_at_every_scale(experiment: str, scale: str) -> None:
    begun = ["trainer.start_from=null", "policy.checkpoint=null"] if "finetune" in experiment else []  # there is no run before
    check_experiment(build(composed(experiment, f"scale={scale}", *begun)))


# A wrong value -> what the sentence names.
WRONG = {
    "dynamics.hidden_size=abc": ("dynamics.hidden_size", "whole number"),
    "dynamics.hidden_size=2.5": ("dynamics.hidden_size", "whole number"),
    "dynamics.hidden_size=-3": ("dynamics.hidden_size", "at least 1"),
    "dynamics.num_members=0": ("dynamics.num_members", "at least 1"),
    "dynamics.backbone=grru": ("dynamics.backbone", "gru"),
    "dynamics.learn_bounds=true": ("trainer.loss.weights.bound=1.0",),
    "penalty.weight=-1": ("penalty.weight", "at least 0"),
    "penalty.weight=nan": ("penalty.weight", "finite"),
    "penalty.estimate=sdt": ("penalty.estimate", "'std'"),
    "data.history=0": ("data.history", "at least 1"),
    "data.bootstrap=episods": ("data.bootstrap", "'episodes'"),
    "data.mirrors=[lr]": ("data.mirrors", "left_right"),
    "trainer.optimizer.learning_rate=0": ("trainer.optimizer.learning_rate", "above 0"),
    "trainer.optimizer.gradient_clip=-1": ("gradient_clip", "above 0"),
    "trainer.loss.weights.state=-1": ("trainer.loss.weights", "at least 0"),
    "trainer.loss.state_loss=gausian_nll": ("trainer.loss.state_loss", "'gaussian_nll'"),
    "trainer.validate_every=0": ("trainer.validate_every", "at least 1"),
    "task.standing_fraction=1.5": ("task.standing_fraction", "at most 1"),
    "task.command_range=[-1,1,1]": ("task.command_range[0]", "at least 0"),
    "task.command_range=[1,1]": ("task.command_range", "longer list"),
    "task.command_range=[a,b,c]": ("task.command_range", "number"),
    "simulator.start.joint_scale=[1]": ("joint_scale", "longer list"),
    "simulator.model.timestep=0": ("timestep", "at least 1e-05"),
    "imagination.random_start=3": ("imagination.random_start", "true or false"),
    "imagination.termination=smaple": ("imagination.termination", "'sample'"),
    "imagination.termination=1.5": ("imagination.termination", "below 1"),
    "imagination.device=gpu": ("imagination.device", "'cuda'"),
    "policy.init=clon": ("policy.init", "'clone'"),
    "policy.ppo.gamma=null": ("policy.ppo.gamma", "null"),
    "policy.ppo.activation=eluu": ("policy.ppo.activation", "'eluu'"),
    "policy.ppo.std_range=[0.05]": ("policy.ppo.std_range", "longer list"),
    "policy.ppo.std_range=[2.0,0.05]": ("policy.ppo.std_range", "lesser first"),
    "policy.ppo.mirrors=[left_rihgt]": ("policy.ppo.mirrors", "'left_right'"),
    "policy.ppo.mirrors=[]": ("policy.ppo.mirrors_per_batch is 1",),
    "policy.anchor_weight=-1": ("policy.anchor_weight", "at least 0"),
    "policy.save_every=0": ("policy.save_every", "at least 1"),
    "evaluation.horizons=[0,8]": ("evaluation.horizons[0]", "at least 1"),
    "evaluation.horizons=[]": ("evaluation.horizons", "longer list"),
    "evaluation.video_s=1e9": ("evaluation.video_s", "at most 600"),
    "trainer.patience=0": ("trainer.patience", "at least 1"),
    "trainer.optimizer.one_by_one=maybe": ("trainer.optimizer.one_by_one", "true or false"),
    "policy.ppo.value_loss_coef=-1": ("policy.ppo.value_loss_coef", "at least 0"),
    "task.max_tilt=5": ("task.max_tilt", "below 1"),
    "imagination.max_tilt=5": ("imagination.max_tilt", "below 1"),
    "task.episode_length_s=0.001": ("task.episode_length_s", "step_dt"),
    "task.command_resample_s=1e9": ("task.command_resample_s", "step_dt"),
    "dynamics.num_members=10000000": ("dynamics.num_members", "at most 1000"),
    "data.batch_size=10000000000": ("data.batch_size", "at most"),
    "evaluation.horizons=[x]": ("evaluation.horizons[0]", "whole number"),
    "machine.matmul_precision=hi": ("machine.matmul_precision", "'high'"),
    "stages=[data,dynamic]": ("stages", "'dynamics'"),
    "stages=data": ("stages", "list"),
    "seed=-1": ("seed", "at least 0"),
    "seed=null": ("seed", "null"),
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_value_is_named_before_anything_is_trained(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        begin(override)
    assert all(word in str(caught.value) for word in WRONG[override]), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("penalty", "override", "words"),
    [
        ("recalibrated", "penalty.method=isotone", ("penalty.method", "'isotonic'")),
        ("truncation", "penalty.quantile=0", ("penalty.quantile", "above 0")),
        ("morel", "penalty.form.kappa=-1", ("kappa", "above 0")),
        ("none", "penalty.weight=1", ("penalty.weight", "penalty=mopo")),
    ],
)
def test_a_wrong_value_of_a_penalty_is_named(penalty: str, override: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        begin(f"penalty={penalty}", override, penalty=penalty)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_argument_that_the_target_does_not_take_is_named() -> None:
    config = compose_config("train", ["+policy.clone.fractoin=0.1"])
    with pytest.raises(ConfigError, match="fractoin"):
        build(config)


@pytest.mark.parametrize("value", ["sample", "0.5", "null"])
def test_terminations_are_sampled_or_above_a_probability_or_none(value: str) -> None:
    assert begin(f"imagination.termination={value}").imagination.termination in ("sample", 0.5, None)


def test_the_published_choices_are_published_ones() -> None:
    """Sizes aside, which a scale sets: the objective, the bootstrap, the heads, a raw penalty, no clone."""
    config = composed("+experiment=rwmu_published")
    loss, dynamics, data, policy = config.trainer.loss, config.dynamics, config.data, config.policy
    assert (loss.state_loss, loss.feedback, loss.decay) == ("sampled_squared_error", "sample", 1.0)
    assert dict(loss.weights) | {"extension": None, "kl": None} == {
        "state": 1.0,
        "history": 0.0,
        "bound": 1.0,
        "contact": 1.0,
        "termination": 1.0,
        "extension": None,
        "kl": None,
    }
    assert (dynamics.auxiliary_base, dynamics.skip, dynamics.learn_bounds) == ("separate", False, True)
    assert (data.bootstrap, list(data.mirrors), data.beginnings, data.endings) == ("in_batch", [], 0.0, 0.0)
    assert (config.penalty.estimate, config.penalty.centred) == ("std", False)
    assert (policy.init, policy.anchor_weight, list(policy.ppo.mirrors)) == ("scratch", 0.0, [])


def test_experiments_differ_in_models_and_penalty_only() -> None:
    experiments = [f"+experiment={name}" for name in ("rwm_base", "mopo_shared5", "mopo_ensemble5")]
    first, *others = (leaves(OmegaConf.to_container(composed(e), resolve=True)) for e in experiments)
    for other in others:
        different = {key.split(".")[0] for key in first | other if first.get(key) != other.get(key)}
        assert different <= {"name", "dynamics", "penalty"}


def test_a_clone_needs_more_iterations_than_its_critic_warms_up() -> None:
    with pytest.raises(ConfigError, match=r"policy\.iterations is 10"):
        begin("policy=clone", "policy.iterations=10")


@pytest.mark.parametrize("scale", OPTIONS["scale"])
def test_scales_change_sizes_only(scale: str) -> None:
    """A scale sets numbers (and the smoke data's own file, and where to compute), never a choice of method."""
    base, scaled = (leaves(OmegaConf.to_container(composed(f"scale={s}"), resolve=True)) for s in ("laptop", scale))
    for key in base:
        if base[key] != scaled[key] and key not in ("data.path", "evaluation.cache", "imagination.device"):
            assert isinstance(base[key], int | float), key


def imagined_on(monkeypatch: pytest.MonkeyPatch, usable: bool, *overrides: str) -> str:
    """Return where imagination runs on a machine with CUDA or without."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    return str(find_device(build(composed(*overrides)).imagination.device))


def test_imagination_leaves_the_cpu_only_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for scale in ("laptop", "smoke"):
        assert imagined_on(monkeypatch, True, f"scale={scale}") == "cpu"
    assert imagined_on(monkeypatch, True, "scale=paper") == "cuda"
    assert imagined_on(monkeypatch, False, "scale=paper") == "cpu"
    assert imagined_on(monkeypatch, True, "imagination.device=cuda") == "cuda"


def test_cuda_that_is_not_there_is_refused_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"imagination\.device=cpu") as caught:
        begin("imagination.device=cuda")
    assert "\n" not in str(caught.value)


def refusal(*arguments: str, name: str = "train") -> str:
    with pytest.raises(ConfigError) as caught:
        check_overrides(name, arguments, OPTIONS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("dynamics.hiden_size=3", "dynamics.hidden_size"),
        ("+dynamics.hiden_size=3", "dynamics.hidden_size"),
        ("hidden_size=3", "dynamics.hidden_size"),
        ("sede=1", "seed"),
        ("+experiment=mopo_ensembl5", "mopo_ensemble5"),
        ("experiment=mopo_ensemble5", "+experiment=mopo_ensemble5"),
        ("dynamics=independant", "independent"),
        ("+dynamics=shared", "dynamics=shared"),
        ("experimnt=rwm_base", "experiment"),
        ("polcy.init=clone", "policy.init"),
        ("dynamics=shared,independant", "independent"),
        ("seed 3", "key=value"),
        ("~trainer.loss.weights.sate", "trainer.loss.weights.state"),
    ],
)
def test_a_mistyped_override_names_the_close_match(argument: str, names: str) -> None:
    message = refusal(argument)
    assert names in message
    assert "\n" not in message


def test_several_values_need_a_flag() -> None:
    for argument in ("seed=1,2,3", "dynamics=shared,independent", "seed=range(3)"):
        with pytest.raises(ConfigError, match="-m"):
            check_overrides("train", [argument], OPTIONS, several=False)
        check_overrides("train", [argument], OPTIONS)


def test_right_overrides_pass() -> None:
    right = ["+experiment=rwm_base", "dynamics.hidden_size=3", "seed=1,2,3", "logger=wandb", "scale=smoke", "hydra.verbose=true"]
    check_overrides("train", [*right, "stages=[dynamics]", "trainer.checkpoint=a/b.pt"], OPTIONS)


def test_isaac_labs_terms_are_changed_one_by_one() -> None:
    changed = ("task=anymal_d_isaaclab", "+task.rewards.feet_air_time.weight=0.0", "+task.rewards.feet_air_time.threshold=0.3")
    check_overrides("train", changed, OPTIONS)
    config = composed(*changed)
    check_config(config, "train", choices(task="anymal_d_isaaclab"))
    assert config.task.rewards == {"feet_air_time": {"weight": 0.0, "threshold": 0.3}}


def test_terms_and_loggers_may_be_added() -> None:
    term = "+task.rewards.mine={weight: 0.5, function: {_target_: rwmu.tasks.rewards.stand_still, _partial_: true}}"
    check_overrides("train", [term, "~logger.tensorboard"], OPTIONS)
    assert begin(term).task.weights["mine"] == 0.5


def test_an_unknown_key_of_an_experiment_is_named() -> None:
    config: DictConfig = compose_config("train", ["+dynamics.hiden_size=3"])
    with pytest.raises(ConfigError, match=r"dynamics\.hiden_size.*dynamics\.hidden_size"):
        check_config(config, "train", choices())


def test_close_match_prefers_the_whole_key_and_gives_up_on_nonsense() -> None:
    assert close_match("dynamics.num_layer", ["dynamics.num_layers", "other.num_layer"]) == "; did you mean 'dynamics.num_layers'?"
    assert close_match("qqqqqq", ["dynamics.num_layers"]) == ""
