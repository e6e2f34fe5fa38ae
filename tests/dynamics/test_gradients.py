"""Every gradient against finite differences, in float64: the hand-written GRU, its step, and whole losses."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.func import functional_call

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.gru_sequence import SequenceGRU
from rwmu.dynamics.losses import TERMS, LossSettings, beta_nll, total_loss
from rwmu.dynamics.recurrent import RecurrentEnsemble
from rwmu.records import Batch, Noise, Window
from tests.dynamics.small import assert_close

TIGHT = {"eps": 1e-6, "atol": 1e-7, "rtol": 1e-5, "fast_mode": True}
HISTORY, FORECAST, BATCH, MEMBERS = 3, 2, 2, 2
STATE, ACTION, CONTACT, EXTENSION = 2, 1, 1, 1
TINY = {"hidden_size": 3, "num_layers": 1, "head_hidden_size": 3}
WEIGHTS = {**dict.fromkeys(TERMS, 1.0), "extension": 1.0}


def randn(*shape, grad=False, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.double, generator=generator, requires_grad=grad)


@pytest.mark.parametrize(
    ("of_input", "of_hidden", "steps", "last"),
    [
        *((True, True, *steps) for steps in ((1, 1), (3, 3), (3, 1), (3, 2))),
        *((*wanted, 3, 2) for wanted in ((True, False), (False, True), (False, False))),
    ],
)
def test_the_gru_over_a_sequence(of_input, of_hidden, steps, last):
    arguments = [randn(2, steps, 2, 3, grad=of_input), randn(2, 2, 4, grad=of_hidden)]
    arguments += [randn(*shape, grad=True) for shape in ((2, 12, 3), (2, 12, 4), (2, 12), (2, 12))]
    assert gradcheck(lambda *inputs: SequenceGRU.apply(last, True, *inputs)[:2], arguments, **TIGHT)
    for output in (0, 1):  # the other one unused
        assert gradcheck(lambda *inputs, output=output: SequenceGRU.apply(last, True, *inputs)[output], arguments, **TIGHT)


def test_the_gru_over_a_sequence_can_be_differentiated_once_only():
    arguments = [randn(*shape, grad=True) for shape in ((1, 2, 2, 3), (1, 2, 4), (1, 12, 3), (1, 12, 4), (1, 12), (1, 12))]
    outputs, _, *kept = SequenceGRU.apply(2, True, *arguments)
    assert not any(tensor.requires_grad for tensor in kept)
    (first,) = torch.autograd.grad(outputs.square().sum(), arguments[2], create_graph=True)
    with pytest.raises(NotImplementedError, match="once"):
        first.square().sum().backward()


def test_one_step_of_one_layer():
    gru = GRU(3, 4, 1, 2, [torch.Generator().manual_seed(seed) for seed in range(2)]).double()
    assert gradcheck(lambda x, hidden: gru.step(x, hidden)[0], [randn(2, 3, 3, grad=True), randn(1, 2, 3, 4, grad=True)], **TIGHT)


class Call(torch.nn.Module):
    """A method as a module of its own, for ``functional_call``."""

    def __init__(self, owner, method):
        super().__init__()
        self.owner, self.method = owner, method

    def forward(self, *arguments):
        return getattr(self.owner, self.method)(*arguments)


@pytest.mark.parametrize("method", ["sequence", "step"])
@pytest.mark.parametrize(("groups", "inputs"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_stack_of_layers_with_members(method, groups, inputs):
    generators = [torch.Generator().manual_seed(seed) for seed in range(groups)]
    module = Call(GRU(2, 3, 2, groups, generators).double(), method)
    names = [name for name, _ in module.named_parameters()]
    members = max(groups, inputs)
    x = randn(inputs, 2, 3, 2, grad=True) if method == "sequence" else randn(inputs, 3, 2, grad=True)
    hidden = randn(2, members, 3, 3, grad=True)

    def function(x, hidden, *weights):
        return functional_call(module, dict(zip(names, weights, strict=True)), (x, hidden))

    assert gradcheck(function, [x, hidden, *module.parameters()], **TIGHT)


def tiny_batch(form):
    rows = torch.tensor([[0, 0], [1, 0]]) if form == "rows" else None
    weight = torch.tensor([[0.5, 1.5], [2.0, 0.0]], dtype=torch.double) if form == "weights" else None
    shape = (MEMBERS if form == "own" else 1, BATCH, HISTORY + FORECAST)
    window = Window(
        randn(*shape, STATE, grad=True),
        randn(*shape, ACTION, grad=True),
        randn(*shape, CONTACT) > 0,
        randn(*shape, 1, seed=1) > 0,
        randn(*shape, EXTENSION, seed=2),
    )
    return Batch(window, rows, weight)


def tiny_model(bases, **options):
    sizes = {**TINY, "extension_dim": EXTENSION, "learn_bounds": True, **options}
    return RecurrentEnsemble(STATE, ACTION, CONTACT, MEMBERS, bases, **sizes).double()


def tiny_noise(settings):
    noise = {name: randn(FORECAST, MEMBERS, BATCH, STATE, seed=i) for i, name in enumerate(("feedback", "loss"))}
    return Noise(**noise, history=randn(settings.scored_history, MEMBERS, BATCH, STATE))


def losses_of(model, batch, settings, noise):
    """Return the whole loss as a function of the true states, the actions and every weight, and these."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    class Losses(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, state, action):
            window = Window(state, action, batch.window.contact, batch.window.termination, batch.window.extension)
            terms = self.model.losses(Batch(window, batch.rows, batch.weight), settings, noise)
            assert set(terms) == set(WEIGHTS)
            return torch.stack([terms[name] for name in WEIGHTS])

    module = Losses()

    def function(state, action, *weights):
        named = {f"model.{name}": weight for name, weight in zip(trained, weights, strict=True)}
        return functional_call(module, named, (state, action))

    return function, [batch.window.state, batch.window.action, *trained.values()]


@pytest.mark.parametrize("state_loss", ["gaussian_nll", "sampled_squared_error", "squared_error"])
@pytest.mark.parametrize("feedback", ["sample", "mean", "truth"])
@pytest.mark.parametrize(("bases", "form"), [(1, "rows"), (MEMBERS, "own")])
def test_whole_losses(state_loss, feedback, bases, form):
    settings = LossSettings(HISTORY, WEIGHTS, state_loss, feedback=feedback, decay=0.7, history_burn_in=0)
    function, inputs = losses_of(tiny_model(bases), tiny_batch(form), settings, tiny_noise(settings))
    assert gradcheck(function, inputs, **TIGHT)


@pytest.mark.parametrize("options", [{"auxiliary_base": "separate"}, {"backbone": "mlp", "window": 2}, {"prior_scale": 0.8}])
@pytest.mark.parametrize(("bases", "form"), [(1, "weights"), (1, "rows"), (MEMBERS, "own"), (MEMBERS, "weights")])
def test_whole_losses_of_other_architectures(options, bases, form):
    settings = LossSettings(HISTORY, WEIGHTS, feedback="sample", history_burn_in=0)
    function, inputs = losses_of(tiny_model(bases, **options), tiny_batch(form), settings, tiny_noise(settings))
    assert gradcheck(function, inputs, **TIGHT)


class FrozenWeights:
    """beta-NLL whose weights sigma^(2 beta) stay what they were when it was first called for a pair of tensors."""

    def __init__(self):
        self.recorded, self.calls = [], 0

    def rewind(self):
        self.calls = 0

    def __call__(self, mean, log_std, target, noise):
        if self.calls == len(self.recorded):
            self.recorded.append(log_std.detach().exp())  # sigma^(2 x 0.5)
        weight = self.recorded[self.calls]
        self.calls += 1
        return -(weight * torch.distributions.Normal(mean, log_std.exp()).log_prob(target)).sum(-1)


def test_the_whole_beta_nll_with_its_weights_held():
    """Its weights are not differentiated, so finite differences must hold them too."""
    settings = LossSettings(HISTORY, WEIGHTS, "beta_nll", feedback="sample", history_burn_in=0)
    model, batch, noise = tiny_model(MEMBERS), tiny_batch("own"), tiny_noise(settings)
    assert settings.loss is not beta_nll
    real, inputs = losses_of(model, batch, settings, noise)
    found = torch.autograd.grad(real(*inputs).sum(), inputs)
    frozen = FrozenWeights()

    class Held(LossSettings):
        loss = frozen

    held = Held(HISTORY, WEIGHTS, "beta_nll", feedback="sample", history_burn_in=0)
    function, inputs = losses_of(model, batch, held, noise)

    def rewound(*arguments):
        frozen.rewind()
        return function(*arguments)

    for own, expected in zip(found, torch.autograd.grad(rewound(*inputs).sum(), inputs), strict=True):
        assert_close(own, expected)
    assert gradcheck(rewound, inputs, **TIGHT)
    assert len(frozen.recorded) == 2  # forecast and history


def test_the_total_is_the_weighted_sum_of_the_members_means():
    terms = {"state": torch.tensor([1.0, 3.0]), "contact": torch.tensor([10.0, 30.0])}
    assert total_loss(terms, {"state": 0.5, "contact": 0.1}).item() == pytest.approx(0.5 * 2.0 + 0.1 * 20.0)
