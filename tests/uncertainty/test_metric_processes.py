"""Streaming classes over two real processes (gloo): what one metric would hold, also where a process saw no row.

Every class holds sums or columns and nothing else (tests/uncertainty/test_metrics.py), so a few of each kind stand for all.
"""

from __future__ import annotations

import pickle
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing
from torchmetrics import Metric, MetricCollection

from rwmu.uncertainty import metrics
from rwmu.uncertainty.measure import Measure
from tests.conftest import held
from tests.uncertainty.cases import CASES, kept, said, same
from tests.uncertainty.forecasts import SIZES, B

NONE, WHOLE = slice(0, 0), slice(0, B)
# For each process, the batches that it sees; whoever sees no batch is never updated.
SHARES: dict[str, tuple[tuple[slice, ...], tuple[slice, ...]]] = {
    "uneven": ((slice(0, 3), NONE, slice(3, 7)), (slice(7, B),)),
    "first silent": ((), (WHOLE,)),
    "second without rows": ((WHOLE,), (NONE,)),
    "none": ((NONE,), ()),
}
Results = dict[tuple[str, str], Measure]


# Sums, sums beside others, histograms, products of pairs; columns, and columns of which steps are kept apart.
TRIED = ("nll", "sample_crps", "curve", "error_correlation", "ause", "within_step")


def every_case(batches: tuple[slice, ...]) -> dict[str, Metric]:
    return {name: CASES[name].metric(*batches, **kept(CASES[name], CASES[name].keep)) for name in TRIED}


def collection() -> MetricCollection:
    """Three classes that share columns, and so one update, once they have seen rows."""
    ranking = (metrics.ErrorCorrelation, metrics.AUSE, metrics.SparsificationCurve)
    return MetricCollection({metric.__name__: metric(**SIZES) for metric in ranking})


def process(rank: int, folder: Path) -> None:
    """Compute everything as one of two processes, and write what came out."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*before the ``update`` method.*")
    # A process that makes a call less than the other must end the test, not hang it.
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    results: Results = {}
    for share, batches in SHARES.items():
        for name, metric in every_case(batches[rank]).items():
            results[share, name] = metric.compute()
    together = collection()
    if rank == 1:
        together.update(*CASES["rank"].inputs)
    results.update({("collection", name): result for name, result in together.compute().items()})
    # What was gathered is forgotten after a result; a metric that saw nothing before may see rows now.
    later = CASES["ause"].metric(*((WHOLE,) if rank else ()))
    later.compute()
    later.update(*CASES["ause"].take(slice(0, 2 + rank)))
    results["later", "ause"] = later.compute()
    (folder / f"results{rank}").write_bytes(pickle.dumps(results))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def computed(shared: Path) -> list[Results]:
    """The results of both processes, which are started once for all workers."""
    folder = shared / "processes"
    folder.mkdir(exist_ok=True)
    with held(folder):
        if not (folder / "results1").is_file():
            multiprocessing.spawn(process, args=(folder,), nprocs=2)
    return [pickle.loads((folder / f"results{rank}").read_bytes()) for rank in range(2)]


def alike(first: Measure, second: Measure) -> None:
    same(first, second)
    assert [cell for cell in said(first) if isinstance(cell, str)] == [cell for cell in said(second) if isinstance(cell, str)]


@pytest.mark.filterwarnings("ignore:.*before the ``update`` method.*")
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", TRIED)
def test_two_processes_give_what_one_metric_gives(computed: list[Results], name: str, share: str) -> None:
    expected = CASES[name].metric(*SHARES[share][0], *SHARES[share][1], **kept(CASES[name], CASES[name].keep)).compute()
    for results in computed:
        alike(results[share, name], expected)
    if share == "none":
        assert all("no rows" in str(cell) for cell in said(expected))


def test_a_collection_that_saw_nothing_takes_part(computed: list[Results]) -> None:
    whole = collection()
    whole.update(*CASES["rank"].inputs)
    expected: dict[str, Any] = whole.compute()
    for results in computed:
        for name, measure in expected.items():
            alike(results["collection", name], measure)


def test_a_process_may_see_its_first_rows_after_a_result(computed: list[Results]) -> None:
    case = CASES["ause"]
    # The order of processes: two rows of the first, then all rows and three of them again of the second.
    expected = case.metric(slice(0, 2), WHOLE, slice(0, 3)).compute()
    for results in computed:
        alike(results["later", "ause"], expected)
