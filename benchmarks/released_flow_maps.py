"""Convert released onset→apex flow maps to a manifest, to run STSTNet on real data.

HTNet's release (arXiv 2307.14637) contains the maps that STSTNet's published port was trained on.
Store the maps of CASME II and SMIC in one .npz file with the arrays flow_rgb (uint8 [309, 28, 28,
3]), dataset, subject, clip and label. Then run:

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

_MAPS = flags.DEFINE_string("maps", None, "The .npz file of flow maps.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder to write, which must not exist.", required=True)


def main(_: list[str]) -> None:
    """Write manifest.csv and one PNG per clip."""
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
            cv2.imwrite(str(out / name), flow_map[..., ::-1])  # OpenCV expects blue, green, red.
            table.writerow([*row, name])
    print(f"{len(maps)} flow maps in {out}")


if __name__ == "__main__":
    app.run(main)
