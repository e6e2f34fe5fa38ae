"""The README says what is true: its table comes from committed files, and its commands compose."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rwmu.runs.configuration import check_overrides, config_directory, groups

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()


def commands(page: str) -> list[tuple[str, str]]:
    """Return name and arguments of the package's own commands on a page."""
    return re.findall(r"^    python -m rwmu\.(\w+) (.*?)(?:  +#.*)?$", page, flags=re.MULTILINE)


COMMANDS = commands(README)


def test_the_results_come_from_the_committed_table() -> None:
    """Every row of the results is one that experiments/first_loop has generated from its committed results."""
    results = README.split("<!-- results: begin")[1].split("<!-- results: end -->")[0]
    rows = [line for line in results.splitlines() if line.startswith("|")]
    generated = REPOSITORY / "experiments/first_loop/table.md"
    known = generated.read_text().splitlines() if generated.is_file() else []
    assert not set(rows) - set(known)


def test_the_readme_has_commands() -> None:
    assert {name for name, _ in COMMANDS} == {"train", "collect", "evaluate", "play"}


@pytest.mark.parametrize(("name", "line"), [*COMMANDS, *commands((REPOSITORY / "configs" / "README.md").read_text())])
def test_its_commands_are_right(name: str, line: str) -> None:
    arguments = [argument for argument in shlex.split(line) if not argument.startswith("-") and argument != "job"]
    check_overrides(name, arguments, groups(config_directory()))


def test_every_experiment_is_in_it() -> None:
    for name in groups(config_directory())["experiment"]:
        assert f"`+experiment={name}`" in README
