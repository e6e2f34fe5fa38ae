"""The plain implementation is the published algorithm: it gives the numbers recorded from the published code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experiments.benchmarks.plain import (
    Imagined,
    Kind,
    PlainEnsemble,
    Rows,
    Sizes,
    build_models,
    imagination_step,
    imagine,
    random_rows,
    training_step,
)
from tests.experiments.published import load_published
from tests.reference import load

FILES = ["dynamics_ensemble1", "dynamics_ensemble3"]
TINY = Sizes(state=6, action=2, contact=3, hidden=16, head=8, history=4, forecast=3, members=3)


def published(file: dict[str, Tensor]) -> PlainEnsemble:
    weights = {name.removeprefix("weights/"): value for name, value in file.items() if name.startswith("weights/")}
    return load_published(weights, int(file["history_horizon"]), int(file["forecast_horizon"]))


def recorded_losses(file: dict[str, Tensor], model: PlainEnsemble) -> Tensor:
    noise = iter(file["mse/noise"])
    rows = Rows(*(file[name] for name in Rows._fields))
    losses = model.losses(rows, file["bootstrap_ids"], lambda like: next(noise))
    assert next(noise, None) is None  # every recorded draw was used
    return losses


@pytest.mark.parametrize("name", FILES)
def test_member_losses(name: str) -> None:
    file = load(name)
    torch.testing.assert_close(recorded_losses(file, published(file)), file["mse/member_losses"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FILES)
def test_gradients(name: str) -> None:
    """The gradients, brought to the names of the weights by the same function that loads them."""
    file = load(name)
    model = published(file)
    recorded_losses(file, model).mean(dim=0).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {key.removeprefix("mse/grad/"): value for key, value in file.items() if key.startswith("mse/grad/")}
    expected = dict(load_published(gradients, 1, 1).named_parameters())
    assert len(expected) == len(list(model.parameters()))
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[parameter_name].detach(), rtol=1e-9, atol=1e-9, msg=parameter_name)


@pytest.mark.parametrize("name", FILES)
def test_imagination_follows_the_recorded_rollout(name: str) -> None:
    file = load(name)
    model, member, history = published(file), file["rollout_member/member_ids"], int(file["history_horizon"])
    step: Imagined | None = None
    for k in range(file["rollout/future_action"].shape[1]):
        with torch.no_grad():
            if step is None:
                step = imagine([model], member, file["state"][:, :history], file["action"][:, 1 : history + 1])
            else:
                step = imagine([model], member, step.state[:, None], file["rollout/future_action"][:, k - 1, None], step.hidden)
        for key, found in (("mean", step.state), ("contact_logits", step.contact), ("termination_logits", step.termination)):
            torch.testing.assert_close(found, file[f"rollout_member/{key}"][:, k], rtol=0, atol=1e-9, msg=f"{key} of step {k}")
        torch.testing.assert_close(step.epistemic, file["rollout_member/epistemic"][:, k], rtol=0, atol=1e-9)


def test_independent_models_share_nothing_and_are_compared() -> None:
    models = build_models("independent", TINY)
    assert len(models) == TINY.members
    assert all(model.sizes.members == 1 for model in models)
    weights = [model.state_dict()["state_base.weight_hh_l0"] for model in models]
    assert not torch.equal(weights[0], weights[1])
    assert weights[0].data_ptr() != weights[1].data_ptr()
    member = torch.tensor([2, 0])
    state, action = torch.randn(2, 1, TINY.state), torch.randn(2, 1, TINY.action)
    with torch.no_grad():
        step = imagine(models, member, state, action)
        means = torch.stack([model.predict(state, action).mean[0] for model in models])
    torch.testing.assert_close(step.state, torch.stack([means[2, 0], means[0, 1]]))
    torch.testing.assert_close(step.epistemic, means.std(dim=0).sum(-1))


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_a_training_step_changes_every_weight(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_models(kind, TINY)
    before = [parameter.detach().clone() for model in built for parameter in model.parameters()]
    monkeypatch.setattr("experiments.benchmarks.plain.build_models", lambda *_: built)
    training_step(kind, TINY, batch=4)()
    after = [parameter for model in built for parameter in model.parameters()]
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_an_imagination_step_repeats_itself(kind: Kind) -> None:
    step = imagination_step(kind, TINY, envs=5)
    first, second = step(), step()
    assert first.state.shape == (5, 6)
    assert first.contact.shape == (5, 3)
    assert first.termination.shape == (5, 1)
    torch.testing.assert_close(first.state, second.state)
    assert bool((first.epistemic > 0).all())


def test_random_rows_have_the_shapes_of_windows() -> None:
    rows = random_rows(TINY, 4)
    assert [tuple(tensor.shape) for tensor in rows] == [(4, 7, 6), (4, 7, 2), (4, 7, 3), (4, 7, 1)]
    assert set(rows.contact.flatten().tolist()) == {0.0, 1.0}
