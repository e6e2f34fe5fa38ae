from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.benchmarks import dynamics, gemm, ours
from experiments.benchmarks.sizes import KINDS, Kind, Sizes

TINY = Sizes(state=6, action=2, contact=3, hidden=16, head=8, history=4, forecast=3, members=3)


@pytest.mark.parametrize("kind", KINDS)
def test_ours_takes_the_steps(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many operations as are needed, and no more than the plain implementation.

    But for a thousandth: weighing the steps of the forecast is a matrix product too, a tiny one.
    """
    rows = torch.tensor([[0, 0, 1, 1, 2, 2], [5, 4, 3, 5, 4, 3], [1, 1, 1, 1, 3, 5]])  # three distinct windows a member
    step = ours.training_step(kind, TINY, 6)
    monkeypatch.setattr("experiments.benchmarks.ours.torch.randint", lambda *_, **__: rows)
    training = gemm.count_flops(step)
    monkeypatch.undo()
    assert training <= gemm.training_flops(kind, TINY, 6)
    assert training == pytest.approx(gemm.training_flops(kind, TINY, 6, plain=False, distinct=3), rel=1e-3)
    imagination = gemm.count_flops(ours.imagination_step(kind, TINY, 6))
    assert gemm.imagination_flops(kind, TINY, 6, plain=False) <= imagination <= gemm.imagination_flops(kind, TINY, 6)


def test_the_command_writes_a_complete_file_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, precision = tmp_path / "figures.json", torch.get_float32_matmul_precision()
    dynamics.main(["--quick", "--output", str(output)])
    assert torch.get_float32_matmul_precision() == precision
    results, printed = json.loads(output.read_text()), capsys.readouterr().out
    assert results["complete"] is True
    assert results["machine"]["torch_threads"] == 1
    assert results["machine"]["precision"] == "highest"
    assert results["gemm_peak_flop_per_second"] > 0
    for phase, amounts in dynamics.QUICK.amounts.items():
        for amount in amounts:
            for kind in KINDS:
                cell = results[phase][str(amount)][kind]
                assert_complete(cell, results["gemm_peak_flop_per_second"])
                assert f"| {phase} | {kind} | {amount} |" in printed


def assert_complete(cell: dict[str, Any], peak: float) -> None:
    for name in ("plain", "ours"):
        figure = cell["time"][name]
        rate = figure["flop"] / figure["seconds"]["median"]
        assert figure["fraction_of_gemm_peak"] == pytest.approx(rate / peak)
        assert figure["fraction_of_neighbouring_gemm"]["median"] > 0
        assert 0 < cell["memory"][name]["rise_bytes"] <= cell["memory"][name]["peak_bytes"]
    assert cell["time"]["plain_over_ours"]["median"] > 0
    assert cell["time"]["least_flop"] > 0
    assert cell["memory"]["plain_over_ours_peak"] > 0


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dynamics, "measure_memory", stop)
    with pytest.raises(KeyboardInterrupt):
        dynamics.main(["--quick", "--kinds", "shared", "--output", str(tmp_path / "figures.json")])
    results = json.loads((tmp_path / "figures.json").read_text())
    assert results["complete"] is False
    assert results["training"]["4"]["shared"]["time"]["plain"]["seconds"]["median"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_missing_accelerator_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dynamics.main(["--device", "cuda", "--output", str(tmp_path / "figures.json")])
    assert "no CUDA device" in capsys.readouterr().err


def test_the_plan_of_the_issue_is_the_default() -> None:
    assert dynamics.FULL.sizes == Sizes(45, 12, 8, 256, 2, 128, 32, 8, 5)
    assert dynamics.FULL.amounts == {"training": (16, 256, 1024), "imagination": (1024, 4096)}
