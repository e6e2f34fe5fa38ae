"""One training run: its folder, what its algorithm makes of its data, and the measuring of what was made."""

from __future__ import annotations

from rwmu.data.datamodule import OfflineDataModule
from rwmu.errors import CheckpointError, UserError
from rwmu.runs.command_line import STATUS_INTERRUPTED, stop
from rwmu.runs.evaluation import evaluate
from rwmu.runs.experiment import Experiment
from rwmu.runs.folder import RunFolder
from rwmu.runs.opening import open_folder, prepare_data


def train(experiment: Experiment, configuration: str) -> None:
    """Run an algorithm in a folder of its own, and measure what it made."""
    folder = open_folder(experiment, configuration)
    experiment.machine.set_up()
    print(f"Run folder: {folder.path}", flush=True)
    try:
        with folder.held():
            if any(folder.begins(stage) for stage in experiment.stages if stage != "report"):
                experiment.method.run(_begun(experiment, folder), folder)
            evaluate(experiment, folder)
    except CheckpointError as error:
        if str(folder.path) not in str(error):
            raise
        raise CheckpointError(f"{str(error).removesuffix('.')}; delete it, and {folder.how_to_resume} makes it again.") from error
    except KeyboardInterrupt:
        stop(f"Interrupted; go on with: {folder.how_to_resume}", STATUS_INTERRUPTED)
    print_summary(folder)


def _begun(experiment: Experiment, folder: RunFolder) -> OfflineDataModule:
    """Return the data of a run; a new one whose data cannot be used leaves nothing behind."""
    try:
        return prepare_data(experiment, folder)
    except (UserError, OSError):
        if experiment.resume is None:
            folder.withdraw()
        raise


def print_summary(folder: RunFolder) -> None:
    """Print how long each stage took and where the report is."""
    for stage, seconds in folder.seconds().items():
        print(f"{stage:>12}: {seconds:7.1f} s")
    if (folder.path / "report.html").is_file():
        print(f"Report: {folder.path / 'report.html'}")
