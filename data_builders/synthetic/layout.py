"""Base class of the layouts of all databases."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from data_builders.synthetic.action_units import draw_activations
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, random_stream


class Layout(abc.ABC):
    """Camera, timing and file layout of a database.

    Attributes:
        NAME: Name of the database's folder and builder.
        TITLE: Name of the database in texts.
        SUBJECTS: Names of the subjects' folders.
        CAMERA: The camera.
        TIMING: The lengths of the clips.
        CLASSES: The labels of a subject's clips in turn, about as frequent as in the real database.
        POSED: Whether the expressions are large and posed.
        MOST_CLIPS: Largest number of clips per subject, or None if it is unlimited.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    SUBJECTS: ClassVar[tuple[str, ...]]
    CAMERA: ClassVar[Camera]
    TIMING: ClassVar[Timing]
    CLASSES: ClassVar[tuple[int, ...]]
    POSED: ClassVar[bool] = False
    MOST_CLIPS: ClassVar[int | None] = None

    @abc.abstractmethod
    def clips(self, subject_index: int, count: int, seed: int) -> list[ClipSpec]:
        """Return the clips of one subject.

        Args:
            subject_index: 0 for the first subject.
            count: Number of clips of the three classes.
            seed: The seed of the data set.

        Returns:
            `count` clips of the three classes, followed by clips with the label None.
        """

    @abc.abstractmethod
    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """Return the path of a frame relative to the database's folder."""

    def write_annotation(self, folder: Path, specs: Sequence[ClipSpec]) -> None:
        """Write the annotation. By default, nothing is written, because the paths give the labels.

        Args:
            folder: The database's folder.
            specs: All clips of the database.
        """
        del folder, specs

    def draw(
        self,
        subject: str,
        clip: str,
        emotion: str,
        label: int | None,
        seed: int,
        *,
        prototype: str,
        brief: bool = False,
        camera: Camera | None = None,
        view: str = "",
    ) -> ClipSpec:
        """Draw the timing and strength of one clip, whose apex is annotated correctly.

        Args:
            subject: Name of the subject's folder.
            clip: Name of the clip's folder.
            emotion: The emotion as written in the annotation.
            label: The class, or None for a clip that the composite excludes.
            seed: The seed of the data set.
            prototype: The key of `PROTOTYPES` that determines the action units.
            brief: Whether the clip is as short as the database's shortest.
            camera: The camera, by default `CAMERA`.
            view: Name of the camera, if several cameras film the same movement.

        Returns:
            The specification of the clip.
        """
        camera, timing = camera or self.CAMERA, self.TIMING
        rng = random_stream(seed, f"{self.NAME}/{subject}/{clip}")
        share = 0.0 if brief else rng.beta(*timing.shape)
        length = round(timing.shortest + share * (timing.longest - timing.shortest))
        onset = int(rng.integers(timing.first[0], timing.first[1]))
        apex = onset + round((length - 1) * rng.uniform(*timing.apex))
        offset = onset + length - 1
        before, after = rng.integers(timing.margin[0], timing.margin[1] + 1, 2)
        activations = draw_activations(prototype, rng)
        return ClipSpec(
            dataset=self.NAME,
            subject=subject,
            clip=clip,
            emotion=emotion,
            label=label,
            first=onset - int(before),
            onset=onset,
            apex=apex,
            offset=offset,
            last=offset + int(after),
            annotated_apex=apex,
            camera=camera,
            activations=activations,
            peak=float(rng.uniform(*camera.peak)) if activations else 0.0,
            seed=seed,
            posed=self.POSED,
            view=view,
        )
