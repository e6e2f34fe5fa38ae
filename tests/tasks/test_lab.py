"""Isaac Lab's kind of reward and termination functions on rows: equal to ours where they are the same, refused where rows lack."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import anymal_d
from rwmu.robots.go1 import go1
from rwmu.tasks.lab import LabTask
from rwmu.tasks.lab_terms import LabTerms
from rwmu.tasks.stand_in import StandIn
from rwmu.tasks.velocity import TaskMemory, VelocityTask
from tests.pretended_device import on_device, pretended_device, waits
from tests.tasks import fake_lab
from tests.tasks.fake_lab import SceneEntityCfg, TermCfg

ROBOT, BATCH = anymal_d(), 64


def lab_task(extra: dict[str, TermCfg] | None = None, ends: dict[str, TermCfg] | None = None, **arguments: Any) -> LabTask:
    terminations = fake_lab.terminations() | (ends or {})
    return LabTask(ROBOT, LabTerms("Fake-Lab", fake_lab.rewards() | (extra or {}), terminations), **arguments)


@pytest.fixture(scope="module")
def task() -> LabTask:
    return lab_task()


def rows(batch: int = BATCH) -> tuple[TaskMemory, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a memory, states, actions and contacts; times are whole steps."""
    generator = torch.Generator().manual_seed(1)
    memory = VelocityTask(ROBOT).start(batch)
    memory = memory.map(lambda tensor: torch.randn(tensor.shape, generator=generator))
    memory.air_time_s = 0.02 * torch.randint(0, 40, (batch, 4), generator=generator)
    memory.contact_time_s = torch.where(memory.air_time_s > 0.0, 0.0, 0.1)
    memory.command[: batch // 2] = 0.0
    contact = torch.rand(batch, 8, generator=generator) < 0.5
    return memory, torch.randn(batch, 45, generator=generator), torch.randn(batch, 12, generator=generator), contact


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_terms_that_are_ours_too_are_equal(task: LabTask, dtype: torch.dtype) -> None:
    memory, state, action, contact = rows()
    given = memory.map(lambda tensor: tensor.to(dtype)), state.to(dtype), action.to(dtype), contact
    ours = VelocityTask(ROBOT).reward(given[0].take(slice(None)), *given[1:]).terms
    terms = task.reward(given[0].take(slice(None)), *given[1:]).terms
    for name in ("track_lin_vel_xy_exp", "dof_torques_l2", "dof_acc_l2", "action_rate_l2", "undesired_contacts"):
        torch.testing.assert_close(terms[name], ours[name], msg=name)
        assert terms[name].dtype == dtype
        assert float(terms[name].std()) > 0.0, name


def test_velocities_are_those_of_the_centre_of_mass_where_isaac_lab_means_them(task: LabTask) -> None:
    memory, state, action, contact = rows()
    velocity, spin = state[:, :3], state[:, 3:6]
    off = torch.tensor([-0.018518, -0.000179, 0.00814])
    expected = (velocity + torch.linalg.cross(spin, off.expand_as(spin)))[:, 2].square()
    torch.testing.assert_close(task.reward(memory, state, action, contact).terms["lin_vel_z_l2"], expected)


def test_entities_are_found_by_expressions_of_names(task: LabTask) -> None:
    memory, state, action, contact = rows()
    hips = state[:, ROBOT.state_layout["joint_vel"]][:, [ROBOT.joint_names.index(f"{leg}_HAA") for leg in ("LF", "LH", "RF", "RH")]]
    terms = task.reward(memory, state, action, contact).terms
    torch.testing.assert_close(terms["joint_vel_l2"], hips.square().sum(1))
    deviation = state[:, ROBOT.state_layout["joint_pos"]].abs().sum(1)
    torch.testing.assert_close(terms["deviation"], deviation, rtol=1e-5, atol=1e-5)


def test_a_touch_down_is_paid_in_its_own_step_as_isaac_lab_does(task: LabTask) -> None:
    memory, state, action, _ = rows(1)
    memory.command[:] = 1.0
    memory.air_time_s[:], memory.contact_time_s[:], memory.last_air_time_s[:] = 0.28, 0.0, 0.9
    touching = torch.tensor([[False] * 4 + [True, False, False, False]])
    assert float(task.reward(memory, state, action, touching).terms["feet_air_time"]) == pytest.approx(0.30 - 0.5)
    assert float(task.reward(memory, state, action, touching).terms["feet_air_time"]) == 0.0


def test_weights_and_arguments_are_isaac_labs_unless_given() -> None:
    changed = lab_task(rewards={"feet_air_time": {"weight": 2.0}, "track_lin_vel_xy_exp": {"std": 2.0}})
    assert changed.weights["feet_air_time"] == 2.0
    assert changed.weights["lin_vel_z_l2"] == -2.0
    memory, state, action, contact = rows()
    found = changed.reward(memory.take(slice(None)), state, action, contact).terms["track_lin_vel_xy_exp"]
    error = (memory.command[:, :2] - state[:, :2]).square().sum(1)
    torch.testing.assert_close(found, torch.exp(-error / 4.0))
    eager = changed.varied({"feet_air_time": {"threshold_s": 0.3}})  # the name that recipes for our own term use
    thresholds = [t.rewards.describe()["feet_air_time"]["arguments"] for t in (changed, eager)]
    assert [used.get("threshold_s") for used in thresholds] == [None, 0.3]
    memory.command[:] = 1.0
    values = [t.reward(memory.take(slice(None)), state, action, contact).terms["feet_air_time"] for t in (changed, eager)]
    assert float((values[1] - values[0]).max()) == pytest.approx(4 * 0.2, abs=0.21)
    with pytest.raises(ConfigError, match="nothing_like_it"):
        lab_task(rewards={"nothing_like_it": {"weight": 1.0}})


def test_what_deployments_report_is_computed_but_not_paid(task: LabTask) -> None:
    assert task.weights["track_ang_vel_z_exp"] == 0.0
    assert task.weights["track_lin_vel_xy_exp"] == 1.0


REFUSED: dict[str, tuple[TermCfg, str]] = {
    "height": (TermCfg(fake_lab.base_height_l2, -1.0, {"target_height": 0.5}), "robot.data.root_pos_w"),
    "scan": (TermCfg(fake_lab.height_scan, 1.0, {"sensor_cfg": SceneEntityCfg("height_scanner")}), "scene['height_scanner']"),
    "hard": (TermCfg(fake_lab.undesired_contacts, 1.0, {"sensor_cfg": fake_lab.FEET, "threshold": 50.0}), "size of contact forces"),
    "soft": (TermCfg(fake_lab.undesired_contacts, 1.0, {"sensor_cfg": fake_lab.FEET, "threshold": 0.5}), "size of contact forces"),
    "any": (
        TermCfg(fake_lab.undesired_contacts, 1.0, {"sensor_cfg": SceneEntityCfg("contact_forces"), "threshold": 1.0}),
        "contacts of base",
    ),
    "tail": (
        TermCfg(
            fake_lab.undesired_contacts, 1.0, {"sensor_cfg": SceneEntityCfg("contact_forces", body_names="tail"), "threshold": 1.0}
        ),
        "'tail'",
    ),
    "remembering": (TermCfg(fake_lab.Remembering), "memory"),
    "other": (TermCfg(fake_lab.track_lin_vel_xy_exp, 1.0, {"std": 0.5, "command_name": "pose"}), "command 'pose'"),
    "limits": (TermCfg(lambda env: env.scene["robot"].data.soft_joint_pos_limits.torch[..., 0].sum(1)), "soft_joint_pos_limits"),
    "broken": (TermCfg(lambda env: env.action_manager.action @ torch.zeros(3)), "RuntimeError"),
    "wide": (TermCfg(lambda env: env.action_manager.action), "(8, 12)"),
    "whole": (TermCfg(lambda env: env.action_manager.action.sum().expand(env.num_envs)), "other environments"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_rows_do_not_hold_is_named_with_both_lists(name: str) -> None:
    term, missing = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        lab_task({name: term})
    told = str(caught.value)
    assert f"{name} asks for" in told
    assert missing in told
    assert "projected_gravity_b" in told, "what rows do have"
    assert f"task.rewards.{name}.weight=0" in told


def test_what_is_paid_for_the_end_of_an_episode_is_refused_wherever_it_comes_from() -> None:
    for terms_from in ("rows", "simulator"):
        with pytest.raises(ConfigError, match=r"alive.*imagination.termination_penalty"):
            lab_task({"alive": TermCfg(fake_lab.is_terminated, -1.0)}, terms_from=terms_from)


def test_a_simulator_that_cannot_compute_a_term_either_is_named() -> None:
    task = lab_task({"height": REFUSED["height"][0]}, terms_from="simulator")
    with pytest.raises(ConfigError, match="height"):
        task.simulated(StandIn(ROBOT, 0.02).env)


def test_what_is_not_paid_need_not_be_known() -> None:
    assert "height" not in lab_task({"height": REFUSED["height"][0]}, rewards={"height": {"weight": 0.0}}).weights


def test_terms_may_be_classes() -> None:
    task = lab_task({"scaled": TermCfg(fake_lab.Scaled, 1.0, {"scale": 3.0})})
    memory, state, action, contact = rows()
    in_air = torch.where(contact[:, 4:], 0.0, memory.air_time_s + 0.02)
    torch.testing.assert_close(task.reward(memory, state, action, contact).terms["scaled"], 3.0 * in_air.sum(1))


def test_terminations_are_isaac_labs(task: LabTask) -> None:
    memory, state, action, contact = rows()
    state[:, 6:9] = torch.nn.functional.normalize(state[:, 6:9])
    ended = task.ends(memory, state, action, contact)
    assert ended is not None
    assert torch.equal(ended, torch.acos(-state[:, 8]) > 1.0)
    assert 0 < int(ended.sum()) < BATCH
    touching = torch.tensor([True, False] * (BATCH // 2))
    assert torch.equal(task.terminate(state, touching), touching)
    without = LabTask(ROBOT, LabTerms("Fake-Lab", fake_lab.rewards(), {}))
    assert not without.terminate(state, touching).any()
    assert without.ends(memory, state, action, contact) is None


def test_a_termination_that_rows_do_not_tell_is_refused_or_left_to_the_simulator() -> None:
    low = {"low": TermCfg(fake_lab.root_height_below_minimum, params={"minimum_height": 0.2})}
    with pytest.raises(ConfigError, match=r"low asks for robot.data.root_pos_w"):
        lab_task(ends=low)
    task = lab_task(ends=low, terms_from="simulator")
    assert task.ended_by_simulator == ["low"]
    assert task.extension == ()


def test_rewards_that_rows_do_not_tell_are_columns_of_the_extension() -> None:
    task = lab_task({"height": REFUSED["height"][0]}, terms_from="simulator")
    assert task.extension == ("height",)
    memory, state, action, contact = rows()
    told = torch.rand(BATCH, 1)
    reward = task.reward(memory, state, action, contact, told)
    assert torch.equal(reward.terms["height"], told[:, 0])
    paid = sum(task.weights[name] * term for name, term in reward.terms.items())
    torch.testing.assert_close(reward.total, 0.02 * paid)


def test_what_it_is_can_be_told_apart(task: LabTask) -> None:
    described = task.describe()
    assert described["rewards"]["feet_air_time"]["arguments"]["threshold"] == 0.5
    assert ".*FOOT" in described["rewards"]["feet_air_time"]["function"]
    assert described["ended_by"]["bad_orientation"]["arguments"] == {"limit_angle": 1.0}
    assert "extension" not in described


def test_data_of_our_task_serve_one_that_ends_alike() -> None:
    base = {"base_contact": fake_lab.terminations()["base_contact"]}
    theirs, ours = LabTask(ROBOT, LabTerms("Fake-Lab", fake_lab.rewards(), base)).describe(), VelocityTask(ROBOT).describe()
    assert theirs.pop("rewards") != ours.pop("rewards")
    assert theirs == ours
    assert LabTask(ROBOT, LabTerms("Fake-Lab", fake_lab.rewards(), {})).describe()["falls_by_contact"] is False


def test_another_robot_has_other_names() -> None:
    base = {
        "base_contact": TermCfg(
            fake_lab.illegal_contact, params={"sensor_cfg": SceneEntityCfg("contact_forces", body_names="trunk"), "threshold": 1.0}
        )
    }
    terms = {name: term for name, term in fake_lab.rewards().items() if name not in ("joint_vel_l2",)}
    assert LabTask(go1(), LabTerms("Fake-Lab", terms, base)).falls_by_contact


def test_a_term_asks_for_what_it_needs(task: LabTask) -> None:
    needed = {
        "action",
        "last_action",
        "command",
        "foot",
        "undesired",
        "air_time_s",
        "contact_time_s",
        "last_air_time_s",
        "joint_pos",
    }
    assert needed <= task.rewards.asked
    alone = LabTask(ROBOT, LabTerms("Fake-Lab", {"torque": fake_lab.rewards()["dof_torques_l2"]}, {}))
    assert alone.rewards.asked == {"action", "joint_torque"}


def test_on_another_device_terms_are_the_same_and_nothing_waits_for_it(task: LabTask) -> None:
    memory, state, action, contact = rows()
    expected = task.reward(memory.take(slice(None)), state, action, contact).terms
    with pretended_device() as device:
        there = memory.map(lambda tensor: tensor.to(device)), state.to(device), action.to(device), contact.to(device)
        task.reward(there[0].take(slice(None)), *there[1:])  # constants are moved once
        with waits() as waited:
            found = task.reward(*there).terms
        assert waited == []
        for name, value in found.items():
            assert on_device(value), name
            assert torch.equal(value.cpu(), expected[name]), name
