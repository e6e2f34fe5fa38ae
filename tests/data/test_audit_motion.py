"""What moves, by what and in which rows: orders and scales of actions and torques, odd episodes, axes, postures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rwmu.data.audit import Finding, examine
from rwmu.data.audit.actions import action_scale, joint_order, laws
from rwmu.data.audit.motion import base_axes, correlations
from rwmu.data.audit.odd import best_lags, looked_at, odd_episodes
from rwmu.data.episodes import Episodes
from rwmu.robots.anymal_d import STATE_LAYOUT
from rwmu.robots.layout import StateLayout
from tests.data.planted import Plant, found, noisy, said, scaled, shifted, sound_episodes, view, with_state
from tests.data.walking import ROBOT, STEP_DT

# LF_HAA, LF_HFE, LF_KFE, LH_HAA ... of columns that are sorted by type
BY_LEG = torch.tensor([4 * joint + leg for leg in range(4) for joint in range(3)])


@pytest.fixture(scope="module", params=["walking", "simulated"])
def clean(request: pytest.FixtureRequest, simulated: Episodes) -> Episodes:
    return sound_episodes() if request.param == "walking" else simulated


def suspicions(episodes: Episodes) -> dict[str, Finding]:
    """Return what is said of actions, joints and torques; the simulated recording is short, and that is said too."""
    of_a_short_one = {"command_coverage", "few_episodes", "short_episodes", "no_termination", "contact_never_on"}
    return {name: finding for name, finding in found(episodes).items() if name not in of_a_short_one}


def only(name: str, episodes: Episodes) -> Finding:
    """Return what is said of actions, joints and torques, which must be one thing."""
    (finding,) = suspicions(episodes).values()
    assert finding.name == name
    return finding


def sorted_by_leg(*arrays: str) -> Plant:
    def plant(episodes: Episodes) -> Episodes:
        for name in arrays:
            if name == "action":
                episodes = replace(episodes, action=episodes.action[:, BY_LEG].contiguous())
            else:
                episodes = with_state(episodes, name, lambda values: values[:, BY_LEG])
        return episodes

    return plant


@pytest.mark.parametrize(
    ("plant", "array"),
    [
        (sorted_by_leg("action"), "actions"),
        (sorted_by_leg("joint_torque"), "joint_torque"),
        (sorted_by_leg("joint_pos", "joint_vel"), "joints"),
    ],
)
def test_columns_sorted_by_leg_are_found(plant: Plant, array: str, clean: Episodes) -> None:
    episodes = plant(clean)
    finding = only("joint_order", episodes)
    assert finding.severity == "warning"
    assert finding.numbers["array"] == array
    told = [i % 4 * 3 + i // 4 for i in range(12)] if array != "joint_torque" else BY_LEG.tolist()
    assert finding.numbers["columns"] == told


def absolute(episodes: Episodes) -> Episodes:
    action = ROBOT.default_joint_pos + ROBOT.action_scale * episodes.action
    action[episodes.offsets] = 0.0
    return replace(episodes, action=action)


@pytest.mark.parametrize(
    ("plant", "reach", "targets"),
    [
        (lambda episodes: replace(episodes, action=0.5 * episodes.action), 1.0, False),
        (lambda episodes: replace(episodes, action=2.0 * episodes.action), 0.25, False),
        (absolute, 1.0, True),
    ],
)
def test_actions_of_another_scale_are_found(plant: Plant, reach: float, targets: bool, clean: Episodes) -> None:
    episodes = plant(clean)
    finding = only("action_scale", episodes)
    assert finding.numbers["rad_per_action"] == pytest.approx(reach, rel=0.05)
    assert ("targets" in finding.sentence) == targets


def of_odd_episodes(plant: Plant) -> Plant:
    def mixed(episodes: Episodes) -> Episodes:
        odd = (episodes.episode_of_row % 2 == 1).unsqueeze(-1)
        return replace(episodes, action=torch.where(odd, plant(episodes).action, episodes.action))

    return mixed


@pytest.mark.parametrize("lag", [1, -2])
def test_half_of_the_episodes_in_other_rows_are_found(lag: int, clean: Episodes) -> None:
    episodes = of_odd_episodes(shifted(lag))(clean)
    finding = only("action_lag_of_episodes", episodes)
    assert finding.numbers["lag"] == lag
    assert finding.numbers["count"] == clean.num_episodes // 2
    ids, rows = looked_at(view(episodes))
    assert best_lags(view(episodes), rows)[0].tolist() == [lag if i % 2 else 0 for i in ids.tolist()]


def of_every_third(plant: Plant) -> Plant:
    def mixed(episodes: Episodes) -> Episodes:
        odd, planted = (episodes.episode_of_row % 3 == 1).unsqueeze(-1), plant(episodes)
        arrays = {name: torch.where(odd, getattr(planted, name), getattr(episodes, name)) for name in ("state", "action")}
        return replace(episodes, **arrays)

    return mixed


@pytest.mark.parametrize(
    ("plant", "name", "number", "value"),
    [
        (lambda episodes: replace(episodes, action=0.5 * episodes.action), "action_scale_of_episodes", "times", 2.0),
        (absolute, "action_scale_of_episodes", "times", 2.0),
        (scaled("joint_torque", 1.0 / 80.0), "units_joint_torque_of_episodes", "times", 1.0 / 80.0),
        (sorted_by_leg("action"), "joint_order_of_episodes", "array", "actions"),
        (sorted_by_leg("joint_torque"), "joint_order_of_episodes", "array", "joint_torque"),
    ],
)
def test_a_third_of_the_episodes_recorded_otherwise_is_found(
    plant: Plant, name: str, number: str, value: float | str, clean: Episodes
) -> None:
    episodes = of_every_third(plant)(clean)
    finding = only(name, episodes)
    assert finding.severity == "warning"
    assert finding.numbers["count"] == len(range(1, clean.num_episodes, 3))
    assert finding.numbers[number] == (value if isinstance(value, str) else pytest.approx(value, rel=0.1))


def test_joints_in_another_order_in_a_third_of_the_episodes_are_found(simulated: Episodes) -> None:
    """Of a single swing any joint tells of any other, so that it takes a walk to see it."""
    episodes = of_every_third(sorted_by_leg("joint_pos", "joint_vel"))(simulated)
    finding = only("joint_order_of_episodes", episodes)
    assert (finding.numbers["array"], finding.numbers["count"]) == ("joints", 5)


def test_state_and_actions_sorted_by_leg_together_are_told_by_the_robots_symmetry(simulated: Episodes) -> None:
    """The law of every motor is as good as ever, but what stands for a hip and its mirror image moves as a hip and a shank do."""
    everything = ("action", "joint_pos", "joint_vel", "joint_torque")
    episodes = sorted_by_leg(*everything)(simulated)
    assert only("joint_order", episodes).numbers["columns"] == [i % 4 * 3 + i // 4 for i in range(12)]
    lopsided = sorted_by_leg(*everything)(sound_episodes())
    assert suspicions(lopsided) == {}, "whose joints swing at random are symmetric in no order"


# -- what is no fault ---------------------------------------------------------------------------------------------------------


def limited(episodes: Episodes) -> Episodes:
    return with_state(episodes, "joint_torque", lambda values: values.clamp(-20.0, 20.0))


@pytest.mark.parametrize("change", [noisy, limited])
def test_noise_and_limits_raise_no_suspicion(change: Callable[[Episodes], Episodes], simulated: Episodes) -> None:
    """Isaac Lab's observation noise; torques cut off at a quarter of what the motors give."""
    assert suspicions(change(simulated)) == {}


def test_few_rows_and_layouts_without_torques_are_not_judged(simulated: Episodes) -> None:
    few = sorted_by_leg("action")(simulated).select(torch.arange(4))
    assert said(joint_order, few) == said(action_scale, few) == []
    assert said(odd_episodes, few.select(torch.arange(1))) == []
    assert len(looked_at(view(sound_episodes(5, 48)))[0]) == 0, "39 rows of each, but for those beside its ends"
    assert len(looked_at(view(sound_episodes(5, 49)))[0]) == 5
    layout = StateLayout([field for field in STATE_LAYOUT.fields if field.name != "joint_torque"])
    robot = replace(ROBOT, state_layout=layout)
    attributes = {**simulated.attributes, "layout": layout.describe()}
    blind = replace(simulated, state=simulated.state[:, : layout.size].contiguous(), attributes=attributes)
    found_there = {finding.name for finding in examine(sorted_by_leg("action")(blind), robot)}
    assert not {"joint_order", "action_scale", "action_lag_of_episodes"} & found_there


def test_a_motors_law_by_hand() -> None:
    """Torques of 3 - 40 q - 2 v + 20 a of the joint's own number are explained without rest."""
    generator = torch.Generator().manual_seed(0)
    state, action = torch.randn(600, 45, generator=generator), torch.randn(600, 12, generator=generator)
    layout = STATE_LAYOUT
    position, velocity = layout.part(state, "joint_pos"), layout.part(state, "joint_vel")
    state[:, layout["joint_torque"]] = 3.0 - 40.0 * position - 2.0 * velocity + 20.0 * action
    template = sound_episodes(10, 60)
    action[template.offsets] = 0.0
    rows = torch.ones(600, dtype=torch.bool)
    rows[template.offsets] = False
    episodes, own = replace(template, state=state, action=action), torch.arange(12)
    unexplained, weights = laws(view(episodes), rows.nonzero().squeeze(-1), own, own)
    assert weights.tolist() == [pytest.approx([3.0, -40.0, -2.0, 20.0], rel=1e-4)] * 12
    assert float(unexplained.max()) < 1e-8
    other, _ = laws(view(episodes), rows.nonzero().squeeze(-1), own, own.roll(1))
    assert other.tolist() == pytest.approx([400.0 / 2004.0] * 12, rel=0.35), "another's action leaves its own part of the variance"


X_AND_Y = torch.tensor([-1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "change", "axes"),
    [
        ("base_ang_vel", lambda rate: -rate, "-x, -y, -z"),
        ("base_ang_vel", lambda rate: rate.flip(-1), "z, y, x"),
        ("base_ang_vel", lambda rate: rate[:, [1, 0, 2]], "y, x, z"),
        ("projected_gravity", lambda gravity: gravity * X_AND_Y, "-x, -y, z"),
    ],
)
def test_other_axes_and_signs_are_found_and_named(
    name: str, change: Callable[[Tensor], Tensor], axes: str, simulated: Episodes
) -> None:
    finding = found(with_state(simulated, name, change))["base_axes"]
    assert finding.severity == "warning"
    assert finding.numbers["best_axes"] == axes
    assert finding.numbers["best_correlation"] > 0.95


def rolling(number: int = 1000) -> tuple[Tensor, Tensor]:
    """Return gravity and rates ``[S, 3]`` of a base that rolls by 0.3 rad and pitches by 0.2 rad, exact to second order."""
    time = STEP_DT * torch.arange(number, dtype=torch.float64)
    roll, pitch = 0.3 * torch.sin(6.0 * time), 0.2 * torch.sin(4.0 * time)
    gravity = torch.stack([pitch.sin(), -roll.sin() * pitch.cos(), -roll.cos() * pitch.cos()], dim=-1)
    turn = torch.gradient(gravity, spacing=STEP_DT, dim=0)[0]
    return gravity, torch.linalg.cross(turn, gravity)  # of dg/dt = -w x g, without a part along g


def base(gravity: Tensor, rate: Tensor) -> Episodes:
    episodes = sound_episodes(1, len(gravity))
    episodes = with_state(episodes, "projected_gravity", lambda _: gravity.float())
    return with_state(episodes, "base_ang_vel", lambda _: rate.float())


def test_rates_of_another_frame_fit_in_no_order() -> None:
    gravity, rate = rolling()
    assert said(base_axes, base(gravity, rate)) == []
    angle = 0.5 * STEP_DT * torch.arange(len(rate))  # the heading changes, so that the world's axes are not the base's
    turned = torch.stack(
        [
            angle.cos() * rate[:, 0] - angle.sin() * rate[:, 1],
            angle.sin() * rate[:, 0] + angle.cos() * rate[:, 1],
            rate[:, 2],
        ],
        dim=-1,
    )
    (finding,) = said(base_axes, base(gravity, turned))
    assert finding.numbers["best_correlation"] < 0.7, "in no order"


def test_robots_that_hardly_turn_noise_and_few_rows_are_not_judged(simulated: Episodes) -> None:
    gravity, rate = rolling()
    still = torch.tensor([0.0, 0.0, -1.0]) + 0.005 * gravity
    assert said(base_axes, base(still, -0.005 * rate)) == []
    noise = torch.randn(rate.shape, generator=torch.Generator().manual_seed(0))
    assert said(base_axes, base(gravity, rate + 10.0 * noise)) == [], "right, but drowned"
    assert said(base_axes, base(gravity + noise, rate)) == []
    assert said(base_axes, base(gravity, -rate).select(torch.tensor([0, 0]))), "which shows that it is looked at"
    assert said(base_axes, base(gravity[:400], -rate[:400])) == []
    assert "base_axes" not in found(noisy(simulated))


def test_a_turn_by_hand() -> None:
    """About x by 0.1 rad/s for one second, in one step: gravity (0, 0, -1) turns by (0, -0.1, 0), and by (0.1, 0, 0) about y."""
    gravity = torch.tensor([[[0.0, 0.0, -1.0], [0.0, -0.1, -1.0]]], dtype=torch.float64)
    rate = torch.tensor([[[0.1, 0.0, 0.0], [0.1, 0.0, 0.0]]], dtype=torch.float64)
    found_there = correlations(gravity, rate, torch.tensor([[0.0, -0.1, 0.0]], dtype=torch.float64), 1.0)
    assert len(found_there) == 48
    assert found_there[(0, 1.0), (1, 1.0), (2, 1.0)] == pytest.approx(1.0, abs=0.01)
    assert found_there[(0, -1.0), (1, 1.0), (2, 1.0)] == pytest.approx(-1.0, abs=0.01)
    assert found_there[(1, 1.0), (0, 1.0), (2, 1.0)] == pytest.approx(0.0, abs=0.01)


def test_absolute_joint_angles_are_found(simulated: Episodes) -> None:
    for episodes in (simulated, sound_episodes()):
        assert "absolute_joint_pos" not in found(episodes)
        finding = found(with_state(episodes, "joint_pos", lambda angle: angle + ROBOT.default_joint_pos))["absolute_joint_pos"]
        assert finding.severity == "warning"
        assert finding.numbers["share_of_default"] == pytest.approx(1.0, abs=0.35)


def test_a_crouching_robot_has_no_absolute_angles() -> None:
    crouch = with_state(sound_episodes(), "joint_pos", lambda angle: angle + 0.4 * ROBOT.default_joint_pos)
    assert "absolute_joint_pos" not in found(crouch)
