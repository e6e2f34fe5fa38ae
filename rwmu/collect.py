"""Collect: ``python -m rwmu.collect data=mixed`` writes an offline dataset from the simulator and its behaviour policies."""

from __future__ import annotations

from omegaconf import DictConfig

from rwmu.errors import DataError
from rwmu.runs.command_line import command


@command("collect")
def main(config: DictConfig) -> None:
    """Collect one dataset and say what it is."""
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    from rwmu.measure.dataset import dataset_statistics
    from rwmu.runs.experiment import build

    experiment = build(config)
    experiment.machine.set_up()
    path = experiment.data_path
    if path.exists() and not experiment.overwrite:
        raise DataError(f"{path} is there already; give another data.path, or overwrite=true to replace it.")
    experiment.collect(path)
    statistics = dataset_statistics(experiment.episodes)
    print(f"{path}: {statistics['transitions']} transitions in {statistics['episodes']} episodes, hash {statistics['hash'][:12]}")
    for level, figures in statistics["levels"].items():
        print(
            f"{level:>12}: {figures['episodes']:5d} episodes, return {figures['return_per_20s']:6.1f} per 20 s, "
            f"{100 * figures['fall_fraction']:5.1f} % end in a fall"
        )


if __name__ == "__main__":
    main()
