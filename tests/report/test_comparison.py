"""Runs are grouped by what they have in common, and a group is summed up by numbers worked by hand."""

import json

import pytest

from rwmu.compare import main, run_folders
from rwmu.errors import ConfigError
from rwmu.report.comparison import Run, aggregated, grouped, table


def run(seed, gain=0.0, name="mine", weight=1.0, **settings):
    deployment = {"deterministic": {"return": 10.0 + seed + gain, "track_lin_vel_xy": 0.8}}
    own = {"name": name, "seed": seed, "runs_dir": f"runs/{seed}", "penalty.weight": weight, **settings}
    return Run(own, deployment, {"imagined/reward": ([0.0, 1.0], [float(seed), 2.0])})


def test_runs_that_differ_by_seed_and_place_are_one_group():
    runs = [run(0), run(1), run(0, weight=0.5), run(0, name="base", weight=0.0)]
    assert {label: len(group) for label, group in grouped(runs).items()} == {
        "mine, penalty.weight=1.0": 2,
        "mine, penalty.weight=0.5": 1,
        "base": 1,
    }


def test_five_runs_have_an_interval_and_fewer_show_themselves():
    interval, values = aggregated([run(seed) for seed in range(5)], ("deterministic", "return"))
    assert values == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert interval.value == 12.0
    assert 10.0 <= interval.low < 12.0 < interval.high <= 14.0
    heading, few = table(grouped([run(0), run(1)]))
    assert few[heading.index("return")] == "10.5 (10, 11)"
    assert few[heading.index("falls")] == "–"


def written(folder, seed):
    (folder / "measured").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: mine\nseed: {seed}\ntrainer: {{}}\nlogger: ${{oc.env:NONE}}\n")
    (folder / "measured/deployment.json").write_text(json.dumps({"deployment": run(seed).deployment}))


def test_the_command_finds_runs_and_writes_table_and_curves(tmp_path, capsys):
    for seed in range(2):
        written(tmp_path / "sweep" / str(seed), seed)
    (tmp_path / "sweep/latest").symlink_to("1")
    written(tmp_path / "sweep/2", 2)
    (tmp_path / "sweep/2/measured/deployment.json").unlink()
    main([str(tmp_path / "sweep"), "--out", str(tmp_path / "out")])
    assert "10.5 (10, 11)" in (tmp_path / "out/table.csv").read_text()
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    assert "Left out: 1" in capsys.readouterr().out


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run folder"):
        run_folders([tmp_path])
