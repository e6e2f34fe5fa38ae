"""README and docs/ say what is true: commands compose, examples can be built, links and files are there, tables are committed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import hydra
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from rwmu.runs.configuration import config_directory, groups

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
CHANGELOG = REPOSITORY / "CHANGELOG.md"  # which names what is gone
PAGES = [README, REPOSITORY / "CONTRIBUTING.md", CHANGELOG, *sorted(DOCS.rglob("*.md"))]
TODAY = [page for page in PAGES if page != CHANGELOG]
HYDRA_COMMANDS = ("train", "collect", "evaluate", "play", "view", "export")
OWN = "mine"  # the folder of a reader's own files in the examples


class Fence(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    title: str
    text: str


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def fences(page: Path) -> list[Fence]:
    found = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [Fence(name_of(page), *parts) for parts in found]


def without_fences(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> set[str]:
    """Return what stands between single backticks."""
    return set(re.findall(r"`([^`\n]+)`", without_fences(page)))


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_fences(page), flags=re.MULTILINE)
    bare = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in bare}


FENCES = [fence for page in PAGES for fence in fences(page)]
LINES = [(f.page, line) for f in FENCES if f.language == "bash" for line in re.sub(r"\\\n\s+", "", f.text).splitlines()]
COMMANDS = [(page, line) for page, line in LINES if line.startswith("python -m ")]
IN_TEXT = [(name_of(page), span) for page in TODAY for span in sorted(spans(page)) if span.startswith("python -m ")]
COMMANDS = list({line: (page, line) for page, line in [*COMMANDS, *IN_TEXT]}.values())
COMPOSED = [(page, line) for page, line in COMMANDS if line.split()[2].removeprefix("rwmu.") in HYDRA_COMMANDS]
CODE = [fence for fence in FENCES if fence.language == "python"]
OWN_FILES = [fence for fence in FENCES if fence.title and fence.language in ("python", "yaml")]
OWN_OPTIONS = [fence.title for fence in OWN_FILES if fence.language == "yaml"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that holds what the examples tell a reader to write, and stand in the folder around it."""
    for fence in OWN_FILES:
        path = tmp_path / fence.title
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(fence.text + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / OWN
    for module in [name for name in sys.modules if name.split(".")[0] == OWN]:
        del sys.modules[module]


@cache
def composed(config_name: str, *overrides: str, own: Path | None = None) -> DictConfig:
    searched = [] if own is None else [f"hydra.searchpath=['file://{own}']"]
    with initialize_config_dir(config_dir=str(config_directory()), version_base="1.3"):
        return compose(config_name, overrides=[*overrides, *searched])


def ends(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of a sweep's first and last job; of anything else, those of the one."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    if not any(override.is_sweep_override() for override in parsed):
        return [list(overrides)]
    first, last = list(overrides), list(overrides)
    for place, override in enumerate(parsed):
        if override.is_sweep_override():
            values = list(override.sweep_string_iterator())
            first[place], last[place] = (f"{override.get_key_element()}={value}" for value in (values[0], values[-1]))
    return [first, last]


# -- commands and examples ------------------------------------------------------------------------------------------------


def test_there_are_commands_of_every_kind() -> None:
    assert {line.split()[2].removeprefix("rwmu.") for _, line in COMMANDS} >= set(HYDRA_COMMANDS)


@pytest.mark.parametrize(("page", "line"), COMPOSED)
def test_settings_of_a_command_compose(page: str, line: str, own: Path) -> None:
    words = shlex.split(line, comments=True)
    overrides = [w for w in words[3:] if not w.startswith("-") and not re.match(r"hydra[./]|job$", w)]
    with_own = own if f"--config-dir={OWN}" in words else None
    for job in ends(overrides):
        composed(words[2].split(".")[-1], *job, own=with_own)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_is_there(page: str, line: str) -> None:
    assert importlib.util.find_spec(line.split()[2]) is not None


@pytest.mark.parametrize("title", OWN_OPTIONS)
def test_an_option_of_ones_own_is_built(title: str, own: Path) -> None:
    _, group, file = title.split("/")
    option = file.removesuffix(".yaml")
    config = composed("train", f"{'+' if group == 'experiment' else ''}{group}={option}", own=own)
    if group != "experiment":
        hydra.utils.instantiate(config[group], _convert_="all")


@pytest.mark.parametrize("fence", CODE, ids=[f"{fence.page}-{number}" for number, fence in enumerate(CODE)])
def test_code_imports_what_is_there(fence: Fence) -> None:
    for node in ast.walk(ast.parse(fence.text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rwmu"):
            module = importlib.import_module(str(node.module))
            names = [alias.name for alias in node.names]
            assert not [n for n in names if not (hasattr(module, n) or _is_module([*module.__name__.split("."), n]))]


# -- what is named --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_fences(page)):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in slugs(file), target


@pytest.mark.parametrize("page", TODAY, ids=name_of)
def test_named_files_are_there(page: Path) -> None:
    named = [s for s in spans(page) if re.fullmatch(r"(rwmu|configs|experiments|tests|docs)/[\w./-]*", s) and "NAME" not in s]
    assert not [name for name in named if not (REPOSITORY / name).exists()]


@pytest.mark.parametrize("page", TODAY, ids=name_of)
def test_named_parts_of_the_package_are_there(page: Path) -> None:
    for name in [span for span in spans(page) if re.fullmatch(r"rwmu(\.\w+)+", span)]:
        parts = name.split(".")
        length = next(n for n in range(len(parts), 0, -1) if _is_module(parts[:n]))
        found = importlib.import_module(".".join(parts[:length]))
        for part in parts[length:]:
            found = getattr(found, part)


def _is_module(parts: Sequence[str]) -> bool:
    try:
        return importlib.util.find_spec(".".join(parts)) is not None
    except ModuleNotFoundError:  # what is before the last dot is no package
        return False


@pytest.mark.parametrize("page", TODAY, ids=name_of)
def test_named_settings_are_there(page: Path) -> None:
    others = (
        "+experiment=mbpo_ppo",
        "simulator=mjlab",
        "simulator=isaaclab",
        "task=anymal_d_isaaclab",
    )  # have settings of their own
    configs = [composed("train"), *(composed("train", other) for other in others)]
    own_groups = "|".join(str(key) for key in configs[0] if OmegaConf.is_dict(configs[0][key]))
    named = [
        span.partition("=")[0] for span in spans(page) if re.fullmatch(rf"({own_groups})\.[\w.]+(?<!\.pt)(?<!\.onnx)(=\S+)?", span)
    ]
    assert not [key for key in named if all(OmegaConf.select(c, key, default="absent") == "absent" for c in configs)]


def test_every_option_is_in_the_configuration_page() -> None:
    page = spans(DOCS / "configuration.md")
    assert not [
        f"{group}={option}" for group, options in groups(config_directory()).items() for option in options if option not in page
    ]


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=name_of)
def test_the_reference_is_of_modules_that_are_there(page: Path) -> None:
    modules = re.findall(r"^::: (\S+)$", page.read_text(), flags=re.MULTILINE)
    assert modules
    assert not [module for module in modules if importlib.util.find_spec(module) is None]


# -- what is said ---------------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.read_text().split()) <= 700


@pytest.mark.parametrize(("part", "table"), [("results", "first_loop/table.md")])
def test_generated_rows_are_of_the_committed_table(part: str, table: str) -> None:
    within = (DOCS / "results.md").read_text().split(f"<!-- {part}: begin")[1].split(f"<!-- {part}: end -->")[0]
    rows = [line for line in within.splitlines() if line.startswith("|")]
    assert rows
    assert not set(rows) - set((REPOSITORY / "experiments" / table).read_text().splitlines())
