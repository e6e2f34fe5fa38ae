"""Keep deployments of policies that never change, so that every experiment need not simulate the behaviour policies again.

An entry is one JSON file beside the data. It is written whole or not at all, carries the full key it answers to, and is used only
if it reads back completely under exactly that key; otherwise the policy is deployed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rwmu
from rwmu.files import json_ready, write_json
from rwmu.measure.deployment import Deployment

_log = logging.getLogger(__name__)

_SOURCES = ("robots", "simulators", "tasks", "measure/deployment.py")  # what a deployment is computed with


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


def deployment_key(policy_hash: str, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides the outcome of a deployment.

    Args:
        policy_hash: of the actor's weights, and of how it acts (deterministic, sampled).
        environment: :meth:`rwmu.simulators.env.RobotEnv.identity` of a fresh one.
    """
    return {"policy": policy_hash, "environment": json_ready(environment), "source": source_hash()}


class DeploymentCache:
    """Deployments on disk.

    Args:
        folder: made when the first entry is written; None keeps nothing.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path | None:
        """Return where the entry of ``key`` lies, or would lie."""
        name = hashlib.sha256(json.dumps(json_ready(key), sort_keys=True).encode()).hexdigest()[:24]
        return None if self.folder is None else self.folder / f"deployment_{name}.json"

    def load(self, key: Mapping[str, Any]) -> Deployment | None:
        """Return the deployment stored under exactly ``key``, or None if there is none or it is not whole."""
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            whole = entry["complete"] is True and entry["key"] == json_ready(key)
            return Deployment.from_plain(entry["deployment"]) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, key: Mapping[str, Any], deployment: Deployment) -> None:
        """Write an entry, whole or not at all."""
        if (path := self.path(key)) is None:
            return
        try:
            write_json(path, {"key": key, "deployment": deployment.to_plain(), "complete": True}, indent=None)
        except OSError as error:  # nothing is lost but time
            _log.warning("The deployment is not kept in %s (%s); evaluation.cache=PATH names another folder.", path.parent, error)

    def obtain(self, key: Mapping[str, Any], deploy: Callable[[], Deployment]) -> Deployment:
        """Return the stored deployment of ``key``, else make it with ``deploy`` and store it."""
        deployment = self.load(key)
        if deployment is None:
            deployment = deploy()
            self.store(key, deployment)
        return deployment
