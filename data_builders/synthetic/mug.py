"""The layout of MUG: folders that say subject, emotion and take, and large JPEG frames.

A take runs from the neutral face over the apex back to the neutral face. The real ones have some
50 to 80 frames; these are shorter.
"""

from collections.abc import Sequence
from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_clip

NAME = "MUG (subjects3)"
# 52 subjects are shared; their real numbers go up to 086.
SUBJECTS = tuple(f"{number:03d}" for number in range(1, 53))
CAMERA = Camera(896, 896, 19.0, colour=True, face_unit=400.0, peak=posed.PEAK)
TIMING = Timing(9, 19, (2.0, 2.0), apex=(0.45, 0.55), margin=(1, 1), first=(1, 2))
CLASSES = (0, 1, 2, 0, 0, 0)


def clips(subject_index: int, count: int, seed: int) -> list[ClipSpec]:
    """The takes of one subject.

    Args:
      subject_index: 0 for the first subject.
      count: how many takes of the three classes.
      seed: the seed of the data set.

    Returns:
      `count` takes of an expression, then a neutral one.
    """
    neutral = posed.Expression("neutral", None, 0)
    return [
        draw_clip(
            dataset="mug",
            subject=SUBJECTS[subject_index],
            clip=f"{expression.emotion}/take{expression.take:03d}",
            emotion=expression.emotion,
            prototype=expression.emotion,
            label=expression.label,
            camera=CAMERA,
            timing=TIMING,
            seed=seed,
            posed=True,
        )
        for expression in (*posed.expressions(subject_index, count, CLASSES), neutral)
    ]


def frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of a frame below the database's folder."""
    return Path("subjects3", spec.subject, spec.clip, f"img_{frame:04d}.jpg")


def write_annotation(folder: Path, specs: Sequence[ClipSpec]) -> None:
    """MUG needs no annotation file: the folders say the emotion."""
    del folder, specs
