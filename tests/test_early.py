"""What cannot end well stops before the world model is trained, and what the machine refuses is said in a sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from rwmu.dynamics.module import DynamicsModule
from rwmu.runs.command_line import explain
from tests.conftest import Command, Trained
from tests.test_commands import STAGES


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("policy=clone policy.clone.minimum_steps=10000", "policy.clone.minimum_steps"),
        ("data.fractions={train:0.8,validation:0.1,test:0,calibration:0.1}", "no test episode: data.fractions"),
        ("trainer.accelerator=foo", "trainer.accelerator is 'foo', but here there are only: auto, cpu"),
        ("simulator.model.timestep=0.003", "physics steps of 0.003 s"),
        ("policy.checkpoint=other.pt", "other.pt"),
    ],
)
def test_before_the_world_model_is_trained(
    setting: str, words: str, workplace: Path, command: Command, smoke: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(DynamicsModule, "training_step", refuse)
    (workplace / "other.pt").write_bytes(b"no policy")
    outcome = command("train", "+experiment=rwm_base", *smoke, "data.recipe=null", *setting.split())
    assert outcome.status == 2, outcome.err
    assert words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_values_of_a_new_measurement_are_checked(trained: Trained, command: Command) -> None:
    trained("+experiment=rwm_base", STAGES)
    for setting, words in (("seed=abc", "whole number"), ("num_envs=2.5", "whole number"), ("num_envs=0", "at least 1")):
        outcome = command("evaluate", f"evaluation.{setting}")
        assert outcome.status == 2
        assert f"evaluation.{setting.split('=')[0]}" in outcome.err
        assert words in outcome.err


def test_a_run_without_any_logger(workplace: Path, command: Command, smoke: list[str]) -> None:
    outcome = command("train", "+experiment=rwm_base", *smoke, "stages=[data,dynamics]", "~logger.csv", "~logger.tensorboard")
    assert outcome.status == 0, outcome.err


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_what_the_machine_refuses_is_one_sentence(number: int) -> None:
    error = OSError(number, os.strerror(number), "runs/x/report.json")
    assert explain(error) == f"runs/x/report.json cannot be read or written: {os.strerror(number)}."
    assert explain(OSError(errno.EBADF, "a defect of ours")) is None


def test_memory_that_does_not_suffice_is_one_sentence() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    for error in (caught.value, MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB.")):
        told = explain(error)
        assert told is not None
        assert "data.batch_size" in told
        assert "\n" not in told
    assert explain(RuntimeError("a defect of ours")) is None
