"""Specification of a synthetic clip, small enough to be passed between processes."""

import dataclasses
import zlib

import numpy as np

from data_builders.synthetic.action_units import Activation
from data_builders.synthetic.identity import Identity, draw_identity


@dataclasses.dataclass(frozen=True)
class Camera:
    """Camera of a database.

    Attributes:
        width: Frame width in pixels.
        height: Frame height in pixels.
        frame_rate: Frames per second.
        colour: Whether frames have three channels instead of one.
        face_unit: Pixels per face unit, which is about the height of the face.
        parity_shift: Lowest and highest displacement of odd frames against even ones, in pixels of
            the 224×224 face crop. (0, 0) for a camera without this defect.
        peak: Lowest and highest peak displacement of an expression, in pixels of the crop.
        near_infrared: Whether the camera records near infrared instead of visible light.
    """

    width: int
    height: int
    frame_rate: float
    colour: bool
    face_unit: float
    parity_shift: tuple[float, float] = (0.0, 0.0)
    peak: tuple[float, float] = (3.0, 5.0)
    near_infrared: bool = False


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """One clip. Equal specs render equal pixels.

    Attributes:
        dataset: Name of the database, a key of `generate.DATABASES`.
        subject: Name of the subject's folder.
        clip: Name of the clip's folder below the subject's, or of a single picture.
        emotion: The emotion as written in the annotation or the path, or "" without a label.
        label: 0 negative, 1 positive, 2 surprise, or None for a clip that the label rule excludes.
        first: Number of the first frame in the folder.
        onset: Number of the last neutral frame.
        apex: Number of the frame of strongest expression.
        offset: Number of the first frame that is neutral again, or of the apex if the clip ends
            there.
        last: Number of the last frame in the folder.
        annotated_apex: The apex in the annotation file, which can be wrong or missing on purpose.
        camera: The camera.
        activations: The action units that fire.
        peak: Largest displacement at the apex, in pixels of the 224×224 face crop.
        seed: The seed of the data set.
        posed: Whether the clip shows a large posed expression instead of a micro-expression. It
            moves more of the skin. It has no blinks and no glasses, whose frames would be bent.
        view: Camera and light, in databases that film a performance more than once.
    """

    dataset: str
    subject: str
    clip: str
    emotion: str
    label: int | None
    first: int
    onset: int
    apex: int
    offset: int
    last: int
    annotated_apex: int | str
    camera: Camera
    activations: tuple[Activation, ...]
    peak: float
    seed: int
    posed: bool = False
    view: str = ""

    @property
    def performance(self) -> str:
        """The name dataset/subject/clip, which all views of a clip share."""
        return f"{self.dataset}/{self.subject}/{self.clip}"

    @property
    def key(self) -> str:
        """The performance, followed by the view if there are several."""
        return f"{self.performance}/{self.view}" if self.view else self.performance

    @property
    def frames(self) -> range:
        """Numbers of the frames in the clip's folder."""
        return range(self.first, self.last + 1)

    def identity(self) -> Identity:
        """Return the filmed person."""
        person = draw_identity(random_stream(self.seed, f"{self.dataset}/{self.subject}"))
        return dataclasses.replace(person, glasses=0.0) if self.posed else person


def random_stream(seed: int, name: str) -> np.random.Generator:
    """Return a separate stream of random numbers for each name.

    Because of the separate streams, a clip does not depend on which other clips are generated.

    Args:
        seed: The seed of the data set.
        name: The name of the stream.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclasses.dataclass(frozen=True)
class Timing:
    """Lengths of a database's clips, in frames.

    Attributes:
        shortest: Smallest number of frames from onset to offset.
        longest: Largest number of frames from onset to offset.
        shape: Parameters of the beta distribution between the two.
        apex: Lowest and highest fraction of the clip before the apex.
        margin: Smallest and largest number of frames before the onset, and after the offset.
        first: Lowest number of an onset frame, and the highest number plus 1.
    """

    shortest: int
    longest: int
    shape: tuple[float, float]
    apex: tuple[float, float]
    margin: tuple[int, int]
    first: tuple[int, int]


def draw_emotion(shares: dict[str, int], seed: int, name: str) -> str:
    """Return a random emotion, drawn with a probability proportional to its share.

    Args:
        shares: Emotion → share.
        seed: The seed of the data set.
        name: The name of the clip.
    """
    rng = random_stream(seed, f"{name}/emotion")
    weights = np.array(list(shares.values()), float)
    return str(rng.choice(list(shares), p=weights / weights.sum()))
