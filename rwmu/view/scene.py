"""The robot and the ghosts of its dream on a floor, drawn by viser."""

from __future__ import annotations

from typing import Any

import numpy as np

from rwmu.errors import import_extra
from rwmu.view.body import Body, Faces, Floats, Shape
from rwmu.view.judgement import Scale
from rwmu.view.session import Frame

_OPACITY = 0.55  # of ghosts
_TILE_M = 1.0  # of the floor
_RIGHT = np.array([0.5, 0.5, 0.0]) ** 0.5  # of the camera, as it stands at first


def import_viser() -> Any:
    """Import viser, or say how to install it."""
    return import_extra("viser", "The page needs viser 1.1; install it with: pip install '.[view,mujoco]' in rwmu's folder")


class Scene:
    """Draw frames. The robot stays in the middle and the floor moves, so that the reader's camera may stay where it is.

    Args:
        server: of viser. num_ghosts: E.

    Attributes:
        aside_m: how far the ghosts stand to the robot's right, as the camera sees it at first.
    """

    def __init__(self, server: Any, body: Body, base_height: float, num_ghosts: int) -> None:
        self._server, self._body, self._base_height = server, body, base_height
        self.aside_m = round(1.9 * base_height, 1)
        scene = server.scene
        scene.set_up_direction("+z")
        scene.configure_default_lights(cast_shadow=True)
        between = 0.5 * self.aside_m * _RIGHT
        server.initial_camera.position = between + np.array([4.7, -4.7, 2.7]) * base_height
        server.initial_camera.look_at = between + np.array([0.0, 0.0, 0.5]) * base_height
        server.initial_camera.fov = 0.8
        self._floor = scene.add_grid(
            "/floor",
            width=24.0,
            height=24.0,
            cell_size=0.25 * _TILE_M,
            section_size=_TILE_M,
            cell_color=(225, 228, 232),
            section_color=(185, 190, 198),
            plane_color=(246, 247, 249),
            plane_opacity=1.0,
            shadow_opacity=0.25,
            fade_distance=22.0,
            fade_from="origin",
        )
        self._robot = {number: scene.add_frame(f"/robot/{number}", show_axes=False) for number in body.outlines()}
        for index, shape in enumerate(body.shapes):
            self._add_solid(index, shape)
        self._ghosts = {number: self._translucent(number, *outline, num_ghosts) for number, outline in body.outlines().items()}
        self._labels = {name: scene.add_label(f"/label/{name}", name, anchor="bottom-center") for name in ("robot", "dream")}

    def _add_solid(self, index: int, shape: Shape) -> None:
        """Add a shape of the robot, which moves with its body."""
        colour = tuple(round(255 * value) for value in shape.colour)
        self._server.scene.add_mesh_simple(f"/robot/{shape.body}/{index}", shape.vertices, shape.faces, color=colour)

    def _translucent(self, body: int, vertices: Floats, faces: Faces, number: int) -> Any:
        """Return a body of all ghosts."""
        return self._server.scene.add_batched_meshes_simple(
            f"/ghosts/{body}",
            vertices,
            faces,
            np.tile((1.0, 0.0, 0.0, 0.0), (number, 1)),
            np.zeros((number, 3)),
            batched_colors=np.full((number, 3), 128, dtype=np.uint8),
            opacity=_OPACITY,
            lod="off",
            cast_shadow=False,
            visible=False,
        )

    def draw(self, frame: Frame, usual: Scale) -> None:
        """Show a frame; ``usual`` is the dream's disagreement on held-out episodes."""
        pose = frame.row.pose
        middle = np.array([pose[0], pose[1], 0.0])
        with self._server.atomic():
            self._floor.position = -(middle % _TILE_M)
            self._draw_robot(pose, middle)
            self._draw_ghosts(frame, middle, usual)

    def _draw_robot(self, pose: Floats, middle: Floats) -> None:
        positions, quaternions = self._body.place(pose[None])
        for body, handle in self._robot.items():
            handle.position = positions[0, body] - middle
            handle.wxyz = quaternions[0, body]
        self._labels["robot"].position = (0.0, 0.0, pose[2] + 0.5 * self._base_height)

    def _draw_ghosts(self, frame: Frame, middle: Floats, usual: Scale) -> None:
        shown = frame.ghosts is not None and frame.watched is not None
        for handle in (*self._ghosts.values(), self._labels["dream"]):
            _update(handle, "visible", shown)
        if frame.ghosts is None or frame.watched is None:
            return
        _update(self._labels["robot"], "visible", self.aside_m > 0.5 * self._base_height)  # else one would lie on the other
        aside = self.aside_m * _RIGHT
        positions, quaternions = self._body.place(frame.ghosts)
        tint = usual.colours(frame.watched.disagreement.tolist())
        for body, handle in self._ghosts.items():
            handle.batched_positions = (positions[:, body] - middle + aside).astype(np.float32)
            handle.batched_wxyzs = quaternions[:, body].astype(np.float32)
            handle.batched_colors = tint
        _update(self._labels["dream"], "text", f"dream, {frame.dream_age_s:.1f} s old")
        above = (0.0, 0.0, 0.5 * self._base_height)
        self._labels["dream"].position = frame.ghosts[:, :3].mean(0) - middle + aside + above


def _update(handle: Any, name: str, value: object) -> None:
    """Set what has changed; viser would send the rest too."""
    if getattr(handle, name) != value:
        setattr(handle, name, value)
