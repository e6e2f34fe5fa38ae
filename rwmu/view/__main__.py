"""View: ``python -m rwmu.view run=runs/latest`` shows a run in the browser: robot, dream, and whether the model knows it errs."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from rwmu.errors import refuse_overwriting
from rwmu.runs.command_line import command
from rwmu.settings import FilmedSeconds, Seed, WholeNumber, settings


@settings("")
class View:
    """What is shown, and where; see ``configs/view.yaml``."""

    run: str
    checkpoint: str | None
    episode: WholeNumber | None
    command: Annotated[tuple[float, float, float], Field(strict=False)]
    restart_s: Annotated[float, Field(ge=0.1, le=60.0)]
    seed: Seed
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    file: str | None
    duration_s: FilmedSeconds
    overwrite: bool
    trust: Any = ()


@command("view")
def main(config: DictConfig) -> None:
    """Open the run, and show it until interrupted; or record it to a file."""
    given: Any = OmegaConf.to_container(config, resolve=True)
    view = View(**given)
    if view.file is not None:
        refuse_overwriting(Path(view.file), view.overwrite, "overwrite=true")
    # What computes is imported once the settings have been checked: torch and Lightning take seconds.
    import torch

    from rwmu.runs.opening import open_finished
    from rwmu.simulators.render import FORMATS
    from rwmu.view.opening import open_run
    from rwmu.view.page import Page, require_free, serve
    from rwmu.view.recording import film, import_rerun, record
    from rwmu.view.scene import import_viser

    torch.set_num_threads(1)
    if view.file is None:
        import_viser()
        require_free(view.host, view.port)
    elif Path(view.file).suffix not in FORMATS:
        import_rerun()
    experiment, folder = open_finished(config)
    print("Reading the run's data, and measuring what its model disagrees and errs on held-out episodes ...", flush=True)
    opened = open_run(experiment, folder, view.checkpoint, view.episode, view.command, view.seed, view.restart_s)
    if view.file is not None and Path(view.file).suffix in FORMATS:
        if film(opened.session, Path(view.file), view.duration_s) is not None:
            print(f"Video: {view.file}")
        return
    if view.file is not None:
        record(opened.session, Path(view.file), view.duration_s)
        print(f"Recording: {view.file} (open it with: rerun {view.file})")
        return
    server = serve(view.host, view.port)
    print(f"Open http://{view.host}:{view.port} in a browser; Ctrl-C ends it.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        Page(server, opened).run()
    server.stop()


if __name__ == "__main__":
    main()
