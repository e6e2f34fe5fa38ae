"""What the study's summary writes: pages, tables and JSON, also of results that are incomplete."""

from __future__ import annotations

import csv
import json
import re
from itertools import product
from pathlib import Path

import pytest

from experiments.generated import marks
from experiments.shared_vs_independent import beside, hopes, page, processors, summarise, tables
from experiments.shared_vs_independent.answer import answer, cost
from experiments.shared_vs_independent.cells import MODELS, SEEDS, ModelCell, PolicyCell, plan
from experiments.shared_vs_independent.gather import Gathered, number_at, seconds_of
from tests.experiments.made_up_study import EQUAL, SAME, model_result, policy_result, whole_study, with_noise


def test_a_number_has_the_interval_that_stands_with_it_or_beside_it() -> None:
    cell = {"a": {"value": 0.5, "low": 0.4, "high": 0.7, "trajectories": 30}}
    found = number_at(cell, ("a",))
    assert found is not None
    assert (found.value, found.ends, found.episodes) == (0.5, (0.4, 0.7), 30)
    errors = {"dynamics": {"normalized_error": {"8": 0.3}, "standard_error": {"8": 0.1}, "episodes": 85}}
    found = number_at(errors, ("dynamics", "normalized_error", "8"))
    assert found is not None
    assert found.ends == pytest.approx((0.3 - 0.196, 0.3 + 0.196))
    assert found.episodes == 85
    assert number_at(errors, ("dynamics", "nothing")) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    text = "".join(f"{begin}\n{end}\n" for begin, end in (marks(part, summarise.COMMAND) for part in summarise.PARTS))
    (tmp_path / "README.md").write_text(f"# Study\n{text}The end.\n")
    return tmp_path


def test_nothing_run_yet(folder: Path) -> None:
    summarise.main(["--folder", str(folder)])
    readme = (folder / "README.md").read_text()
    assert "Not run yet." in readme
    assert "- policies inside `shared` models of broad data: all" in readme
    assert readme.endswith("The end.\n")
    assert not (folder / "figures").exists()
    assert json.loads((folder / "answer.json").read_text())["shared"] == "undecided"


def test_every_interval_of_the_answer_says_what_it_rests_on() -> None:
    """Seeds × episodes stand behind it in a sentence, and in a column of their own in a table."""
    gathered = with_noise(whole_study(EQUAL, SAME), 0.5)
    found = answer(gathered)
    for line in [*page.answer_lines(found, hopes.hopes(gathered), gathered), *page.short_lines(found, gathered)]:
        intervals = re.findall(r"\[-?[\d.]+, -?[\d.]+\](?! \(\d+ × \d+(, \d+ falls)?\))", line)
        assert not intervals or (line.startswith("|") and re.search(r"\| \d+ × \d+(, \d+ falls)? \|", line)), line


def test_a_part_of_the_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1, 2):
        cell = ModelCell("shared", "broad", seed)
        (folder / "results" / f"{cell.name}.json").write_text(json.dumps(model_result(cell, 0.8)))
    policy = PolicyCell(ModelCell("shared", "broad", 0), "raw", 1.0)
    (folder / "results" / f"{policy.name}.json").write_text(json.dumps(policy_result(policy, 22.0)))
    (folder / "results" / "model-priors-broad-seed0.json").write_text('{"name": "mod')
    summarise.main(["--folder", str(folder)])
    once = (folder / "README.md").read_text()
    assert "From 4 of 310 cells" in capsys.readouterr().out
    tables_page = (folder / "table.md").read_text()
    assert "| `shared` | broad | broad | 3 | 30 | 0.80 [0.70, 0.90]" in tables_page
    assert "no test episode ends in a fall" in tables_page, "the reason stands where a number would"
    assert "| `shared` | broad | raw | 1 | 1 of 1 | 22.00 [21.02, 22.98] | 22.0 |" in tables_page
    assert "| the clones | broad |" in tables_page
    assert "| raw | 1 | 2.00 (1 seed: 2.00) | 0.10 (1 seed: 0.10) |" in once
    assert "- models: `shared` of broad data (seeds 3, 4); `independent` of broad data; " in once
    assert "- policies inside `shared` models of broad data: raw 1 (seeds 1, 2, 3, 4); raw 0; " in once
    assert "`model-priors-broad-seed0` is damaged" in once
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert drawn == {"ranking", "coverage", "diversity", "falls", "policies"}
    summarise.main(["--folder", str(folder)])
    assert (folder / "README.md").read_text() == once
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row["cell"] == policy.name and row["quantity"] == "deployment.return"]
    assert [(row["penalty"], row["weight"], row["value"]) for row in ours] == [("raw", "1.0", "22.0")]
    assert {row["tested_on"] for row in rows if row["quantity"] == "ranking.8.rank"} == {"broad", "narrow"}


def test_times_are_compared_on_one_machine_only() -> None:
    gathered = whole_study(EQUAL, SAME)
    assert all(line.endswith("its time not yet taken on one machine") for line in cost(gathered))
    for data, slow in (("broad", {"processor": "slow"}), ("narrow", {"processor": "fast"})):
        for model, machine, seconds in (("shared", {"processor": "fast"}, 60.0), ("priors", slow, 150.0)):
            for seed in SEEDS:
                result = gathered.by_name[ModelCell(model, data, seed).name]
                result["machine"], result["seconds"]["dynamics"] = machine, seconds
    found = {line.split(":")[0]: line for line in cost(gathered)}
    assert found["`priors`"].endswith("2.5 times its seconds of training (narrow; medians of 5 and 5, beside other work)")
    assert found["`independent`"].endswith("its time not yet taken on one machine")


def test_what_is_missing_is_said_in_a_few_lines() -> None:
    lines = tables.missing(Gathered({}))
    assert len(lines) == 1 + 2 * 3
    assert lines[0].count("` of ") == 2 * len(MODELS)
    assert all(line.endswith(": all") for line in lines[1:])
    assert tables.missing(whole_study(EQUAL, SAME)) == ["Nothing: every cell has been run."]


def test_adopted_cells_are_marked_and_their_seconds_are_those_of_their_making() -> None:
    gathered = whole_study(EQUAL, SAME)
    result = gathered.by_name[ModelCell("shared", "broad", 0).name]
    result["adopted"] = {"seconds": {"dynamics": 1234.0}}
    assert seconds_of(result, "dynamics") == 1234.0
    assert tables.error_and_cost(gathered)[2].startswith("| `shared`* | broad |")
    assert "1234, 60, 60" in tables.error_and_cost(gathered)[2]
    assert tables.ranking(gathered)[3].startswith("| `independent` |")


def row_of(lines: list[str], *cells: str) -> list[str]:
    """Return the cells of the one row of a table that begins with these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (row,) = (row for row in rows if row[: len(cells)] == list(cells))
    return row


def test_pairs_of_models_say_which_advantages_above_the_margin_are_sure_and_which_are_not_excluded() -> None:
    """Beside equals: members that rank better for sure, models whose test episodes have too few falls, and others half run."""
    gathered = whole_study(EQUAL | {"shared_wide": 0.2}, SAME)
    for cell in plan():
        if isinstance(cell, ModelCell):
            gathered.by_name[cell.name]["tested_on"]["narrow"]["test"]["falls"] = 3
            if cell.model == "priors" and cell.seed > 2:
                del gathered.by_name[cell.name]
    lines = beside.pairs(gathered)
    assert len(lines) == 2 + 3 * 4, "every pair of models, by what they were trained and tested on"
    assert lines[:-4] == beside.pairs(gathered, beside.AGAINST_SHARED)
    assert row_of(lines, "`independent` − `shared`", "broad", "broad")[-2:] == ["5 × 30, 15 falls", "excluded"]
    assert row_of(lines, "`independent` − `shared`", "broad", "narrow")[-2:] == ["5 × 30, 3 falls", "not excluded: AUROC"]
    for data, tested in product(("broad", "narrow"), repeat=2):
        falls = "; not excluded: AUROC" if tested == "narrow" else ""
        assert row_of(lines, "`independent` − `shared_wide`", data, tested)[-1] == f"yes: 8 steps, 24 steps{falls}"
    three = row_of(lines, "`priors` − `independent`", "broad", "broad")
    assert three[-1] == "not excluded: 8 steps, 24 steps, AUROC", "three seeds have no interval"
    assert beside.pairs(Gathered({})) == ["not run yet"]


@pytest.mark.parametrize(("noise", "word"), [(0.5, "above"), (1.0, "below")])
def test_disagreement_is_held_against_noise_in_one_sentence(noise: float, word: str) -> None:
    """A noise that follows the error less closely, or more, than the disagreement of all 16 pairings; it foresees no falls."""
    gathered = with_noise(whole_study(EQUAL, SAME), noise)
    (sentence,) = (found for found in beside.findings(gathered) if found.startswith("Disagreement"))
    ranks, falls = sentence.split("; ")
    assert f"surely {word} 0 in 16 of 16" in ranks
    assert "surely above 0 in 16 of 16" in falls
    assert beside.disagreement_or_noise(whole_study(EQUAL, SAME)) == "", "these results have no noise"


def test_cells_made_on_two_kinds_of_processor_say_how_much_rounding_alone_changes() -> None:
    """Five policies that earn 0.3 more or less there, while seeds differ by 0.01 a step: 0.3 / sqrt(2) and the spread of 0 to 4."""
    used, other = whole_study(EQUAL, SAME), Gathered({})
    for seed in SEEDS:
        cell = PolicyCell(ModelCell("priors", "narrow", seed), "raw", 0.0)
        there = policy_result(cell, 20.0 + 0.01 * seed + (0.3 if seed % 2 else -0.3))
        other.by_name[cell.name] = there | {"machine": {"processor": "B"}}
        used.by_name[cell.name]["machine"] = {"processor": "A"}
    lines = processors.lines(used, other)
    assert lines[0] == "Made on B (`results/another_processor`) and then, from the same data, on A:"
    assert row_of(lines, "deployed return") == ["deployed return", "5", f"{0.3 / 2**0.5:.3f}", "0.300", f"{0.01 * 2.5**0.5:.3f}"]
    assert len(lines) == 2 + 2 + 1, "no model was made twice"
    assert processors.lines(used, Gathered({})) == ["No cell has been made on two kinds of processor."]
