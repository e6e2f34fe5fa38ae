"""Draw recorded poses to an animated GIF: ``python -m rwmu.simulators.draw POSES.npz VIDEO.gif``, with ``MUJOCO_GL`` set.

Started by :mod:`rwmu.simulators.render` in a process of its own; it imports no more than it needs, to start fast.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rwmu.files import replacing
from rwmu.simulators.extra import import_mujoco


def _frames(mujoco: Any, stored: Mapping[str, NDArray[Any]]) -> list[Image.Image]:
    """Draw every pose from the side, the camera following the base."""
    model = mujoco.MjModel.from_xml_string(str(stored["xml"]))
    data = mujoco.MjData(model)
    width, height = (int(side) for side in stored["size"])
    columns = [*range(7), *(int(model.joint(str(name)).qposadr[0]) for name in stored["joint_names"])]
    base_height = float(stored["base_height"])
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = 3.7 * base_height, 125.0, -18.0
    images = []
    with mujoco.Renderer(model, height, width) as renderer:
        for pose in stored["poses"]:
            data.qpos[columns] = pose
            mujoco.mj_forward(model, data)
            camera.lookat[:] = (pose[0], pose[1], 0.67 * base_height)
            renderer.update_scene(data, camera)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False  # most of the time on a machine without a GPU
            images.append(Image.fromarray(renderer.render()))
    return images


def _draw(frames: Path, path: Path) -> None:
    """Draw the poses of ``frames`` to ``path``, in this process."""
    mujoco = import_mujoco()
    with np.load(frames) as stored:
        images = _frames(mujoco, stored)
        frame_ms = round(1000 * float(stored["frame_s"]))
    palette = images[len(images) // 2].quantize(64)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    with replacing(path) as partial:
        images[0].save(partial, format="GIF", save_all=True, append_images=images[1:], duration=frame_ms, loop=0)


if __name__ == "__main__":
    _draw(Path(sys.argv[1]), Path(sys.argv[2]))
