"""The MLP baseline behind the same interface: it sees a window of rows and nothing else."""

from __future__ import annotations

import pytest
import torch

from rwmu.dynamics.losses import total_loss
from rwmu.dynamics.unroll import unroll, warm_up
from rwmu.dynamics.window_mlp import WindowMLP
from rwmu.errors import ConfigError
from rwmu.interfaces import Dynamics
from rwmu.records import Batch, Window
from tests.dynamics.small import HISTORY, batches, build, loss_settings, train, windows

ROWS, STEPS = 4, 6


def make(groups=1, window=3, layers=2):
    return WindowMLP(5, 7, layers, groups, [torch.Generator().manual_seed(seed) for seed in range(groups)], window).double()


def draw(inputs, steps=STEPS, seed=0):
    return torch.randn(inputs, steps, ROWS, 5, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("groups", "inputs"), [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("window", [1, 3, 9])
def test_step_after_step_is_the_sequence(groups, inputs, window):
    mlp, x = make(groups, window), draw(inputs)
    members = max(groups, inputs)
    outputs, last = mlp.sequence(x, mlp.initial_hidden(inputs, ROWS))
    assert outputs.shape == (members, STEPS, ROWS, 7)
    hidden = mlp.initial_hidden(inputs, ROWS)
    for t in range(STEPS):
        output, hidden = mlp.step(x[:, t], hidden)
        torch.testing.assert_close(output, outputs[:, t], rtol=0, atol=1e-14)
    assert torch.equal(hidden, last)
    rest, again = mlp.sequence(x[:, 2:], mlp.sequence(x[:, :2], mlp.initial_hidden(inputs, ROWS))[1])  # in two parts
    torch.testing.assert_close(rest, outputs[:, 2:], rtol=0, atol=1e-14)
    assert torch.equal(again, last)


def test_it_is_a_perceptron_on_the_last_rows():
    mlp, x = make(groups=2), draw(1)
    outputs, _ = mlp.sequence(x, mlp.initial_hidden(1, ROWS))
    zero = torch.zeros(ROWS, 5, dtype=torch.double)
    for group in range(2):
        plain = torch.nn.Sequential(torch.nn.Linear(15, 7), torch.nn.ReLU(), torch.nn.Linear(7, 7), torch.nn.ReLU()).double()
        for layer in range(2):
            plain[2 * layer].weight.data.copy_(mlp.weight[layer][group])
            plain[2 * layer].bias.data.copy_(mlp.bias[layer][group])
        first = plain(torch.cat([zero, zero, x[0, 0]], dim=-1))  # zeros stand before the first row
        torch.testing.assert_close(outputs[group, 0], first, rtol=0, atol=1e-14)
        later = plain(torch.cat([x[0, 2], x[0, 3], x[0, 4]], dim=-1))
        torch.testing.assert_close(outputs[group, 4], later, rtol=0, atol=1e-14)


@pytest.mark.parametrize("window", [1, 3])
def test_rows_beyond_the_window_are_forgotten(window):
    mlp, x = make(window=window), draw(1)
    before, _ = mlp.sequence(x, mlp.initial_hidden(1, ROWS))
    for changed in range(STEPS):
        other = x.clone()
        other[:, changed] += 1.0
        after, _ = mlp.sequence(other, mlp.initial_hidden(1, ROWS))
        reached = [t for t in range(STEPS) if not torch.equal(before[:, t], after[:, t])]
        assert reached == list(range(changed, min(changed + window, STEPS)))


def test_a_copy_starts_alike_however_many_there_are():
    for few, many in zip(make(2).parameters(), make(5).parameters(), strict=True):
        assert torch.equal(few, many[:2])


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("auxiliary_base", ["shared", "separate"])
def test_ensembles_on_it_are_dynamics(kind, auxiliary_base):
    model = build(kind, 3, backbone="mlp", window=4, auxiliary_base=auxiliary_base)
    assert isinstance(model, Dynamics)
    rows = windows()
    rollout = unroll(model, rows, HISTORY, "ensemble_mean")
    carry = warm_up(model, rows.map(lambda tensor: tensor[:, :, :HISTORY]))
    state = rows.state[:, :, HISTORY - 1]
    for k in range(3):
        carry, prediction = model.step(carry, state, rows.action[:, :, HISTORY + k])
        for name in ("mean", "log_std", "contact", "termination"):
            torch.testing.assert_close(getattr(prediction, name), getattr(rollout, name)[k], rtol=0, atol=1e-13)
        state = prediction.mean.mean(0, keepdim=True)


def test_an_ensemble_on_it_forgets_what_is_older_than_its_window():
    model, rows = build("independent", 2, backbone="mlp", window=3), windows()
    older = Window(rows.state.clone(), rows.action, rows.contact, rows.termination)
    older.state[:, :, : HISTORY - 3] += 1.0  # the first step reads rows 2, 3 and 4
    first, second = (unroll(model, w, HISTORY).detach().mean for w in (rows, older))
    assert torch.equal(first, second)
    older.state[:, :, HISTORY - 3] += 1.0
    assert not torch.equal(unroll(model, older, HISTORY).mean[0], first[0])
    recurrent = build("independent", 2)
    assert not torch.equal(unroll(recurrent, rows, HISTORY).mean, unroll(recurrent, older, HISTORY).mean)


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_it_learns_a_system_with_a_delay(kind):
    """s_t = a_{t-1}: a model of one row cannot know it, one of two rows can."""
    generator, errors = torch.Generator().manual_seed(0), {}

    def batch():
        rows = windows(1, 64, int(torch.randint(10**6, (1,), generator=generator)))
        state = torch.zeros_like(rows.state)
        state[:, :, 1:, :2] = rows.action[:, :, :-1]
        return Batch(Window(state, rows.action, rows.contact, rows.termination))

    weights = {"state": 1.0, "history": 1.0, "bound": 0.0, "contact": 0.0, "termination": 0.0}
    settings = loss_settings(state_loss="squared_error", weights=weights)
    for window in (1, 2):
        model = build(kind, 2, backbone="mlp", window=window, hidden_size=24, num_layers=1, head_hidden_size=24)
        train(model, [batch() for _ in range(100)], settings)
        with torch.no_grad():
            errors[window] = float(total_loss(model.losses(batch(), settings), settings.weights))
    assert errors[2] < 0.3 * errors[1]


@pytest.mark.parametrize("form", ["own", "rows", "weights"])
def test_it_trains_in_every_form(form):
    model = build("independent", 2, backbone="mlp", window=4)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    train(model, batches(form, 2, 2), loss_settings(feedback="sample"))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad
        assert parameter.isfinite().all()


def test_impossible_ones_are_refused():
    with pytest.raises(ConfigError, match=r"dynamics\.backbone is 'rssm'"):
        build("shared", 1, backbone="rssm")
    with pytest.raises(ConfigError, match=r"dynamics\.window is 0"):
        build("shared", 1, backbone="mlp", window=0)
