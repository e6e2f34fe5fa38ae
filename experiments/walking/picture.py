"""Make the README's animation of a run's (``rwmu.play path=walk.gif``): ``python -m experiments.walking.picture walk.gif``.

Takes the first seconds, every third frame, at two thirds of the size, so that a clone of the repository stays small.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageSequence

TARGET = Path(__file__).parent / "figures" / "walking.gif"
SECONDS, EVERY, WIDTH, COLOURS = 5.0, 3, 320, 48


def main() -> None:
    """Shrink the animation named on the command line."""
    with Image.open(sys.argv[1]) as video:
        duration_ms = video.info["duration"]
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(video)]
    kept = frames[: round(SECONDS * 1000 / duration_ms) : EVERY]
    height = round(WIDTH * kept[0].height / kept[0].width)
    small = [frame.resize((WIDTH, height), Image.Resampling.LANCZOS).quantize(COLOURS) for frame in kept]
    TARGET.parent.mkdir(exist_ok=True)
    small[0].save(TARGET, save_all=True, append_images=small[1:], duration=duration_ms * EVERY, loop=0, optimize=True)
    print(f"{TARGET}: {len(small)} frames, {TARGET.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
