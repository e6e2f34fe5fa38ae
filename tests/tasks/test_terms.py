"""Reward terms as settings: what a function names is given to it, and what cannot be is refused before the first step."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from torch import Tensor

from rwmu.errors import ConfigError
from rwmu.robots.anymal_d import STATE_LAYOUT, anymal_d
from rwmu.robots.go1 import go1
from rwmu.runs.configuration import compose_config
from rwmu.tasks.rewards import ISAAC_LAB, lin_vel_z_l2
from rwmu.tasks.terms import Term, varied
from rwmu.tasks.velocity import VelocityTask

ROBOT = anymal_d()


def pay(rewards: dict[str, Any], state: Tensor | None = None, contact: Tensor | None = None) -> Any:
    task = VelocityTask(ROBOT, rewards)
    state = torch.randn(2, 45) if state is None else state
    contact = torch.zeros(2, 8, dtype=torch.bool) if contact is None else contact
    return task.reward(task.start(2), state, torch.randn(2, 12), contact)


def test_weights_scale_their_terms_and_others_are_left_out() -> None:
    contact = torch.tensor([[True, False, True, False] + [False] * 4] * 2)
    reward = pay({"touch": Term(ISAAC_LAB["undesired_contacts"].function, -3.0)}, contact=contact)
    assert reward.total.tolist() == pytest.approx([0.02 * -3.0 * 2] * 2)
    assert list(reward.terms) == ["touch"]


def test_some_terms_may_get_other_weights() -> None:
    terms = varied(ISAAC_LAB, {"stand_still": {"weight": -7.0}})
    assert terms["stand_still"].weight == -7.0
    assert {name for name in terms if terms[name] != ISAAC_LAB[name]} == {"stand_still"}
    with pytest.raises(ConfigError, match="'stand_still'"):
        varied(ISAAC_LAB, {"stand_stil": {"weight": 1.0}})


def test_every_quantity_is_given_by_its_name() -> None:
    seen: dict[str, Any] = {}

    def watch(base_ang_vel: Tensor, joint_pos: Tensor, foot: Tensor, undesired: Tensor, action: Tensor, **others: Any) -> Tensor:
        seen.update(locals())
        return base_ang_vel[:, 0]

    def memory(command: Tensor, last_action: Tensor, air_time_s: Tensor, joint_upper: Tensor, step_dt: float) -> Tensor:
        seen.update(locals())
        return command[:, 0]

    state, contact = torch.randn(2, 45), torch.rand(2, 8) > 0.5
    pay({"watch": Term(watch, 1.0), "memory": Term(memory, 1.0)}, state, contact)
    assert torch.equal(seen["joint_pos"], STATE_LAYOUT.part(state, "joint_pos"))
    assert torch.equal(torch.cat([seen["undesired"], seen["foot"]], -1), contact.float())
    shapes = {name: tuple(seen[name].shape) for name in ("action", "command", "last_action", "air_time_s", "joint_upper")}
    assert shapes == {"action": (2, 12), "command": (2, 3), "last_action": (2, 12), "air_time_s": (2, 4), "joint_upper": (12,)}
    assert (seen["step_dt"], seen["others"]) == (0.02, {})


def test_what_the_configuration_gives_comes_before_what_the_task_has() -> None:
    def pace(step_dt: float, base_lin_vel: Tensor, gain: float = 2.0) -> Tensor:
        return torch.full((len(base_lin_vel),), gain * step_dt)

    assert pay({"pace": Term(pace, 1.0)}).terms["pace"].tolist() == pytest.approx([0.04] * 2)
    assert pay({"pace": Term(partial(pace, step_dt=0.5, gain=3.0), 1.0)}).terms["pace"].tolist() == [1.5] * 2


def nothing(heigth: Tensor) -> Tensor:
    return heigth


def of_position(joint_pso: Tensor) -> Tensor:
    return joint_pso


@pytest.mark.parametrize(
    ("term", "culprits"),
    [
        (Term(nothing, 1.0), ("heigth", "base_lin_vel")),
        (Term(of_position, 1.0), ("joint_pso", "'joint_pos'")),
        (Term(ISAAC_LAB["feet_air_time"].function.func, 1.0), ("threshold_s",)),
        (Term(partial(ISAAC_LAB["track_lin_vel_xy_exp"].function, varience=1.0), 1.0), ("varience", "'variance'")),
        (Term(lin_vel_z_l2, float("nan")), ("weight", "nan")),
        (Term(lin_vel_z_l2, True), ("weight", "True")),
        (Term("lin_vel_z_l2", 1.0), ("function", "_partial_")),  # type: ignore[arg-type]
        ({"weight": 1.0}, ("function",)),
        (1.0, ("function", "weight")),
    ],
)
def test_a_term_that_cannot_be_is_refused_by_name(term: Any, culprits: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        VelocityTask(ROBOT, {"sound": Term(lin_vel_z_l2, 1.0), "my_term": term})
    assert all(word in str(error.value) for word in ("task.rewards.my_term", *culprits)), error.value


def test_a_task_without_terms_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.rewards"):
        VelocityTask(ROBOT, {})


def test_a_term_of_another_shape_is_refused_and_not_broadcast() -> None:
    with pytest.raises(ConfigError, match=r"task\.rewards\.flat is \(2, 3\)"):
        pay({"flat": Term(lambda base_lin_vel: base_lin_vel, 1.0)})


def test_the_shipped_configurations_are_isaac_labs_and_another_robots() -> None:
    plain, other = (
        hydra.utils.instantiate(compose_config("train", [f"task={name}"]).task, _convert_="all")
        for name in ("anymal_d_flat", "go1_flat")
    )
    assert plain.describe() == VelocityTask(ROBOT).describe() | {"rewards": plain.rewards.describe()}
    assert plain.weights == {name: term.weight for name, term in ISAAC_LAB.items()}
    state, action, contact = torch.randn(3, 45), torch.randn(3, 12), torch.rand(3, 8) > 0.5
    totals = [task.reward(task.start(3), state, action, contact).total for task in (plain, VelocityTask(ROBOT))]
    assert torch.equal(*totals)
    assert other.robot.name == go1().name
    assert list(other.weights) == list(plain.weights)
    assert other.weights["track_lin_vel_xy_exp"] == 1.5


def test_a_function_from_outside_the_package_is_a_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards.py").write_text(
        "def crouch(joint_pos, depth, gain=1.0):\n    return gain * (joint_pos[:, 4] - depth).abs()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "crouching.yaml").write_text(
        "defaults: [anymal_d_flat]\n"
        "rewards: {crouch: {weight: -2.0, function: {_target_: my_rewards.crouch, _partial_: true, depth: 0.25}}}\n"
    )
    task = hydra.utils.instantiate(compose_config("train", ["task=crouching"], tmp_path).task, _convert_="all")
    assert list(task.weights)[-1] == "crouch"
    state = torch.zeros(2, 45)
    state[:, STATE_LAYOUT["joint_pos"].start + 4] = torch.tensor([0.0, 0.5])
    reward = task.reward(task.start(2), state, torch.zeros(2, 12), torch.zeros(2, 8, dtype=torch.bool))
    assert reward.terms["crouch"].tolist() == [0.25, 0.25]
    sys.modules.pop("my_rewards")
