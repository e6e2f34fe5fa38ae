"""Evaluate: ``python -m rwmu.evaluate run=runs/latest`` measures a run's world model and policy again and rewrites its report.

``python -m rwmu.evaluate diagnostics=exploit run=runs/latest`` asks where the run's policy leaves what its world model knows; it
leaves the report as it is. So does ``simulator=mjlab``, which deploys the policy in another simulator.
"""

from __future__ import annotations

from dataclasses import replace

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from rwmu.errors import ConfigError
from rwmu.runs.command_line import command
from rwmu.runs.configuration import instantiate


@command("evaluate")
def main(config: DictConfig) -> None:
    """Repeat the measuring of a run with its own configuration, less what is changed here, or make a diagnostic of it."""
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    from rwmu.runs.evaluation import (
        measure_deployment,
        measure_elsewhere,
        measure_model,
        policy_path,
        world_model_path,
        write_report,
    )
    from rwmu.runs.exploit import Exploit
    from rwmu.runs.opening import note_data, open_finished

    diagnostic = instantiate(config.diagnostics)
    experiment, folder = open_finished(config)
    changes = {str(name): value for name, value in config.evaluation.items() if value is not None}
    experiment = replace(experiment, evaluation=replace(experiment.evaluation, **changes))
    experiment.machine.set_up()
    has_model = world_model_path(experiment, folder) is not None
    has_policy = policy_path(experiment, folder) is not None
    with folder.held():
        if isinstance(diagnostic, Exploit):
            print(f"Exploit diagnostic: {diagnostic.write(experiment, folder)}")
            return
        if config.get("simulator") is not None:
            name = HydraConfig.get().runtime.choices["simulator"]
            print(f"Deployment in {name}: {measure_elsewhere(experiment, folder, name)}")
            return
        if not (has_model or has_policy):
            raise ConfigError(f"The run in {folder.path} has neither world model nor policy yet; let it finish (resume=) first.")
        note_data(experiment, folder)
        if has_model:
            measure_model(experiment, folder)
        if has_policy:
            measure_deployment(experiment, experiment.data_in(folder), folder)
        write_report(experiment, folder)
        print(f"Report: {folder.path / 'report.html'}")


if __name__ == "__main__":
    main()
