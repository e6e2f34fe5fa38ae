"""What a command prints reaches any terminal, and what it says may be copied."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rwmu.runs.terminal import setting

PRINTING = """
import sys, time
from rwmu.runs.terminal import any_terminal
with any_terminal():
    print("−0.5 ± 0.1 ≥ 猫", flush=True)
    time.sleep(0.2)
    for number in range(3):
        print(number, flush=True)
        print(number, file=sys.stderr, flush=True)
open(sys.argv[1], "w").write("done")
"""


@pytest.mark.parametrize(
    "value", ["it's here/x.h5", "C:\\runs\\", "a'b\\'c", "two words", "[1,2]", "plain/x.h5", "a=b", "$HOME", "é"]
)
def test_an_argument_to_be_copied_is_read_as_it_was_meant(value: str) -> None:
    (word,) = shlex.split(setting("data.path", value))
    assert OverridesParser.create().parse_override(word).value() == value


def test_a_terminal_without_a_character_gets_another(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", PRINTING, tmp_path / "end"],
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
    )
    assert process.stdout.split(b"\n")[0] == b"-0.5 +- 0.1 >= ?"
    assert process.returncode == 0


def test_work_goes_on_when_nobody_reads_any_more(tmp_path: Path) -> None:
    program = [sys.executable, "-c", PRINTING, str(tmp_path / "end")]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (tmp_path / "end").read_text() == "done"
    assert (process.returncode, said) == (0, b"0\n1\n2\n")
