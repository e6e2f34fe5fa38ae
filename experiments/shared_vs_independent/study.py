"""Is a shared base enough? The study's cells, its table of all results, and its answer.

    python -m experiments.shared_vs_independent.study commands                 # what makes every cell: one multirun a kind of cell
    python -m experiments.shared_vs_independent.study rows CELL RUN_DIR > FILE # a finished cell's rows of results.csv.gz
    python -m experiments.shared_vs_independent.study answer                   # answer.json, table.md, figures/, parts of README.md

A cell is a fitted model, or a policy optimised in one. ``results.csv.gz`` has a row for each of its numbers and paired columns.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.drawing import PALE, Look, draw, finish, panels, ticks, title
from experiments.generated import markdown, rewrite
from experiments.shared_vs_independent.composition import fall_area, pairs_in_order, rank_within
from rwmu.data.sources import obtain
from rwmu.data.splits import split_episodes
from rwmu.dynamics.world_model import WorldModel, parameter_count
from rwmu.files import write_json, write_text
from rwmu.imagination.rehearsal import rehearse
from rwmu.measure.calibration.measure import measure_calibration
from rwmu.measure.calibration.settings import CalibrationSettings
from rwmu.measure.deployment import deploy
from rwmu.measure.windows import Selection
from rwmu.policy.rsl_rl import load_actor
from rwmu.report.cells import below
from rwmu.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE
from rwmu.robots.anymal_d import anymal_d
from rwmu.simulators.mujoco import MujocoEnv
from rwmu.tasks.velocity import VelocityTask
from rwmu.uncertainty import pairing
from rwmu.uncertainty.estimates import aleatoric, epistemic
from rwmu.uncertainty.functional.ranking import weighted_correlation
from rwmu.uncertainty.pairing import NO_LIMITS, NORMAL, Estimate, Floats

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv.gz"
COMMAND = "python -m experiments.shared_vs_independent.study answer"

SEEDS = range(5)
DATA = {"broad": "mixed", "narrow": "expert"}  # name -> recipe
MODELS = {
    "shared": ("dynamics=shared",),
    "independent": ("dynamics=independent",),
    "priors": ("dynamics=independent", "dynamics.prior_scale=1.0"),
    "shared_wide": ("dynamics=shared", "dynamics.hidden_size=229"),  # as many parameters in all as `independent`
}
POLICY_MODELS = ("shared", "independent", "priors")
PENALTIES = {"raw": "mopo penalty.form.rectified=false", "recalibrated": "recalibrated"}
WEIGHTS = {"raw": (0.0, 0.2, 0.5, 1.0, 2.0, 5.0), "recalibrated": (0.5, 1.0, 2.0)}
NUM_TRANSITIONS = 1_000_000

MARGIN = 0.05  # of the protocol: in rank correlation, in AUROC, and in the return relative to the shared base's
RULE_STEPS, FORECASTS = (8, 24), 1000  # steps ahead at which models are compared, at most so many forecasts
FALL_ROWS_WITHIN = 25  # steps before a fall, of which the table has every row; of the others it has an even sample
HORIZONS, WITHIN = ("1", "8", "24", "100"), ("1", "5", "10", "25")
METHODS = ("raw", "constant", "per_horizon", "isotonic", "conformal")
COMPARED = (("independent", "shared"), ("independent", "shared_wide"), ("priors", "independent"))
PAIRS = (("broad", "broad"), ("broad", "narrow"), ("narrow", "narrow"), ("narrow", "broad"))  # trained on, tested on
CORRELATION, FRACTION = (-1.0, 1.0), (0.0, 1.0)

# -- cells ------------------------------------------------------------------------------------------------------------------------


def models(model: str, data: str) -> list[str]:
    """Return the names of a model's cells, one a seed."""
    return [f"model-{model}-{data}-seed{seed}" for seed in SEEDS]


def policies(model: str, data: str, penalty: str, weight: float) -> list[str]:
    """Return the names of a policy's cells, one a seed."""
    return [f"policy-{model}-{data}-seed{seed}-{penalty}-{weight:g}" for seed in SEEDS]


def settings(model: str, data: str) -> list[str]:
    """Return the configuration of a model's cells, for :mod:`rwmu.train`."""
    return [f"data={DATA[data]}", f"data.num_transitions={NUM_TRANSITIONS}", "scale=laptop", *MODELS[model]]


def commands() -> Iterator[str]:
    """Return the command of each kind of cell; Hydra's multirun takes it through seeds, and through weights."""
    seeds, folder = ",".join(map(str, SEEDS)), "runs/shared_vs_independent"
    for data, model in product(DATA, MODELS):
        start = f"python -m rwmu.train -m {' '.join(settings(model, data))} machine.num_threads=1 seed={seeds}"
        fitted = f"{folder}/model-{model}-{data}-seed${{seed}}"
        yield f"{start} 'stages=[data,dynamics]' 'runs_dir={fitted}'"
        for penalty, weights in WEIGHTS.items() if model in POLICY_MODELS else ():
            of_policy = f"penalty={PENALTIES[penalty]} penalty.weight={','.join(f'{weight:g}' for weight in weights)}"
            runs = f"{folder}/policy-{model}-{data}-seed${{seed}}-{penalty}-${{penalty.weight}}"
            checkpoint = f"'trainer.checkpoint={fitted}/latest/checkpoints/dynamics.pt'"
            yield f"{start} policy=clone {of_policy} 'stages=[policy]' {checkpoint} 'runs_dir={runs}'"


# -- rows of a new cell -----------------------------------------------------------------------------------------------------------

Row = tuple[str, str, Any, Any, Any, Any, str]  # tested on, quantity, value, low, high, episodes, series


def model_rows(checkpoints: Path, own: str) -> Iterator[Row]:
    """Measure a world model on the test episodes of each dataset, recalibrated on the calibration episodes of its ``own`` one."""
    world_model = WorldModel.load(checkpoints / "dynamics.pt")
    yield "", "parameters", parameter_count(world_model.dynamics), "", "", "", ""
    world_model.freeze()
    paths = {name: f"data/{recipe}-{NUM_TRANSITIONS}-seed0.h5" for name, recipe in DATA.items()}
    episodes = {name: obtain(path, robot=anymal_d()) for name, path in paths.items()}
    splits = {name: split_episodes(e.num_episodes, levels=e.levels) for name, e in episodes.items()}
    for name, tested in episodes.items():
        test, calibration = splits[name]["test"], Selection(episodes[own], splits[own]["calibration"])
        how = CalibrationSettings(horizons=tuple(map(int, HORIZONS)), one_step_windows=1_000_000)
        trained_on = Selection(episodes[own], splits[own]["train"])
        found = measure_calibration(world_model, Selection(tested, test), calibration, how, trained_on)
        for quantity in ("rows", "episodes", "falls"):
            yield name, f"test.{quantity}", found["test"][quantity], "", "", "", ""
        yield name, "history", world_model.history, "", "", "", ""
        for section in ("ranking", "scale", "diversity", "falls", "foresight", "outside", "heads"):
            for path, cell in below(found.get(section), section):
                yield name, path.replace("/", "."), cell["value"], cell["low"], cell["high"], cell["trajectories"], ""
        dream = rehearse(world_model, tested, test, max(RULE_STEPS), FORECASTS)
        columns = {"disagreement": dream.disagreement(epistemic), "noise": dream.disagreement(aleatoric)}
        columns["error"] = dream.error.square().mean(dim=-1).sqrt()
        for k, (quantity, values) in product(RULE_STEPS, columns.items()):
            yield name, f"forecasts.{k}.{quantity}", "", "", "", "", _series(values[k - 1].where(dream.valid[k - 1], math.nan))
        for quantity, kept in (("disagreement", "disagreement"), ("noise", "noise_estimate"), ("steps", "steps")):
            yield name, f"fall_rows.{quantity}", "", "", "", "", _series(found["fall_rows"][kept])


def policy_rows(checkpoints: Path, seed: int = 1000) -> Iterator[Row]:
    """Deploy a policy and the clone that it started from, 256 episodes of the same starts and commands each."""
    task = VelocityTask(anymal_d())
    for name, path in (("deterministic", checkpoints / "policy.pt"), ("clone", checkpoints / "policy" / "clone.pt")):
        deployed = deploy(MujocoEnv(task, 256, seed=seed), load_actor(path, task.robot), seed=seed)
        for quantity, value in (summary := deployed.summary()).items():
            if isinstance(value, int | float):
                half = NORMAL * summary["standard_error"].get(quantity, math.nan)
                yield "", f"{name}.{quantity}", value, value - half, value + half, 256, ""
        yield "", f"{name}.returns", "", "", "", "", _series(deployed.returns)


def _series(values: Iterable[Any]) -> str:
    return " ".join(f"{float(value):.5g}" for value in values)


# -- the table --------------------------------------------------------------------------------------------------------------------


class Table:
    """All results: numbers and series by cell, what it was tested on (empty for most of a policy's), and quantity.

    Args:
        rows: of the table, by column. processor: empty for the results in use; ``another`` for cells that were made twice.
    """

    def __init__(self, rows: Iterable[Mapping[str, str]], processor: str = "") -> None:
        self.numbers: dict[tuple[str, str, str], Estimate] = {}
        self.series: dict[tuple[str, str, str], str] = {}
        self._drawn: dict[tuple[str, str, Statistic], Floats] = {}
        for row in rows:
            key = (row["cell"], row["tested_on"], row["quantity"])
            if row["processor"] == processor and row["value"]:
                value, low, high = (float(row[name]) if row[name] else None for name in ("value", "low", "high"))
                self.numbers[key] = Estimate(value or 0.0, low, high, episodes=int(row["episodes"] or 0) or None)
            elif row["processor"] == processor:
                self.series[key] = row["series"]

    @classmethod
    def read(cls, path: Path = RESULTS, processor: str = "") -> Table:
        """Read the compressed table."""
        with gzip.open(path, "rt", newline="") as file:
            return cls(csv.DictReader(file), processor)

    def value(self, cell: str, quantity: str, on: str = "") -> float:
        """Return a number of a cell."""
        return self.numbers[cell, on, quantity].value

    def values(self, cell: str, quantity: str, on: str = "") -> Tensor:
        """Return a column of a cell's rows, float64."""
        return torch.tensor([float(word) for word in self.series[cell, on, quantity].split()], dtype=torch.float64)

    def estimate(self, cells: Sequence[str], quantity: str, on: str = "", limits: tuple[float, float] = NO_LIMITS) -> Estimate:
        """Return a number over the seeds of some cells, with an interval of seeds and episodes."""
        found = [self.numbers[cell, on, quantity] for cell in cells]
        ends = [None if one.low is None or one.high is None else (one.low, one.high) for one in found]
        return pairing.combined([one.value for one in found], ends, found[0].episodes, limits)

    def returns(self, model: str, data: str, penalty: str = "raw", weights: Sequence[float] | None = None) -> Floats:
        """Return what deployed policies earned, ``[W, S, N]``; the same N starts and commands for all."""
        cells = [policies(model, data, penalty, weight) for weight in weights or WEIGHTS[penalty]]
        return np.array([[self.values(cell, "deterministic.returns").tolist() for cell in seeds] for seeds in cells])

    def clones(self, model: str, data: str) -> Floats:
        """Return what the clones earned that a model's policies start from, ``[1, S, N]``."""
        return np.array([[self.values(cell, "clone.returns").tolist() for cell in policies(model, data, "raw", 1.0)]])

    def drawn(self, cell: str, on: str, statistic: Statistic) -> Floats:
        """Return a statistic of all test episodes, then of every draw of them, ``[1 + R]``."""
        key = (cell, on, statistic)
        if key not in self._drawn:
            times = pairing.episode_draws(self.episodes(on))
            self._drawn[key] = torch.cat([statistic(self, cell, on, some) for some in torch.split(times, 128)]).numpy()
        return self._drawn[key]

    def episodes(self, on: str) -> list[int]:
        """Return the test episodes that paired rows come from."""
        rows = [self.values("test", f"{rows}.episode", on).long().tolist() for rows in ("forecasts", "fall_rows")]
        return sorted({*rows[0], *rows[1]})


# -- statistics of paired rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistic:
    """A number of a model's paired rows, for many draws of the test episodes at once.

    Attributes:
        kind: ``rank`` (rank correlation of score and error), ``policy`` (the same within each collecting policy's episodes),
            ``episode`` (share of pairs of an episode in the right order) or ``falls`` (AUROC of a fall within ``steps`` steps).
        steps: ahead. score: ``disagreement``, or the ``noise`` that the members predict.
    """

    kind: str
    steps: int
    score: str = "disagreement"

    def __call__(self, table: Table, cell: str, on: str, times: Tensor) -> Tensor:
        """Return ``[R]``, given how often each episode was drawn ``[R, N]``."""
        if self.kind == "falls":
            return self._falls(table, cell, on, times)
        score, error = (table.values(cell, f"forecasts.{self.steps}.{name}", on) for name in (self.score, "error"))
        known = ~error.isnan()  # of the others the episode has ended before
        score, error, episode = score[known], error[known], table.values("test", "forecasts.episode", on).long()[known]
        if self.kind == "rank":
            return weighted_correlation(score, error, times[:, episode])
        if self.kind == "episode":
            return pairs_in_order(episode, score, error, times)
        levels = np.unique(table.series["test", on, "forecasts.level"].split(), return_inverse=True)[1]
        return rank_within(torch.from_numpy(levels)[known], score, error, times[:, episode])

    def _falls(self, table: Table, cell: str, on: str, times: Tensor) -> Tensor:
        """Let each kept row far from a fall count for as many as it stands for."""
        score = table.values(cell, f"fall_rows.{self.score}", on)
        steps, episode = (table.values("test", f"fall_rows.{name}", on).long() for name in ("steps", "episode"))
        far = (steps < 0) | (steps > FALL_ROWS_WITHIN)
        rows, tested, history = (table.value(cell, name, on) for name in ("test.rows", "test.episodes", "history"))
        each = max(1.0, (rows - history * tested - float((~far).sum())) / max(int(far.sum()), 1))
        return fall_area(score, steps, self.steps, times[:, episode] * torch.where(far, each, 1.0))


def level_of(table: Table, model: str, data: str, on: str, statistic: Statistic) -> Estimate:
    """Return a statistic of one model."""
    return _over_seeds(table, on, statistic, [table.drawn(cell, on, statistic) for cell in models(model, data)])


def difference(table: Table, first: str, second: str, data: str, on: str, statistic: Statistic) -> Estimate:
    """Return ``first - second`` of two models, paired by seed and by the test episodes of every draw."""
    cells = zip(models(first, data), models(second, data), strict=True)
    drawn = [table.drawn(one, on, statistic) - table.drawn(other, on, statistic) for one, other in cells]
    return _over_seeds(table, on, statistic, drawn)


def less_noise(table: Table, model: str, data: str, on: str, statistic: Statistic) -> Estimate:
    """Return a statistic of the disagreement less that of the noise that the same members predict."""
    noise = replace(statistic, score="noise")
    drawn = [table.drawn(cell, on, statistic) - table.drawn(cell, on, noise) for cell in models(model, data)]
    return _over_seeds(table, on, statistic, drawn)


def _over_seeds(table: Table, on: str, statistic: Statistic, drawn: list[Floats]) -> Estimate:
    falls = int(table.value("test", "falls", on)) if statistic.kind == "falls" else None
    return pairing.over_seeds_and_episodes(np.stack(drawn), len(table.episodes(on)), falls)


# -- the answer, by the rule that the protocol laid down before the runs ----------------------------------------------------------

OF_RULE = {f"rank correlation, {k} steps": Statistic("rank", k) for k in RULE_STEPS}
OF_RULE["AUROC of a fall within 5 steps"] = Statistic("falls", 5)


def criteria(table: Table) -> list[dict[str, Any]]:
    """Return the differences that decide, each with its verdict, and what the shared base has where that bounds an advantage."""
    found: list[dict[str, Any]] = []
    for name, of in OF_RULE.items():
        base = level_of(table, "shared", "broad", "broad", of)
        between = difference(table, "independent", "shared", "broad", "broad", of)
        found.append({"name": name, "difference": between, "base": base, "room": 1.0 - base.value})
    name, between = "deployed return, each at its best raw weight, relative", returns_differ(table, *COMPARED[0], "broad")
    found.append({"name": name, "difference": between, "base": None, "room": None})
    return [row | {"margin": MARGIN, "verdict": row["difference"].against(MARGIN)} for row in found]


def returns_differ(table: Table, first: str, second: str, data: str) -> Estimate:
    """Return the relative difference of the deployed returns of two models, each at its best raw weight."""
    return pairing.best_difference([(table.returns(first, data), table.returns(second, data))], relative=True)


def decide(verdicts: Sequence[str]) -> str:
    """Return what the protocol's rule says of the shared base."""
    if "beyond" in verdicts:
        return "insufficient"
    return "sufficient" if all(verdict == "within" for verdict in verdicts) else "undecided"


def recalibration(table: Table) -> list[dict[str, Any]]:
    """Return what policies with the recalibrated penalty earned more than those with the raw one, by data and model."""
    rows = []
    for data, chosen in product(DATA, (*((model,) for model in POLICY_MODELS), POLICY_MODELS)):
        pairs = [(table.returns(model, data, "recalibrated"), table.returns(model, data, "raw")) for model in chosen]
        alike = [(one, raw[[WEIGHTS["raw"].index(weight) for weight in WEIGHTS["recalibrated"]]]) for one, raw in pairs]
        row = {"model": chosen[0] if len(chosen) == 1 else "all", "data": data, "best": pairing.best_difference(pairs)}
        row |= {"over_seeds": pairing.best_difference(pairs, seeds_alone=True), "alike": pairing.best_difference(alike)}
        rows.append(row | {"by_others": pairing.chosen_by_others_difference(pairs)})
    return rows


def helps(found: Estimate) -> str:
    """Return the verdict on the recalibrated penalty, given what it earns more."""
    if found.low is None or found.high is None:
        return "undecided"
    return "hurts" if found.high < 0.0 else "helps" if found.low > 0.0 else "not shown to help"


def best_weight(table: Table, model: str, penalty: str) -> dict[str, Any]:
    """Return the weight of the highest return on broad data, and what it earns there; the weight is not chosen anew in draws."""
    found, clones = table.returns(model, "broad", penalty), table.clones(model, "broad")
    place = pairing.best_option(found)
    best, none = found[place : place + 1], table.returns(model, "broad", "raw", [0.0])
    return {
        "weight": WEIGHTS[penalty][place],
        "wins": pairing.share_of_wins(found)[place],
        "gain": pairing.best_difference([(best, clones)]),
        "gain_by_others": pairing.chosen_by_others_difference([(found, clones)]),
        "over_none": pairing.best_difference([(best, none)]),
    }


def answer(table: Table) -> dict[str, Any]:
    """Return the study's answer."""
    found, recalibrated = criteria(table), recalibration(table)
    rule = next(row for row in recalibrated if (row["model"], row["data"]) == ("all", "broad"))
    return {
        "shared": decide([criterion["verdict"] for criterion in found]),
        "criteria": found,
        "recalibration": helps(rule["best"]),
        "recalibrated": recalibrated,
        "best_weights": {model: {penalty: best_weight(table, model, penalty) for penalty in WEIGHTS} for model in POLICY_MODELS},
    }


def plain(found: Any) -> Any:
    """Return an answer as JSON, less its last digits, which depend on the number of threads."""
    return json.loads(json.dumps(found, default=asdict), parse_float=lambda digits: round(float(digits), 9))


# -- tables -----------------------------------------------------------------------------------------------------------------------


def of_models(table: Table, quantities: Mapping[str, str], limits: tuple[float, float], digits: int = 2) -> list[str]:
    """Return a row for each training data, test data and model; quantities by the name of their column."""
    rows = []
    for (data, on), model in product(PAIRS, MODELS):
        found = [table.estimate(models(model, data), quantity, on, limits) for quantity in quantities.values()]
        rows.append([f"`{model}`", data, on, found[0].counts, *(estimate.text(digits) for estimate in found)])
    return markdown(["model", "trained on", "tested on", "seeds × episodes", *quantities], rows)


def of_statistics(names: Iterable[str], statistics: Mapping[str, Statistic], of: Callable[..., Estimate]) -> list[str]:
    """Return a row for each name, training and test data; ``of(name, data, on, statistic)`` is what stands in it."""
    rows = []
    for (data, on), name in product(PAIRS, names):
        found = [of(name, data, on, statistic) for statistic in statistics.values()]
        rows.append([name, data, on, found[-1].counts, *(estimate.text(3) for estimate in found)])
    return markdown(["", "trained on", "tested on", "seeds × episodes", *statistics], rows)


def error_and_cost(table: Table) -> list[str]:
    """Return errors on the model's own test episodes, sizes and seconds of training."""
    rows = []
    for data, model in product(DATA, MODELS):
        cells = models(model, data)
        seconds = ", ".join(f"{table.value(cell, 'seconds.dynamics'):.0f}" for cell in cells)
        errors = [table.estimate(cells, f"error.{k}") for k in HORIZONS]
        size = f"{table.value(cells[0], 'parameters'):.0f}"
        rows.append([f"`{model}`", data, size, errors[0].counts, *(error.text(3) for error in errors), seconds])
    header = ["model", "data", "parameters", "seeds × episodes", *(f"error at {k}" for k in HORIZONS), "seconds of each seed"]
    return markdown(header, rows)


def deployed(table: Table) -> list[str]:
    """Return what each policy earns in the simulator, how often it falls, and how far its dream was off."""
    quantities = {"return": "deterministic.return", "tracking xy": "deterministic.track_lin_vel_xy"}
    quantities |= {"tracking yaw": "deterministic.track_ang_vel_z", "dreamt − real return": "imagination.gap.return"}
    falls = {"falls": "deterministic.fall_fraction", "falls in its dream of 20 s": "imagination.fall_fraction"}
    rows = []
    for data, model, (penalty, weights) in product(DATA, POLICY_MODELS, WEIGHTS.items()):
        for weight in weights:
            cells = policies(model, data, penalty, weight)
            found = [pairing.best_difference([(table.returns(model, data, penalty, [weight]), table.clones(model, data))])]
            found += [table.estimate(cells, quantity) for quantity in quantities.values()]
            found += [table.estimate(cells, quantity, limits=FRACTION) for quantity in falls.values()]
            rows.append([f"`{model}`", data, penalty, f"{weight:g}", *(estimate.text() for estimate in found)])
    return markdown(["model", "data", "penalty", "weight", "more than the clone", *quantities, *falls], rows)


def all_tables(table: Table) -> dict[str, list[str]]:
    """Return every table under its heading."""
    both = {"disagreement": "rank", "noise": "aleatoric_rank"}
    ranks = {f"{what}, {k}": f"ranking.{k}.{path}" for k in HORIZONS for what, path in both.items()}
    ranks |= {f"1 to 100, {name}": f"ranking.100.{name}_rank" for name in ("overall", "partial", "step_counter")}
    scores = ("disagreement", "noise_estimate", "termination_head")
    areas = {f"{score}, {k}": f"falls.{score}.{k}" for k in WITHIN for score in scores}
    kinds = {f"{kind}, {k}": Statistic(kind, k) for kind in ("rank", "policy", "episode") for k in RULE_STEPS}
    with_falls = kinds | {"falls, 5": Statistic("falls", 5)}
    diversity = {name: f"diversity.{name}" for name in ("cosine", "error_correlation", "effective_members")}
    pair = {f"`{first}` − `{second}`": (first, second) for first, second in COMPARED}
    found = {
        "Rank correlation with the error (200 long forecasts)": of_models(table, ranks, CORRELATION),
        "What the ranking is made of (1000 short forecasts)": of_statistics(MODELS, kinds, partial(level_of, table)),
        "Differences between models, paired by seed and episode": of_statistics(
            pair, with_falls, lambda name, *of: difference(table, *pair[name], *of)
        ),
        "Disagreement − predicted noise of the same members": of_statistics(MODELS, with_falls, partial(less_noise, table)),
        "Diversity of the members": of_models(table, diversity, NO_LIMITS, 4),
        "AUROC of a fall within so many steps": of_models(table, areas, FRACTION, 3),
        "Error, size and time": error_and_cost(table),
        "Deployed policies": deployed(table),
    }
    for k, level in product(HORIZONS, ("683", "95")):
        of_methods = {method: f"scale.sampled.{method}.{k}.coverage_{level}" for method in METHODS}
        found[f"coverage_{level} of sampled trajectories, step {k}"] = of_models(table, of_methods, FRACTION)
    return found


def answer_part(found: Mapping[str, Any]) -> list[str]:
    """Return the generated part of the page."""
    said = {"within": "no, for sure", "beyond": "yes, for sure", "open": "open"}
    rule, penalties, weights = [], [], []
    for one in found["criteria"]:
        bound = [one["base"].text(), f"{one['room']:.3f}"] if one["base"] else ["", ""]
        rule.append([one["name"], one["difference"].text(3), one["difference"].counts, said[one["verdict"]], *bound])
    for one in found["recalibrated"]:
        texts = [one[name].text() for name in ("best", "over_seeds", "alike")]
        penalties.append([one["model"], one["data"], *texts, f"{one['by_others']:.2f}"])
    for model, penalty in product(POLICY_MODELS, WEIGHTS):
        best = found["best_weights"][model][penalty]
        chosen = [f"{best['weight']:g}", f"{100 * best['wins']:.0f} %", best["gain"].text(), best["over_none"].text()]
        weights.append([model, penalty, *chosen, f"{best['gain_by_others']:.2f}"])
    header = ["", "independent − shared", "seeds × episodes", f"more than {MARGIN:g}?", "shared base", "most that is possible"]
    lines = [f"Verdict on the shared base, broad data: **{found['shared']}**.", "", *markdown(header, rule), ""]
    header = ["model", "data", "each at its best weight", "over seeds alone", "at weights 0.5, 1, 2", "chosen by other seeds"]
    lines += [f"Verdict on the recalibrated penalty: **{found['recalibration']}** (its return − that of the raw one).", ""]
    lines += [*markdown(header, penalties), "", "The best weight, broad data:", ""]
    header = ["model", "penalty", "best weight", "best in", "more than the clone", "more than weight 0", "chosen by other seeds"]
    return [*lines, *markdown(header, weights)]


# -- figures ----------------------------------------------------------------------------------------------------------------------

LOOKS: dict[str, Look] = {"shared": (BLUE, "o"), "independent": (ORANGE, "s"), "priors": (GREEN, "^"), "shared_wide": (PURPLE, "D")}


def draw_differences(table: Table) -> Figure:
    """Draw the paired differences between models in what the rule compares, with the rule's margin: a panel a training data."""
    figure, (axes,) = panels(1, 2, 5.4, sharey=True, sharex=True)
    places, names = [-1.0, -2.0, -3.0, -5.0, -6.0, -7.0, -9.0], [*OF_RULE, *OF_RULE, "deployed return, relative"]
    for data, axis in zip(DATA, axes, strict=True):
        other, series = next(name for name in DATA if name != data), {}
        for pair in COMPARED:
            found = [difference(table, *pair, data, on, statistic) for on in (data, other) for statistic in OF_RULE.values()]
            found += [returns_differ(table, *pair, data)] if set(pair) <= set(POLICY_MODELS) else []
            series[" − ".join(pair)] = (LOOKS[next(model for model in pair if model != "independent")], found)
        for place, text in ((0.0, f"tested on {data}"), (-4.0, f"tested on {other}"), (-8.0, "in the simulator")):
            where = {"transform": axis.get_yaxis_transform(), "va": "center", "ha": "right", "backgroundcolor": "white"}
            axis.text(1.0, place, text, fontsize=9, fontweight="bold", **where)
        if data == "broad":
            for low, high in ((-3.5, -0.5), (-9.5, -8.5)):
                axis.axhspan(low, high, color=PALE, zorder=0.0, label="the rule's criteria (independent − shared)")
        draw(axis, series, places, upright=False)
        axis.axvline(0.0, color=GREY)
        axis.axvline(MARGIN, color=INK, linestyle="--", linewidth=1.3, label=f"the rule's margin: {MARGIN:g}")
        axis.set_yticks(places, names)
        axis.set_ylim(-9.7, 0.6)
        axis.set_xlabel("difference (> 0: the first of the two is better)", fontsize=9)
        title(axis, f"trained on {data}")
    return figure


def draw_policies(table: Table) -> Figure:
    """Draw what policies earn more than the clone that they start from, over the penalty's weight."""
    figure, axes = panels(2, 2, 2.7, sharey=True, width_ratios=[6.5, 3.5])
    for (data, row), (place, (penalty, weights)) in product(zip(DATA, axes, strict=True), enumerate(WEIGHTS.items())):
        series = {}
        for model in POLICY_MODELS:
            clones, found = table.clones(model, data), table.returns(model, data, penalty)
            series[model] = (LOOKS[model], [pairing.best_difference([(one[None], clones)]) for one in found])
        row[place].axhline(0.0, color=GREY, linestyle="--", linewidth=1.3, label="the clone that they start from")
        draw(row[place], series, range(len(weights)))
        ticks(row[place], range(len(weights)), [f"{weight:g}" for weight in weights])
        title(row[place], f"{penalty} penalty, {data} data", f"{series['shared'][1][0].counts} seeds × episodes")
        row[0].set_ylabel("return over 20 s,\nmore than the clone's", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("weight of the penalty (not to scale)", fontsize=9)
    return figure


def draw_estimates(table: Table) -> Figure:
    """Draw how well errors are ranked and falls foreseen, by the disagreement and by the noise that the members predict."""
    figure, axes = panels(len(PAIRS), 2, 2.4, sharey=True)
    ranks, areas = {"rank": "o", "aleatoric_rank": "X"}, {"disagreement": "o", "noise_estimate": "X", "termination_head": "v"}
    for (data, on), row in zip(PAIRS, axes, strict=True):
        falls = int(table.value("test", "falls", on))
        for axis, section, kinds, steps in ((row[0], "ranking.{1}.{0}", ranks, HORIZONS), (row[1], "falls.{0}.{1}", areas, WITHIN)):
            series = {}
            for model, (kind, marker) in product(MODELS, kinds.items()):
                found = [table.estimate(models(model, data), section.format(kind, k), on, CORRELATION) for k in steps]
                series[f"_{model} {kind}"] = ((LOOKS[model][0], marker), found)
            draw(axis, series, range(4), apart=0.8 / len(series))
            ticks(axis, range(4), steps)
            axis.set_ylim(0.3, 1.03)
        title(row[0], f"trained on {data}, tested on {on}", "rank correlation with the error, by steps ahead")
        title(row[1], "", f"AUROC of a fall, by steps before it; {falls} falls{'' if falls >= 5 else ': says little'}")
    for model, (colour, _) in LOOKS.items():
        axes[0][0].plot([], [], color=colour, linewidth=6.0, label=model)
    for marker, name in (("o", "disagreement"), ("X", "predicted noise"), ("v", "termination head (falls only)")):
        axes[0][0].plot([], [], marker, color=INK, label=name)
    return figure


def draw_coverage(table: Table) -> Figure:
    """Draw the coverage of 68.3 % intervals before and after each recalibration, by horizon; models on their own data."""
    figure, axes = panels(2, 1, 2.7)
    places = [4.5 * group + i for group in range(len(METHODS)) for i in range(len(HORIZONS))]
    paths = [f"scale.sampled.{method}.{k}.coverage_683" for method in METHODS for k in HORIZONS]
    for data, (axis,) in zip(DATA, axes, strict=True):
        found = {model: [table.estimate(models(model, data), path, data, FRACTION) for path in paths] for model in MODELS}
        axis.axhline(0.683, color=INK, linestyle="--", linewidth=1.3, label="nominal: 0.683")
        draw(axis, {model: (LOOKS[model], found[model]) for model in MODELS}, places)
        ticks(axis, places, [f"{k}\n{method}" if k == "8" else k for method, k in product(METHODS, HORIZONS)])
        title(axis, f"trained and tested on {data}", "by steps ahead, as they are and after each recalibration")
        axis.set_ylim(0.5, 1.02)
        axis.set_ylabel("share of errors inside", fontsize=9)
    return figure


FIGURES = {"differences": draw_differences, "policies": draw_policies, "estimates": draw_estimates, "coverage": draw_coverage}


def write_answer(table: Table, folder: Path = HERE) -> None:
    """Write the answer, all tables, the figures and the generated part of the page."""
    found, tables = answer(table), all_tables(table)
    write_json(folder / "answer.json", plain(found), indent=1)
    lines = [line for heading, lines in tables.items() for line in (f"### {heading}", "", *lines, "")]
    write_text(folder / "table.md", "\n".join(lines))
    for name, of in FIGURES.items():
        finish(of(table), folder / "figures" / f"{name}.png")
    rewrite(folder / "README.md", COMMAND, {"answer": answer_part(found)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the commands of all cells or the rows of one, or make the answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("commands", "rows", "answer"))
    parser.add_argument("cell", nargs="?", default="")
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/latest"))
    given = parser.parse_args(arguments)
    if given.what == "commands":
        print("\n".join(commands()))
    elif given.what == "answer":
        write_answer(Table.read())
    else:
        checkpoints = given.run / "checkpoints"
        found = policy_rows(checkpoints) if given.cell.startswith("policy") else model_rows(checkpoints, given.cell.split("-")[2])
        csv.writer(sys.stdout, lineterminator="\n").writerows((given.cell, "", *row) for row in found)


if __name__ == "__main__":
    main()
