"""The command: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from experiments.calibration import __main__ as calibration
from experiments.calibration import summarise
from experiments.calibration.options import Options, parse
from experiments.calibration.subject import split
from experiments.generated import marks
from rwmu.data.episodes import concatenate
from rwmu.data.formats import hdf5
from rwmu.data.normalizer import Normalizer
from rwmu.dynamics.world_model import WorldModel
from rwmu.errors import ConfigError
from rwmu.report import verdicts
from rwmu.report.calibration.content import body, estimate_words
from rwmu.report.calibration.figures import FIGURES, recalibrated_by
from rwmu.report.calibration.report import TABLES
from rwmu.report.cells import csv_tables
from rwmu.runs.configuration import compose_config
from rwmu.runs.experiment import Experiment, build
from tests.fakes import random_episodes

LENGTHS = [60, 70, 80, 90] * 10
SMALL = ["horizons=[1,4,500]", "stretches=40", "long_stretches=5", "samples=2", "resamples=10", "progress=false"]
SMALL += ["noise.scales=[0,0.5]", "noise.trajectories=3", "noise.steps=8"]


def make_run(folder: Path, members: int = 2, fractions: str = "{train:0.4,validation:0.1,test:0.25,calibration:0.25}") -> Path:
    """Make the folder of a run whose world model was not trained at all."""
    episodes = random_episodes(LENGTHS, terminated=(1, 5, 8, 20, 21, 22, 30, 31))
    hdf5.save(episodes, folder / "data.h5")
    overrides = ["scale=smoke", f"data.path={folder / 'data.h5'}", f"dynamics.num_members={members}", f"data.fractions={fractions}"]
    config = compose_config("train", overrides)
    experiment = build(config)
    torch.manual_seed(0)
    model, architecture = experiment.fitter.new_model(experiment.task.robot)
    robot = experiment.task.robot
    world_model = WorldModel(
        model,  # type: ignore[arg-type]
        Normalizer.fit(episodes.state, robot.state_layout),
        config.data.history,
        robot.name,
        robot.state_layout.describe(),
        episodes.content_hash(),
        architecture,
    )
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    world_model.save(run / "checkpoints" / "dynamics.pt")
    OmegaConf.save(config, run / "config.yaml", resolve=True)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("calibration"))


@pytest.fixture(scope="module")
def results(run: Path) -> dict[str, Any]:
    calibration.main([f"run={run}", *SMALL])
    found: dict[str, Any] = json.loads((run / "calibration" / "calibration.json").read_text())
    return found


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        calibration.main(list(arguments))
    assert stopped.value.code == 2
    sentence = capsys.readouterr().err.strip()
    assert "\n" not in sentence
    return sentence


def test_it_writes_everything_and_nothing_elsewhere(run: Path, results: dict[str, Any]) -> None:
    folder = run / "calibration"
    assert {path.name for path in run.iterdir()} == {"checkpoints", "config.yaml", "calibration"}
    tables = {"ranking", "scale", "diversity", "heads", "falls", "foresight", "outside", "noise"}
    files = {path.name for path in folder.iterdir()}
    assert files == {"calibration.json", "recalibrations.json", "calibration.html", "figures"} | {f"{name}.csv" for name in tables}
    assert {path.stem for path in (folder / "figures").iterdir()} == set(FIGURES)
    assert results["subject"]["robot"] == "anymal_d"
    assert results["options"]["horizons"] == [1, 4, 500]


def test_the_page_is_self_contained_and_says_the_verdict_first(run: Path, results: dict[str, Any]) -> None:
    html = (run / "calibration" / "calibration.html").read_text()
    assert html.count("data:image/png;base64,") == len(FIGURES)
    assert "http" not in html.replace("http-equiv", "")
    assert html.index(results["verdicts"][0]["question"]) < html.index("<figure>")
    assert "16 + 500 rows are needed" in html or "rows are needed, but the longest test episode has 90" in html


def test_the_tables_hold_the_cells(run: Path, results: dict[str, Any]) -> None:
    with (run / "calibration" / "ranking.csv").open() as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    cell = results["ranking"]["4"]["within_step_rank"]
    assert float(rows["4/within_step_rank"]["value"]) == pytest.approx(cell["value"])
    assert int(rows["4/within_step_rank"]["trajectories"]) == cell["trajectories"] == 10
    assert "rows are needed" in rows["500/rank"]["reason"]
    assert rows["500/rank"]["value"] == ""


def test_noise_in_the_simulator_was_measured(results: dict[str, Any]) -> None:
    pytest.importorskip("mujoco")
    simulated = results["noise"]["simulated"]
    assert "behaviour policy 'good'" in simulated["about"]
    assert simulated["scales"]["0.5"]["4"]["rollouts"] == 3
    assert simulated["scales"]["0"]["4"]["error"]["value"] is not None


@pytest.mark.usefixtures("undrawn")
def test_without_the_simulator_it_says_so(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rwmu.errors import MissingExtraError

    def missing(*_: Any, **__: Any) -> None:
        raise MissingExtraError("The embedded simulator needs MuJoCo 4.")

    monkeypatch.setattr(Experiment, "make_env", missing)
    calibration.main([f"run={run}", f"output={tmp_path / 'out'}", *SMALL, "horizons=[1]"])
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert found["noise"]["simulated"]["missing"] == "The embedded simulator needs MuJoCo 4."
    assert "The embedded simulator needs MuJoCo 4." in found["verdicts"][-1]["answer"]
    assert "The embedded simulator needs MuJoCo 4." in (tmp_path / "out" / "calibration.html").read_text()


def test_figures_are_left_out_where_there_is_nothing_to_draw(results: dict[str, Any]) -> None:
    alone = results | {"points": {}, "sparsification": {}, "noise": {"simulated": {"missing": "no simulator"}}}
    alone["ranking"] = {k: {name: {"value": None} for name in cells} for k, cells in results["ranking"].items()}
    for name in ("ranking_by_horizon", "disagreement_against_error", "sparsification", "noise"):
        assert FIGURES[name](alone) is None


# -- the page's wording -------------------------------------------------------------------------------------------------------


def cell(
    value: float | None, low: float | None = None, high: float | None = None, number: int = 3, why: str = ""
) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "trajectories": number, "reason": why, "text": ""}


def told(results: dict[str, Any]) -> str:
    """Return the page without its figures."""
    return body(results, {}, verdicts.of_calibration(results))


FEW, RARE = "5 independent trajectories are needed", "104 of 300 resamples could not be measured"


def test_the_page_hides_no_missing_interval(results: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(results))
    changed["heads"]["termination"]["recall"] = cell(0.0, number=12, why=RARE)
    changed["scale"]["sampled"]["raw"]["4"]["width_683"] = cell(22977.2, 1.5, 45005.5, 43)
    page = told(changed)
    assert ">0 (12, no interval: too few cases)</td>" in page
    assert f"No interval: recall at termination: {RARE}." in page
    assert "&gt; 100 [1.5, &gt; 100] (43)" in page
    assert "beyond 100 standard deviations" in page
    assert "22977" not in page
    assert "beyond 100 standard deviations" not in told(results)


def test_the_disagreement_is_named_as_it_was_measured(results: dict[str, Any]) -> None:
    assert "sum of the standard deviations" in told(results)
    assert "largest distance between two members' means" in estimate_words({"estimate": "pairwise"})
    assert estimate_words({"estimate": "std, standardised"}).endswith("means, standardised")
    other = told(results | {"estimate": "pairwise"})
    assert "sum of the standard deviations" not in other
    assert "largest distance between two members" in other
    assert "what the penalty sees" not in other


def test_the_heat_map_says_which_recalibration() -> None:
    table: dict[str, Any] = {"columns": ["a"], "1": {"recalibrated_by": "conformal"}, "8": {"recalibrated_by": "conformal"}}
    assert recalibrated_by(table) == "recalibrated (conformal)"
    table["8"]["recalibrated_by"] = "per_horizon"
    assert recalibrated_by(table) == "recalibrated:\nconformal at 1\none a step at 8"
    assert recalibrated_by({"columns": ["a"], "1": {"recalibrated_by": None}}) == "not recalibrated"


@pytest.mark.usefixtures("undrawn")
def test_a_rerun_replaces_its_own_and_says_so(run: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    stale = run / "calibration" / "figures" / "noise.png"
    stale.write_bytes(b"of an earlier analysis")
    capsys.readouterr()
    calibration.main([f"run={run}", *SMALL, "noise.scales=[]", "horizons=[1]"])
    printed = capsys.readouterr().out
    assert printed.startswith("Replacing the earlier analysis")
    assert printed.strip().splitlines()[-1].endswith("calibration.html")
    assert printed.count("?") >= 6, "an answer to every question"
    assert not stale.exists()


@pytest.mark.usefixtures("undrawn")
def test_one_member_and_no_calibration_split_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, members=1, fractions="{train:0.6,validation:0.1,test:0.3,calibration:0.0}")
    calibration.main([f"run={run}", *SMALL, "noise.simulator=false", "horizons=[1,4]"])
    printed = capsys.readouterr().out
    assert "one member" in printed
    assert "there is no calibration split" in printed
    found = json.loads((run / "calibration" / "calibration.json").read_text())
    assert found["calibration"] is None
    assert [entry["tone"] for entry in found["verdicts"]][::2] == ["unknown"] * 4, (
        "ranking, recalibrated scale, falls, rows beyond the data"
    )
    html = (run / "calibration" / "calibration.html").read_text()
    assert "There is no calibration split" in html
    assert "one member" in html


def test_another_folder_with_files_is_left_alone(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    sentence = failure(capsys, f"run={run}", f"output={tmp_path}", *SMALL)
    assert "holds other files" in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run=nowhere"], "There is no run folder nowhere"),
        ([], "Which run?"),
        (["run=x", "horizon=[1]"], "no option 'horizon'; did you mean 'horizons'?"),
        (["run=x", "samples=many"], "samples"),
        (["run=x", "horizons=[8,1]"], "horizons is [8, 1]"),
        (["run=x", "noise.scales=[-1]"], "noise.scales"),
        (["run=x", "num_threads=0"], "num_threads is 0"),
        (["runs/latest"], "write it as key=value"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sentence in failure(capsys, *arguments)


def test_a_run_without_model_data_or_test_split_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "bare"
    (bare / "checkpoints").mkdir(parents=True)
    assert "it has no config.yaml" in failure(capsys, f"run={bare}")
    config = OmegaConf.load(run / "config.yaml")
    OmegaConf.save(config, bare / "config.yaml")
    assert "has no world model yet" in failure(capsys, f"run={bare}", f"output={tmp_path / 'a'}")
    (bare / "checkpoints" / "dynamics.pt").write_bytes((run / "checkpoints" / "dynamics.pt").read_bytes())
    OmegaConf.save(OmegaConf.merge(config, {"data": {"path": "nowhere.h5"}}), bare / "config.yaml")
    assert "There is no data file nowhere.h5" in failure(capsys, f"run={bare}", f"output={tmp_path / 'b'}")
    fractions = {"train": 0.9, "validation": 0.1, "test": 0.0, "calibration": 0.0}
    OmegaConf.save(OmegaConf.merge(config, {"data": {"fractions": fractions}}), bare / "config.yaml")
    assert "There are no test episodes" in failure(capsys, f"run={bare}", f"output={tmp_path / 'c'}")


def test_another_robots_data_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = random_episodes(LENGTHS, seed=9)
    attributes = dict(other.attributes) | {"robot": "go2"}
    hdf5.save(type(other)(**{**vars_of(other), "attributes": attributes}), tmp_path / "other.h5")
    assert "go2" in failure(capsys, f"run={run}", f"data={tmp_path / 'other.h5'}", f"output={tmp_path / 'out'}", *SMALL)


def vars_of(episodes: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(episodes, field.name) for field in fields(episodes)}


@pytest.mark.usefixtures("undrawn")
def test_another_dataset_of_the_robot_can_be_tested_on(run: Path, tmp_path: Path) -> None:
    hdf5.save(random_episodes(LENGTHS, seed=9), tmp_path / "other.h5")
    arguments = [
        f"run={run}",
        f"data={tmp_path / 'other.h5'}",
        f"output={tmp_path / 'out'}",
        *SMALL,
        "noise.scales=[]",
        "horizons=[1]",
    ]
    calibration.main(arguments)
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert found["test"]["data_hash"] != found["calibration"]["data_hash"]


@pytest.mark.usefixtures("undrawn")
def test_what_the_run_was_fitted_on_is_left_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = hdf5.load(Path(OmegaConf.load(run / "config.yaml").data.path))
    hdf5.save(concatenate([own, random_episodes(LENGTHS, seed=9)]), tmp_path / "longer.h5")
    few = ["noise.scales=[]", "horizons=[1]"]
    calibration.main([f"run={run}", f"data={tmp_path / 'longer.h5'}", f"output={tmp_path / 'out'}", *SMALL, *few])
    found = json.loads((tmp_path / "out" / "calibration.json").read_text())
    said = re.search(r"without (\d+) of its (\d+) test episodes, which the run was trained", found["subject"]["tested_on"])
    assert said is not None
    assert found["test"]["episodes"] == int(said[2]) - int(said[1]) > 0
    assert said[0] in (tmp_path / "out" / "calibration.html").read_text()

    fitted = torch.cat([ids for name, ids in split(own, OmegaConf.load(run / "config.yaml")).items() if name != "test"])
    hdf5.save(own.select(fitted), tmp_path / "fitted.h5")
    sentence = failure(capsys, f"run={run}", f"data={tmp_path / 'fitted.h5'}", f"output={tmp_path / 'none'}", *SMALL, *few)
    assert "test episodes of" in sentence
    assert "are also in the run's own data" in sentence
    assert not list((tmp_path / "none").iterdir())


def test_the_options_are_those_of_the_settings() -> None:
    options = parse(["run=x", "horizons=[2,3]", "noise.scales=[0.1]"])
    assert options.horizons == (2, 3)
    assert options.noise.scales == (0.1,)
    assert Options(run="x").stretches == 200
    assert options.folder == Path("x/calibration")
    with pytest.raises(ConfigError):
        parse(["run=x", "noise.steps=0"])


def test_the_summary_keeps_the_tables_and_writes_them_between_the_marks(
    run: Path, results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin, end = marks("results", summarise.COMMAND)
    (tmp_path / "README.md").write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    folder, kept = tmp_path / "analysis", {name: results[name] for name in ("verdicts", "dimensions")}
    folder.mkdir()
    (folder / "calibration.json").write_text(json.dumps(kept))
    for name, table in csv_tables(results, TABLES).items():
        (folder / f"{name}.csv").write_text(table)
    summarise.main([f"tiny={folder}"], here=tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    rank = results["ranking"]["4"]["rank"]
    assert f"| tiny | 4 | 10 | {rank['value']:.2f} [{rank['low']:.2f}, {rank['high']:.2f}] |" in text
    assert "| tiny | 500 | 0 | – |" in text
    found = results["dimensions"]["4"]["raw"]
    assert f"| {found['near']} of 45, {found['worst']} {100 * found['coverage']:.0f} % |" in text
    errors = results["diversity"]["effective_members"]
    assert f"[{errors['low']:.2f}, {errors['high']:.2f}] ({errors['trajectories']}) |" in text
    (folder / "calibration.json").write_text(json.dumps(kept | {"grouped_by": "dimension"}))
    summarise.main([f"tiny_by_dimension={folder}"], here=tmp_path)
    tables = (tmp_path / "README.md").read_text().split("\n\n")
    having = ["| tiny_by_dimension |" in table or "tiny_by_dimension" in table.split("\n")[0] for table in tables]
    assert sum(having) == 1, "in the table of scales alone"
    with pytest.raises(ConfigError, match="no calibration analysis"):
        summarise.main([f"tiny={tmp_path / 'nowhere'}"], here=tmp_path)
