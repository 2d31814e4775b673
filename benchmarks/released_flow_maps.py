"""Turns released onset→apex flow maps into a manifest, to run STSTNet on real data.

HTNet's release (arXiv 2307.14637) holds the maps that STSTNet's published port was trained on. With
those of CASME II and SMIC in one file of arrays (flow_rgb uint8 [309, 28, 28, 3], dataset, subject,
clip, label):

    python benchmarks/released_flow_maps.py --maps=FILE.npz --out=maps
    atnet prepare --dataset=manifest --manual_dir=maps --data_dir=maps/data
    atnet train --config=cde:ststnet --config.data.dir=maps/data \
        --config.data.datasets=manifest --workdir=runs/ststnet
"""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
from absl import app, flags

_MAPS = flags.DEFINE_string("maps", None, "The .npz file.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder to write; must not exist.", required=True)


def main(_: list[str]) -> None:
    """Writes manifest.csv and one PNG a clip."""
    out = Path(_OUT.value)
    if out.exists():
        sys.exit(f"Error: {out} exists. Choose another --out.")
    with np.load(_MAPS.value, allow_pickle=False) as arrays:
        clips = list(
            zip(*(arrays[name] for name in ("dataset", "subject", "clip", "label")), strict=True)
        )
        maps = arrays["flow_rgb"]
    (out / "maps").mkdir(parents=True)
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["dataset", "subject", "clip", "label", "flow_map"])
        for number, (row, flow_map) in enumerate(zip(clips, maps, strict=True)):
            name = f"maps/{number:03d}.png"
            cv2.imwrite(str(out / name), flow_map[..., ::-1])  # OpenCV writes B, G, R.
            table.writerow([*row, name])
    print(f"{len(maps)} flow maps in {out}")


if __name__ == "__main__":
    app.run(main)
