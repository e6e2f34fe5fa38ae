"""The page and the recording, where viser and rerun are installed; what is said where they are not; what may be chosen."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from rwmu.errors import ConfigError, MissingExtraError, UserError
from rwmu.interfaces import Actor
from rwmu.runs.configuration import config_directory
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.simulators.render import save_video
from rwmu.uncertainty.estimates import epistemic
from rwmu.view.__main__ import View
from rwmu.view.dream import Dream
from rwmu.view.judgement import Scale, Usual
from rwmu.view.opening import Opened, policies_of
from rwmu.view.page import Page, require_free, serve
from rwmu.view.recording import film, import_rerun, record
from rwmu.view.scene import import_viser
from rwmu.view.session import Session
from rwmu.view.sources import Recorded, Simulated
from tests.conftest import Command
from tests.fakes import known_world_model, random_episodes
from tests.simulators.test_render import shown
from tests.view.sources import TASK

SCALE = Scale(1.0, 2.0, 4.0)


@pytest.fixture
def opened() -> Opened:
    """Return recorded episodes without a simulator."""
    episodes = random_episodes([30, 20])
    session = Session(
        TASK,
        Dream(known_world_model(3, 4), epistemic, 12.0),
        Usual(SCALE, SCALE, SCALE, SCALE),
        Recorded(episodes, 0, TASK.robot, TASK.step_dt),
    )
    return Opened(session, None, "There is no simulator.", {"stand": lambda: torch.zeros_like}, episodes)


@pytest.fixture
def server() -> Iterator[Any]:
    pytest.importorskip("viser")
    with socket.socket() as tried:
        tried.bind(("localhost", 0))
        port = tried.getsockname()[1]
    made = serve("localhost", port)
    yield made
    made.stop()


def test_colours_follow_the_scale() -> None:
    blue, orange, red, beyond = SCALE.colours([1.0, 2.0, 4.0, 40.0]).astype(int).tolist()
    assert blue[2] > blue[0]
    assert orange[0] > orange[1] > orange[2]
    assert red == beyond
    assert red[0] > 5 * red[1]
    assert SCALE.relative(np.array([2.0, 8.0])).tolist() == [0.5, 2.0]
    assert Scale(0.0, 0.0, 0.0).relative(np.zeros(2)).tolist() == [0.0, 0.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of websockets and viser
def test_the_page_shows_and_answers(server: Any, opened: Opened) -> None:
    page = Page(server, opened)
    session, controls = opened.session, page._controls
    for _ in range(8):
        frame = session.step()
    page._frame = frame
    page._rest()
    assert frame.watched is not None
    assert all(handle.visible for handle in page._scene._ghosts.values())
    shown = next(iter(page._scene._ghosts.values())).batched_colors
    np.testing.assert_array_equal(shown, SCALE.colours(frame.watched.disagreement.tolist()))
    assert "error" in page._gauges._texts["next_"].content
    assert len(page._gauges._plots[""].data[0]) == 5
    controls._restart_s.value, controls._episode.value = 0.6, 1
    controls._todo.put(controls._push)
    controls._todo.put(controls._change_episode)
    controls.apply()
    assert session.restart_s == 0.6
    assert isinstance(session.source, Recorded)
    assert session.source.episode == 1
    assert "Episode 1" in controls._note.content
    controls._step()
    assert (controls.paused, controls.steps) == (True, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of websockets and viser
def test_the_robot_of_the_simulator_is_commanded_and_changes_its_policy(server: Any, opened: Opened) -> None:
    def actor(value: float) -> Actor:
        return lambda observation: torch.full((len(observation), TASK.num_actions), value)

    simulated = Simulated(MujocoEnv(TASK, 1, auto_reset=False), actor(0.0), torch.zeros(3))
    policies = {"still": lambda: actor(0.0), "wild": lambda: actor(3.0)}
    controls = Page(server, replace(opened, simulated=simulated, absent="", policies=policies))._controls
    controls._command[0].value, controls._source.value, controls._policy.value = 0.75, "simulator", "wild"
    controls._actor.value = "policy"
    controls._change_source()
    controls._change_policy()
    controls.apply()
    assert opened.session.source is simulated
    assert simulated.command.tolist() == [0.75, 0.0, 0.0]
    assert opened.session.step().row.action.tolist() == [3.0] * TASK.num_actions
    assert opened.session.dreaming_actor is simulated.actor
    opened.session.fallen_s = 2.5
    controls.apply()
    assert opened.session.fallen_s is None, "it starts again after a fall"


def test_a_recording_holds_poses_and_curves(opened: Opened, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    path = tmp_path / "session.rrd"
    record(opened.session, path, 0.3)
    content = path.read_bytes()
    assert content[:3] == b"RRF"
    for entity in (b"scene/robot/0", b"scene/dream_2/0", b"one_step_ahead/error", b"dream/disagreement"):
        assert entity in content
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_shows_robot_and_dream_side_by_side(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rwmu.view.recording.save_video", partial(save_video, size=(64, 48)))
    path = film(opened.session, tmp_path / "dream.mp4", 0.3)
    if path is None:  # a machine without EGL and OSMesa
        assert "neither EGL nor OSMesa works" in caplog.text
    else:
        assert shown(path) == ((128, 48), 6)
    opened.session.begin()
    with pytest.raises(ConfigError, match="duration_s"):
        film(opened.session, tmp_path / "short.mp4", 0.02)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ask in (("viser", import_viser), ("rerun", import_rerun)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match="pip install"):
            ask()


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=str(port)):
            require_free("localhost", port)
    require_free("localhost", port)


def test_policies_to_choose_from(tmp_path: Path) -> None:
    kept = tmp_path / "policy"
    kept.mkdir()
    for name in ("model_25.pt", "model_100.pt", "resume.pt", "clone.pt"):
        (kept / name).touch()
    folder: Any = SimpleNamespace(checkpoints=tmp_path)
    names = list(policies_of(TASK, tmp_path / "policy.pt", folder))
    assert names[:3] == ["policy.pt", "model_100.pt", "model_25.pt"]
    assert names[3].endswith("expert")
    assert next(iter(policies_of(TASK, None, folder))) == "model_100.pt"
    assert policies_of(TASK, None, folder)[names[3]]()(torch.zeros(1, TASK.num_observations)).shape == (1, TASK.num_actions)


@pytest.mark.parametrize("wrong", ["port=0", "restart_s=0", "episode=-1", "command=[1,0]", "duration_s=1e9", "file=3"])
def test_wrong_settings_of_the_command(wrong: str) -> None:
    config = OmegaConf.merge(OmegaConf.load(config_directory() / "view.yaml"), OmegaConf.from_dotlist([wrong]))
    plain: Any = OmegaConf.to_container(config)
    with pytest.raises(ConfigError, match=wrong.split("=")[0]):
        View(**{name: value for name, value in plain.items() if name not in ("defaults", "hydra")})


def test_a_recording_overwrites_nothing(workplace: Path, command: Command) -> None:
    Path("mine.rrd").write_bytes(b"precious")
    told = command("view.__main__", "file=mine.rrd")
    assert told.status == 2
    assert "overwrite=true" in told.err
    assert Path("mine.rrd").read_bytes() == b"precious"
