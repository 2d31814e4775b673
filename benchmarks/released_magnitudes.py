"""Camera noise that would explain the magnitudes in the features released by ATNet's authors.

    python -m benchmarks.released_magnitudes --released=adm_released.npz

The released features describe the flow between adjacent frames. The file holds one array
`[64, 128]` per clip, named database-subject-clip. The benchmark renders synthetic faces, still or
moving by 0.03 pixels per frame, with increasing noise. For each database it interpolates the noise
at which the mean magnitude of a method equals the released magnitude. Noise is in grey levels of
the 224×224 crop, before rounding to 8 bits.
"""

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import tqdm
from absl import app, flags

from atnet_jax.errors import UserError
from benchmarks.clip_flow import blocks_of, flow_of_clip
from benchmarks.moving_clips import Degradation, skins

NOISE = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5)
MOTIONS = (0.0001, 0.03)

_RELEASED = flags.DEFINE_string(
    "released", None, "The .npz file of released features.", required=True
)
_METHODS = flags.DEFINE_list(
    "methods", ["paper", "horn_schunck", "farneback"], "Optical flow methods; see config.data.flow."
)
_CLIPS = flags.DEFINE_integer(
    "clips", 2, "Number of clips, which alternate faces and pictures.", lower_bound=1
)


def main(_: list[str]) -> None:
    """Print a table of magnitudes by noise, and the noise of each database."""
    try:
        released = released_means(Path(_RELEASED.value))
        methods = {name: flow_of_clip(name) for name in _METHODS.value}
    except (UserError, OSError, ValueError) as error:
        sys.exit(f"Error: {error}")
    listed = ", ".join(f"{name} {value:.3f}" for name, value in released.items())
    print(f"released mean magnitude of non-zero rows in pixels: {listed}\n")
    print("| method, motion | " + " | ".join(f"noise {noise:g}" for noise in NOISE) + " |")
    print("|---" * (1 + len(NOISE)) + "|")
    found = []
    for name, flows in methods.items():
        for motion in MOTIONS:
            means = []
            for noise in tqdm.tqdm(NOISE, f"{name} {motion:g}", leave=False):
                degradation = Degradation(noise=noise)
                each = []
                for skin in skins(_CLIPS.value):
                    frames = degradation.clip(skin, motion).frames()
                    flow = flows(degradation.apply(frames, skin.name))
                    each.append(blocks_of(flow)[..., 1].mean())
                means.append(float(np.mean(each)))
            print(f"| {name}, {motion:g} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
            found.append((name, motion, means))
    print()
    for name, motion, means in found:
        levels = {
            database: f"{np.interp(mean, means, NOISE):.2f}"
            if means[0] < mean < means[-1]
            else ("none" if mean <= means[0] else f"above {NOISE[-1]:g}")
            for database, mean in released.items()
        }
        print(f"{name}, motion {motion:g}: noise at the released magnitude: {levels}")


def released_means(path: Path) -> dict[str, float]:
    """Return the mean magnitude of non-zero rows of each database's clips, in pixels."""
    rows = defaultdict(list)
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays:
            adm = arrays[name]
            rows[name.split("-")[0]].append(adm[adm.any(axis=1), 1::2].mean())
    return {database: float(np.mean(means)) for database, means in rows.items()}


if __name__ == "__main__":
    app.run(main)
