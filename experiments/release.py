"""Make what is released beside the code, outside git: ``python -m experiments.release [--folder release] [SETTING=VALUE ...]``.

Two runs are trained, one a robot, and exported; each becomes FOLDER/NAME and FOLDER/NAME.zip. Settings are given to both:
``scale=smoke`` tries it out. What is there already is not made again, and an interrupted training goes on.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from experiments.running import train

RUNS = {
    "anymal_d": ("+experiment=mopo_ensemble5", "task=anymal_d_flat"),
    "go1": ("+experiment=mopo_ensemble5", "task=go1_flat"),
}


def release(name: str, folder: Path, settings: list[str]) -> bool:
    """Train, export and pack one run; returns whether all of it is there."""
    target, packed = folder / name, folder / f"{name}.zip"
    if not target.exists():
        run = train(folder / "runs" / name, [*RUNS[name], *settings])
        command = [sys.executable, "-m", "rwmu.export", f"run={run}", f"target={target}"]
        if run is None or subprocess.run(command, check=False).returncode:
            return False
    if not packed.exists():
        made = Path(shutil.make_archive(str(folder / f".{name}"), "zip", folder, name))
        made.rename(packed)
    print(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB")
    return True


def main() -> None:
    """Make both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="of rwmu.train, for both runs")
    parser.add_argument("--folder", type=Path, default=Path("release"))
    given = parser.parse_args()
    done = [release(name, given.folder.absolute(), given.settings) for name in RUNS]
    raise SystemExit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
