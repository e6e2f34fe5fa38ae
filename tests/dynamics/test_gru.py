"""The GRU against torch.nn.GRU, and its hand-written backward pass against autograd and finite differences."""

import pytest
import torch

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.gru_sequence import SequenceGRU, fast_tanh


def generators(number):
    return [torch.Generator().manual_seed(seed) for seed in range(number)]


def reference(gru, group):
    """Return a torch.nn.GRU with the weights of one group."""
    other = torch.nn.GRU(gru.input_size, gru.hidden_size, gru.num_layers).double()
    for layer in range(gru.num_layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(other, f"{name}_l{layer}").data.copy_(getattr(gru, name)[layer][group])
    return other


def test_fast_tanh_is_tanh():
    x = torch.linspace(-30, 30, 1001, dtype=torch.double)
    torch.testing.assert_close(fast_tanh(x), torch.tanh(x), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("groups", "inputs"), [(1, 1), (1, 3), (3, 3), (3, 1)])
def test_sequence_and_step_agree_with_torch(groups, inputs):
    members = max(groups, inputs)
    gru = GRU(5, 7, 2, groups, generators(groups)).double()
    x = torch.randn(inputs, 6, 4, 5, dtype=torch.double)
    hidden = torch.randn(2, members, 4, 7, dtype=torch.double)
    output, last = gru.sequence(x, hidden)
    assert output.shape == (members, 6, 4, 7)
    stepped = hidden
    for t in range(6):
        step_output, stepped = gru.step(x[:, t], stepped)
        torch.testing.assert_close(step_output, output[:, t], rtol=0, atol=1e-14)
    torch.testing.assert_close(stepped, last, rtol=0, atol=1e-14)
    for member in range(members):
        other = reference(gru, member if groups > 1 else 0)
        expected, expected_last = other(x[member if inputs > 1 else 0], hidden[:, member].contiguous())
        torch.testing.assert_close(output[member], expected, rtol=0, atol=1e-14)
        torch.testing.assert_close(last[:, member], expected_last, rtol=0, atol=1e-14)


def test_gradients_agree_with_torch_autograd():
    gru = GRU(3, 4, 1, 1, generators(1)).double()
    other = reference(gru, 0)
    x = torch.randn(1, 5, 2, 3, dtype=torch.double)
    hidden = torch.randn(1, 1, 2, 4, dtype=torch.double)
    weights = torch.randn(5, 2, 4, dtype=torch.double)
    output, last = gru.sequence(x, hidden)
    ours = torch.autograd.grad((output[0] * weights).sum() + last.square().sum(), list(gru.parameters()))
    expected, expected_last = other(x[0], hidden[:, 0].contiguous())
    theirs = torch.autograd.grad((expected * weights).sum() + expected_last.square().sum(), list(other.parameters()))
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own[0], their, rtol=1e-12, atol=1e-12)


def test_sequence_backward_by_finite_differences():
    torch.manual_seed(0)
    shapes = [(2, 3, 2, 3), (2, 2, 4), (2, 12, 3), (2, 12, 4), (2, 12), (2, 12)]
    arguments = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *inputs: SequenceGRU.apply(3, True, *inputs), arguments, fast_mode=True)


def test_nothing_is_kept_for_a_way_back_that_there_is_not():
    shapes = [(2, 3, 2, 3), (2, 2, 4), (2, 12, 3), (2, 12, 4), (2, 12), (2, 12)]
    arguments = [torch.randn(shape, dtype=torch.double) for shape in shapes]
    kept, thrown = SequenceGRU.apply(3, True, *arguments), SequenceGRU.apply(3, False, *arguments)
    assert len(kept) == 3 + 2 * 3
    assert len(thrown) == 3
    assert torch.equal(kept[0], thrown[0])


def test_the_outputs_of_the_last_rows_are_those_of_all():
    gru = GRU(3, 4, 2, 2, generators(2)).double()
    x, hidden = torch.randn(2, 5, 2, 3, dtype=torch.double), torch.randn(2, 2, 2, 4, dtype=torch.double)
    outputs, after = gru.sequence(x, hidden)
    last, same = gru.sequence(x, hidden, last=2)
    assert torch.equal(last, outputs[:, 3:])
    assert torch.equal(same, after)


def test_a_group_is_initialised_alike_however_many_there_are():
    few, many = GRU(3, 4, 2, 2, generators(2)), GRU(3, 4, 2, 5, generators(5))
    for own, other in zip(few.parameters(), many.parameters(), strict=True):
        assert torch.equal(own, other[:2])


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 512])  # 512 is a whole block of the step in place
def test_rows_that_members_share_go_on_from_each_members_hidden_state(rows, gradient):
    gru = GRU(3, 4, 2, 1, generators(1)).double()
    x, hidden = torch.randn(1, rows, 3, dtype=torch.double), torch.randn(2, 5, rows, 4, dtype=torch.double)
    with torch.set_grad_enabled(gradient):
        output, new = gru.step(x, hidden)
        for member in range(5):
            alone, new_alone = gru.step(x, hidden[:, member : member + 1])
            torch.testing.assert_close(output[member], alone[0], rtol=0, atol=1e-14)
            torch.testing.assert_close(new[:, member], new_alone[:, 0], rtol=0, atol=1e-14)


def test_a_hidden_state_that_members_share_goes_on_in_each_group():
    gru = GRU(3, 4, 2, 2, generators(2)).double()
    x, hidden = torch.randn(1, 5, 3, dtype=torch.double), torch.randn(2, 1, 5, 4, dtype=torch.double)
    output, new = gru.step(x, hidden)
    expected, expected_new = gru.step(x.expand(2, -1, -1), hidden.expand(-1, 2, -1, -1))
    assert torch.equal(output, expected)
    assert torch.equal(new, expected_new)


@torch.no_grad()
def test_fewer_rows_than_the_hidden_state_has_are_refused():
    gru = GRU(3, 4, 2, 1, generators(1))
    with pytest.raises(ValueError, match="512 rows cannot go on from a hidden state of 1024"):
        gru.step(torch.zeros(1, 512, 3), torch.zeros(2, 1, 1024, 4))
