"""Export: ``python -m rwmu.export run=runs/latest`` writes a run's world model and policy as ONNX into a folder for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rwmu.files import refuse_replacing
from rwmu.runs.command_line import command
from rwmu.runs.folder import followed
from rwmu.settings import settings


@settings("")
class Export:
    """What is exported; see ``configs/export.yaml``."""

    run: str
    target: str | None = None
    trust: Any = ()


@command("export")
def main(config: DictConfig) -> None:
    """Write the folder, and say what it holds."""
    given: Any = OmegaConf.to_container(config, resolve=True)
    export = Export(**given)
    target = followed(Path(export.run)) / "export" if export.target is None else Path(export.target)
    refuse_replacing(target, "give another target=FOLDER")
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    import torch

    from rwmu.graphs.onnx_file import needed
    from rwmu.runs.opening import open_finished
    from rwmu.runs.release import export_run

    torch.set_num_threads(1)
    experiment, folder = open_finished(config)
    for package in ("onnx", "onnxruntime"):  # not after the data have been read
        needed(package)
    print("\n".join(export_run(experiment, folder, target)))


if __name__ == "__main__":
    main()
