"""Install the built wheel beside old and new versions of what it needs, in an empty folder, and run some of the tests.

    make compat                       # every row, and the README's table; minutes each, and the downloads
    make compat ARGS="3.11-lowest"    # these rows; the others' results stay

Each row trains a smoke run with the installed command, then runs the tests that meet the packages whose versions vary. Its
environment is deleted afterwards. ``uv`` finds or fetches each Python, and keeps downloads: 20 GB with torch's CUDA builds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.generated import markdown, with_part

HERE = Path(__file__).parent
REPOSITORY, RESULTS, PAGE = HERE.parents[1], HERE / "results.json", HERE / "README.md"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# To uv, only what is asked for by name is direct.
LOWEST = ("--resolution=lowest-direct", *PROJECT["dependencies"], *PROJECT["optional-dependencies"]["mujoco"])
# What a row is called -> what uv is asked for beside the wheel. What is not named is the newest that fits.
ROWS: dict[str, tuple[str, ...]] = {
    "3.11-lowest": LOWEST,
    "3.11-newest": (),
    "3.12-older": ("torch==2.6.*", "numpy==1.26.*", "rsl-rl-lib==5.5.*", "mujoco==3.12.*"),
    "3.12-mixed": ("numpy>=2", "rsl-rl-lib==5.4.*", "mujoco==3.11.*"),
    "3.13-older": ("torch==2.6.*", "numpy==2.1.*", "rsl-rl-lib==5.4.*", "mujoco==3.12.*"),  # numpy 1.26 knows no Python 3.13
    "3.13-newest": (),
}
SHOWN = ("torch", "lightning", "numpy", "rsl-rl-lib", "mujoco", "pydantic", "h5py")
TRAINING = ("train", "+experiment=mopo_ensemble5", "scale=smoke", "logger=wandb", "evaluation.video_s=1", "machine.progress=false")
TESTS = (
    *("tests/simulators/test_contract.py", "tests/policy/test_rsl_rl.py", "tests/imagination/test_env.py"),
    *("tests/dynamics/test_world_model.py", "tests/data/formats/test_hdf5.py"),
)


def run(command: Sequence[str | Path], folder: Path) -> tuple[bool, str]:
    """Run a command in a folder; returns whether it went well, and what it printed."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    return done.returncode == 0, (done.stdout + done.stderr).strip()


def tried(name: str, wheel: Path, folder: Path) -> dict[str, Any]:
    """Return how one row went, and in which versions; each step only after those before."""
    programs = folder / "environment" / "bin"
    steps: dict[str, list[str | Path]] = {
        "made": ["uv", "venv", "--python", name.split("-")[0], "environment"],
        "installed": ["uv", "pip", "install", "--python", programs / "python", f"{wheel}[mujoco]", "pytest>=8", *ROWS[name]],
        "trains": [programs / "rwmu", *TRAINING],
        "tests": [programs / "python", "-P", "-m", "pytest", "-q", "-o", "filterwarnings=default", *TESTS],
    }
    shutil.copytree(REPOSITORY / "tests", folder / "tests")
    found: dict[str, Any] = {}
    for step, command in steps.items():
        well, said = run(command, folder)
        found[step] = "yes" if well else "no"
        if not well:
            print(f"{name} fails ({step}):\n{said[-3000:]}", flush=True)
            break
    return {**found, **versions(programs / "python", folder)}


def versions(python: Path, folder: Path) -> dict[str, str | None]:
    """Return the versions of an environment; nothing of one that could not be made."""
    if not python.exists():
        return {}
    listed = json.loads(run(["uv", "pip", "list", "--quiet", "--format=json", "--python", python], folder)[1])
    packages = {each["name"]: each["version"] for each in listed}
    told = run([python, "--version"], folder)[1].removeprefix("Python ")
    return {"python": told, **{package: packages.get(package) for package in SHOWN}}


def table(results: dict[str, Any]) -> list[str]:
    """Return a line a row."""
    columns = ("python", *SHOWN, "installed", "trains", "tests")
    return markdown(columns, ([row.get(column) or "-" for column in columns] for row in results.values()))


def main() -> None:
    """Build the wheel, try rows, and write results and page after each."""
    parser = argparse.ArgumentParser(prog="make compat", description="Try the wheel beside old and new versions of what it needs.")
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)} (default: all)")
    wanted = parser.parse_args().rows or list(ROWS)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in wanted:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            well, said = run(["uv", "build", "--wheel", "--out-dir", folder, REPOSITORY], folder)
            if not well:
                raise SystemExit(f"The wheel cannot be built:\n{said}")
            results[name] = tried(name, next(folder.glob("*.whl")), folder)
        results = {row: results[row] for row in ROWS if row in results}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(with_part(PAGE.read_text(), "results", "make compat", table(results)))
        print(name, results[name], flush=True)


if __name__ == "__main__":
    main()
