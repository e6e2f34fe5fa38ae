"""A session as a file, without a page: for rerun, or as a video of the robot and its dream."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from rwmu.errors import ConfigError, import_extra
from rwmu.files import replacing
from rwmu.simulators.render import Film, save_video
from rwmu.view.body import Body, Floats
from rwmu.view.session import Frame, Session, Strip

_OPACITY = 115  # of 255, of ghosts
_KINDS = {"one_step_ahead": "next_", "dream": ""}


def import_rerun() -> Any:
    """Import rerun, or say how to install it."""
    return import_extra("rerun", "A recording needs rerun; install it with: pip install '.[rerun,mujoco]' in rwmu's folder")


def film(session: Session, path: Path, duration_s: float) -> Path | None:
    """Let a session go on and write a video: the robot at the left, at the right the dream of every member, the first one solid.

    Returns:
        its path, or None (and why is logged) where nothing can be drawn.
    """
    frames = [frame for frame in _frames(session, duration_s) if frame.ghosts is not None]
    if not frames:
        raise ConfigError(
            f"A video of {duration_s:g} s ends before the dream has a history to begin with; give a longer duration_s."
        )
    poses, commands = (np.stack([getattr(frame.row, name) for frame in frames]) for name in ("pose", "command"))
    dreams = np.stack([frame.ghosts for frame in frames if frame.ghosts is not None])
    return save_video(Film(poses, commands, dreams), path, session.task.robot, session.task.step_dt)


def _frames(session: Session, duration_s: float) -> list[Frame]:
    return [session.step() for _ in range(max(1, round(duration_s / session.task.step_dt)))]


def record(session: Session, path: Path, duration_s: float) -> None:
    """Let a session go on and write what there is to see to ``path``, whole or not at all."""
    rerun = import_rerun()
    frames = _frames(session, duration_s)
    with replacing(path) as partial:
        stream = rerun.RecordingStream("rwmu")
        stream.save(partial, default_blueprint=_blueprint())
        stream.log("scene", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        recorder = _Recorder(rerun, stream, session)
        recorder.robot(frames)
        dreamt = [frame for frame in frames if frame.watched is not None]
        if dreamt:
            recorder.ghosts(dreamt)
            recorder.curves(dreamt)
        stream.disconnect()


def _blueprint() -> Any:
    """Return how the file looks when it is opened: the scene, and both kinds of forecast beside it."""
    views = importlib.import_module("rerun.blueprint")
    curves = [views.TimeSeriesView(origin=f"/{kind}", name=kind.replace("_", " ")) for kind in _KINDS]
    return views.Blueprint(views.Horizontal(views.Spatial3DView(origin="/scene"), views.Vertical(*curves), column_shares=[3, 2]))


class _Recorder:
    """Send frames to a stream of rerun, a column at a time."""

    def __init__(self, rerun: Any, stream: Any, session: Session) -> None:
        self._rerun, self._stream, self._session = rerun, stream, session
        self._body = Body(session.task.robot)

    def robot(self, frames: list[Frame]) -> None:
        """Send the robot in its own colours."""
        for index, shape in enumerate(self._body.shapes):
            mesh = self._rerun.Mesh3D(vertex_positions=shape.vertices, triangle_indices=shape.faces, albedo_factor=shape.colour)
            self._stream.log(f"scene/robot/{shape.body}/{index}", mesh, static=True)
        self._place("robot", frames, np.stack([frame.row.pose for frame in frames]))

    def ghosts(self, frames: list[Frame]) -> None:
        """Send every member's dream in the colours of its disagreement."""
        poses = np.stack([frame.ghosts for frame in frames if frame.ghosts is not None])  # [T, E, 7 + A]
        doubt = np.stack([frame.watched.disagreement.numpy() for frame in frames if frame.watched is not None])
        for member in range(poses.shape[1]):
            rgb = self._session.usual.disagreement.colours(doubt[:, member].tolist())
            rgba = np.concatenate([rgb, np.full((len(rgb), 1), _OPACITY, dtype=np.uint8)], axis=1)
            for body, (vertices, faces) in self._body.outlines().items():
                where = f"scene/dream_{member}/{body}"
                self._stream.log(where, self._rerun.Mesh3D(vertex_positions=vertices, triangle_indices=faces), static=True)
                self._send(where, frames, self._rerun.Mesh3D.columns(albedo_factor=rgba))
            self._place(f"dream_{member}", frames, poses[:, member])

    def curves(self, frames: list[Frame]) -> None:
        """Send disagreement and error, in units of the upper hundredth of what is usual."""
        strips = [Strip.of(frame) for frame in frames]
        for kind, prefix in _KINDS.items():
            for name in (f"{prefix}disagreement", f"{prefix}error"):
                values = getattr(self._session.usual, name).relative(np.array([getattr(strip, name) for strip in strips]))
                self._send(f"{kind}/{name.removeprefix(prefix)}", frames, self._rerun.Scalars.columns(scalars=values))

    def _place(self, name: str, frames: list[Frame], poses: Floats) -> None:
        positions, quaternions = self._body.place(poses)  # [T, N, .]
        for body in range(self._body.num_bodies):
            columns = {"translation": positions[:, body], "quaternion": quaternions[:, body][:, [1, 2, 3, 0]]}
            self._send(f"scene/{name}/{body}", frames, self._rerun.Transform3D.columns(**columns))

    def _send(self, where: str, frames: list[Frame], columns: Any) -> None:
        times = self._rerun.TimeColumn("time", duration=[frame.time_s for frame in frames])
        self._stream.send_columns(where, indexes=[times], columns=columns)
