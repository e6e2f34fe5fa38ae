"""The commands as a user meets them: the whole loop, its stages alone, resuming, and one clear sentence for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rwmu.dynamics.module import DynamicsModule
from rwmu.imagination.env import ImaginedEnv
from rwmu.runs.folder import RunFolder
from tests.conftest import Command, Trained

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = "stages=[data,dynamics,policy]"
MEASURED = (
    "evaluation.horizons=[1,8,24,100]",
    "evaluation.dream_steps=60",
    "evaluation.learning_points=2",
)  # as the scale has it; smoke is smaller


@pytest.fixture
def finished(trained: Trained) -> Path:
    """Return the folder of a run whose world model and policy are trained."""
    return trained("+experiment=rwm_base", STAGES)


def policy_of(run: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run / "checkpoints/policy.pt", weights_only=True)["actor_state_dict"]
    return weights


def fails(outcome: Any, *words: str) -> None:
    """Check that a command ended with status 2 and one sentence that holds the words."""
    assert outcome.status == 2, outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert all(word in lines[0] for word in words), lines[0]


# -- the whole loop -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn", "brief")
@pytest.mark.parametrize("experiment", ["rwm_base", "rwmu_published"])
def test_an_experiment_goes_from_data_to_report(experiment: str, workplace: Path, command: Command, smoke: list[str]) -> None:
    outcome = command("train", f"+experiment={experiment}", *smoke, *MEASURED[:1], "seed=3")
    assert outcome.status == 0, outcome.err
    check_a_whole_run(workplace, experiment)


@pytest.mark.usefixtures("brief")
def test_a_report_has_its_figures_and_its_video(workplace: Path, command: Command, smoke: list[str]) -> None:
    outcome = command("train", "+experiment=mopo_ensemble5", *smoke, *MEASURED, "seed=3", "evaluation.video_s=0.1")
    assert outcome.status == 0, outcome.err
    check_a_whole_run(workplace, "mopo_ensemble5")
    run = workplace / "runs" / "latest"
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((run / "figures").glob("*.png"))) == 11
    learning = json.loads((run / "report.json").read_text())["learning"]
    assert list(learning) == ["2", "3"], "of the checkpoints that training kept"
    assert set(learning["3"]["falls_per_minute"]) == {"dream", "simulator"}
    assert (run / "video.mp4").is_file() == ("data:video/mp4;base64," in page)


def check_a_whole_run(workplace: Path, experiment: str) -> None:
    (run,) = (path for path in (workplace / "runs").iterdir() if not path.is_symlink())
    assert run.name.endswith(f"{experiment}-seed3")
    assert (workplace / "runs" / "latest").resolve() == run
    report = json.loads((run / "report.json").read_text())
    assert (report["experiment"], report["seed"]) == (experiment, 3)
    assert report["wall_clock_s"] > 0.0
    for measured in ("normalized_error", "hold_last_error"):
        assert list(report["dynamics"][measured]) == ["1", "8", "24", "100"]
        assert all(value > 0.0 for value in report["dynamics"][measured].values())
    for way in ("deterministic", "sampled"):
        summary = report["deployment"][way]
        assert 0.0 <= summary["track_lin_vel_xy"] <= 1.0
        assert {"track_ang_vel_z", "return", "fall_fraction", "episode_length_s"} <= set(summary)
    assert report["imagination"]["return"] is not None
    levels = ("random", "stand", "poor", "medium", "good", "expert")
    assert set(report["deployment"]["behaviour"]) == set(levels)
    assert report["dream_reality"]["levels"]
    assert "<html" in (run / "report.html").read_text()
    for name in ("dynamics.pt", "policy.pt"):
        torch.load(run / "checkpoints" / name, weights_only=True)
    events = [EventAccumulator(str(path)).Reload().Tags()["scalars"] for path in run.glob("logs/tensorboard/*/version_0")]
    scalars = {name for names in events for name in names}
    named = {"dynamics/validation/rollout_error", "policy/imagined/reward", "deployment/deterministic/return"}
    assert named <= scalars, "as Weights & Biases have them"
    assert "imagined/reward" in (run / "logs/csv/policy/version_0/metrics.csv").read_text()
    logged = (run / "logs/csv/dynamics/version_0/metrics.csv").read_text()
    assert all(f"validation/{name}" in logged for name in ("rollout_error", "nll", "crps", "coverage_683"))
    assert ("validation/rank_correlation" in logged) == (experiment != "rwm_base")
    card = json.loads((run / "run_card.json").read_text())
    assert card["data_hash"] == report["dataset"]["hash"]
    assert torch.__version__.startswith(card["versions"]["torch"])
    assert OmegaConf.load(run / "config.yaml").dynamics.num_members == (1 if experiment == "rwm_base" else 5)
    assert {path.name for path in workplace.iterdir()} == {"runs"}, "a run leaves nothing but its folder"


def test_the_same_seed_gives_the_same_run(workplace: Path, command: Command, smoke: list[str], trained: Trained) -> None:
    arguments = ("+experiment=mopo_ensemble5", *smoke, "stages=[dynamics,policy]")
    first = policy_of(trained("+experiment=mopo_ensemble5", STAGES))
    again, other = {}, {}
    for seed, policy in enumerate((again, other)):
        assert command("train", *arguments, f"seed={seed}").status == 0
        policy |= policy_of(workplace / "runs/latest")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert len([path for path in (workplace / "runs").iterdir() if not path.is_symlink()]) == 3, "no run overwrites another"


@pytest.mark.usefixtures("undrawn", "brief")
def test_stages_alone_reuse_checkpoints(finished: Path, command: Command, smoke: list[str]) -> None:
    given = [f"trainer.checkpoint={finished}/checkpoints/dynamics.pt", f"policy.checkpoint={finished}/checkpoints/policy.pt"]
    alone = command("train", "+experiment=rwm_base", *smoke, "seed=7", "stages=[policy,deployment,report]", *given)
    assert alone.status == 0, alone.err
    run = finished.parent / "latest"
    assert not (run / "logs" / "csv").exists(), "nothing is trained where everything is given"
    assert json.loads((run / "report.json").read_text())["imagination"]["return"] is not None
    taken, given_policy = policy_of(run), policy_of(finished)
    assert all(torch.equal(taken[name], given_policy[name]) for name in given_policy)


@pytest.mark.usefixtures("undrawn", "brief")
def test_evaluate_and_play_use_a_finished_run(finished: Path, command: Command) -> None:
    evaluated = command("evaluate", "evaluation.num_envs=4", "evaluation.seed=5")
    assert evaluated.status == 0, evaluated.err
    report = json.loads((finished / "report.json").read_text())
    assert report["deployment"]["deterministic"]["num_episodes"] == 4
    played = command("play", "duration_s=0.1", "command=[0.5,0,0]", "path=walk.gif")
    assert played.status == 0, played.err
    assert "0.1 s" in played.out
    assert "trained for" not in played.out
    elsewhere = command("evaluate", "simulator=slippery", "evaluation.num_envs=2")
    assert elsewhere.status == 0, elsewhere.err
    found = json.loads((finished / "deployment-slippery.json").read_text())
    assert (found["deterministic"]["num_episodes"], found["environment"]["model"]["friction"]) == (2, 0.25)
    assert json.loads((finished / "report.json").read_text()) == report
    fast = command("play", "duration_s=0.1", "command=[5,0,0]", "simulator=slippery", "path=fast_on_ice.gif")
    assert fast.status == 0, fast.err
    assert "trained for commands up to [1.0, 1.0, 1.0]" in fast.out
    Path("mine.gif").write_bytes(b"precious")
    fails(command("play", "duration_s=0.1", "path=mine.gif"), "mine.gif", "overwrite=true")
    assert Path("mine.gif").read_bytes() == b"precious"


# -- interruption -------------------------------------------------------------------------------------------------------------


def interrupted(patch: pytest.MonkeyPatch, owner: type, name: str, at: int) -> None:
    """Let a scheduler end the run as a method is called for the ``at``-th time."""
    original, calls = getattr(owner, name), [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            signal.raise_signal(signal.SIGTERM)
        return original(*args, **kwargs)

    patch.setattr(owner, name, call)


def test_a_run_interrupted_in_every_stage_goes_on_to_the_same_end(
    workplace: Path, command: Command, smoke: list[str], trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = "+experiment=mopo_ensemble5"
    whole = policy_of(trained(experiment, STAGES))
    arguments = [experiment, *smoke, STAGES]
    folders = set()
    for owner, name, at in ((DynamicsModule, "training_step", 3), (ImaginedEnv, "step", 20)):  # after the first checkpoint
        with monkeypatch.context() as patch:
            interrupted(patch, owner, name, at)
            stopped = command("train", *arguments)
        assert stopped.status == 130
        assert "resume=" in stopped.err, "the user is told how to go on"
        run = (workplace / "runs/latest").resolve()
        assert (run / "checkpoints/dynamics.pt").exists() == (owner is ImaginedEnv)
        assert not (run / "checkpoints/policy.pt").exists()
        folders.add(run)
        arguments = ["resume=runs/latest"]

    resumed = command("train", *arguments)
    assert resumed.status == 0, resumed.err
    assert folders == {(workplace / "runs/latest").resolve()}, "resuming makes no new folder"
    parts = policy_of(run)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_resuming_a_finished_run_repeats_nothing(finished: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(DynamicsModule, "training_step", refuse)
    monkeypatch.setattr(ImaginedEnv, "step", refuse)
    assert command("train", f"resume={finished}").status == 0


# -- mistakes -----------------------------------------------------------------------------------------------------------------


def test_a_command_to_play_is_three_numbers(finished: Path, command: Command) -> None:
    for wrong in ("0.8", "[0.8,0]", "[a,b,c]"):
        fails(command("play", f"command={wrong}"), "command")


def test_a_bare_command_does_not_begin_a_whole_run(workplace: Path, command: Command) -> None:
    fails(command("train"), "scale=smoke", "--help")
    fails(command("train", "seed=1,2"), "seed=1,2", "-m")
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("name", ["train", "collect", "evaluate", "play", "export"])
def test_help_says_what_a_command_does(name: str, workplace: Path, command: Command) -> None:
    told = command(name, "--help")
    assert told.status == 0, told.err
    assert f"python -m rwmu.{name}" in told.out
    assert "--cfg job" in told.out


def test_values_that_no_command_can_use(workplace: Path, command: Command) -> None:
    for arguments in (("train", "resume=5"), ("train", "trainer.checkpoint=5"), ("train", "runs_dir=5"), ("evaluate", "run=5")):
        fails(command(*arguments), "5")
    for wrong in ("duration_s=1e9", "duration_s=0", "seed=-1", "path=3", "checkpoint=[1]", "overwrite=maybe"):
        fails(command("play", wrong), wrong.split("=")[0])
    fails(command("train", "simulator._target_=no.such.Simulator"), "no.such.Simulator")
    fails(command("train", "trust=a/b", "resume=x"), "x")


def test_mistyped_settings(workplace: Path, command: Command) -> None:
    fails(command("train", "+experiment=mopo_ensembl5"), "mopo_ensemble5")
    fails(command("train", "dynamics.hiden_size=3"), "dynamics.hidden_size")
    fails(command("collect", "data=mixt"), "'mixed'")
    fails(command("train", "dynamics.hidden_size=-1"), "dynamics.hidden_size", "-1")
    fails(command("train", "policy.ppo.schedule=cosine"), "schedule", "cosine")
    fails(command("train", "imagination.termination=sampled"), "termination", "sampled")
    fails(command("train", "trainer.max_steps=50"), "trainer.max_steps", "trainer.validate_every")
    fails(command("play", "comand=[1,0,0]"), "command")
    assert list(workplace.iterdir()) == [], "nothing is begun"


def test_an_error_of_an_interpolation_is_one_sentence(workplace: Path, command: Command) -> None:
    fails(command("train", "name=${no_such_key}"), "no_such_key")


def test_unwritable_output(workplace: Path, command: Command, smoke: list[str]) -> None:
    (workplace / "file").write_text("in the way")
    fails(command("train", *smoke, "runs_dir=file/runs"), "file/runs", "runs_dir")


def test_latest_that_is_not_ours_is_left_alone(workplace: Path, command: Command, smoke: list[str]) -> None:
    (workplace / "runs" / "latest").mkdir(parents=True)
    fails(command("train", *smoke), "latest")
    assert not (workplace / "runs" / "latest").is_symlink()


def test_missing_parts(workplace: Path, command: Command, smoke: list[str]) -> None:
    fails(command("train", *smoke, "stages=[policy]"), "trainer.checkpoint")
    fails(command("train", *smoke, "stages=[deployment]"), "policy.checkpoint")
    fails(command("train", *smoke, "stages=[policy]", "trainer.checkpoint=none.pt"), "none.pt")
    fails(command("train", *smoke, "stages=[policy]", "policy.checkpoint=none.pt"), "none.pt")
    fails(command("train", "resume=none"), "none")
    fails(command("evaluate", "run=none"), "none")


def test_resume_takes_no_other_settings(finished: Path, command: Command) -> None:
    fails(command("train", f"resume={finished}", "seed=4"), "seed=4")


def test_a_run_that_is_under_way_is_not_resumed(finished: Path, command: Command) -> None:
    with RunFolder.resume(finished).held():
        fails(command("train", f"resume={finished}"), "Another process is working on", str(finished))
        fails(command("evaluate", f"run={finished}"), "Another process is working on", str(finished))


def test_data_are_not_overwritten(workplace: Path, command: Command, smoke: list[str]) -> None:
    path = workplace / "mine.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n truncated")
    fails(command("collect", "scale=smoke", f"data.path={path}"), "mine.h5", "overwrite=true")
    fails(command("train", *smoke, f"data.path={path}"), "mine.h5", "truncated")
    assert path.read_bytes().endswith(b"truncated")


def test_a_mistyped_path_of_data_is_an_error_and_nothing_is_collected_or_left(
    workplace: Path, command: Command, smoke: list[str]
) -> None:
    fails(command("train", *smoke, f"data.path={workplace}/mispelt.h5"), "mispelt.h5", "data.path")
    assert list((workplace / "runs").iterdir()) == [], "neither a folder nor a latest"
    assert not (workplace / "mispelt.h5").exists()


def test_a_run_pins_what_it_used_and_evaluating_it_collects_nothing(
    trained: Trained, command: Command, smoke: list[str], shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunFolder(trained("+experiment=rwm_base", "stages=[data]")).config()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("data").mkdir()
    shutil.copyfile(shared_data / "smoke.h5", "data/anymal_d-mujoco-mixed-9000-seed0.h5")
    begun = command("train", "+experiment=rwm_base", *(o for o in smoke if "data.path" not in o), "stages=[data,dynamics]")
    assert begun.status == 0, begun.err
    run = Path("runs/latest").resolve()
    assert RunFolder(run).config().data.path == str(Path("data/anymal_d-mujoco-mixed-9000-seed0.h5").absolute())
    assert config.data.path == str(shared_data / "smoke.h5")
    Path("data/anymal_d-mujoco-mixed-9000-seed0.h5").unlink()
    fails(command("evaluate", f"run={run}"), "mixed-9000-seed0.h5")
    assert list(Path("data").iterdir()) == []


def test_a_run_that_has_nothing_to_measure_is_not_evaluated(trained: Trained, command: Command) -> None:
    run = trained("+experiment=rwm_base", "stages=[data]")
    fails(command("evaluate", f"run={run}"), "neither world model nor policy")
    assert not (run / "report.html").exists()


def test_data_of_other_settings_are_refused(workplace: Path, command: Command, smoke: list[str]) -> None:
    fails(command("train", *smoke, "stages=[data]", "simulator.model.friction=0.3"), "simulator.model.friction")
    fails(command("train", *smoke, "stages=[data]", "task.command_range=[1,1,0.5]"), "task.command_range")
    fails(command("train", *smoke, "stages=[data]", "data.seed=5"), "seed")


def test_what_another_reward_pays_for_the_same_data_is_computed_anew(trained: Trained, command: Command, smoke: list[str]) -> None:
    before = trained("+experiment=rwm_base", "stages=[data,dynamics]")
    changed = "task.rewards.flat_orientation_l2.weight=-50.0"
    after = command(
        "train",
        *smoke,
        "+experiment=rwm_base",
        f"trainer.checkpoint={before / 'checkpoints/dynamics.pt'}",
        "stages=[data,policy]",
        changed,
    )
    assert after.status == 0, after.err
    as_collected, anew = (
        json.loads((run / "measured/data.json").read_text())["dataset"]["return_per_20s"] for run in (before, Path("runs/latest"))
    )
    assert anew < as_collected


def test_somebodys_own_data_are_taken_as_they_are(workplace: Path, command: Command, smoke: list[str]) -> None:
    own = command("train", *smoke, "stages=[data]", "data.recipe=null", "simulator.model.friction=0.3", "data.seed=5")
    assert own.status == 0, own.err
    fails(command("train", "scale=smoke", "stages=[data]", "data.recipe=null", "data.path=none.h5"), "none.h5")


def test_without_mujoco_the_extra_is_named(workplace: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    fails(command("collect", "scale=smoke", "machine.progress=false"), "pip install '.[mujoco]'")


@pytest.mark.skipif(find_spec("mjlab") is not None, reason="It is installed.")
def test_a_simulator_that_is_not_installed_is_named_with_the_line_that_installs_it(workplace: Path, command: Command) -> None:
    fails(command("collect", "scale=smoke", "machine.progress=false", "simulator=mjlab"), "pip install '.[mjlab]'")


def test_checkpoints_that_do_not_fit_are_refused(finished: Path, command: Command, smoke: list[str]) -> None:
    given = f"trainer.checkpoint={finished}/checkpoints/dynamics.pt"
    arguments = ("train", "+experiment=rwm_base", *smoke, "stages=[dynamics]", given)
    fails(command(*arguments, "dynamics.num_members=2"), "num_members", "1", "2")
    fails(command(*arguments, "dynamics.hidden_size=8"), "hidden_size")
    fails(command(*arguments, "data.history=9"), "history")
    fails(command(*arguments, "data.fractions.train=0.7", "data.fractions.test=0.17"), "normaliser")
    fails(command("train", *smoke, "stages=[dynamics]", f"trainer.checkpoint={finished}/checkpoints/policy.pt"), "policy.pt")


def test_episodes_shorter_than_a_window(workplace: Path, command: Command, smoke: list[str]) -> None:
    fails(command("train", *smoke, "stages=[dynamics]", "data.history=200"), "204")


def test_a_fresh_process_tells_a_mistake_in_one_sentence(workplace: Path) -> None:
    arguments = [sys.executable, "-m", "rwmu.train", "+experiment=mopo_ensembl5"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(arguments, cwd=workplace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [done.stderr.strip()]
    assert "did you mean 'mopo_ensemble5'?" in done.stderr
    assert done.stdout == ""


def test_what_tells_a_mistake_and_what_draws_a_picture_import_no_torch() -> None:
    modules = ("train", "collect", "evaluate", "play", "view.__main__", "simulators.draw")
    program = f"import sys, {', '.join(f'rwmu.{module}' for module in modules)}; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
