"""Every configuration composes, builds its objects, and a mistake in one is named."""

from __future__ import annotations

import inspect
import logging
import shlex
from collections.abc import Iterator
from typing import Any

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from rwmu.checks import check_parts
from rwmu.parts import Parts
from rwmu.pipeline import STAGES

from rwmu.errors import ConfigError
from rwmu.runs.configuration import (
    CHOICES,
    NULLABLE,
    OVERLAYS,
    check_config,
    check_overrides,
    compose_config,
    config_directory,
    groups,
    leaves,
)
from rwmu.settings import close_match
from rwmu.uncertainty.estimates import EPISTEMIC, NOISE
from rwmu.uncertainty.recalibration import METHODS

OPTIONS = groups(config_directory())
OF_OTHERS = ("experiment", "diagnostics")  # groups that are no part of every run
EVERY_OPTION = [f"{group}={option}" for group, names in OPTIONS.items() if group not in OF_OTHERS for option in names]
EXPERIMENTS = [f"+experiment={name}" for name in OPTIONS["experiment"]]
COMMANDS = ["train", "collect", "evaluate", "play"]


def choices(**changed: str) -> dict[str, str | None]:
    return dict.fromkeys(OVERLAYS) | {"scale": "laptop"} | changed


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping with a ``_target_``, however deep."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize("override", EVERY_OPTION + EXPERIMENTS)
def test_every_option_composes_without_unknown_keys_or_values(override: str) -> None:
    config = compose_config("train", [override])
    group, option = override.lstrip("+").split("=")
    check_config(config, "train", choices(**{group: option}) if group in OVERLAYS else {group: option})


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_compose_alone(name: str) -> None:
    check_config(compose_config(name), name, {})


@pytest.mark.parametrize("option", OPTIONS["diagnostics"])
def test_every_diagnostic_composes(option: str) -> None:
    config = compose_config("evaluate", [f"diagnostics={option}"])
    check_config(config, "evaluate", {"diagnostics": option})
    assert config.diagnostics.name == option


@pytest.mark.parametrize("override", EVERY_OPTION)
def test_arguments_in_the_files_exist(override: str) -> None:
    """Every value beside a ``_target_`` is an argument that the target takes, or one that rwmu/parts.py takes away."""
    taken_away = {
        "recipe",
        "num_transitions",
        "path",
        "seed",
        "checkpoint",
        "start_from",
        "freeze_auxiliary",
        "loss",
        "optimizer",
        "centred",
        "standardised",
        "quantile",
        "method",
        "by_field",
        "level",
        "_target_",
        "_partial_",
    }
    plain = OmegaConf.to_container(compose_config("train", [override]), resolve=True)
    for node in targets(plain):
        parameters = inspect.signature(hydra.utils.get_object(node["_target_"])).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue  # checked where the keywords arrive, by test_parts_are_built
        assert set(node) - taken_away <= set(parameters), node["_target_"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_parts_are_built(experiment: str) -> None:
    parts = Parts(compose_config("train", [experiment, "scale=smoke"]))
    model, architecture = parts.new_dynamics()
    assert model.num_members == architecture["num_members"] == (1 if "rwm_base" in experiment else 5)
    assert architecture["kind"] == ("shared" if "shared" in experiment or "published" in experiment else "independent")
    assert parts.penalty().weight == (0.0 if "rwm_base" in experiment else 1.0)  # type: ignore[attr-defined]
    assert parts.loss.history == 8
    assert parts.task.weights["flat_orientation_l2"] == -5.0


def begin(config: DictConfig) -> None:
    """Check a configuration as a run does before it makes its folder."""
    check_config(config, "train", choices())
    check_parts(Parts(config), config.stages)


@pytest.mark.parametrize("scale", OPTIONS["scale"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_begun_at_every_scale(experiment: str, scale: str) -> None:
    check_parts(Parts(compose_config("train", [experiment, f"scale={scale}"])))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("policy.ppo.activation=eluu", "policy.ppo.activation is 'eluu'"),
        ("policy.ppo.std_range=[0.05]", "policy.ppo.std_range is [0.05], but must be a list of 2 numbers"),
        ("policy.ppo.std_range=[2.0,0.05]", "the lesser first"),
        ("policy.ppo.mirrors=[left_rihgt]", "policy.ppo.mirrors has 'left_rihgt'; did you mean 'left_right'?"),
        ("policy.ppo.mirrors=[]", "policy.ppo.mirrors_per_batch is 1, but policy.ppo.mirrors names 0; null uses all"),
        ("data.mirrors=[lr]", "data.mirrors has 'lr'; Choose from: identity, left_right"),
        ("policy.anchor_weight=-1", "policy.anchor_weight is -1, but must be at least 0"),
        ("policy.iterations=10", "policy.iterations is 10, but the first 10 train the critic alone"),
        ("policy.save_every=0", "policy.save_every is 0, but must be at least 1"),
        ("dynamics.learn_bounds=true", "give their loss a weight (trainer.loss.weights.bound=1.0"),
        ("trainer.validate_every=0", "trainer.validate_every is 0, but must be at least 1"),
        ("imagination.termination=smaple", "imagination.termination is 'smaple', but must be 'sample', a probability"),
        ("imagination.termination=1.5", "imagination.termination is 1.5"),
        ("evaluation.horizons=[0,8]", "evaluation.horizons is 0, but must be at least 1"),
        ("evaluation.horizons=[]", "evaluation.horizons is [], but must be a list of one number or more"),
        ("evaluation.horizons=[x]", "An entry of evaluation.horizons is 'x', but must be a whole number"),
        ("task.command_range=[1,1]", "task.command_range is [1, 1], but must be a list of 3 numbers"),
        ("task.command_range=[a,b,c]", "An entry of task.command_range is 'a', but must be a number"),
        ("simulator.start.joint_scale=[1]", "simulator.start.joint_scale is [1], but must be a list of 2 numbers"),
    ],
)
def test_what_makes_no_sense_stops_before_anything_is_trained(override: str, words: str) -> None:
    with pytest.raises((ConfigError, InstantiationException)) as error:  # commands show what Hydra wraps
        begin(compose_config("train", [override]))
    assert words in str(error.value)


@pytest.mark.parametrize("value", ["sample", "0.5", "null"])
def test_terminations_are_sampled_or_above_a_probability_or_none(value: str) -> None:
    begin(compose_config("train", [f"imagination.termination={value}"]))


def test_the_published_choices_are_published_ones() -> None:
    """Sizes aside, which a scale sets: the objective, the bootstrap, the heads, a raw penalty, no clone."""
    config = compose_config("train", ["+experiment=rwmu_published"])
    loss, dynamics, data, policy = config.dynamics.loss, config.dynamics, config.data, config.policy
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
    one, other = (leaves(OmegaConf.to_container(compose_config("train", [e]), resolve=True)) for e in EXPERIMENTS[:2])
    different = {key.split(".")[0] for key in one | other if one.get(key) != other.get(key)}
    assert different <= {"name", "dynamics", "penalty"}


@pytest.mark.parametrize("scale", OPTIONS["scale"])
def test_scales_change_sizes_only(scale: str) -> None:
    """A scale sets numbers (and the smoke data's own file, and where to compute), never a choice of method."""
    base, scaled = (
        leaves(OmegaConf.to_container(compose_config("train", [f"scale={s}"]), resolve=True)) for s in ("laptop", scale)
    )
    for key in base:
        if base[key] != scaled[key] and key not in ("data.path", "evaluation.cache", "imagination.device"):
            assert isinstance(base[key], int | float), key


def imagined_on(monkeypatch: pytest.MonkeyPatch, usable: bool, *overrides: str) -> str:
    """Return where imagination runs on a machine with CUDA or without."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    return str(Parts(compose_config("train", overrides)).imagination_device)


def test_imagination_leaves_the_cpu_only_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for scale in ("laptop", "smoke"):
        assert imagined_on(monkeypatch, True, f"scale={scale}") == "cpu"
    assert imagined_on(monkeypatch, True, "scale=paper") == "cuda"
    assert imagined_on(monkeypatch, False, "scale=paper") == "cpu"
    assert imagined_on(monkeypatch, True, "imagination.device=cuda") == "cuda"


def test_imagination_says_once_what_it_chose(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        parts = Parts(compose_config("train", ["imagination.device=auto"]))
        check_parts(parts)
        assert parts.imagination_device == parts.imagination_device
    assert [record.getMessage() for record in caplog.records] == ["Imagination and policy run on cpu (imagination.device=auto)."]


def test_cuda_that_is_not_there_is_refused_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"finds no CUDA device here; give imagination\.device=cpu") as caught:
        check_parts(Parts(compose_config("train", ["imagination.device=cuda"])))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"imagination\.device has 'gpu'"):
        check_config(compose_config("train", ["imagination.device=gpu"]), "train", choices())


def test_a_run_from_before_there_was_a_device_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = compose_config("train")
    OmegaConf.set_struct(config, False)
    del config.imagination["device"]
    parts = Parts(config)
    check_parts(parts)
    assert str(parts.imagination_device) == "cpu"


def test_choices_are_what_the_code_knows() -> None:
    assert CHOICES["stages"] == STAGES
    assert CHOICES["penalty.estimate"] == (*EPISTEMIC, *NOISE)
    assert CHOICES["penalty.method"] == tuple(METHODS)


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


def test_right_overrides_pass() -> None:
    right = ["+experiment=rwm_base", "dynamics.hidden_size=3", "seed=1,2,3", "logger=wandb", "scale=smoke", "hydra.verbose=true"]
    check_overrides("train", [*right, "stages=[dynamics]", "trainer.checkpoint=a/b.pt"], OPTIONS)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dynamics.hidden_size=abc"], ("dynamics.hidden_size", "'abc'", "whole number")),
        (["dynamics.hidden_size=2.5"], ("dynamics.hidden_size", "2.5", "whole number")),
        (["dynamics.hidden_size=-3"], ("dynamics.hidden_size", "-3", "at least 1")),
        (["dynamics.num_members=0"], ("dynamics.num_members", "at least 1")),
        (["penalty.weight=-1"], ("penalty.weight", "at least 0")),
        (["penalty.weight=nan"], ("penalty.weight", "finite")),
        (["penalty.estimate=sdt"], ("penalty.estimate", "'std'")),
        (["penalty=recalibrated", "penalty.method=isotone"], ("penalty.method", "'isotonic'")),
        (["penalty=truncation", "penalty.quantile=0"], ("penalty.quantile", "above 0")),
        (["penalty=morel", "penalty.kappa=-1"], ("penalty.kappa", "above 0")),
        (["data.history=0"], ("data.history", "at least 1")),
        (["trainer.optimizer.learning_rate=0"], ("learning_rate", "above 0")),
        (["task.standing_fraction=1.5"], ("standing_fraction", "at most 1")),
        (["imagination.random_start=3"], ("imagination.random_start", "true or false")),
        (["policy.init=clon"], ("policy.init", "'clone'")),
        (["stages=[data,dynamic]"], ("stages", "'dynamics'")),
        (["stages=data"], ("stages", "list")),
        (["seed=-1"], ("seed", "at least 0")),
        (["seed=null"], ("seed", "null", "must have a value")),
        (["policy.ppo.gamma=null"], ("policy.ppo.gamma", "null", "0.99")),
        (["trainer.optimizer.gradient_clip=-1"], ("gradient_clip", "above 0")),
        (["trainer.loss.weights.state=-1"], ("weights.state", "at least 0")),
        (["task.rewards.track_lin_vel_xy_exp.function.variance=0"], ("variance", "above 0")),
        (["task.command_range=[-1,1,1]"], ("command_range", "-1", "at least 0")),
        (["simulator.model.timestep=0"], ("timestep", "above 0")),
    ],
)
def test_a_wrong_value_is_named(overrides: list[str], words: tuple[str, ...]) -> None:
    chosen = dict(override.split("=") for override in overrides if override.split("=")[0] in OPTIONS)
    with pytest.raises(ConfigError) as caught:
        check_config(compose_config("train", overrides), "train", choices(**chosen))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", NULLABLE)
def test_what_may_be_null_passes_as_null(key: str) -> None:
    check_config(compose_config("train", [f"{key}=null"]), "train", choices())


def test_no_warm_up_is_no_mistake() -> None:
    check_config(compose_config("train", ["trainer.optimizer.warmup_steps=0"]), "train", choices())


@pytest.mark.parametrize("value", ["/tmp/läufe", "a=b", "~/runs", "a(1).h5"])
def test_a_value_that_hydra_cannot_read_says_how_to_quote_it(value: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        check_overrides("train", [f"runs_dir={value}"], OPTIONS)
    (quoted,) = shlex.split(str(caught.value).rsplit(": ", 1)[1].rstrip("."))
    check_overrides("train", [quoted], OPTIONS)
    with pytest.raises(ConfigError, match="write it as key=value"):
        check_overrides("train", [value.replace("=", "")], OPTIONS)


def test_an_unknown_key_of_an_experiment_is_named() -> None:
    config: DictConfig = compose_config("train", ["+dynamics.hiden_size=3"])
    with pytest.raises(ConfigError, match=r"dynamics\.hiden_size.*dynamics\.hidden_size"):
        check_config(config, "train", choices())


def test_close_match_prefers_the_whole_key_and_gives_up_on_nonsense() -> None:
    assert close_match("dynamics.num_layer", ["dynamics.num_layers", "other.num_layer"]) == "; did you mean 'dynamics.num_layers'?"
    assert close_match("qqqqqq", ["dynamics.num_layers"]) == ""
