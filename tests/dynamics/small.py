"""Small ensembles, windows and noise, in float64, and what the tests of the dynamics do with them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rwmu.dynamics.independent import IndependentEnsemble
from rwmu.dynamics.losses import STATE_LOSSES, TERMS, LossSettings, total_loss
from rwmu.dynamics.members import member_view
from rwmu.dynamics.module import DynamicsModule, OptimizerSettings, clip_gradient_norm_per_member
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.dynamics.shared import SharedEnsemble
from rwmu.records import Batch, Noise, Window

STATE, ACTION, CONTACT, EXTENSION = 3, 2, 2, 2
HISTORY, FORECAST = 5, 3
SIZES = {"hidden_size": 5, "num_layers": 2, "head_hidden_size": 4}
WEIGHTS = {"state": 1.0, "history": 0.5, "bound": 0.1, "contact": 2.0, "termination": 3.0}
FEEDBACKS = ("sample", "mean", "truth")
assert set(WEIGHTS) == set(TERMS)
LOSSES = tuple(STATE_LOSSES)


def bare(*sizes: int, **options: Any) -> RecurrentEnsemble:
    """Build the class that both ensembles are made of, with one base."""
    return RecurrentEnsemble(*sizes, num_bases=1, **options)


KINDS = {"shared": SharedEnsemble, "independent": IndependentEnsemble, "bare": bare}


def build(kind: Any, members: int, **options: Any) -> RecurrentEnsemble:
    """Return a small ensemble in float64; ``kind`` is a class or a name of ``KINDS``."""
    kind = KINDS.get(kind, kind)
    model: RecurrentEnsemble = kind(STATE, ACTION, CONTACT, members, **{**SIZES, **options}).double()
    return model


def take_member(ensemble: RecurrentEnsemble, member: int) -> IndependentEnsemble:
    """Return one member as a single model with a copy of its weights."""
    return copy.deepcopy(member_view(ensemble, member))


def stack_members(models: Sequence[RecurrentEnsemble]) -> IndependentEnsemble:
    """Return an independent ensemble of single models, with copies of their weights."""
    arguments = {name: value for name, value in models[0].arguments.items() if name != "num_bases"}
    ensemble = IndependentEnsemble(**{**arguments, "num_members": len(models)}).double()
    states = [model.state_dict() for model in models]
    ensemble.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
    return ensemble


def windows(copies: int = 1, batch: int = 4, seed: int = 0, extension: int = 0, length: int = HISTORY + FORECAST) -> Window:
    """Return windows ``[copies, batch, length, .]`` of standard normal states and actions, with random flags."""
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int) -> Tensor:
        return torch.randn(copies, batch, length, size, dtype=torch.double, generator=generator)

    return Window(draw(STATE), draw(ACTION), draw(CONTACT) > 0, draw(1) > 0, draw(extension) if extension else None)


def batches(form: str, members: int, number: int, size: int = 4, extension: int = 0) -> list[Batch]:
    """Return batches in which members have their ``own`` windows, or ``rows`` or ``weights`` of common ones."""
    made = []
    for seed in range(number):
        generator = torch.Generator().manual_seed(1000 + seed)
        window = windows(members if form == "own" else 1, size, seed, extension)
        rows = torch.randint(size, (members, size + 1), generator=generator) if form == "rows" else None
        weight = torch.rand(members, size, generator=generator, dtype=torch.double) * 2.0 if form == "weights" else None
        made.append(Batch(window, rows, weight))
    return made


def loss_settings(**options: Any) -> LossSettings:
    """Return settings with two scored rows of history."""
    return LossSettings(**{"history": HISTORY, "weights": WEIGHTS, "history_burn_in": 2, **options})


def draw_noise(settings: LossSettings, members: int, rows: int = 4, seed: int = 0) -> Noise:
    """Return the noise that a loss needs."""
    generator = torch.Generator().manual_seed(seed)

    def draw(steps: int) -> Tensor:
        return torch.randn(steps, members, rows, STATE, dtype=torch.double, generator=generator)

    feedback = draw(FORECAST) if settings.feedback == "sample" else None
    if not settings.needs_sample:
        return Noise(feedback)
    return Noise(feedback, draw(FORECAST), draw(settings.scored_history))


def loss_and_gradients(
    model: RecurrentEnsemble, batch: Batch, settings: LossSettings, noise: Noise | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return every term of every member, and the gradients of their weighted sum over members, by the parameter's name."""
    model.zero_grad()
    losses = model.losses(batch, settings, noise)
    (total_loss(losses, settings.weights) * model.num_members).backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: term.detach() for name, term in losses.items()}, {name: grad.clone() for name, grad in gradients.items()}


def train(
    model: RecurrentEnsemble,
    data: Iterable[Batch],
    settings: LossSettings,
    streams: list[torch.Generator] | None = None,
    one_by_one: bool | None = None,
    clip: float = 1.0,
) -> Tensor:
    """Train as :class:`DynamicsModule` does, without Lightning; returns the gradients' norms ``[steps, E]`` before clipping."""
    module = DynamicsModule(
        model, settings, 100, OptimizerSettings(1e-2, gradient_clip=clip, warmup_steps=5, one_by_one=one_by_one)
    )
    if streams is not None:
        module._noise = streams
    configured = module.configure_optimizers()
    norms = []
    for batch in data:
        module.gradients(batch, module._draw_noise(batch))
        norms.append(clip_gradient_norm_per_member(model, clip, model.num_members))
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    return torch.stack(norms)


def assert_close(found: Tensor, expected: Tensor, relative: float = 1e-12) -> None:
    """Compare to within ``relative`` of the largest entry of what is expected."""
    found, expected = found.detach(), expected.detach()
    torch.testing.assert_close(found, expected, rtol=0.0, atol=relative * float(expected.abs().max().clamp(min=1e-3)))


def assert_all_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], relative: float = 1e-12) -> None:
    """Compare by name."""
    assert set(found) == set(expected)
    for name in expected:
        assert_close(found[name], expected[name], relative)


def assert_same_bits(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare by name."""
    assert set(found) == set(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
