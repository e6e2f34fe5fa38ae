"""mjlab's own robots and policies: ours say of them what mjlab says, and the humanoid goes all the way there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

pytest.importorskip("mjlab")

from rwmu.data.formats import hdf5
from rwmu.errors import ConfigError
from rwmu.policy.rsl_rl import load_actor
from rwmu.robots import robot_named
from rwmu.robots.mjcf import ModelSettings, model_xml
from rwmu.runs.configuration import compose_config, instantiate
from rwmu.simulators.mjlab import MjlabEnv
from rwmu.simulators.poses import moved, starting_pose
from rwmu.tasks.velocity import VelocityTask
from tests.conftest import Command, collected
from tests.policy.test_mjlab import MJLABS, mjlab_actor, saved

TASKS = {"g1": "Mjlab-Velocity-Flat-Unitree-G1", "go1_mjlab": "Mjlab-Velocity-Flat-Unitree-Go1"}
EVERY = pytest.mark.parametrize("name", TASKS)


@EVERY
def test_the_robot_is_the_one_that_mjlab_has(name: str) -> None:
    """Joints, posture, limits, motors, action scale, IMU: each by name, in mjlab's entity and its flat velocity task."""
    import mjlab.tasks  # noqa: F401
    from mjlab.entity import Entity
    from mjlab.tasks.registry import load_env_cfg
    from mjlab.utils.lab_api.string import resolve_matching_names_values
    from mjlab.utils.string import resolve_expr

    robot, cfg = robot_named(name), load_env_cfg(TASKS[name])
    entity_cfg = cfg.scene.entities["robot"]
    entity = Entity(entity_cfg)
    assert robot.mjlab is not None
    assert entity.joint_names == robot.mjlab.joints
    spec = entity_cfg.spec_fn()
    sensor = next(sensor for sensor in spec.sensors if sensor.name == "imu_lin_vel")
    np.testing.assert_allclose(spec.site(sensor.objname).pos, robot.mjlab.imu, atol=1e-9)
    own, names = robot.motors, list(robot.joint_names)
    for actuator in entity_cfg.articulation.actuators:
        _, joints = entity.find_joints(actuator.target_names_expr)
        for column in map(names.index, joints):
            mine = (own.stiffness[column], own.damping[column], own.effort_limit[column], own.armature[column])  # type: ignore[index]
            theirs = (actuator.stiffness, actuator.damping, actuator.effort_limit, actuator.armature)
            assert mine == pytest.approx(theirs, rel=1e-6), names[column]
            names[column] = ""
    assert not any(names), "joints without a motor"
    posture = resolve_expr(entity_cfg.init_state.joint_pos, robot.joint_names, 0.0)
    assert robot.default_joint_pos.tolist() == pytest.approx(list(posture))
    scale = resolve_matching_names_values(cfg.actions["joint_pos"].scale, list(robot.joint_names))
    assert robot.action_scale.tolist() == pytest.approx(scale[2])


def test_the_humanoids_model_is_its_own_mirror_image() -> None:
    """Bodies of mirrored postures lie where the images of the bodies lie, to a millimetre."""
    robot = robot_named("g1")
    model: Any = mujoco.MjModel.from_xml_string(model_xml(robot, visual=True))
    columns = [int(model.joint(name).qposadr[0]) for name in robot.joint_names]
    bodies = [model.body(i).name for i in range(1, model.nbody)]
    images = [body.replace("left", "?").replace("right", "left").replace("?", "right") for body in bodies]
    draw, mirror = torch.Generator().manual_seed(0), robot.mirrors["left_right"].action
    for _ in range(5):
        joints = robot.default_joint_pos + 0.5 * torch.randn(29, generator=draw)
        places = []
        for angles, named in ((joints, bodies), (mirror(joints), images)):
            data = mujoco.MjData(model)
            data.qpos[3], data.qpos[columns] = 1.0, angles.double().numpy()
            mujoco.mj_kinematics(model, data)
            places.append(np.stack([data.body(name).xpos for name in named]))
        np.testing.assert_allclose(places[1] * (1.0, -1.0, 1.0), places[0], atol=1e-3)


@pytest.fixture(scope="module")
def moving() -> MjlabEnv:
    """Return humanoids that have moved their arms and legs about for a moment."""
    task: VelocityTask = instantiate(compose_config("train", ["task=g1_flat", "task.observation_noise=0.0"]).task)
    env = MjlabEnv(task, 4, seed=2, auto_reset=False)
    for step in range(12):
        env.step(0.7 * torch.randn(4, 29, generator=torch.Generator().manual_seed(step)))
    env.memory.command[:2] = torch.tensor([[0.0, 0.0, 0.0], [1.2, 0.5, 0.4]]).double()
    return env


def test_its_rewards_are_those_of_mjlabs_own_functions(moving: MjlabEnv) -> None:
    import mjlab.tasks  # noqa: F401
    from mjlab.tasks.registry import load_env_cfg

    scene, command = moving.simulation.scene, moving.memory.command.float()
    action, last = torch.randn(2, 4, 29)
    seen = SimpleNamespace(
        scene=scene,
        num_envs=4,
        device="cpu",
        command_manager=SimpleNamespace(get_command=lambda _: command),
        action_manager=SimpleNamespace(action=action, prev_action=last),
    )
    moving.memory.last_action[:] = last
    limits = moving._robot.data.soft_joint_pos_limits[0, moving._joints] - moving.task.robot.default_joint_pos[:, None]
    torch.testing.assert_close(limits, torch.stack([moving.task.robot.joint_lower, moving.task.robot.joint_upper], 1))
    state = moving.state.clone()
    ours = moving.task.reward(moving.memory.map(torch.clone), state.double(), action.double(), moving.contact).terms
    moving.simulation.sim.forward()  # so that what mjlab derives is of the rows that were reached
    theirs = load_env_cfg(TASKS["g1"]).rewards
    names = {"track_lin_vel_xy_exp": "track_linear_velocity", "track_ang_vel_z_exp": "track_angular_velocity"}
    for name, value in ours.items():
        term = theirs[names.get(name, name)]
        for part in term.params.values():
            if hasattr(part, "resolve"):
                part.resolve(scene)
        function = term.func(term, seen) if isinstance(term.func, type) else term.func
        assert moving.task.weights[name] == term.weight, name
        torch.testing.assert_close(value.float(), function(seen, **term.params).float(), rtol=2e-3, atol=2e-3, msg=name)


def test_a_foot_touches_with_any_of_its_shapes_and_standing_touches_with_nothing_else() -> None:
    task = VelocityTask(robot_named("g1"), observation_noise=0.0)
    env = MjlabEnv(task, 3, seed=1, auto_reset=False)
    for _ in range(15):
        env.step(torch.zeros(3, 29))
    layout = task.robot.contact_layout
    assert layout.part(env.contact, "foot").all()
    assert not layout.part(env.contact, "undesired").any()
    assert not env.terminated.any()


def test_another_friction_than_that_of_mjlabs_robot_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"simulator\.model\.friction"):
        MjlabEnv(VelocityTask(robot_named("g1")), 1, model=ModelSettings(friction=0.4))


def test_mjlabs_policies_act_alike_in_its_environment_and_in_ours(tmp_path: Path) -> None:
    """In mjlab's own task its policy asks for what the one that was taken over asks for in our observations of the same robots."""
    import mjlab.tasks  # noqa: F401
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.rl import MjlabOnPolicyRunner, RslRlVecEnvWrapper
    from mjlab.tasks.registry import load_env_cfg, load_rl_cfg

    robot, cfg = robot_named("g1"), load_env_cfg(TASKS["g1"], play=True)
    cfg.scene.num_envs = 2
    inner = ManagerBasedRlEnv(cfg, "cpu")
    env = RslRlVecEnvWrapper(inner)
    runner = MjlabOnPolicyRunner(env, dataclasses.asdict(load_rl_cfg(TASKS["g1"])) | {"logger": "tensorboard"}, device="cpu")
    runner.cfg["upload_model"] = False
    runner.save(str(tmp_path / "model.pt"))
    theirs, ours = runner.get_inference_policy("cpu"), load_actor(tmp_path / "model.pt", robot)
    task, data = VelocityTask(robot, observation_noise=0.0), inner.scene["robot"].data
    joints, _ = inner.scene["robot"].find_joints([f"{name}$" for name in robot.joint_names], preserve_order=True)
    last, observations = torch.zeros(2, 29), env.get_observations()
    for _ in range(4):
        asked = theirs(observations)
        parts = {"base_lin_vel": data.root_link_lin_vel_b, "base_ang_vel": data.root_link_ang_vel_b}
        parts |= {"projected_gravity": data.projected_gravity_b, "joint_vel": data.joint_vel[:, joints]}
        parts |= {"joint_pos": data.joint_pos_biased[:, joints] - robot.default_joint_pos, "joint_torque": torch.zeros(2, 29)}
        state = torch.cat([parts[field.name] for field in robot.state_layout.fields], 1)
        command = inner.command_manager.get_command("twist")
        torch.testing.assert_close(ours(task.observe(state, command, last)), asked, rtol=0.02, atol=0.02)
        last = asked
        observations, *_ = env.step(asked)


@pytest.mark.usefixtures("undrawn", "quick", "brief")
def test_the_humanoid_is_collected_by_mjlabs_policies_fitted_dreamt_of_deployed_and_reported(
    command: Command, workplace: Path, shared_data: Path
) -> None:
    policy = saved(shared_data / "model_2.pt", mjlab_actor(99, 29), MJLABS)
    data = shared_data / "g1.h5"
    settings = [
        *(
            "scale=smoke",
            "machine.progress=false",
            "simulator=mjlab",
            "task=g1_flat",
            "policy=humanoid",
            "task.episode_length_s=1.2",
        ),
        *("data=policies", f"+data.policies.walk={policy}", "data.num_transitions=1500", f"data.path={data}"),
        *("evaluation.dream_steps=20", "evaluation.num_envs=4", "evaluation.video_s=null", "evaluation.horizons=[1,8]"),
    ]
    collected(data, settings)
    episodes = hdf5.load(data, robot_named("g1"))
    assert "walk" in set(episodes.levels)
    assert len(episodes.attributes["policies"]["walk"]) == 64
    done = command("train", "+experiment=rwm_base", *settings)
    assert done.status == 0, done.err
    report = json.loads((workplace / "runs" / "latest" / "report.json").read_text())
    assert report["deployment"]["deterministic"]["num_episodes"] == 4
    assert 0.0 <= report["imagination"]["fall_fraction"] <= 1.0
    assert (workplace / "runs" / "latest" / "report.html").is_file()


def test_a_dreamt_humanoid_can_be_drawn_from_its_rows() -> None:
    robot = robot_named("g1")
    state = np.zeros((1, 96))
    state[0, robot.state_layout["projected_gravity"].stop - 1] = -1.0
    pose = moved(starting_pose(state[0], robot)[None], state, robot, 0.02)
    model: Any = mujoco.MjModel.from_xml_string(model_xml(robot, visual=True))
    data = mujoco.MjData(model)
    data.qpos[[*range(7), *(int(model.joint(name).qposadr[0]) for name in robot.joint_names)]] = pose[0]
    mujoco.mj_kinematics(model, data)
    assert data.body("left_ankle_roll_link").xpos[2] == pytest.approx(data.body("right_ankle_roll_link").xpos[2], abs=1e-4)
    assert 0.0 < data.body("left_ankle_roll_link").xpos[2] < 0.1
