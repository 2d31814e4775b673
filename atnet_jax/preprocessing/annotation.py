"""Annotation of a clip: its frames, its label and its names in the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a video file; frame number n is the n-th decoded frame, counted from 0."""

    path: Path


@dataclass(frozen=True)
class Clip:
    """One micro-expression clip.

    Attributes:
        dataset: Name of the database, e.g. `casme2`.
        subject: Name of the subject within the database.
        clip: Name of the clip within the subject.
        label: 0 negative, 1 positive, 2 surprise.
        emotion: Emotion as spelled in the annotation.
        onset: Number of the first frame of the expression.
        apex: Number of the frame in which the expression is strongest.
        offset: Number of the last frame of the expression.
        frame_rate: Frames per second; 0 if unknown.
        frames: Files by frame number, including all of onset…offset; or a video.
    """

    dataset: str
    subject: str
    clip: str
    label: int
    emotion: str
    onset: int
    apex: int
    offset: int
    frame_rate: float
    frames: Mapping[int, Path] | VideoFrames

    @property
    def names(self) -> tuple[str, str, str]:
        """Dataset, subject and clip, the sort key of clips."""
        return self.dataset, self.subject, self.clip

    @property
    def key(self) -> str:
        """`dataset/subject/clip`, unique among all clips."""
        return "/".join(self.names)
