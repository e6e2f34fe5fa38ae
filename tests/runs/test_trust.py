"""A run folder that somebody else made runs no code, reads nothing of this machine's and writes nowhere else."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments.calibration.__main__ import main as calibrate
from rwmu.errors import ConfigError
from rwmu.imagination.penalty import MopoPenalty
from rwmu.runs.configuration import compose_config
from rwmu.runs.experiment import build
from rwmu.runs.folder import RunFolder
from rwmu.runs.trust import foreign, modules, shipped
from tests.conftest import Command

COMMANDS = {
    "resumed": ("train", "resume=run"),
    "measured": ("evaluate", "run=run"),
    "played": ("play", "run=run"),
    "exported": ("export", "run=run"),
    "diagnosed": ("evaluate", "diagnostics=exploit", "run=run"),
}
WRITES = {"_target_": "pathlib.Path.write_text", "self": {"_target_": "pathlib.Path", "_args_": ["ran"]}, "data": "yes"}
# Where a folder may try to have something built -> what it would build.
TRAPS: dict[str, tuple[str, Any]] = {
    "the whole": ("_target_", "os.system"),
    "a part": ("penalty", WRITES),
    "a part of a part": ("trainer.loss", {"_target_": "setuptools._distutils.spawn.spawn", "cmd": ["touch", "ran"]}),
    "a partial": ("logger.csv", {"_target_": "torch.load", "_partial_": True, "f": "x.pt", "weights_only": False}),
    "in a list": ("stages", ["data", {"_target_": "torch.hub.load", "repo_or_dir": ".", "source": "local", "model": "x"}]),
    "beside a namesake": ("penalty.form._target_", "rwmu.imagination.penalty.MopoPenalty.mro"),
    "a name that begins alike": ("penalty.form._target_", "rwmu.imagination.penaltyx.Evil"),
    "no name": ("penalty.form._target_", 5),
    "positional": ("task.robot._args_", [1]),
    "unresolved": ("name", "${oc.env:HOME}"),
    "unresolved, within": ("data.path", "x-${oc.decode:1}"),
    "a logger elsewhere": ("logger.csv.version", "../../../elsewhere"),
}


@cache
def plain() -> Any:
    return OmegaConf.to_container(compose_config("train", ["scale=smoke"]), resolve=True)


def write(folder: Path, key: str = "", value: Any = None) -> RunFolder:
    """Make a run folder whose configuration has another value somewhere."""
    config = copy.deepcopy(plain())
    if key:
        *path, last = key.split(".")
        node = config
        for name in path:
            node = node[name]
        node[last] = value
    folder.mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create(config, flags={"allow_objects": True}), folder / "config.yaml")
    return RunFolder(folder)


@pytest.mark.parametrize("trap", TRAPS)
def test_what_does_not_ship_is_not_built(trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        build(write(tmp_path / "run", *TRAPS[trap]).config())
    assert TRAPS[trap][0].split(".")[0] in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_key_cannot_hide_another(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "penalty", {"form": {"_target_": "os.system"}, "form._target_": "builtins.dict"})
    with pytest.raises(ConfigError, match=r"os\.system"):
        folder.config()


@pytest.mark.parametrize("way", COMMANDS)
def test_every_command_checks_the_folder_that_it_opens(way: str, workplace: Path, command: Command) -> None:
    write(workplace / "run", "penalty", WRITES)
    outcome = command(*COMMANDS[way])
    assert outcome.status == 2
    assert "pathlib" in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path.name for path in workplace.iterdir()} == {"run"}


def test_so_does_the_calibration(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(workplace / "run", "penalty", WRITES)
    with pytest.raises(SystemExit):
        calibrate(["run=run"])
    assert "pathlib" in capsys.readouterr().err
    assert not (workplace / "ran").exists()


def test_what_ships_is_built(tmp_path: Path) -> None:
    assert build(write(tmp_path / "run").config()).penalty.form.func is MopoPenalty
    assert foreign(plain()) == []
    assert "rwmu.dynamics.shared.SharedEnsemble" in shipped(), "of an option that was not chosen"


def test_a_module_that_the_user_names_may_be_built_from(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "dynamics._target_", "tests.linear_model.LinearEnsemble")
    for others in ([], ["tests.linear"], ["linear_model"]):
        with pytest.raises(ConfigError, match=r"trust=tests\.linear_model"):
            folder.config(others)
    for named in ("tests.linear_model", ["os", "tests"]):
        assert folder.config(modules(named)).dynamics._target_ == "tests.linear_model.LinearEnsemble"
    assert folder.how_to_resume.endswith("'trust=[tests.linear_model]'")
    with pytest.raises(ConfigError, match="trust"):
        modules("a/b")


def test_a_folder_cannot_say_that_it_is_trusted(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "penalty", WRITES)
    text = (folder.path / "config.yaml").read_text().replace("trust: []", "trust: [pathlib]")
    assert "[pathlib]" in text
    (folder.path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="pathlib"):
        folder.config()


def test_yaml_of_python_and_aliases_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    text = (folder.path / "config.yaml").read_text()
    laughs = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20))
    for added in ("x: !!python/object/apply:os.system ['touch ran']\n", laughs, "x: [", "\x00", "&" * 50, "[" * 5000):
        (folder.path / "config.yaml").write_text(text + added)
        with pytest.raises(ConfigError) as caught:
            folder.config()
        assert "config.yaml" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["figures", "video.mp4", "measured/deployment.json", "logs/csv/policy", "checkpoints/policy.pt"])
def test_a_link_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run").path
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir()
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=name):
        RunFolder.resume(folder)


def test_links_within_the_folder_and_to_it_are_ours(tmp_path: Path) -> None:
    folder = write(tmp_path / "run").path
    (tmp_path / "latest").symlink_to("run")
    (folder / "newest").symlink_to("config.yaml")
    own = folder / "logs" / "wandb" / "wandb" / "offline-run-1" / "logs"
    own.mkdir(parents=True)
    (own / "debug-core.log").symlink_to(tmp_path / "core.log")  # as Weights & Biases does
    assert RunFolder.resume(tmp_path / "latest").path == folder
