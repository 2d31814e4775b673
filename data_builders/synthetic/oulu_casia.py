"""The layout of Oulu-CASIA NIR&VIS: folders that say camera, light, subject and emotion.

Each performance is filmed in visible light (VL) and in near infrared (NI). Of the three lights
only Strong is written, and most real sequences are longer.
"""

from collections.abc import Sequence
from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, draw_clip

NAME = "Oulu-CASIA (VL and NI, Strong)"
SUBJECTS = tuple(f"P{number:03d}" for number in range(1, 81))
CAMERAS = {
    "VL": Camera(320, 240, 25.0, colour=True, face_unit=145.0, peak=posed.PEAK),
    "NI": Camera(
        320, 240, 25.0, colour=False, face_unit=145.0, peak=posed.PEAK, near_infrared=True
    ),
}
# From the neutral face to the peak.
TIMING = Timing(9, 15, (2.0, 2.0), apex=(1.0, 1.0), margin=(0, 0), first=(0, 1))
# One sequence of each of the six emotions.
CLASSES = (0, 1, 2, 0, 0, 0)


def clips(subject_index: int, count: int, seed: int) -> list[ClipSpec]:
    """The sequences of one subject.

    Args:
      subject_index: 0 for the first subject.
      count: how many performances, at most 6: one of each emotion.
      seed: the seed of the data set.

    Returns:
      `count` performances as VL shows them, then the same ones as NI does.
    """
    return [
        draw_clip(
            dataset="oulu_casia",
            subject=SUBJECTS[subject_index],
            clip=expression.emotion.capitalize(),
            emotion=expression.emotion.capitalize(),
            prototype=expression.emotion,
            label=expression.label,
            camera=camera,
            timing=TIMING,
            seed=seed,
            posed=True,
            view=f"{light}/Strong",
        )
        for light, camera in CAMERAS.items()
        for expression in posed.expressions(subject_index, count, CLASSES)
    ]


def frame_path(spec: ClipSpec, frame: int) -> Path:
    """Path of a frame below the database's folder."""
    return Path(spec.view, spec.subject, spec.clip, f"{frame:03d}.jpeg")


def write_annotation(folder: Path, specs: Sequence[ClipSpec]) -> None:
    """Oulu-CASIA needs no annotation file: the folders say the emotion."""
    del folder, specs
