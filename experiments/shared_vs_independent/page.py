"""The study's answer and results as lines of Markdown: what README.md shows, and all tables for table.md."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.shared_vs_independent import beside, tables
from experiments.shared_vs_independent.answer import DATA, RANK_MARGIN, Answer
from experiments.shared_vs_independent.cells import plan
from experiments.shared_vs_independent.figures import CAPTIONS
from experiments.shared_vs_independent.gather import Gathered
from experiments.shared_vs_independent.hopes import Hope

COUNTS = beside.COUNTS
SHARED = {
    "sufficient": "By the protocol's rule the shared base is sufficient, for models trained and tested on broad data.",
    "insufficient": "By the protocol's rule the shared base is insufficient, for models trained and tested on broad data.",
    "undecided": "Undecided whether the shared base is sufficient.",
}
RECALIBRATION = {
    "helps": "Recalibrating the penalty helps the robot.",
    "not shown to help": "Recalibrating the penalty has not been shown to help the robot.",
    "hurts": "By the rule recalibrating the penalty does not help the robot: at the best weights its policies earn less.",
    "undecided": "Undecided whether recalibrating the penalty helps the robot.",
}


def answer_lines(found: Answer, judged: Sequence[Hope], gathered: Gathered) -> list[str]:
    """Return the answer, each verdict with what it rests on."""
    if not gathered.by_name:
        return ["Not run yet."]
    done, planned = len(gathered.by_name), len(plan())
    adopted = sum(bool(result["adopted"]) for result in gathered.by_name.values())
    rest = "all" if done == planned else "the others are listed below"
    return [
        f"From {done} of {planned} cells ({rest}), {adopted} of them adopted from earlier runs.",
        "",
        f"**{SHARED[found.shared]}**{_easy(found, ' (last column)')}",
        "",
        *_criteria(found),
        "",
        f"The same of other models and data, whose verdict the rule leaves open (margin {RANK_MARGIN:g}):",
        "",
        *beside.pairs(gathered),
        "",
        f"Beside the rule (in brackets {COUNTS}):",
        "",
        *(f"- {sentence}" for sentence in beside.findings(gathered)),
        "",
        f"**{RECALIBRATION[found.recalibration]}**{_so_far(found)} Return with the recalibrated penalty − return with the raw one:",
        "",
        *_recalibrated(found),
        "",
        "**Which weight, and at what cost?** Broad data; the best of several weights is above any one of them by chance alone, and "
        "its interval does not know that it was chosen (the last column has no such luck):",
        "",
        *_weights(found),
        "",
        *(f"- {line}." for line in found.cost),
        "",
        "**What was hoped of independent members on broad data, and what was found** (by the numbers, not their intervals; "
        f"in brackets {COUNTS}):",
        "",
        *(f"- {hope.line}" for hope in judged),
    ]


def short_lines(found: Answer, gathered: Gathered) -> list[str]:
    """Return the answer so far in a few lines, for the main README."""
    done, planned = len(gathered.by_name), len(plan())
    pooled = next((row for row in found.recalibrated if (row.model, row.data) == ("all", DATA)), None)
    returned = found.criteria[-1:]  # the only one that is not of the models themselves
    noise = beside.disagreement_or_noise(gathered)
    lines = [
        f"{'All' if done == planned else f'{done} of {planned}'} cells have been run. Intervals are of 95 %; in brackets {COUNTS}.",
        "",
        f"**{SHARED[found.shared]}**{_easy(found)} What independent members have more, by the data that models "
        f"were trained and tested on (the rule is about the first row; its margin is {RANK_MARGIN:g}):",
        "",
        *beside.pairs(gathered, beside.AGAINST_SHARED),
        "",
        *(f"- Independent − shared, {c.name}: {c.difference.counted(3)}." for c in returned if c.difference.value is not None),
        *([f"- {noise}"] if noise else []),
    ]
    if pooled is not None and pooled.best.value is not None:
        judged = pooled.alike if found.recalibration == "undecided" else pooled.best
        difference = (
            f"Return with the recalibrated penalty − return with the raw one: {judged.counted()}."
            if judged.value is not None
            else ""
        )
        lines.append(f"- **{RECALIBRATION[found.recalibration]}**{_so_far(found)} {difference}")
    return lines


def _easy(found: Answer, where: str = "") -> str:
    """Return how many of the margins no advantage could have exceeded."""
    impossible = sum(c.room is not None and c.room < c.margin for c in found.criteria)
    if found.shared != "sufficient" or not impossible:
        return ""
    return (
        f" By {impossible} of its {len(found.criteria)} criteria no advantage beyond the margin was possible, the shared base "
        f"being that good already{where}."
    )


def _so_far(found: Answer) -> str:
    """Return in which direction recalibration points at the weights that it and the raw penalty have been run with.

    At the best weights of each it would seem to do worse: the raw penalty has more of them to choose from, and the more so while
    recalibrated ones are missing.
    """
    row = next((row for row in found.recalibrated if (row.model, row.data) == ("all", DATA)), None)
    if row is None or row.alike.low is None or row.alike.high is None:
        return ""
    if found.recalibration in ("helps", "hurts"):
        sure = row.alike.low > 0.0 or row.alike.high < 0.0
        small = "" if sure else f" (at the weights that both have, that is not sure: {row.alike.counted()})"
        return f" The raw penalty has more weights to choose from{small}."
    if found.recalibration != "undecided":
        return ""
    earns = "it earns less" if row.alike.high < 0.0 else "it earns more" if row.alike.low > 0.0 else "neither surely earns more"
    return f" Not all weights have been run; so far, at those that both have been run with, {earns}."


def _criteria(found: Answer) -> list[str]:
    rows = [[c.name, c.difference.text(3), c.difference.counts, c.meaning, c.beside] for c in found.criteria]
    header = ["what the rule compares", "independent − shared", COUNTS, "an advantage beyond the margin?", "to judge it by"]
    return tables.table(header, rows)


def _recalibrated(found: Answer) -> list[str]:
    rows = []
    for row in found.recalibrated:
        if row.best.value is not None:
            yet = "" if row.complete else " (not all weights run)"
            every = "**all**" if row.complete else f"**{' and '.join(row.models)}**"
            name = every if row.model == "all" else f"`{row.model}`"
            best = [row.best.text(), row.best.counts, row.over_seeds.ends_text()]
            rows.append([name, row.data + yet, *best, row.alike.text(), _plain(row.by_others)])
    header = ["model", "data", "each at its best weight", COUNTS, "its interval over seeds alone"]
    header += ["at the weights that both have been run with", "weights chosen by the other seeds"]
    return tables.table(header, rows) if rows else ["not run yet"]


def _weights(found: Answer) -> list[str]:
    rows = [
        [f"`{model}`", penalty, best.text, best.gain.text(), best.over_none.text(), best.gain.counts, _plain(best.gain_by_others)]
        for model, by_penalty in found.best_weights.items()
        for penalty, best in by_penalty.items()
    ]
    header = ["model", "penalty", "weight of the highest return", "there: more than the clone", "more than with weight 0", COUNTS]
    header.append("more than the clone, weights chosen by the other seeds")
    return tables.table(header, rows)


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def notes() -> list[str]:
    """Return what holds for all tables."""
    return [
        "Interquartile means over seeds (of fewer than four, means) with 95 % intervals over seeds and test episodes; where no",
        "interval can be had, every seed's number. * marks models and policies of which some were adopted from an earlier run.",
        "Errors are in the normalised units of the data that a model was trained on.",
    ]


def result_lines(gathered: Gathered, drawn: Sequence[str]) -> list[str]:
    """Return what the page shows of the results: the differences, the policies, the cost and the figures."""
    sections = {
        "Differences between models, paired by seed and episode": tables.differences(gathered),
        "Disagreement − predicted noise of the same members, paired by seed and episode": tables.against_noise(gathered),
        "Deployed policies: return more than the clone's, and share of episodes with a fall": tables.policies_by_weight(gathered),
        "Error, size and time": tables.error_and_cost(gathered),
    }
    captions = {name: (CAPTIONS[name].split(". ")[0], CAPTIONS[name]) for name in drawn}
    figures = [line for name, (short, full) in captions.items() for line in ("", f"![{short}](figures/{name}.png)", "", full)]
    return [*notes(), "All tables are in [table.md](table.md).", *_under_headings(sections), *figures]


def all_tables(gathered: Gathered) -> list[str]:
    """Return every table under its heading."""
    sections = {
        "Ranking: rank correlation of disagreement with error (200 long forecasts)": tables.ranking(gathered),
        "What the ranking is made of (1000 short forecasts)": tables.composition(gathered),
        "Differences between models, paired by seed and episode": tables.differences(gathered),
        "Disagreement − predicted noise of the same members, paired by seed and episode": tables.against_noise(gathered),
        "Scale: share inside the intervals of sampled trajectories": tables.scale(gathered),
        "Diversity of the members": tables.diversity(gathered),
        "Foresight of falls: AUROC of the disagreement": tables.falls(gathered),
        "Disagreement or predicted noise: rank correlation with the error, AUROC of a fall": tables.estimates(gathered),
        "Error, size and time": tables.error_and_cost(gathered),
        "Deployed policies": tables.deployed(gathered),
    }
    return [*notes(), *_under_headings(sections)]


def _under_headings(sections: dict[str, list[str]]) -> list[str]:
    return [line for heading, body in sections.items() for line in ("", f"### {heading}", "", *body)]
