"""Everything that determines a synthetic clip, small enough to be passed between processes."""

import dataclasses
import zlib

import numpy as np

from data_builders.synthetic.action_units import Activation
from data_builders.synthetic.identity import Identity, draw_identity


@dataclasses.dataclass(frozen=True)
class Camera:
    """How a database filmed.

    Attributes:
      width: frame width in pixels.
      height: frame height in pixels.
      frame_rate: frames per second.
      colour: three channels; otherwise one.
      near_infrared: it sees near infrared instead of visible light.
      face_unit: pixels per face unit, about the face's height.
      parity_shift: how far even and odd frames lie apart, in pixels of the 224×224 face crop:
        lowest and highest; (0, 0) for a camera without the fault.
      peak: largest displacement of an expression, in pixels of the crop: lowest and highest.
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
      dataset: name of the database, a key of `generate.DATABASES`.
      subject: the name of the subject's folder.
      clip: the name of the clip's folder below the subject's, or of a single picture.
      emotion: as the annotation or the path writes it; "" for a clip without a label.
      label: 0 negative, 1 positive, 2 surprise; None for a clip the rule of labels drops.
      first: number of the first frame in the folder.
      onset: number of the last neutral frame.
      apex: number of the frame of strongest expression.
      offset: number of the first frame that is neutral again; the apex's own where the clip
        ends in it.
      last: number of the last frame in the folder.
      annotated_apex: what the annotation file says: the apex's number or something odd.
      camera: how it is filmed.
      activations: the action units that fire.
      peak: largest displacement at the apex, in pixels of the 224×224 face crop.
      seed: the seed the data set was generated with.
      posed: a large expression shown on request instead of a micro-expression: it takes more of
        the skin along, nobody wears glasses, whose frames it would bend, and nobody blinks.
      view: which camera and light, where a database films a performance more than once.
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
        """dataset/subject/clip: what all views of a clip share."""
        return f"{self.dataset}/{self.subject}/{self.clip}"

    @property
    def key(self) -> str:
        """The performance, and the view if there are several."""
        return f"{self.performance}/{self.view}" if self.view else self.performance

    @property
    def frames(self) -> range:
        """Numbers of the frames in the clip's folder."""
        return range(self.first, self.last + 1)

    def identity(self) -> Identity:
        """The person filmed."""
        person = draw_identity(random_stream(self.seed, f"{self.dataset}/{self.subject}"))
        return dataclasses.replace(person, glasses=0.0) if self.posed else person


def random_stream(seed: int, name: str) -> np.random.Generator:
    """A stream of random numbers of its own for everything that has a name.

    Drawing by name keeps a clip the same whatever else is generated beside it.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclasses.dataclass(frozen=True)
class Timing:
    """Lengths of a database's clips, in frames.

    Attributes:
      shortest: fewest frames from onset to offset.
      longest: most.
      shape: parameters of the beta distribution between the two.
      apex: lowest and highest share of the clip before the apex.
      margin: fewest and most frames before the onset, and after the offset.
      first: lowest and highest number of an onset frame.
    """

    shortest: int
    longest: int
    shape: tuple[float, float]
    apex: tuple[float, float]
    margin: tuple[int, int]
    first: tuple[int, int]


def draw_emotion(shares: dict[str, int], seed: int, name: str) -> str:
    """One of the emotions, as often as `shares` says."""
    rng = random_stream(seed, f"{name}/emotion")
    weights = np.array(list(shares.values()), float)
    return str(rng.choice(list(shares), p=weights / weights.sum()))
