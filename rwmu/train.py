"""Train: ``python -m rwmu.train +experiment=mopo_ensemble5`` goes from nothing to a deployed policy and its report.

Stages can be run alone (``stages=[dynamics]``) and take finished parts (``dynamics.checkpoint=PATH``, ``policy.checkpoint=PATH``);
an interrupted run goes on (``resume=RUN_DIR``).
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from rwmu.checks import check_run
from rwmu.errors import ConfigError
from rwmu.numerics import set_up
from rwmu.pipeline import Run
from rwmu.runs.command_line import STATUS_INTERRUPTED, command, stop
from rwmu.runs.folder import RunFolder


@command("train")
def main(config: DictConfig) -> None:
    """Run the stages of one configuration in a folder of their own."""
    config, folder = open_run(config)
    set_up(config.trainer.num_threads, config.trainer.get("matmul_precision", "highest"))  # runs of old have no such key
    print(f"Run folder: {folder.path}", flush=True)
    try:
        with folder.held():
            Run(config, folder).stages(config.stages)
    except KeyboardInterrupt:
        stop(f"Interrupted; go on with: python -m rwmu.train resume={folder.path}", STATUS_INTERRUPTED)
    print_summary(folder)


def open_run(config: DictConfig) -> tuple[DictConfig, RunFolder]:
    """Make the folder of a new run, or open that of an earlier one, whose configuration then counts."""
    if config.resume is None:
        check_run(config)
        pin_checkpoints(config)
        folder = RunFolder.create(Path(config.runs_dir), config.name, config.seed)
        OmegaConf.save(config, folder.path / "config.yaml", resolve=True)
        Run(config, folder).write_card()
        return config, folder
    others = [o for o in HydraConfig.get().overrides.task if not o.startswith("resume=")]
    if others:
        raise ConfigError(f"A resumed run keeps its own configuration: leave out {' '.join(others)}, or start a new run.")
    folder = RunFolder.resume(Path(config.resume))
    return folder.config(), folder


def pin_checkpoints(config: DictConfig) -> None:
    """Let the checkpoints that a run takes over be named by what links point at now: ``runs/latest`` soon points at the new run."""
    for group, name in (("dynamics", "checkpoint"), ("dynamics", "start_from"), ("policy", "checkpoint")):
        given = config[group].get(name)
        if given is not None and Path(given).exists():
            path, here = Path(given).resolve(), Path.cwd().resolve()
            config[group][name] = str(path.relative_to(here) if path.is_relative_to(here) else path)


def print_summary(folder: RunFolder) -> None:
    """Print how long each stage took and where the report is."""
    for stage, seconds in folder.seconds().items():
        print(f"{stage:>12}: {seconds:7.1f} s")
    if (folder.path / "report.html").is_file():
        print(f"Report: {folder.path / 'report.html'}")


if __name__ == "__main__":
    main()
