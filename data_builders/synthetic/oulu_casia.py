"""The layout of Oulu-CASIA NIR&VIS: folders named after camera, light, subject and emotion.

Each performance is filmed in visible light (VL) and in near infrared (NI). Only Strong of the three
illuminations is written. Most real sequences are longer.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing
from data_builders.synthetic.layout import Layout

_VISIBLE = Camera(320, 240, 25.0, colour=True, face_unit=145.0, peak=posed.PEAK)


class OuluCasia(Layout):
    """Layout of Oulu-CASIA NIR&VIS."""

    NAME, TITLE = "oulu_casia", "Oulu-CASIA (VL and NI, Strong)"
    SUBJECTS = tuple(f"P{number:03d}" for number in range(1, 81))
    CAMERAS: ClassVar = {
        "VL": _VISIBLE,
        "NI": dataclasses.replace(_VISIBLE, colour=False, near_infrared=True),
    }
    # A sequence runs from the neutral face to the peak.
    TIMING = Timing(9, 15, (2.0, 2.0), apex=(1.0, 1.0), margin=(0, 0), first=(0, 1))
    # Each subject has one sequence of each of the six emotions.
    CLASSES = (0, 1, 2, 0, 0, 0)
    POSED = True
    MOST_CLIPS = 6

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class. All performances in VL are followed by the same ones in NI."""
        return [
            self.draw(
                self.SUBJECTS[subject_index],
                emotion.capitalize(),
                emotion.capitalize(),
                label,
                seed,
                prototype=emotion,
                camera=camera,
                view=f"{light}/Strong",
            )
            for light, camera in self.CAMERAS.items()
            for emotion, label, _ in posed.expressions(subject_index, count, self.CLASSES)
        ]

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class."""
        return Path(spec.view, spec.subject, spec.clip, f"{frame:03d}.jpeg")
