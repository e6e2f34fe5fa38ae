"""Replaying a task over recorded episodes pays what the simulator paid."""

from functools import partial

import torch

from rwmu.data.formats import load, save
from rwmu.data.replay import repaid
from rwmu.robots.go1 import go1
from rwmu.simulators.collect import collect_dataset
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask


def test_episodes_are_repaid_as_another_task_would_have_paid_them(monkeypatch):
    task = VelocityTask(go1(), episode_length_s=0.8, command_resample_s=0.3)
    other = task.varied({"feet_air_time": {"weight": 3.0, "threshold_s": 0.1}, "action_rate_l2": {"weight": -1.0}})
    collected = partial(collect_dataset, MujocoEnv, recipe="random", num_transitions=1600)
    theirs, ours = collected(task=task), collected(task=other)
    assert torch.equal(theirs.state, ours.state)
    assert (theirs.reward - ours.reward).abs().max() > 0.01
    torch.testing.assert_close(repaid(theirs, other).reward, ours.reward, rtol=1e-5, atol=1e-7)
    assert torch.equal(repaid(theirs, other).reward[theirs.offsets], theirs.reward[theirs.offsets])
    whole = repaid(theirs, other).reward
    monkeypatch.setattr("rwmu.data.replay._ROWS_AT_A_TIME", 100)
    assert torch.equal(repaid(theirs, other).reward, whole)


def test_what_was_repaid_keeps_its_name_and_can_be_written(tmp_path):
    task = VelocityTask(go1(), episode_length_s=0.8, command_resample_s=0.3)
    theirs = collect_dataset(MujocoEnv, task, "random", 200)
    paid = repaid(theirs, task.varied({"lin_vel_z_l2": {"weight": -9.0}}))
    assert paid.content_hash() == theirs.content_hash()
    save(paid, tmp_path / "paid.h5")
    assert torch.equal(load(tmp_path / "paid.h5", go1()).reward, paid.reward)
