from __future__ import annotations

from pathlib import Path

import pytest

from rwmu.measure.cache import DeploymentCache, deployment_key, source_hash
from rwmu.measure.deployment import Deployment
from tests.fakes import quiet_task
from tests.measure.fakes import deployment


def key(**changes: object) -> dict[str, object]:
    arguments = {"policy_hash": "p", "environment": {"task": quiet_task().describe(), "num_envs": 16}} | changes
    return deployment_key(**arguments)  # type: ignore[arg-type]


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Deployment:
        self.calls += 1
        return deployment()


def test_deploys_once(tmp_path: Path) -> None:
    count = Counter()
    results = [DeploymentCache(tmp_path / "cache").obtain(key(), count) for _ in range(3)]
    assert count.calls == 1
    assert all(result.summary() == deployment().summary() for result in results)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy_hash": "q"},
        {"environment": {"task": quiet_task(command_resample_s=5.0).describe(), "num_envs": 16}},
        {"environment": {"task": quiet_task().describe(), "num_envs": 17}},
    ],
    ids=["policy", "task", "environments"],
)
def test_another_question_is_another_entry(tmp_path: Path, changes: dict[str, object]) -> None:
    cache, count = DeploymentCache(tmp_path), Counter()
    cache.obtain(key(), count)
    cache.obtain(key(**changes), count)
    assert count.calls == 2


@pytest.mark.parametrize("damage", ["half", "empty", "incomplete", "other_key", "lacks_arrays"])
def test_a_partial_entry_is_never_taken_for_a_whole_one(tmp_path: Path, damage: str) -> None:
    cache, count = DeploymentCache(tmp_path), Counter()
    cache.obtain(key(), count)
    path = cache.path(key())
    assert path is not None
    text = path.read_text()
    path.write_text(
        {
            "half": text[: len(text) // 2],
            "empty": "",
            "incomplete": text.replace('"complete": true', '"complete": false'),
            "other_key": text.replace('"num_envs": 16', '"num_envs": 15'),
            "lacks_arrays": text.replace('"lived_steps"', '"else"'),
        }[damage]
    )
    assert cache.load(key()) is None
    cache.obtain(key(), count)
    assert count.calls == 2
    assert cache.load(key()) is not None


def test_without_a_folder_nothing_is_kept() -> None:
    cache, count = DeploymentCache(None), Counter()
    cache.obtain(key(), count)
    cache.obtain(key(), count)
    assert count.calls == 2


def test_leaves_no_partial_files_behind(tmp_path: Path) -> None:
    DeploymentCache(tmp_path).store(key(), deployment())
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_changed_code_asks_anew(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "measure").mkdir()
    (tmp_path / "measure" / "deployment.py").write_text("one")
    hashes = [source_hash(tmp_path), source_hash(tmp_path)]
    for changed in ("tasks/rewards.py", "measure/deployment.py"):
        (tmp_path / changed).write_text("two")
        hashes.append(source_hash(tmp_path))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    count = Counter()
    cache = DeploymentCache(tmp_path / "file")
    assert cache.obtain(key(), count).summary() == deployment().summary()
    assert (count.calls, "not kept" in caplog.text) == (1, True)
