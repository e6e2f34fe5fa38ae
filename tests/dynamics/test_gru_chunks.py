"""How the GRU cuts its work into chunks of steps and blocks of rows changes no result."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from rwmu.dynamics.gru import GRU
from rwmu.dynamics.gru_sequence import SequenceGRU
from tests.dynamics.small import assert_close


def randn(*shape, grad=False, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.double, generator=generator, requires_grad=grad)


@pytest.mark.parametrize(("of_input", "of_hidden"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("chunk", [1, 4])
def test_gradients_over_several_chunks(of_input, of_hidden, chunk, monkeypatch):
    monkeypatch.setattr(
        "rwmu.dynamics.gru_sequence._CHUNK_ROWS", chunk
    )  # of two rows each: step by step, or two steps and then one
    arguments = [randn(2, 3, 2, 3, grad=of_input), randn(2, 2, 4, grad=of_hidden)]
    arguments += [randn(*shape, grad=True) for shape in ((2, 12, 3), (2, 12, 4), (2, 12), (2, 12))]
    assert gradcheck(
        lambda *inputs: SequenceGRU.apply(2, True, *inputs)[:2], arguments, eps=1e-6, atol=1e-7, rtol=1e-5, fast_mode=True
    )


@pytest.mark.parametrize("chunk", [1, 3, 6, 9, 12])
def test_the_chunks_of_a_sequence_change_nothing(chunk, monkeypatch):
    arguments = [randn(2, 5, 3, 4, grad=True), randn(2, 3, 4, grad=True)]
    arguments += [randn(*shape, grad=True) for shape in ((2, 12, 4), (2, 12, 4), (2, 12), (2, 12))]
    direction = randn(2, 5, 3, 4, seed=7)
    found = []
    for rows in (2048, chunk):
        monkeypatch.setattr("rwmu.dynamics.gru_sequence._CHUNK_ROWS", rows)
        outputs = SequenceGRU.apply(5, True, *arguments)[0]
        found.append([outputs, *torch.autograd.grad((outputs * direction).sum(), arguments)])
    for one, other in zip(*found, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize(("groups", "inputs"), [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("block", [1, 3, 512])
def test_a_step_without_gradient_is_the_step_with_it(groups, inputs, block, monkeypatch):
    monkeypatch.setattr("rwmu.dynamics.gru._BLOCK_ROWS", block)
    gru = GRU(2, 3, 2, groups, [torch.Generator().manual_seed(seed) for seed in range(groups)]).double()
    x, hidden = randn(inputs, 5, 2), randn(2, max(groups, inputs), 5, 3)
    before = x.clone(), hidden.clone()
    expected = gru.step(x, hidden)
    with torch.no_grad():
        found = gru.step(x, hidden)
        common = gru.step(x, hidden[:, :1]) if groups == 1 else None  # a state that all members have in common so far
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    if common is not None:
        for one, other in zip(common, gru.step(x, hidden[:, :1].expand(-1, inputs, -1, -1)), strict=True):
            assert_close(one, other)
    assert torch.equal(x, before[0])
    assert torch.equal(hidden, before[1])
