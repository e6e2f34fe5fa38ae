"""Show that a change of structure changes no number: ``python -m experiments.smoke_hashes [FILE.json]``.

Runs the four experiments at ``scale=smoke`` with one thread in a temporary folder and prints the content hash of the data, and of
each world model, clone and policy. With a file, the hashes are compared with those in it, or written there if there is none; exits
with 1 where they differ. The same seed gives the same bits on one machine only, so no such file is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from rwmu.runs.configuration import leaves

EXPERIMENTS = ("rwm_base", "mopo_ensemble5", "mopo_shared5", "rwmu_published")
FILES = {"world model": "dynamics.pt", "clone": "policy/clone.pt", "policy": "policy.pt"}
ROOT = Path(__file__).resolve().parents[1]


def content_hash(content: Any) -> str:
    """Hash every tensor of a nested mapping by its path, shape and bytes; what is no tensor does not count."""
    digest = hashlib.sha256()
    for path, value in sorted(leaves(content).items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{path} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def weights(path: Path) -> Any:
    """Return the weights of a checkpoint: of a world model, or of actor and critic."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return {name: content[name] for name in ("state_dict", "actor_state_dict", "critic_state_dict") if name in content}


def hashes(folder: Path) -> dict[str, str]:
    """Run every experiment in ``folder`` up to its policy and return what its checkpoints hold, by experiment and kind."""
    found: dict[str, str] = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for experiment in EXPERIMENTS:
        settings = [f"+experiment={experiment}", "scale=smoke", "machine.progress=false", "stages=[data,dynamics,policy]"]
        command = [sys.executable, "-m", "rwmu.train", *settings]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{experiment} failed:\n{done.stderr}")
        latest = folder / "runs" / "latest"
        card = json.loads((latest / "run_card.json").read_text())
        found["data"] = card["data_hash"][:16]
        for kind, name in FILES.items():
            if (latest / "checkpoints" / name).is_file():
                found[f"{experiment}: {kind}"] = content_hash(weights(latest / "checkpoints" / name))
    return found


def main() -> None:
    """Print the hashes, and compare or write them."""
    with tempfile.TemporaryDirectory() as folder:
        found = hashes(Path(folder))
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    expected = json.loads(kept.read_text()) if kept is not None and kept.is_file() else found
    for name in sorted(found | expected):
        same = found.get(name) == expected.get(name)
        print(f"{name:32} {found.get(name)}" + ("" if same else f"  DIFFERS from {expected.get(name)}"))
    if kept is not None and not kept.is_file():
        kept.write_text(json.dumps(found, indent=2) + "\n")
    raise SystemExit(0 if found == expected else 1)


if __name__ == "__main__":
    main()
