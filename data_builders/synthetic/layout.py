"""What the layouts of all databases share."""

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from data_builders.synthetic.action_units import draw_activations
from data_builders.synthetic.clip_spec import Camera, ClipSpec, Timing, random_stream


class Layout(abc.ABC):
    """How a database films its clips, and where it writes what.

    Attributes:
      NAME: of its folder and its builder.
      TITLE: what people call it.
      SUBJECTS: names of their folders.
      CAMERA: how it films.
      TIMING: how long its clips last.
      CLASSES: the labels of a subject's clips in turn, about as frequent as the real ones.
      POSED: whether its expressions are large ones, shown on request.
      MOST_CLIPS: how many clips of a subject it has names for, where these are few.
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
        """The clips of one subject.

        Args:
          subject_index: 0 for the first subject.
          count: how many clips of the three classes.
          seed: the seed of the data set.

        Returns:
          `count` clips of the three classes, then those of none.
        """

    @abc.abstractmethod
    def frame_path(self, spec: ClipSpec, frame: int) -> Path:
        """Path of a frame below the database's folder."""

    def write_annotation(self, folder: Path, specs: Sequence[ClipSpec]) -> None:
        """Writes what says the labels; nothing where the frames' paths say them."""
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
        """Draws the timing and strength of one clip, whose apex is annotated correctly.

        Args:
          subject: name of the subject's folder.
          clip: name of the clip's folder.
          emotion: as the annotation writes it.
          label: the class, or None for a clip the composite drops.
          seed: the seed of the data set.
          prototype: the key of `PROTOTYPES` that says which action units fire.
          brief: whether the clip is as short as the database's shortest.
          camera: how it is filmed, if not by `CAMERA`.
          view: which of several cameras films it; all of them film the same movement.
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
