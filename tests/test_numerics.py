"""Threads and precision of a run."""

from __future__ import annotations

import logging

import pytest
import torch

from rwmu.numerics import PRECISIONS, matmul_error, set_up


@pytest.fixture(autouse=True)
def restored():
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


def test_the_error_of_float32_products_is_that_of_float32() -> None:
    torch.set_float32_matmul_precision("highest")
    assert 1e-8 < matmul_error() < 1e-6


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_lower_precision_is_set_and_its_error_told(precision: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        set_up(1, precision)
    assert torch.get_float32_matmul_precision() == precision
    assert torch.get_num_threads() == 1
    assert ("relative error" in caplog.text) == (precision != "highest")
    if precision != "highest":
        assert f"{matmul_error():.1e}" in caplog.text
