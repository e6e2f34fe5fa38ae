"""What any simulator owes to collection, deployment and films (``rwmu/simulators/env.py``); one that is not installed is skipped.

A simulator of one's own is one line in ``SIMULATORS``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from rwmu.robots import robot_named
from rwmu.robots.robot import Robot
from rwmu.simulators.env import RobotEnv
from rwmu.tasks.velocity import OBSERVATION_NOISE, VelocityTask

EPISODE_STEPS, COMMAND_STEPS, NUM_ENVS = 40, 15, 12
UPRIGHT = -0.98  # z of gravity in the base frame


@dataclass(frozen=True)
class Simulator:
    """A simulator under test.

    Attributes:
        target: dotted name of its class. needs: modules without which it cannot run.
        robots: that it is tried with. options: arguments of its class.
        tolerance: of the rows of two runs of one seed; 0 for the same bits.
        alone: environment i does the same whatever the number of environments.
        company_tolerance: of that; above 0 where a solver sums in an order that depends on their number.
        several: environments can be made while others are in use; else the later ones end the earlier.
    """

    target: str
    needs: tuple[str, ...]
    robots: tuple[str, ...] = ("anymal_d", "go1")
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    alone: bool = True
    company_tolerance: float = 0.0
    several: bool = True


SIMULATORS = {
    "mujoco": Simulator("rwmu.simulators.mujoco.MujocoEnv", ("mujoco",)),
    "mjlab": Simulator("rwmu.simulators.mjlab.MjlabEnv", ("mjlab",), ("anymal_d", "go1", "g1"), company_tolerance=1e-3),
    "isaaclab": Simulator("rwmu.simulators.isaaclab.IsaacLabEnv", ("isaaclab",), alone=False, several=False),
}
CASES = [(name, robot) for name, simulator in SIMULATORS.items() for robot in simulator.robots]
Make = Callable[..., RobotEnv]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest) -> tuple[Simulator, Robot]:
    name, robot = request.param
    for module in SIMULATORS[name].needs:
        pytest.importorskip(module)
    return SIMULATORS[name], robot_named(robot)


@pytest.fixture(scope="module")
def simulator(case: tuple[Simulator, Robot]) -> Simulator:
    return case[0]


@pytest.fixture(scope="module")
def robot(case: tuple[Simulator, Robot]) -> Robot:
    return case[1]


@pytest.fixture(scope="module")
def make(simulator: Simulator, robot: Robot) -> Make:
    """Return a function that makes fresh environments of a task with short episodes."""
    module, _, name = simulator.target.rpartition(".")

    def fresh(num_envs: int = NUM_ENVS, seed: int = 3, auto_reset: bool = True, **changes: Any) -> RobotEnv:
        settings: dict[str, Any] = {"step_dt": 0.02, "max_tilt": -0.9}
        settings |= {"episode_length_s": 0.02 * EPISODE_STEPS, "command_resample_s": 0.02 * COMMAND_STEPS}
        task = VelocityTask(robot, **(settings | changes))
        made = getattr(importlib.import_module(module), name)
        env: RobotEnv = made(task, num_envs, seed=seed, auto_reset=auto_reset, **simulator.options)
        return env

    return fresh


@pytest.fixture(scope="module")
def shared(make: Make) -> RobotEnv:
    """Return the environment that most tests share, since some simulators take long to start."""
    return make()


@pytest.fixture
def env(request: pytest.FixtureRequest, simulator: Simulator, make: Make) -> RobotEnv:
    """Return environments at the start of an episode."""
    if not simulator.several:
        return make()
    shared: RobotEnv = request.getfixturevalue("shared")
    shared.reset()
    return shared


def still(env: RobotEnv) -> Tensor:
    return torch.zeros(env.num_envs, env.num_actions, device=env.device)


def noise(env: RobotEnv, steps: int, scale: float = 1.0) -> Tensor:
    """Return actions ``[S, B, A]``, of environment i the same whatever B is."""
    rows = [torch.randn(steps, env.num_actions, generator=torch.Generator().manual_seed(i)) for i in range(env.num_envs)]
    return scale * torch.stack(rows, 1).to(env.device)


def part(env: RobotEnv, name: str, state: Tensor | None = None) -> Tensor:
    return env.task.robot.state_layout.part(env.state if state is None else state, name)


def bent(robot: Robot, legs: tuple[str, ...], share: float) -> Tensor:
    """Return the action ``[A]`` that bends legs by a share of their default posture, the others standing."""
    of_legs = torch.tensor([float(name.split("_")[0] in legs) for name in robot.joint_names])
    return share * of_legs * robot.default_joint_pos / robot.action_scale


def rotation(quaternion: Tensor) -> Tensor:
    """Return rotation matrices ``[B, 3, 3]`` from the base frame to the world, of quaternions ``[B, 4]``, w first."""
    w, x, y, z = quaternion.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).reshape(-1, 3, 3)


# -- starting -----------------------------------------------------------------------------------------------------------------


def test_a_new_environment_is_reset_and_has_the_shapes_types_and_device_that_it_says(make: Make) -> None:
    env = make(num_envs=5)
    task, robot = env.task, env.task.robot
    assert (env.num_envs, env.num_actions, env.max_episode_length) == (5, robot.num_joints, EPISODE_STEPS)
    observation, reward, done, extras = env.step(still(env))
    expected = {
        (5, task.num_observations, torch.float32): (observation["policy"], env.get_observations()["policy"]),
        (5, robot.state_layout.size, torch.float32): (env.state, env.final_state),
        (5, robot.contact_layout.size, torch.bool): (env.contact, env.final_contact),
        (5, torch.bool): (done, env.terminated, env.diverged, extras["time_outs"]),
        (5, torch.float32): (reward, env.last_reward.total, *env.last_reward.terms.values()),
    }
    for (*shape, dtype), tensors in expected.items():
        for tensor in tensors:
            assert (list(tensor.shape), tensor.dtype, tensor.device) == (shape, dtype, torch.device(env.device))
    assert (env.memory.command.shape, env.memory.last_action.shape) == ((5, 3), (5, robot.num_joints))
    assert env.episode_length_buf.tolist() == [1] * 5
    assert set(env.last_reward.terms) == set(task.weights)


def test_a_reset_starts_new_episodes_everywhere(env: RobotEnv) -> None:
    for action in noise(env, 3):
        env.step(action)
    before = env.state.clone()
    observation, extras = env.reset()
    assert torch.equal(observation["policy"], env.get_observations()["policy"])
    assert extras == {}
    assert not torch.equal(env.state, before)
    assert torch.equal(env.state, env.final_state)
    assert not env.episode_length_buf.any()
    assert not (env.terminated | env.diverged).any()
    assert not env.contact.any()
    assert not env.memory.last_action.any()
    assert torch.equal(env.memory.previous_joint_vel.float(), part(env, "joint_vel"))
    assert (env.memory.command != 0.0).any()
    assert (part(env, "projected_gravity")[:, 2] < UPRIGHT).all()


# -- rows and names -----------------------------------------------------------------------------------------------------------


def test_states_are_those_of_the_poses(env: RobotEnv) -> None:
    """Quaternions have w first, gravity is seen from the base, joints have the robot's order and are relative to its posture."""
    for action in noise(env, 5):
        poses = torch.from_numpy(env.poses()).float()
        assert poses.shape == (env.num_envs, 7 + env.num_actions)
        assert torch.allclose(poses[:, 3:7].norm(dim=1), torch.ones(env.num_envs), atol=1e-5)
        assert torch.allclose(-rotation(poses[:, 3:7])[:, 2], part(env, "projected_gravity").cpu(), atol=1e-4)
        assert torch.allclose(poses[:, 7:] - env.task.robot.default_joint_pos, part(env, "joint_pos").cpu(), atol=1e-4)
        env.step(action)


def test_velocities_are_what_positions_do_in_the_base_frame(env: RobotEnv) -> None:
    errors = []
    for action in noise(env, 10, scale=0.3):
        env.step(action)  # stiff joints set off within less than a step: what follows is smooth
        before, state = torch.from_numpy(env.poses()).float(), env.state.cpu().clone()
        env.step(action)
        after = torch.from_numpy(env.poses()).float()
        turn = rotation(before[:, 3:7]).transpose(1, 2)  # from the world to the base before the step
        linear = torch.einsum("bij,bj->bi", turn, after[:, :3] - before[:, :3]) / env.task.step_dt
        turned = turn @ rotation(after[:, 3:7])
        angular = torch.stack([turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]], 1) / env.task.step_dt  # of small angles
        joints = (after[:, 7:] - before[:, 7:]) / env.task.step_dt
        for name, moved in (("base_lin_vel", linear), ("base_ang_vel", angular), ("joint_vel", joints)):
            mean = 0.5 * (part(env, name, state) + part(env, name).cpu())
            errors.append(((moved - mean).abs().mean() / moved.abs().mean()).item())
    assert torch.tensor(errors).reshape(10, 3).mean(0).max() < 0.3


def test_an_action_moves_the_joint_of_its_name(make: Make, robot: Robot) -> None:
    """In environment i, joint i alone is asked to move: of all joints it moves the most."""
    standing = make(num_envs=robot.num_joints)
    standing.step(still(standing))
    moving = make(num_envs=robot.num_joints)
    moving.step(0.5 * torch.eye(robot.num_joints, device=moving.device))
    for name in ("joint_pos", "joint_vel"):
        assert (part(moving, name) - part(standing, name)).argmax(1).tolist() == list(range(robot.num_joints)), name


def test_torques_are_those_of_the_motors_of_their_names(env: RobotEnv) -> None:
    """Each joint's torque goes with what a position controller of its gains asks for: the angle it lacks, less its speed."""
    robot, rows = env.task.robot, []
    stiffness, damping = (torch.as_tensor(gain) for gain in (robot.motors.stiffness, robot.motors.damping))
    for action in noise(env, 10, scale=0.3):
        env.step(action)
        env.step(action)
        lacking = action.cpu() * robot.action_scale - part(env, "joint_pos", env.final_state).cpu()
        asked = stiffness * lacking - damping * part(env, "joint_vel", env.final_state).cpu()
        rows.append(torch.stack([asked, part(env, "joint_torque", env.final_state).cpu()]))
    both = torch.cat(rows, 1)  # [2, rows, A]
    agreement = torch.stack([torch.corrcoef(both[:, :, joint])[0, 1] for joint in range(env.num_actions)])
    assert agreement.min() > 0.7


def test_a_robot_leans_to_the_side_whose_legs_bend(env: RobotEnv) -> None:
    robot = env.task.robot
    left = tuple(robot.reflections["left_right"])
    right = tuple(robot.reflections["left_right"].values())
    half = NUM_ENVS // 2
    action = torch.cat([bent(robot, side, 0.5).expand(half, -1) for side in (left, right)]).to(env.device)
    for _ in range(15):
        env.step(action)
    leaning = part(env, "projected_gravity", env.final_state)[:, 1]  # positive to the left
    assert leaning[:half].mean() > 0.03
    assert leaning[half:].mean() < -0.03


def test_a_foot_that_is_lifted_loses_its_contact(env: RobotEnv) -> None:
    robot = env.task.robot
    legs = [foot.split("_")[0] for foot in robot.contacts.feet]
    for _ in range(30):
        env.step(still(env))
    assert env.final_contact.float().mean(0)[robot.contact_layout["foot"]].min() > 0.7
    assert not robot.contact_layout.part(env.final_contact, "undesired").any()
    action = torch.stack([bent(robot, (legs[i % len(legs)],), 1.5) for i in range(NUM_ENVS)]).to(env.device)
    touched = torch.zeros(len(legs), len(legs), device=env.device)  # of the robots that lift a leg: how often each foot touches
    for _ in range(5):
        env.step(action)
        feet = robot.contact_layout.part(env.final_contact, "foot").float()
        touched += feet.reshape(-1, len(legs), len(legs)).sum(0)
    assert touched.argmin(1).tolist() == list(range(len(legs)))


def test_a_push_changes_the_planar_velocity_of_those_that_are_pushed(env: RobotEnv) -> None:
    before = env.state.clone()
    env.push(torch.tensor([[0.5, -0.25], [0.0, 0.5]], device=env.device), torch.tensor([1, 3], device=env.device))
    change = part(env, "base_lin_vel") - part(env, "base_lin_vel", before)
    assert change.norm(dim=1)[:4].tolist() == pytest.approx([0.0, 0.3125**0.5, 0.0, 0.5], abs=1e-4)
    others = env.task.robot.state_layout["base_lin_vel"].stop
    assert torch.allclose(env.state[:, others:], before[:, others:], atol=1e-5)


# -- the task -----------------------------------------------------------------------------------------------------------------


def test_the_reward_is_the_tasks_own_on_the_rows_that_were_reached(env: RobotEnv) -> None:
    ended = 0
    for action in noise(env, EPISODE_STEPS + 5, scale=0.5):
        memory = env.memory.map(torch.clone)
        _, reward, done, _ = env.step(action)
        expected = env.task.reward(memory, env.final_state.double(), action.double(), env.final_contact)
        assert torch.allclose(reward, expected.total.float(), rtol=1e-5, atol=1e-6)
        assert torch.equal(reward, env.last_reward.total)
        for name, term in expected.terms.items():
            assert torch.allclose(env.last_reward.terms[name], term.float(), rtol=1e-5, atol=1e-6), name
        ended += int(done.sum())
    assert ended >= env.num_envs
    assert float(env.last_reward.terms["dof_acc_l2"].min()) > 0.0


def test_observations_are_the_tasks_with_noise_within_its_bounds(env: RobotEnv) -> None:
    errors = []
    for action in noise(env, 5):
        observed = env.step(action)[0]["policy"]
        truth = env.task.observe(env.state.double(), env.memory.command, env.memory.last_action).float()
        errors.append((observed - truth).abs())
        assert torch.equal(env.get_observations()["policy"], observed)  # asking again draws no new noise
    largest = torch.cat(errors).amax(0)
    for column in env.task.observation_layout.fields:
        bound = OBSERVATION_NOISE.get(column.name, 0.0)
        reached = float(env.task.observation_layout.part(largest, column.name).max())
        assert 0.8 * bound <= reached <= 1.001 * bound, column.name


def test_a_command_is_written_through_the_memory(env: RobotEnv) -> None:
    asked = torch.tensor([0.4, -0.3, 0.2])
    env.memory.command[:] = asked.to(env.memory.command)
    seen = env.task.observation_layout.part(env.get_observations()["policy"], "command")
    assert torch.allclose(seen.cpu(), asked.expand(env.num_envs, 3))
    env.step(still(env))
    assert torch.allclose(env.memory.command.float().cpu(), asked.expand(env.num_envs, 3))
    speed = part(env, "base_lin_vel", env.final_state)[:, :2].cpu()
    tracking = torch.exp(-(asked[:2] - speed).square().sum(1) / 0.25)
    assert torch.allclose(env.last_reward.terms["track_lin_vel_xy_exp"].cpu(), tracking, atol=1e-4)


def test_commands_change_when_due_and_only_then(env: RobotEnv) -> None:
    for step in range(1, EPISODE_STEPS):
        before = env.memory.command.clone()
        env.step(still(env))
        assert bool((env.memory.command != before).any()) == (step % COMMAND_STEPS == 0)


# -- ends ---------------------------------------------------------------------------------------------------------------------


def test_time_outs_reset_and_are_told_apart_from_falls(env: RobotEnv) -> None:
    for step in range(EPISODE_STEPS):
        before, command = env.state.clone(), env.memory.command.clone()
        _, _, done, extras = env.step(still(env))
        assert bool(done.all()) == bool(done.any()) == (step == EPISODE_STEPS - 1)
    assert extras["time_outs"].all()
    assert not env.terminated.any()
    assert not env.episode_length_buf.any()
    assert extras["log"]["/episode/length_s"] == pytest.approx(0.02 * EPISODE_STEPS)
    moved = (part(env, "joint_pos", env.final_state) - part(env, "joint_pos", before)).abs()
    assert moved.max() < 0.1  # the row that was reached, not the one after the reset
    assert (part(env, "joint_pos") - part(env, "joint_pos", env.final_state)).abs().max() > 0.1
    assert not torch.equal(env.memory.command, command)
    assert not env.memory.last_action.any()


def test_a_fall_terminates_and_its_last_row_is_kept(env: RobotEnv) -> None:
    """Robots with an even number pull in the legs of one side and stretch the others, until they topple."""
    robot = env.task.robot
    sides = robot.reflections["left_right"]
    topple = bent(robot, tuple(sides), 3.0) - bent(robot, tuple(sides.values()), 1.0)
    action = still(env)
    action[0::2] = topple.to(env.device)
    for _ in range(EPISODE_STEPS - 1):
        _, _, done, extras = env.step(action)
        fallen = env.terminated
        assert torch.equal(done, fallen)
        if fallen.any():
            break
    assert fallen.any()
    assert not fallen[1::2].any()
    assert not extras["time_outs"].any()
    tilt, after = (part(env, "projected_gravity", rows)[:, 2] for rows in (env.final_state, env.state))
    assert (tilt[fallen] > UPRIGHT).all()
    assert (after[fallen] < UPRIGHT).all()
    assert env.episode_length_buf[fallen].tolist() == [0] * int(fallen.sum())
    assert torch.equal(env.state[~fallen], env.final_state[~fallen])
    assert not env.contact[fallen].any()
    assert extras["log"]["/episode/terminated"] == 1.0


def test_without_auto_reset_the_episode_goes_on(make: Make) -> None:
    env = make(num_envs=2, auto_reset=False, episode_length_s=0.1)
    for _ in range(7):
        _, _, done, extras = env.step(still(env))
    assert done.all()
    assert extras["time_outs"].all()
    assert env.episode_length_buf.tolist() == [7, 7]
    assert torch.equal(env.state, env.final_state)


# -- actions ------------------------------------------------------------------------------------------------------------------


def test_an_action_that_is_none_is_refused_by_name_and_nothing_moves(env: RobotEnv) -> None:
    action, before = still(env), env.state.clone()
    action[2, 5] = torch.nan
    with pytest.raises(ValueError, match="environment 2"):
        env.step(action)
    with pytest.raises(ValueError, match=rf"\({env.num_envs}, {env.num_actions}\)"):
        env.step(action[:, 1:])
    assert torch.equal(env.state, before)
    assert not env.episode_length_buf.any()


def test_the_callers_action_is_neither_kept_nor_changed(env: RobotEnv) -> None:
    action = still(env) + 0.25
    env.step(action)
    assert torch.equal(action, still(env) + 0.25)
    action.zero_()
    assert torch.equal(env.memory.last_action.float(), still(env) + 0.25)


# -- repeating ----------------------------------------------------------------------------------------------------------------


def rows_of(env: RobotEnv, steps: int = 18) -> dict[str, Tensor]:
    """Return what comes out of ``steps`` steps of noise, ``[S, B, ...]``."""
    rows: dict[str, list[Tensor]] = {}
    for action in noise(env, steps):
        observation, reward, done, _ = env.step(action)
        row = {"final": env.final_state, "contact": env.final_contact, "state": env.state, "command": env.memory.command}
        for name, value in (row | {"observation": observation["policy"], "reward": reward, "done": done}).items():
            rows.setdefault(name, []).append(value.clone())
    return {name: torch.stack(values) for name, values in rows.items()}


def test_the_seed_decides(make: Make, simulator: Simulator) -> None:
    first, again, other = (rows_of(make(num_envs=6, seed=seed, episode_length_s=0.3)) for seed in (5, 5, 6))
    assert first["done"].any()
    for name, value in first.items():
        assert torch.allclose(value.double(), again[name].double(), rtol=0.0, atol=simulator.tolerance), name
    for name in ("final", "command", "observation"):
        assert not torch.allclose(first[name], other[name], atol=1e-2), name


def test_an_environment_does_the_same_in_any_company(make: Make, simulator: Simulator) -> None:
    if not simulator.alone:
        pytest.skip("This simulator does not promise it.")
    many, few = (rows_of(make(num_envs=number, seed=5, episode_length_s=0.3)) for number in (6, 2))
    for name, value in few.items():
        assert torch.allclose(value.double(), many[name][:, :2].double(), rtol=0.0, atol=simulator.company_tolerance), name


def test_an_identity_is_plain_and_holds_seed_and_task(make: Make) -> None:
    env = make(num_envs=2)
    identity = json.dumps(env.identity(), sort_keys=True)
    env.step(still(env))
    assert json.dumps(env.identity(), sort_keys=True) == identity
    changes: tuple[dict[str, Any], ...] = ({"seed": 4}, {"num_envs": 3}, {"auto_reset": False}, {"observation_noise": 0.5})
    others = {json.dumps(make(**({"num_envs": 2} | change)).identity(), sort_keys=True) for change in changes}
    assert len(others | {identity}) == 1 + len(changes)
