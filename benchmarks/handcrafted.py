"""Throughput of LBP-TOP and HOOF, against scikit-image and a plain loop.

    python benchmarks/handcrafted.py --json=handcrafted.json

Every row of the table is measured in the same run, on random clips of 224×224 pixels, by several
processes at once (`--processes`, 2), each of which runs NumPy and OpenCV on one thread:

- ours: `atnet_jax.models` as they are used;
- scikit-image: `local_binary_pattern` on each slice of the three planes, codes counted. It has no
  HOOF;
- plain loop: the definition, voxel by voxel in Python. It is timed on a corner of a clip and scaled
  up by the number of voxels.

Behind a figure stands how many times as fast ours is. Interpolation (TIM) and optical flow are rows
of their own, as they are not part of LBP-TOP's and HOOF's figures. Time is what the processor spent
on each process: where every process has a core that is the time that passes, and other work on the
machine bends it little.
"""

import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from absl import app, flags
from skimage.feature import local_binary_pattern

from atnet_jax.models.handcrafted.tim import interpolate
from atnet_jax.models.hoof import hoof
from atnet_jax.models.lbp_top import lbp_top, uniform_bins
from atnet_jax.names import DEFAULT_FLOW
from atnet_jax.preprocessing.optical_flow import flow_method

_JSON = flags.DEFINE_string("json", None, "Also write the figures to this file.")
_PROCESSES = flags.DEFINE_integer("processes", 2, "Processes that work at once.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Least time a measurement takes.", lower_bound=0.0)

SIZE = 224
RADIUS = 3
CORNER = 16  # side of what the plain loop is timed on
RAW_FRAMES = 70  # of a clip before interpolation


class Row(NamedTuple):
    """Clips per second; None where nothing was measured."""

    name: str
    ours: float
    scikit_image: float | None = None
    plain_loop: float | None = None


def main(_: list[str]) -> None:
    """Measures, prints the table and writes the file."""
    # Read by the libraries of the processes that are started below, which begin from nothing.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    rows = []
    print(f"clips per second, {_PROCESSES.value} processes, {SIZE}x{SIZE} pixels")
    print(f"{'':34}{'ours':>9}{'scikit-image':>20}{'plain loop':>22}")
    context = multiprocessing.get_context("spawn")
    everybody = context.Barrier(_PROCESSES.value)
    with context.Pool(_PROCESSES.value, _start_process, (everybody,)) as pool:
        for tim in (10, 64):
            for points in (4, 8):
                voxels = (tim - 2 * RADIUS) * (SIZE - 2 * RADIUS) ** 2
                rows.append(
                    Row(
                        f"LBP-TOP {{3,3,3,{points}}} TIM {tim}",
                        _clips_per_second(pool, our_lbp_top, tim, points),
                        _clips_per_second(pool, scikit_image_lbp_top, tim, points),
                        _clips_per_second(pool, plain_lbp_top, 7, points)
                        * CORNER**2 / voxels,
                    )
                )  # fmt: skip
                _print(rows[-1])
        for flows in (9, 64):
            for bins in (4, 8):
                rows.append(
                    Row(
                        f"HOOF N={bins}, {flows} flows",
                        _clips_per_second(pool, our_hoof, flows, bins),
                        plain_loop=_clips_per_second(pool, plain_hoof, 1, bins)
                        * CORNER**2 / (flows * SIZE**2),
                    )
                )  # fmt: skip
                _print(rows[-1])
        for tim in (10, 64):
            rate = _clips_per_second(pool, our_interpolation, tim, RAW_FRAMES)
            rows.append(Row(f"(TIM {tim} from {RAW_FRAMES} frames)", rate))
            _print(rows[-1])
        for flows in (9, 64):
            rate = _clips_per_second(pool, our_flow, flows, 0)
            rows.append(Row(f"({flows} {DEFAULT_FLOW} flows)", rate))
            _print(rows[-1])
    if _JSON.value:
        report = {
            "processes": _PROCESSES.value,
            "cpus": os.cpu_count(),
            "size": SIZE,
            "clips_per_second": [row._asdict() for row in rows],
        }
        Path(_JSON.value).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _print(row: Row) -> None:
    cells = [f"{row.name:34}{row.ours:9.2f}"]
    for other, width in ((row.scikit_image, 20), (row.plain_loop, 22)):
        text = "-" if other is None else f"{other:.3g} ({row.ours / other:,.0f}x)"
        cells.append(f"{text:>{width}}")
    print("".join(cells), flush=True)


Work = Callable[[int, int], Callable[[], object]]
"""(length of the clip, setting) → what is done once a clip."""


_everybody: Barrier


def _start_process(everybody: Barrier) -> None:
    global _everybody
    _everybody = everybody
    cv2.setNumThreads(1)


def _clips_per_second(pool: Pool, work: Work, length: int, setting: int) -> float:
    """Clips per second of all processes together."""
    job = (work, length, setting, _SECONDS.value)
    return sum(pool.starmap(_measure, [job] * _PROCESSES.value, chunksize=1))


def _measure(work: Work, length: int, setting: int, seconds: float) -> float:
    """Clips per second of one process."""
    once = work(length, setting)
    once()
    _everybody.wait()
    start, clips = time.process_time(), 0
    while not clips or time.process_time() - start < seconds:
        once()
        clips += 1
    return clips / (time.process_time() - start)


def _clip(frames: int) -> np.ndarray:
    """A smooth picture that changes slowly, grey levels."""
    random = np.random.default_rng(0)
    volume = random.normal(128, 400, (frames, SIZE, SIZE)).astype(np.float32)
    for frame in volume:
        frame[:] = cv2.GaussianBlur(frame, (0, 0), 4)
    return np.clip(volume, 0, 255).astype(np.uint8)


def _flows(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (count, SIZE, SIZE, 2)).astype(np.float32)


def our_lbp_top(frames: int, points: int) -> Callable[[], object]:
    """LBP-TOP of the project, of an interpolated clip."""
    clip = interpolate(_clip(2 * frames), frames)
    return lambda: lbp_top(clip, (RADIUS, RADIUS, RADIUS), points)


def scikit_image_lbp_top(frames: int, points: int) -> Callable[[], object]:
    """The same by scikit-image, slice by slice."""
    clip = np.rint(interpolate(_clip(2 * frames), frames)).astype(np.uint8)
    bins, inside = uniform_bins(), slice(RADIUS, -RADIUS)

    def once() -> np.ndarray:
        histograms = []
        for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
            count = np.zeros(256)
            for picture in clip.transpose(order)[inside]:
                codes = local_binary_pattern(picture, points, RADIUS)[inside, inside]
                count += np.bincount(codes.astype(np.uint8).ravel(), minlength=256)
            histograms.append(np.bincount(bins, count) / count.sum())
        return np.concatenate(histograms)

    return once


def plain_lbp_top(frames: int, points: int) -> Callable[[], object]:
    """The definition, for the 16×16 voxels of one frame."""
    side = CORNER + 2 * RADIUS
    volume = interpolate(_clip(2 * frames), frames)[:, :side, :side].tolist()
    bins = uniform_bins().tolist()
    angles = [2 * math.pi * p / points for p in range(points)]
    circle = [(round(math.cos(a), 9) * RADIUS, round(math.sin(a), 9) * RADIUS) for a in angles]

    def brightness(t: float, y: float, x: float) -> float:
        total = 0.0
        for k in {math.floor(t), math.ceil(t)}:
            for j in {math.floor(y), math.ceil(y)}:
                for i in {math.floor(x), math.ceil(x)}:
                    weight = (1 - abs(t - k)) * (1 - abs(y - j)) * (1 - abs(x - i))
                    total += weight * volume[k][j][i]
        return total

    def once() -> list[list[int]]:
        counts = [[0] * 59 for _ in range(3)]
        for y in range(RADIUS, RADIUS + CORNER):
            for x in range(RADIUS, RADIUS + CORNER):
                t, codes = RADIUS, [0, 0, 0]
                for p, (c, s) in enumerate(circle):
                    around = (
                        brightness(t, y - s, x + c),
                        brightness(t + s, y, x + c),
                        brightness(t + c, y - s, x),
                    )
                    for plane in range(3):
                        codes[plane] |= (around[plane] >= volume[t][y][x]) << p
                for plane in range(3):
                    counts[plane][bins[codes[plane]]] += 1
        return counts

    return once


def our_hoof(flows: int, bins: int) -> Callable[[], object]:
    """HOOF of the project, of flows that are there."""
    given = _flows(flows)
    return lambda: hoof(given, bins)


def plain_hoof(flows: int, bins: int) -> Callable[[], object]:
    """The definition, for 16×16 pixels of a flow."""
    vectors = _flows(flows)[0, :CORNER, :CORNER].reshape(-1, 2).tolist()

    def once() -> list[float]:
        histogram = [0.0] * bins
        for u, v in vectors:
            index = math.floor(math.atan2(v, u) % (2 * math.pi) / (2 * math.pi / bins))
            histogram[index % bins] += math.sqrt(u * u + v * v)
        total = sum(histogram)
        return [value / total for value in histogram]

    return once


def our_interpolation(length: int, frames: int) -> Callable[[], object]:
    """The temporal interpolation model."""
    clip = _clip(frames)
    return lambda: interpolate(clip, length)


def our_flow(flows: int, _: int) -> Callable[[], object]:
    """Optical flow of adjacent frames."""
    clip, method = _clip(flows + 1), flow_method(DEFAULT_FLOW)
    return lambda: method.flows(clip)


if __name__ == "__main__":
    app.run(main)
