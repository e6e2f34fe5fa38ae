"""The imagined environment on a pretended device: the same dream, bit for bit, and nothing on the wrong side."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from rwmu.data.episodes import Episodes
from rwmu.dynamics.world_model import WorldModel
from rwmu.imagination.boundary import BoundaryPenalty
from rwmu.imagination.env import ImaginedEnv
from rwmu.imagination.penalty import MopoPenalty
from rwmu.imagination.recalibrated import RecalibratedPenalty
from rwmu.imagination.rules import DreamRules
from rwmu.interfaces import Device, Penalty
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty.calibration_sample import FittedOn
from rwmu.uncertainty.estimates import EPISTEMIC
from rwmu.uncertainty.recalibration import Conformal, Isotonic, PerHorizon, Recalibration
from tests.devices import small_world_model, step_as_on_a_device
from tests.fakes import anymal_d, random_episodes
from tests.pretended_device import on_device, pretended_device, waits

BATCH, STEPS, DT = 8, 7, 0.02
SIZES = [20, 25]
GROUPS, FITTED_ON = (("some", 1), ("others", 1)), FittedOn("", (1, 2), 2)
WEIGHTS = torch.linspace(0.5, 2.0, 45)
RULES: dict[str, Any] = {
    "horizon_steps": 5,
    "sample_aleatoric": 0.7,
    "alive_bonus": 0.1,
    "termination_penalty": 0.2,
    "push_interval_s": 0.1,
    "command_resample_steps": 2,
    "pool_size": 6,
    "pool_refresh_steps": 4,
}


@cache
def episodes() -> Episodes:
    return random_episodes([40, 25, 33])


@cache
def model(kind: str = "independent", auxiliary_base: str = "separate", backbone: str = "gru") -> WorldModel:
    return small_world_model(episodes(), kind, auxiliary_base=auxiliary_base, backbone=backbone, prior_scale=0.3)


def recalibrated(recalibration: Recalibration) -> Penalty:
    typical = torch.linspace(0.1, 0.2, 3, dtype=torch.float64)
    return RecalibratedPenalty(1.0, DT, recalibration, SIZES, typical, dimension_weights=WEIGHTS)


def factors(steps: int) -> Tensor:
    return torch.rand(steps, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5


def knots() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, y = (torch.rand(3, 2, 4, generator=generator, dtype=torch.float64).cumsum(-1) for _ in range(2))
    return x, y


PENALTIES: dict[str, Callable[[], Penalty]] = {
    **{f"mopo {name}": lambda name=name: MopoPenalty(1.0, DT, 0.1, name, dimension_weights=WEIGHTS) for name in EPISTEMIC},  # type: ignore[misc]
    "none": lambda: MopoPenalty(0.0, DT),
    "truncation": lambda: BoundaryPenalty(DT, threshold=3.0, dimension_weights=WEIGHTS, weight=0.5),
    "morel": lambda: BoundaryPenalty(DT, threshold=3.0, kappa=2.0),
    "per horizon": lambda: recalibrated(PerHorizon(GROUPS, "error", FITTED_ON, factors(3))),
    "isotonic": lambda: recalibrated(Isotonic(GROUPS, "error", FITTED_ON, *knots())),
    "conformal": lambda: recalibrated(Conformal(GROUPS, "interval of 0.9", FITTED_ON, factors(1))),
}


@pytest.fixture(autouse=True)
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    step_as_on_a_device(monkeypatch)


def build(device: Device, penalty: Penalty, world_model: WorldModel | None = None, seed: int = 3, **rules: Any) -> ImaginedEnv:
    rules = RULES | rules
    task = VelocityTask(anymal_d())
    return ImaginedEnv(
        world_model or model(),
        task,
        episodes(),
        torch.arange(30),
        penalty,
        DreamRules(num_envs=BATCH, device=str(device).partition(":")[0], **rules),
        seed,
    )


def dream(env: ImaginedEnv, first: int = 0, last: int = STEPS) -> list[dict[str, Tensor]]:
    """Return what is seen of some steps, on the CPU."""
    actions, seen = torch.randn(STEPS, BATCH, 12, generator=torch.Generator().manual_seed(4)), []
    for action in actions[first:last].to(env.device):
        observations, reward, done, extras = env.step(action)
        found = {"observation": observations["policy"], "reward": reward, "done": done, "time_outs": extras["time_outs"]}
        found |= {"member": env.member, "final": env.final_state, **extras["log"]}
        assert {on_device(tensor) for tensor in found.values()} == {env.device != "cpu"}
        seen.append({name: tensor.to("cpu", copy=True) for name, tensor in found.items()})
    return seen


def assert_same(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> None:
    for one, other in zip(found, expected, strict=True):
        for name in other:
            torch.testing.assert_close(one[name], other[name], rtol=0.0, atol=0.0, equal_nan=True, msg=name)


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize(("auxiliary_base", "backbone"), [("shared", "gru"), ("separate", "gru"), ("separate", "mlp")])
def test_the_dream_is_that_of_the_cpu(kind: str, auxiliary_base: str, backbone: str) -> None:
    world_model = model(kind, auxiliary_base, backbone)
    expected = dream(build("cpu", MopoPenalty(1.0, DT), world_model))
    assert any(bool(step["done"].any()) for step in expected)
    with pretended_device() as device:
        assert_same(dream(build(device, MopoPenalty(1.0, DT), world_model)), expected)


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_is_that_of_the_cpu(name: str) -> None:
    expected = dream(build("cpu", PENALTIES[name]()))
    if name not in ("none",):
        assert any(float(step["imagined/penalty"]) != 0.0 for step in expected)
    with pretended_device() as device:
        assert_same(dream(build(device, PENALTIES[name]())), expected)


@pytest.mark.parametrize(
    "rules", [{"termination": 0.4, "sample_aleatoric": 0.5}, {"termination": None, "max_tilt": None, "clip": None}]
)
def test_every_rule_is_that_of_the_cpu(rules: dict[str, Any]) -> None:
    expected = dream(build("cpu", MopoPenalty(1.0, DT), **rules))
    with pretended_device() as device:
        assert_same(dream(build(device, MopoPenalty(1.0, DT), **rules)), expected)


@pytest.mark.parametrize(("before", "after"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_saved_dream_goes_on_wherever_it_is_loaded(before: str, after: str) -> None:
    expected = dream(build("cpu", MopoPenalty(1.0, DT)))
    with pretended_device():
        env = build(before, MopoPenalty(1.0, DT))
        dream(env, last=5)
        saved = env.state_dict()
        assert not any(on_device(entry) for entry in saved.values() if isinstance(entry, Tensor))
        again = build(after, MopoPenalty(1.0, DT), seed=8)
        again.load_state_dict(saved)
        assert_same(dream(again, first=5), expected[5:])


def test_the_world_model_of_others_stays_where_it_was() -> None:
    world_model = model()
    assert build("cpu", MopoPenalty(1.0, DT)).world_model is world_model
    before = {name: tensor.clone() for name, tensor in world_model.dynamics.state_dict().items()}
    with pretended_device() as device:
        env = build(device, MopoPenalty(1.0, DT))
        dream(env)
        assert all(on_device(tensor) for tensor in env.world_model.dynamics.state_dict().values())
        assert on_device(env.world_model.normalizer.mean)
        assert not any(on_device(tensor) for tensor in world_model.dynamics.state_dict().values())
        assert not on_device(world_model.normalizer.mean)
        assert not on_device(env._pool.rows)
    assert all(torch.equal(before[name], tensor) for name, tensor in world_model.dynamics.state_dict().items())


def test_actions_from_elsewhere_are_moved() -> None:
    with pretended_device() as device:
        env = build(device, MopoPenalty(1.0, DT))
        _, reward, _, _ = env.step(torch.zeros(BATCH, 12))
        assert on_device(reward)
        with pytest.raises(ValueError, match="environment 2 is not finite"):
            env.step(torch.zeros(BATCH, 12).index_fill(0, torch.tensor([2]), torch.nan))


def test_a_step_waits_for_the_device_twice_and_once_more_where_episodes_begin() -> None:
    together = {"termination": None, "max_tilt": None, "random_start": False, "pool_refresh_steps": 100}  # all end at step 5
    with pretended_device() as device:
        env = build(device, MopoPenalty(1.0, DT), **together)
        for step, action in enumerate(torch.zeros(STEPS, BATCH, 12, device=device), 1):
            with waits() as waited:
                env.step(action)
                assert len(waited) == (3 if step == 5 else 2), (step, waited)
