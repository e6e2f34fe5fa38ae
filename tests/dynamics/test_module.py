"""The Lightning module: schedules, clipping, and what stops a training that goes wrong."""

import itertools
from dataclasses import replace

import pytest
import torch

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import TERMS, LossSettings
from rwmu.dynamics.module import DynamicsModule, OptimizerSettings, clip_gradient_norm_per_member
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.errors import ConfigError, DataError, TrainingError
from rwmu.records import Batch, Noise, Window

SETTINGS = LossSettings(history=5, weights=dict.fromkeys(TERMS, 1.0), history_burn_in=2)


def model(kind=IndependentEnsemble, members=2):
    return kind(4, 2, 3, members, hidden_size=6, num_layers=1, head_hidden_size=5)


def test_the_forecast_grows():
    module = DynamicsModule(model(), SETTINGS, max_steps=100, optimizer=OptimizerSettings(forecast_growth=0.5))
    assert [module.forecast_at(step, 8) for step in (0, 7, 8, 49, 50, 99)] == [1, 1, 2, 7, 8, 8]
    assert DynamicsModule(model(), SETTINGS, max_steps=100).forecast_at(0, 8) == 8


def test_growing_forecasts_see_both_ends_of_the_windows():
    module = DynamicsModule(model(), SETTINGS, max_steps=100, optimizer=OptimizerSettings(forecast_growth=0.5))
    rows = Batch(Window(*(torch.arange(13.0).view(1, 1, 13, 1).expand(2, 3, 13, size) for size in (4, 2, 3, 1))))
    seen = []
    for step in (8, 9):
        module.__class__ = type("At", (DynamicsModule,), {"global_step": step})
        cut = module._cut(rows).window
        assert cut.length == 5 + 2
        seen.append(cut.termination[0, 0, [0, -1], 0].tolist())
    assert seen == [[0.0, 6.0], [6.0, 12.0]]


def test_the_backward_pass_sums_over_members():
    """A member's gradient does not depend on how many members there are."""
    torch.manual_seed(0)
    rows = Window(*(torch.randn(2, 3, 9, size) for size in (4, 2, 3)), torch.zeros(2, 3, 9, 1))
    gradients = []
    for members in (1, 2):
        module = DynamicsModule(model(members=members), SETTINGS, max_steps=10)
        module.gradients(Batch(rows.map(lambda tensor, members=members: tensor[:members])), Noise())
        gradients.append(module.model.state_base.weight_hh[0].grad[0])
    torch.testing.assert_close(*gradients)


def test_the_learning_rate_warms_up_and_decays():
    module = DynamicsModule(model(), SETTINGS, max_steps=100, optimizer=OptimizerSettings(warmup_steps=10, final_fraction=0.1))
    rates = [module._schedule(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[100] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_clipping_is_per_member_and_leaves_small_gradients_alone():
    ensemble = model()
    for parameter in ensemble.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    first = ensemble.state_base.weight_hh[0]
    first.grad[0, 0, 0], first.grad[1, 0, 0] = 3.0, 0.5
    norms = clip_gradient_norm_per_member(ensemble, 1.0, 2)
    assert norms.tolist() == pytest.approx([3.0, 0.5])
    assert first.grad[0, 0, 0].item() == pytest.approx(1.0, abs=1e-5)
    assert first.grad[1, 0, 0].item() == 0.5


def test_a_shared_base_is_clipped_as_one_group():
    ensemble = model(SharedEnsemble)
    ensemble.state_base.weight_hh[0].grad = torch.full_like(ensemble.state_base.weight_hh[0], 2.0)
    clip_gradient_norm_per_member(ensemble, 1.0, 2)
    assert ensemble.state_base.weight_hh[0].grad.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_a_non_finite_loss_stops_training_and_names_the_member():
    module = DynamicsModule(model(), SETTINGS, max_steps=10)
    module.model.state_head.mean.bias_output.data[1] = torch.nan
    rows = Batch(Window(*(torch.zeros(2, 3, 9, size) for size in (4, 2, 3, 1))))
    with pytest.raises(TrainingError, match=r"state of member 1.*learning_rate"):
        module.training_step(rows, 0)
    assert not any(parameter.isnan().any() for parameter in module.model.state_base.parameters())  # no step was taken


def test_data_that_are_no_numbers_are_told_from_a_member_that_explodes():
    module = DynamicsModule(model(), SETTINGS, max_steps=10)
    rows = Window(*(torch.zeros(2, 3, 9, size) for size in (4, 2, 3, 1)))
    rows.action[1, 0, 3, 1] = torch.inf
    with pytest.raises(DataError, match=r"action has the value inf at \[1, 0, 3, 1\]"):
        module.training_step(Batch(rows), 0)


@pytest.mark.parametrize(("log_std", "feedback"), [(-200.0, "mean"), (200.0, "sample")])
def test_an_overflowing_log_std_stops_training(log_std, feedback):
    module = DynamicsModule(model(), replace(SETTINGS, feedback=feedback), max_steps=10)
    head = module.model.state_head
    head.min_log_std.data[0], head.log_delta_log_std.data[0] = log_std, 0.0
    rows = Batch(Window(*(torch.randn(2, 3, 9, size) for size in (4, 2, 3)), torch.zeros(2, 3, 9, 1)))
    with pytest.raises(TrainingError, match="state of member 0"):
        module.training_step(rows, 0)


def test_impossible_settings_are_refused():
    for options in ({"learning_rate": 0.0}, {"forecast_growth": 2.0}, {"gradient_clip": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            OptimizerSettings(**options)


def test_a_gradient_that_is_no_number_names_the_member():
    module = DynamicsModule(model(), SETTINGS, max_steps=10)
    losses = {name: torch.zeros(2) for name in TERMS}
    rows = Batch(Window(*(torch.zeros(2, 3, 9, size) for size in (4, 2, 3, 1))))
    with pytest.raises(TrainingError, match=r"\(gradient of member 1\)"):
        module._refuse_non_finite(rows, losses, torch.tensor([1.0, torch.nan]))
    with pytest.raises(TrainingError, match=r"\(gradient of the base\)"):
        module._refuse_non_finite(rows, losses, torch.tensor([1.0, 1.0, torch.inf]))


def test_a_validation_rollout_that_explodes_names_the_member():
    module = DynamicsModule(model(), SETTINGS, max_steps=10)
    module.model.state_head.mean.bias_output.data[1] = torch.inf
    with pytest.raises(TrainingError, match=r"validation windows became non-finite at step 0 \(member 1\)"):
        module.validation_step(Window(*(torch.zeros(3, 9, size) for size in (4, 2, 3, 1))), 0)


def test_the_validation_errors_are_those_of_the_ensemble_mean_step_by_step():
    """Members that add 1 and 3 to the first of 4 dimensions are off by 2k at step k together: root mean squares 1, 2, 3, 4."""
    module, logged = DynamicsModule(model(), SETTINGS, max_steps=10, validation_horizon=4), {}
    module.log = lambda name, value, **_: logged.update({name: value.item()})
    for parameter in module.model.parameters():
        parameter.data.zero_()
    module.model.state_head.mean.bias_output.data[:, 0] = torch.tensor([1.0, 3.0])
    window = Window(torch.ones(3, 12, 4), torch.randn(3, 12, 2), torch.zeros(3, 12, 3), torch.zeros(3, 12, 1))
    outputs = module.validation_step(window, 0)
    assert outputs["truth"].shape == outputs["rollout"].feedback[:, 0].shape == (4, 3, 4)
    assert logged == {
        "validation/rollout_error": 2.5,
        "validation/one_step_error": 1.0,
        "validation/last_step_error": 4.0,
    }
