"""The layout of MUG: folders named after subject, emotion and take, and large JPEG frames.

A take runs from the neutral face over the apex back to the neutral face. The real takes have about
50 to 80 frames; these are shorter.
"""

from pathlib import Path

from data_builders.synthetic import posed
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing
from data_builders.synthetic.layout import Layout


class Mug(Layout):
    """Layout of MUG."""

    NAME, TITLE = "mug", "MUG (subjects3)"
    # 52 subjects are available. Their real numbers range up to 086.
    SUBJECTS = tuple(f"{number:03d}" for number in range(1, 53))
    CAMERA = Camera(896, 896, 19.0, colour=True, face_unit=400.0, peak=posed.PEAK)
    TIMING = Timing(9, 19, (2.0, 2.0), apex=(0.45, 0.55), margin=(1, 1), first=(1, 2))
    CLASSES = (0, 1, 2, 0, 0, 0)
    POSED = True

    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """See the base class. The last take is neutral."""
        subject = self.SUBJECTS[subject_index]
        listed = posed.expressions(subject_index, count, self.CLASSES)
        return [
            self.draw(subject, f"{emotion}/take{take:03d}", emotion, label, seed, prototype=emotion)
            for emotion, label, take in [*listed, posed.NEUTRAL]
        ]

    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """See the base class."""
        return Path("subjects3", spec.subject, spec.clip, f"img_{frame:04d}.jpg")
