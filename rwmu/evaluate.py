"""Evaluate: ``python -m rwmu.evaluate run=runs/latest`` measures a run's world model and policy again and rewrites its report.

``python -m rwmu.evaluate diagnostics=exploit run=runs/latest`` asks where the run's policy leaves what its world model knows; it
leaves the report as it is.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from rwmu.numerics import set_up
from rwmu.pipeline import Run
from rwmu.runs.command_line import command
from rwmu.runs.configuration import check_changes
from rwmu.runs.folder import RunFolder
from rwmu.stages.exploit import exploit


@command("evaluate")
def main(config: DictConfig) -> None:
    """Repeat the measuring stages of a run with its own configuration, less what is changed here, or make a diagnostic of it."""
    folder = RunFolder.resume(Path(config.run))
    run_config = folder.config()
    set_up(run_config.trainer.num_threads, run_config.trainer.get("matmul_precision", "highest"))  # runs of old have no such key
    check_changes("evaluation", config.evaluation, run_config.evaluation)
    for name, value in config.evaluation.items():
        if value is not None:
            run_config.evaluation[name] = value
    run = Run(run_config, folder)
    if config.diagnostics.name == "exploit":
        print(f"Exploit diagnostic: {exploit(run, config.diagnostics)}")
        return
    if run.world_model_path is not None:
        run.measure_dynamics()
    stages = [name for name in ("deployment", "report") if name == "report" or run.policy_path is not None]
    run.stages(stages, again=stages)
    print(f"Report: {folder.path / 'report.html'}")


if __name__ == "__main__":
    main()
