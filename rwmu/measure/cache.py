"""Keep deployments of policies that never change, so that every experiment need not simulate the behaviour policies again.

An entry is one JSON file beside the data. It is written whole or not at all, carries the full key it answers to, and is used only
if it reads back completely under exactly that key; otherwise the policy is deployed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import rwmu
from rwmu.files import json_ready, write_json
from rwmu.measure.deployment import Deployment
from rwmu.tasks.velocity import VelocityTask

_log = logging.getLogger(__name__)

_SOURCES = ("simulators", "tasks", "measure/deployment.py")  # what a deployment is computed with


def describe_task(task: VelocityTask) -> dict[str, Any]:
    """Return every setting of a task as plain values."""
    settings = {name: value for name, value in vars(task).items() if not name.startswith("_") and name != "robot"}
    return dict(json_ready(settings)) | {"robot": task.robot.name}


def source_hash(package: Path | None = None) -> str:
    """Return a hash of the code and assets that a deployment is computed with: changed code answers no old question."""
    package = Path(rwmu.__file__).parent if package is None else package
    digest = hashlib.sha256()
    for source in _SOURCES:
        root = package / source
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in files:
            if path.is_file() and path.suffix in (".py", ".xml", ".npz"):
                digest.update(path.relative_to(package).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def deployment_key(policy_hash: str, task: VelocityTask, simulator: Mapping[str, Any], num_envs: int, seed: int) -> dict[str, Any]:
    """Return all that decides the outcome of a deployment.

    Args:
        policy_hash: of the actor's weights, and of how it acts (deterministic, sampled).
        simulator: every setting of the simulator (not its thread count, which changes nothing).
    """
    return {
        "policy": policy_hash,
        "task": describe_task(task),
        "simulator": json_ready(simulator),
        "num_envs": num_envs,
        "seed": seed,
        "source": source_hash(),
        "versions": {name: metadata.version(name) for name in ("mujoco", "numpy")},
    }


class DeploymentCache:
    """Deployments on disk.

    Args:
        folder: made when the first entry is written; None keeps nothing.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path | None:
        """Return where the entry of ``key`` lies, or would lie."""
        if self.folder is None:
            return None
        name = hashlib.sha256(json.dumps(json_ready(key), sort_keys=True).encode()).hexdigest()[:24]
        return self.folder / f"deployment_{name}.json"

    def load(self, key: Mapping[str, Any]) -> Deployment | None:
        """Return the deployment stored under exactly ``key``, or None if there is none or it is not whole."""
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if entry["complete"] is not True or entry["key"] != json_ready(key):
                return None
            return Deployment.from_plain(entry["deployment"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, key: Mapping[str, Any], deployment: Deployment) -> None:
        """Write an entry, whole or not at all."""
        path = self.path(key)
        if path is not None:
            try:
                write_json(path, {"key": key, "deployment": deployment.to_plain(), "complete": True}, indent=None)
            except OSError as error:  # nothing is lost but time
                _log.warning(
                    "The deployment is not kept in %s (%s); evaluation.cache=PATH names another folder.", self.folder, error
                )

    def obtain(self, key: Mapping[str, Any], deploy: Callable[[], Deployment]) -> Deployment:
        """Return the stored deployment of ``key``, else make it with ``deploy`` and store it."""
        deployment = self.load(key)
        if deployment is None:
            deployment = deploy()
            self.store(key, deployment)
        return deployment
