"""Errors of spotted apexes and intervals on synthetic videos.

    python -m benchmarks.apex_spotting --seed=202 --table=spotting.md --json=spotting.json

The videos are rendered as by `atnet synthetic`, so the true onset, apex and offset of the painted
faces are known. They imitate the databases, with sensor noise, head drift, blinks and, in SMIC's
layout, odd frames displaced from even ones. Each video is cropped to the face that MTCNN finds in
its first frame, and spotting uses MTCNN's landmarks.

- Apex: clips from onset to offset. The error is the distance between spotted and true apex, in
  frames and as a share of the clip's length. The error of the middle frame serves as a baseline.
- Intervals: videos of a few seconds of one subject, who blinks once and shows three expressions, or
  none in every fourth video. A spotted interval is correct if its intersection over union with a
  true interval is at least 0.5; each interval counts once (rule of the MEGC challenges).
- Speed: frames per second of processor time, that is, of one core, without reading and cropping.

The three expressions of a video use the action units of the subject's first clip, with the lengths
and time courses of the subject's clips. No spotting setting was tuned on the default seed.
"""

import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tqdm
from absl import app, flags

from atnet_jax.errors import UserError
from atnet_jax.inference import spotting
from atnet_jax.names import SPOTTERS
from atnet_jax.preprocessing.apex import middle_frame
from atnet_jax.preprocessing.face import Face, Landmarks, crop_face, find_faces
from data_builders.synthetic.clip_spec import ClipSpec, random_stream
from data_builders.synthetic.generate import MICRO_EXPRESSION, clip_specs
from data_builders.synthetic.motion import Motion, draw_motion
from data_builders.synthetic.scene import Scene

CLIPS_PER_SUBJECT = 3
EMPTY_EVERY = 4
OVERLAP = 0.5


Interval = tuple[int, int]
"""First and last frame."""


@dataclasses.dataclass(frozen=True)
class Session(Motion):
    """Time courses of a subject in a video with several expressions."""

    expressions: tuple[Motion, ...] = ()

    def expression(self, frame: int) -> tuple[float, float]:
        """Return the activation of the upper and of the lower face in a frame."""
        shown = [expression.expression(frame) for expression in self.expressions]
        upper, lower = np.max([(0.0, 0.0), *shown], axis=0)
        return float(upper), float(lower)


def main(argv: Sequence[str]) -> None:
    """Run the benchmark, and print and write its tables."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}.")
    try:
        records = measure(_subjects(flags.FLAGS.subjects, flags.FLAGS.seed))
    except UserError as error:
        sys.exit(f"Error: {error}")
    tables = markdown(records)
    print(tables)
    if flags.FLAGS.table:
        Path(flags.FLAGS.table).write_text(tables, encoding="utf-8")
    if flags.FLAGS.json:
        Path(flags.FLAGS.json).write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")


def _subjects(subjects: int, seed: int) -> Iterator[list[ClipSpec]]:
    """Yield the labelled clips of each subject, of `CLIPS_PER_SUBJECT` clips."""
    for dataset in MICRO_EXPRESSION:
        specs = clip_specs(dataset, subjects, CLIPS_PER_SUBJECT, seed)
        labelled = [spec for spec in specs if spec.label is not None]
        for _, clips in itertools.groupby(labelled, key=lambda spec: spec.subject):
            yield list(clips)


def measure(subjects: Iterator[list[ClipSpec]]) -> list[dict[str, Any]]:
    """Run every spotting method on every video.

    Args:
        subjects: Clips of each subject.

    Returns:
        One record per video and method, and one per clip for the middle frame.
    """
    jobs = [(clips, index % EMPTY_EVERY == EMPTY_EVERY - 1) for index, clips in enumerate(subjects)]
    records: list[dict[str, Any]] = []
    with ProcessPoolExecutor(flags.FLAGS.processes) as pool:
        arguments = [(clips, empty, flags.FLAGS.seconds) for clips, empty in jobs]
        for found in tqdm.tqdm(pool.map(_measure_subject, arguments), total=len(jobs)):
            records += found
    return records


def _measure_subject(arguments: tuple[list[ClipSpec], bool, float]) -> list[dict[str, Any]]:
    clips, empty, seconds = arguments
    cv2.setNumThreads(1)
    records: list[dict[str, Any]] = []
    for spec in clips:
        records += _spot_clip(spec)
    spec, motion = session(clips, empty, seconds)
    return records + _spot_session(spec, motion)


def session(clips: Sequence[ClipSpec], empty: bool, seconds: float) -> tuple[ClipSpec, Session]:
    """Compose a long video of a subject, with one expression after another.

    Args:
        clips: Clips of the subject.
        empty: Compose a video without expressions.
        seconds: Length of the video in seconds.

    Returns:
        The specification of the video, and its time courses.

    Raises:
        UserError: The clips are longer than the video.
    """
    frames = round(seconds * clips[0].camera.frame_rate)
    rng = random_stream(clips[0].seed, f"{clips[0].key}/session")
    spare = frames - sum(spec.offset - spec.onset + 1 for spec in clips)
    if spare <= 0:
        raise UserError(
            f"{clips[0].key}: {seconds:g} seconds are too short for {len(clips)} clips. Raise"
            " --seconds."
        )
    gaps = spare * rng.dirichlet(np.full(len(clips) + 1, 4.0))
    expressions, start = [], 0
    for spec, gap in zip([] if empty else clips, gaps, strict=False):
        start += int(gap)
        moved = {name: getattr(spec, name) - spec.onset for name in ("onset", "apex", "offset")}
        moved = {name: start + frame for name, frame in moved.items()}
        expressions.append(draw_motion(dataclasses.replace(spec, **moved)))
        start = moved["offset"] + 1
    # Only some random videos have a blink; this takes the first that has one.
    for number in itertools.count():
        spec = dataclasses.replace(
            clips[0], clip=f"session{number}", first=0, last=frames - 1, onset=0, apex=1, offset=2
        )
        motion = draw_motion(spec)
        if motion.blink is not None:
            break
    courses = {field.name: getattr(motion, field.name) for field in dataclasses.fields(Motion)}
    return spec, Session(**courses, expressions=tuple(expressions))


def _spot_clip(spec: ClipSpec) -> list[dict[str, Any]]:
    scene = Scene(spec)
    crops, landmarks = _crops(scene, range(spec.onset, spec.offset + 1))
    truth = spec.apex - spec.onset
    middle = middle_frame(range(len(crops)))
    records = [_apex_record(spec, "middle frame", abs(middle - truth), len(crops))]
    for method in SPOTTERS:
        start = time.process_time()
        apex = spotting.spot_apex(crops, spec.camera.frame_rate, landmarks, method)
        taken = time.process_time() - start
        record = _apex_record(spec, method, abs(apex.index - truth), len(crops))
        records.append({**record, "seconds": taken})
    return records


def _apex_record(spec: ClipSpec, method: str, error: int, frames: int) -> dict[str, Any]:
    return {
        "task": "apex",
        "dataset": spec.dataset,
        "video": spec.key,
        "method": method,
        "frames": frames,
        "error": error,
    }


def _spot_session(spec: ClipSpec, motion: Session) -> list[dict[str, Any]]:
    scene = Scene(spec)
    scene.motion = motion
    crops, landmarks = _crops(scene, spec.frames)
    truth = [(part.spec.onset, part.spec.offset) for part in motion.expressions]
    records = []
    for method in SPOTTERS:
        start = time.process_time()
        timeline = spotting.spot_intervals(crops, spec.camera.frame_rate, landmarks, method)
        taken = time.process_time() - start
        found = [(candidate.onset, candidate.offset) for candidate in timeline.candidates]
        records.append(
            {
                "task": "intervals",
                "dataset": spec.dataset,
                "video": spec.key,
                "method": method,
                "frames": len(crops),
                "seconds": taken,
                "true": truth,
                "found": found,
                "right": right(found, truth),
                "overlaps": [max((overlap(f, t) for f in found), default=0.0) for t in truth],
            }
        )
    return records


def _crops(scene: Scene, numbers: Sequence[int]) -> tuple[np.ndarray, Landmarks]:
    """Return the face crops of the frames, and the landmarks in the first crop."""
    face = _face(_grey(scene.frame(numbers[0])), scene.spec.key)
    crops = np.stack([crop_face(_grey(scene.frame(number)), face.box) for number in numbers])
    return crops, face.landmarks.within(face.box)


def _face(picture: np.ndarray, where: str) -> Face:
    faces = find_faces(picture)
    if not faces:
        raise UserError(f"{where}: MTCNN finds no face in the first frame. Choose another --seed.")
    return faces[0]


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def overlap(a: Interval, b: Interval) -> float:
    """Return the intersection over union of two intervals of frames, both ends included."""
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]) + 1)
    return shared / (a[1] - a[0] + b[1] - b[0] + 2 - shared)


def right(found: Sequence[Interval], truth: Sequence[Interval]) -> int:
    """Count found intervals that match a true one; each interval counts once, best pairs first."""
    pairs = sorted(
        ((overlap(f, t), i, j) for i, f in enumerate(found) for j, t in enumerate(truth)),
        reverse=True,
    )
    used: set[tuple[str, int]] = set()
    count = 0
    for share, i, j in pairs:
        if share >= OVERLAP and not {("found", i), ("true", j)} & used:
            used |= {("found", i), ("true", j)}
            count += 1
    return count


def markdown(records: Sequence[dict[str, Any]]) -> str:
    """Return the tables of apexes, intervals and speed, from the records of `measure`."""
    datasets = [*dict.fromkeys(record["dataset"] for record in records), "all"]
    apexes = [record for record in records if record["task"] == "apex"]
    intervals = [record for record in records if record["task"] == "intervals"]
    lines = [
        "| database | clips | method | mean error, frames | mean error, % of the clip |",
        "|---|---|---|---|---|",
    ]
    for dataset, method, group in _groups(apexes, datasets):
        errors = statistics.mean(record["error"] for record in group)
        shares = statistics.mean(100 * record["error"] / record["frames"] for record in group)
        lines.append(f"| {dataset} | {len(group)} | {method} | {errors:.1f} | {shares:.1f} |")
    lines += [
        "",
        "| database | videos | true | method | found | precision | recall | F1 | mean overlap |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for dataset, method, group in _groups(intervals, datasets):
        found, true = (sum(len(record[key]) for record in group) for key in ("found", "true"))
        hits = sum(record["right"] for record in group)
        shares = [
            f"{hits / count:.2f}" if count else "–" for count in (found, true, (found + true) / 2)
        ]
        overlaps = [share for record in group for share in record["overlaps"]]
        best = f"{statistics.mean(overlaps):.2f}" if overlaps else "–"
        cells = [dataset, len(group), true, method, found, *shares, best]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| method | frames | frames per second of one core |", "|---|---|---|"]
    for _, method, group in _groups(intervals, ["all"]):
        frames = sum(record["frames"] for record in group)
        seconds = sum(record["seconds"] for record in group)
        lines.append(f"| {method} | {frames} | {frames / seconds:.0f} |")
    return "\n".join(lines) + "\n"


def _groups(
    records: Sequence[dict[str, Any]], datasets: Sequence[str]
) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    methods = dict.fromkeys(record["method"] for record in records)
    for dataset, method in itertools.product(datasets, methods):
        group = [
            record
            for record in records
            if record["method"] == method and dataset in (record["dataset"], "all")
        ]
        if group:
            yield dataset, method, group


def _define_flags() -> None:
    flags.DEFINE_integer("seed", 202, "Seed of the synthetic faces.", lower_bound=0)
    flags.DEFINE_integer("subjects", 4, "Number of subjects of each database.", lower_bound=1)
    flags.DEFINE_float(
        "seconds", 5.0, "Length of a video with intervals, in seconds.", lower_bound=1.0
    )
    flags.DEFINE_integer("processes", 2, "Number of parallel processes.", lower_bound=1)
    flags.DEFINE_string("json", None, "Write every figure to this file.")
    flags.DEFINE_string("table", None, "Write the tables to this Markdown file.")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
