"""Accuracy of flow methods on motions of hundredths of a pixel.

    python -m benchmarks.tiny_motion --methods=farneback,dis --json=tiny.json --table=tiny.md

Clips of known motion from onset through apex to offset (`moving_clips.py`: synthetic faces and
deformed pictures) are degraded as by cameras, and each method computes the flow between
neighbouring frames. The benchmark compares the mean direction and magnitude of 8×8 blocks (ADM) and
the flow itself with the truth:

- magnitude: correlation with the truth over all blocks and frames, and the ratio of the means;
- direction: correlation of the blocks' vectors (ρ cos θ, ρ sin θ), both components together, with
  the circular mean of θ;
- endpoint error: mean distance between the vectors, in pixels;
- angular error: mean angle between the two vectors (u, v, 1), in degrees (Barron, Fleet, Beauchemin
  1994).

If the head moves or odd frames are displaced, the flow is compared with all visible motion ("seen")
and with the motion of the skin alone ("skin"). Noise, rounding and JPEG affect the 224×224 crop
itself; a crop that is shrunk from a larger frame has less of them.

`--degradations` takes names such as `noise0.7+jpeg` (see `moving_clips.read_degradation`). By
default, two degradations are measured at all motions and nine more at 0.03 pixels.
"""

import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tqdm
from absl import app, flags
from skimage.registration import optical_flow_tvl1

from atnet_jax.errors import UserError
from atnet_jax.names import FLOWS
from benchmarks import tiny_motion_pictures
from benchmarks.clip_flow import FlowOfClip, blocks_of, flow_of_clip
from benchmarks.moving_clips import (
    FRAMES,
    Degradation,
    MovingClip,
    Skin,
    read_degradation,
    skins,
)

MOTIONS = ("0.01", "0.03", "0.1", "0.3", "1", "2")
ALWAYS = ("noise0.7+jpeg", "noise1.5+jpeg")
AT_ONE_MOTION = (
    "exact",
    "8bit",
    "noise0.7",
    "noise1.5",
    "jpeg",
    "light",
    "head",
    "alternation",
    "noise0.7+jpeg+light+head",
)
ONE_MOTION = 0.03

_METHODS = flags.DEFINE_list("methods", list(FLOWS), "Optical flow methods; see config.data.flow.")
_MOTIONS = flags.DEFINE_list("motions", list(MOTIONS), "Mean motions, in pixels per frame.")
_DEGRADATIONS = flags.DEFINE_list("degradations", None, "Degradations of the clips.")
_CLIPS = flags.DEFINE_integer(
    "clips", 4, "Number of clips, which alternate faces and pictures.", lower_bound=1
)
_JSON = flags.DEFINE_string("json", None, "Write every figure to this file.")
_TABLE = flags.DEFINE_string("table", None, "Write the table to this Markdown file.")
_PICTURES = flags.DEFINE_string("pictures", None, "Write figures to this folder.")
_SPEED = flags.DEFINE_bool("speed", False, "Measure pairs per second instead.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "--speed: shortest time to measure a method.")


class Score(NamedTuple):
    """Accuracy of an estimated flow; see the docstring of this module."""

    magnitude_correlation: float
    magnitude_ratio: float
    direction_correlation: float
    endpoint_error: float
    angular_error: float


def main(argv: Sequence[str]) -> None:
    """Run the benchmark, and print and write its results."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}.")
    try:
        if not _METHODS.value:
            raise UserError(f"--methods is empty. Pass one or more of {', '.join(FLOWS)}.")
        methods = {name: flow_of_clip(name) for name in _METHODS.value}
        if _SPEED.value:
            report = {"speed": speed(methods, _SECONDS.value)}
        else:
            cells = _cells(_MOTIONS.value, _DEGRADATIONS.value)
            report = {"scores": measure(methods, cells, skins(_CLIPS.value))}
            table = markdown(report["scores"], list(methods))
            print(table)
            if _TABLE.value:
                Path(_TABLE.value).write_text(table, encoding="utf-8")
            if _PICTURES.value:
                folder = Path(_PICTURES.value)
                folder.mkdir(parents=True, exist_ok=True)
                _draw(folder, methods, report["scores"])
    except UserError as error:
        sys.exit(f"Error: {error}")
    if _JSON.value:
        text = json.dumps({"machine": machine(), **report}, indent=2)
        Path(_JSON.value).write_text(text + "\n", encoding="utf-8")


def _cells(motions: Sequence[str], degradations: Sequence[str] | None) -> list[tuple[float, str]]:
    """Return motion and degradation of all rows of the table.

    Returns:
        (motion in pixels per frame, name of the degradation) of each row.

    Raises:
        UserError: A motion or degradation is invalid.
    """
    sizes = []
    for text in motions:
        try:
            sizes.append(float(text))
        except ValueError:
            sizes.append(math.nan)
        if not 0 < sizes[-1] < math.inf:
            raise UserError(f"--motions: expected pixels per frame above 0, found {text!r}.")
    for name in degradations or ():
        read_degradation(name)
    if degradations:
        return [(motion, name) for motion in sizes for name in degradations]
    return [
        (motion, name)
        for motion in sizes
        for name in (*(AT_ONE_MOTION if motion == ONE_MOTION else ()), *ALWAYS)
    ]


def measure(
    methods: dict[str, FlowOfClip], cells: Sequence[tuple[float, str]], clips: Sequence[Skin]
) -> list[dict[str, Any]]:
    """Score each method on each clip.

    Args:
        methods: Flow methods by name.
        cells: (motion in pixels per frame, name of a degradation) of each row.
        clips: The skins to move.

    Returns:
        One record per motion, degradation, clip, truth ("seen" or "skin") and method, with the
        fields of `Score` and `milliseconds_per_pair`.
    """
    _warm_up(methods)
    records = []
    rendered: dict[MovingClip, tuple[np.ndarray, Truth]] = {}
    with tqdm.tqdm(total=len(cells) * len(clips) * len(methods), unit="clip") as bar:
        for motion in dict.fromkeys(motion for motion, _ in cells):
            for skin in clips:
                rendered.clear()
                for name in (name for size, name in cells if size == motion):
                    degradation = read_degradation(name)
                    clip = degradation.clip(skin, motion)
                    if not clip.possible:
                        bar.update(len(methods))
                        continue
                    pictures, seen = _render(clip, rendered)
                    truths = {"seen": seen}
                    still = MovingClip(skin, motion)
                    if clip != still:
                        truths["skin"] = _render(still, rendered)[1]
                    frames = degradation.apply(pictures, skin.name)
                    for method_name, method in methods.items():
                        start = time.perf_counter()
                        flows = method(frames)
                        taken = 1000 * (time.perf_counter() - start) / len(flows)
                        for truth_name, score in scores(flows, truths).items():
                            records.append(
                                {
                                    "motion": motion,
                                    "degradation": name,
                                    "clip": skin.name,
                                    "truth": truth_name,
                                    "method": method_name,
                                    **score._asdict(),
                                    "milliseconds_per_pair": taken,
                                }
                            )
                        bar.update()
    return records


def _render(
    clip: MovingClip, rendered: dict[MovingClip, tuple[np.ndarray, "Truth"]]
) -> tuple[np.ndarray, "Truth"]:
    """Return frames and truth of a clip, cached for its other degradations."""
    if clip not in rendered:
        rendered[clip] = clip.frames(), Truth(clip.flows())
    return rendered[clip]


def _warm_up(methods: dict[str, FlowOfClip]) -> None:
    """Call each method once, so that it compiles."""
    for method in methods.values():
        method(np.zeros((FRAMES, 224, 224), np.uint8))


class Truth:
    """True flow of a clip and its ADM.

    Attributes:
        flows: True flow, float32 `[pair, height, width, 2]`, in pixels.
        adm: Direction θ and magnitude ρ of the blocks, `[pair, 64, 2]`.
    """

    def __init__(self, flows: np.ndarray):
        self.flows = flows
        self.adm = blocks_of(flows)


def scores(flows: np.ndarray, truths: dict[str, Truth]) -> dict[str, Score]:
    """Compare a flow with one or more true flows.

    Args:
        flows: Flow `[pair, 224, 224, 2]`, in pixels.
        truths: True flows by name.

    Returns:
        The score for each true flow. The correlation with a constant is 0.
    """
    adm = blocks_of(flows)
    return {name: _score(flows, adm, truth) for name, truth in truths.items()}


def _score(flows: np.ndarray, adm: np.ndarray, truth: Truth) -> Score:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = np.array(list(pool.map(_errors, flows, truth.flows)))
    endpoint, angle = errors.mean(0)
    return Score(
        _correlation(adm[..., 1], truth.adm[..., 1]),
        float(adm[..., 1].mean() / truth.adm[..., 1].mean()),
        _correlation(_vectors(adm), _vectors(truth.adm)),
        float(endpoint),
        float(angle),
    )


def _errors(flow: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the endpoint error in pixels and the angular error in degrees."""
    difference = flow - truth
    squares = np.square(difference).sum(-1)
    # |a × b| of a = (u, v, 1) and b, because an arc cosine cannot resolve 0.03 degrees.
    area = flow[..., 0] * truth[..., 1] - flow[..., 1] * truth[..., 0]
    sine = np.sqrt(squares + np.square(area))
    cosine = 1 + (flow * truth).sum(-1)
    return float(np.sqrt(squares).mean()), float(np.degrees(np.arctan2(sine, cosine)).mean())


def _vectors(adm: np.ndarray) -> np.ndarray:
    theta, rho = np.moveaxis(adm, -1, 0)
    return np.stack([rho * np.cos(theta), rho * np.sin(theta)])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    product = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / product if product else 0.0


def mean_scores(records: Sequence[dict[str, Any]]) -> tuple[float, float, float, float]:
    """Return means over clips: magnitude and direction correlation, ratio, error per motion."""
    return (
        statistics.mean(record["magnitude_correlation"] for record in records),
        statistics.mean(record["direction_correlation"] for record in records),
        statistics.geometric_mean(max(record["magnitude_ratio"], 1e-9) for record in records),
        statistics.mean(record["endpoint_error"] / record["motion"] for record in records),
    )


def markdown(records: Sequence[dict[str, Any]], methods: Sequence[str]) -> str:
    """Return two tables with one column per method: magnitude; direction and endpoint error."""

    def magnitude(of: Sequence[dict[str, Any]]) -> str:
        correlation, _, ratio, _ = mean_scores(of)
        return f"{correlation:.2f}, {ratio:.2g}×"

    def direction(of: Sequence[dict[str, Any]]) -> str:
        _, correlation, _, error = mean_scores(of)
        return f"{correlation:.2f}, {error:.2g}"

    lines = ["Magnitude of the ADM: correlation with the truth, ratio to it", ""]
    lines += _table(records, methods, magnitude)
    times = [
        statistics.median(r["milliseconds_per_pair"] for r in records if r["method"] == name)
        for name in methods
    ]
    lines += ["| ms a pair | | | " + " | ".join(f"{value:.1f}" for value in times) + " |"]
    lines += ["", "Direction of the ADM: correlation; endpoint error as a part of the motion", ""]
    lines += _table(records, methods, direction)
    return "\n".join(lines) + "\n"


def _table(
    records: Sequence[dict[str, Any]],
    methods: Sequence[str],
    cell: Callable[[Sequence[dict[str, Any]]], str],
) -> list[str]:
    groups: dict[tuple[float, str, str], dict[str, list[dict[str, Any]]]] = {}
    for record in records:
        key = record["motion"], record["degradation"], record["truth"]
        groups.setdefault(key, {}).setdefault(record["method"], []).append(record)
    # Without head motion or displacement, both truths are equal and only one is listed.
    two_truths = {(motion, name) for motion, name, truth in groups if truth == "skin"}
    lines = [f"| px/frame | degradation | clips | {' | '.join(methods)} |"]
    lines.append("|" + "---|" * (3 + len(methods)))
    for (motion, name, truth), by_method in groups.items():
        shown = f"{name} ({truth})" if (motion, name) in two_truths else name
        cells = [cell(by_method[method]) for method in methods]
        count = len(by_method[methods[0]])
        lines.append(f"| {motion:g} | {shown} | {count} | {' | '.join(cells)} |")
    return lines


def _draw(folder: Path, methods: dict[str, FlowOfClip], records: Sequence[dict[str, Any]]) -> None:
    """Draw block magnitudes of a face at 0.03 pixels, and curves of correlation by motion.

    The curves use only the clips that support all motions.
    """
    degradation = read_degradation(ALWAYS[0])
    skin = skins(1)[0]
    clip = degradation.clip(skin, ONE_MOTION)
    frames = degradation.apply(clip.frames(), skin.name)
    magnitudes = {"truth": blocks_of(clip.flows())[..., 1]}
    for name, method in methods.items():
        magnitudes[name] = blocks_of(method(frames))[..., 1]
    tiny_motion_pictures.write_blocks(folder / "blocks.png", magnitudes)
    motions = {record["motion"] for record in records}
    clips = set[str].intersection(
        *({r["clip"] for r in records if r["motion"] == motion} for motion in motions)
    )
    records = [record for record in records if record["clip"] in clips]
    for name in dict.fromkeys(record["degradation"] for record in records):
        curves: dict[str, list[tuple[float, float]]] = {}
        for method in methods:
            chosen = [
                r
                for r in records
                if (r["method"], r["degradation"], r["truth"]) == (method, name, "seen")
            ]
            curves[method] = [
                (motion, mean_scores([r for r in chosen if r["motion"] == motion])[0])
                for motion in sorted({r["motion"] for r in chosen})
            ]
        if all(len(curve) > 1 for curve in curves.values()):
            path = folder / f"correlation_{name}.png"
            tiny_motion_pictures.write_curves(path, f"magnitude, {name}", curves)


def speed(methods: dict[str, FlowOfClip], seconds: float) -> list[dict[str, Any]]:
    """Measure and print the pairs per second of each method and of two plain loops.

    Args:
        methods: Flow methods by name.
        seconds: Shortest time to measure a method, in seconds.

    Returns:
        One record per method and loop.
    """
    degradation = Degradation(noise=0.7, jpeg=True)
    skin = skins(1)[0]
    frames = degradation.apply(degradation.clip(skin, 0.1).frames(), skin.name)

    def tv_l1_loop(clip: np.ndarray) -> int:
        for first, second in itertools.pairwise(clip[:3]):
            optical_flow_tvl1(first, second)
        return 2

    def farneback_loop(clip: np.ndarray) -> int:
        for first, second in itertools.pairwise(clip):
            cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # pyright: ignore
        return len(clip) - 1

    loops = {
        "loop over scikit-image TV-L1": tv_l1_loop,
        "loop over OpenCV Farnebäck": farneback_loop,
    }
    rates = {name: _rate(lambda work=work: work(frames), seconds) for name, work in loops.items()}
    tv_l1, farneback = rates.values()
    print(f"{'':30}{'pairs/s':>9}{'× TV-L1 loop':>15}{'× Farnebäck loop':>18}")
    records = []
    for name, method in methods.items():
        rates[name] = _rate(lambda method=method: len(method(frames)), seconds)
    for name, rate in rates.items():
        print(f"{name:30}{rate:9.2f}{rate / tv_l1:15.2f}{rate / farneback:18.2f}", flush=True)
        records.append(
            {
                "name": name,
                "pairs_per_second": rate,
                "ratio_to_tv_l1_loop": rate / tv_l1,
                "ratio_to_farneback_loop": rate / farneback,
            }
        )
    return records


def _rate(work: Callable[[], int], seconds: float) -> float:
    """Return pairs per second, without the first call, which may compile."""
    work()
    start, pairs = time.perf_counter(), 0
    while not pairs or time.perf_counter() - start < seconds:
        pairs += work()
    return pairs / (time.perf_counter() - start)


def machine() -> dict[str, Any]:
    """Return the machine and the versions of the measurement."""
    packages = ("numpy", "opencv-python-headless", "scikit-image", "scipy", "jax")
    return {
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    app.run(main)
