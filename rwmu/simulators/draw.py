"""Draw recorded poses to an MP4 or GIF: ``python -m rwmu.simulators.draw POSES.npz VIDEO.mp4``, with ``MUJOCO_GL`` set.

Started by :mod:`rwmu.simulators.render` in a process of its own; it imports no more than it needs, to start fast.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rwmu.files import replacing
from rwmu.simulators.extra import import_mujoco

_GHOSTLY = 0.35  # opacity


def _frames(mujoco: Any, stored: Mapping[str, NDArray[Any]]) -> list[Image.Image]:
    """Draw every pose from the side, the camera following the base, with the command below; beside it what was dreamt, if any."""
    model = mujoco.MjModel.from_xml_string(str(stored["xml"]))
    width, height = (int(side) for side in stored["size"])
    columns = [*range(7), *(int(model.joint(str(name)).qposadr[0]) for name in stored["joint_names"])]
    base_height = float(stored["base_height"])
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = 3.7 * base_height, 125.0, -18.0
    images = []
    with mujoco.Renderer(model, height, width) as renderer:
        for number, (pose, command) in enumerate(zip(stored["poses"], stored["commands"], strict=True)):
            camera.lookat[:] = (pose[0], pose[1], 0.67 * base_height)
            sides = [_drawn(mujoco, renderer, model, camera, columns, pose[None])]
            if "dreams" in stored:
                sides.append(_drawn(mujoco, renderer, model, camera, columns, stored["dreams"][number]))
            picture = Image.fromarray(np.concatenate(sides, axis=1))
            images.append(_with_caption(picture, command, ("robot", "dream") if len(sides) > 1 else ()))
    return images


def _drawn(mujoco: Any, renderer: Any, model: Any, camera: Any, columns: Sequence[int], poses: NDArray[Any]) -> NDArray[Any]:
    """Return one picture ``[height, width, 3]`` of poses ``[N, 7 + A]``, all but the first translucent."""
    data, options, nothing = mujoco.MjData(model), mujoco.MjvOption(), mujoco.MjvPerturb()
    for number, pose in enumerate(poses):
        data.qpos[columns] = pose
        mujoco.mj_forward(model, data)
        if number == 0:
            renderer.update_scene(data, camera)
            continue
        first = renderer.scene.ngeom
        mujoco.mjv_addGeoms(model, data, options, nothing, mujoco.mjtCatBit.mjCAT_DYNAMIC, renderer.scene)
        for geom in renderer.scene.geoms[first : renderer.scene.ngeom]:
            geom.rgba[3] = _GHOSTLY
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False  # most of the time on a machine without a GPU
    picture: NDArray[Any] = renderer.render()
    return picture


def _with_caption(image: Image.Image, command: NDArray[Any], sides: Sequence[str]) -> Image.Image:
    """Write the command of one pose ``[3]`` (m/s, m/s, rad/s) into the picture, and above each side what it is."""
    forward, left, turn = (f"{value + 0.0:+.1f}" for value in command)
    text = f"commanded: forward {forward} m/s, left {left} m/s, turn {turn} rad/s"
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=max(8, image.width // 34))
    places = {text: (image.width // 2, image.height - 6, "ms")}
    places |= {side: ((2 * i + 1) * image.width // (2 * len(sides)), 6, "mt") for i, side in enumerate(sides)}
    for words, (across, down, anchor) in places.items():
        draw.text((across, down), words, "white", font, anchor=anchor, stroke_width=2, stroke_fill="#1F2937")
    return image


def _draw(frames: Path, path: Path) -> None:
    """Draw the poses of ``frames`` to ``path``, in this process."""
    mujoco = import_mujoco()
    with np.load(frames) as stored:
        images = _frames(mujoco, stored)
        frame_s = float(stored["frame_s"])
    with replacing(path) as partial:
        (_write_gif if path.suffix == ".gif" else _write_mp4)(images, partial, frame_s)


def _write_gif(images: list[Image.Image], path: Path, frame_s: float) -> None:
    palette = images[len(images) // 2].quantize(64)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 * frame_s), loop=0)


def _write_mp4(images: list[Image.Image], path: Path, frame_s: float) -> None:
    writer = imageio_ffmpeg.write_frames(str(path), images[0].size, fps=1.0 / frame_s, quality=6, macro_block_size=2)
    writer.send(None)
    for image in images:
        writer.send(image.tobytes())
    writer.close()


if __name__ == "__main__":
    _draw(Path(sys.argv[1]), Path(sys.argv[2]))
