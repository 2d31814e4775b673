"""Clips of tiny motion with known dense flow, and degradations by cameras.

A clip is a picture that is displaced over time. A pixel p of frame t shows the picture's point

    m = q − a(t) D(q),   q = the inverse of frame t's pose at p,

with the field D of the deformation at the apex, its time course a(t) from 0 (onset) through 1
(apex) to 0 (offset), and the pose of the head. The true flow at p leads to the pixel at which the
next frame shows the same point m; iteration finds it.

The picture is 2 to 3 times finer than the frames. It is blurred as by `crop_face`, and then sampled
with a cubic spline at unrounded positions.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import skimage.data
from jaxtyping import Float32, UInt8
from scipy import ndimage

from atnet_jax.errors import UserError
from atnet_jax.preprocessing.face import SIZE, Box
from data_builders.synthetic import clip_specs
from data_builders.synthetic.clip_spec import Camera, random_stream
from data_builders.synthetic.motion import CROP_SIDE
from data_builders.synthetic.scene import Scene

FRAMES = 37
APEX = 18
LONGEST_RISE = 16  # frames from onset to apex, and from apex to offset
SHORTEST_RISE = 4
# Largest relative change of the distance of neighbouring points, because skin does not fold.
MOST_STRAIN = 0.5
ALTERNATION = 0.3  # pixels between even and odd frames, as in SMIC
ILLUMINATION = 0.02  # largest change of the gain
JPEG_QUALITY = 92

# A face from hairline to chin in the middle of a frame, 2.5 times as fine as the crop.
_CAMERA = Camera(750, 830, 200.0, colour=False, face_unit=600.0)
_FACE_MIDDLE = 0.12  # below the point between the eyes, in face units
_FACE_SUBJECTS = 8
_TOLERANCE = 1e-5
_MOST_ITERATIONS = 60


@dataclasses.dataclass(frozen=True, eq=False)
class Skin:
    """A picture and its deformation.

    Attributes:
        name: Description of the picture.
        picture: Grey levels 0–255, `[height, width]`.
        box: Part of the picture that the frames show.
        field: Displacement at the apex, u and v `[2, 224, 224]`, in pixels of the frames; its mean
            length is 1.
    """

    name: str
    picture: np.ndarray
    box: Box
    field: np.ndarray

    @functools.cached_property
    def spline(self) -> np.ndarray:
        """Spline coefficients of the blurred picture."""
        reach = (self.box[2] - self.box[0]) / SIZE
        taps = np.arange(-math.floor(reach), math.floor(reach) + 1)
        kernel = 1 - np.abs(taps) / reach
        kernel /= kernel.sum()
        blurred = cv2.sepFilter2D(
            self.picture, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101
        )
        coefficients = ndimage.spline_filter(blurred, order=3, mode="mirror")
        return coefficients.astype(np.float32)

    @functools.cached_property
    def strain(self) -> float:
        """Largest derivative of the field."""
        return float(max(np.abs(np.gradient(part)).max() for part in self.field))


def skins(count: int) -> list[Skin]:
    """Return the first skins of an endless sequence that alternates faces and pictures."""
    return [_picture(index // 2) if index % 2 else _face(index // 2) for index in range(count)]


@functools.cache
def _face(index: int) -> Skin:
    """Return a synthetic face that its action units deform."""
    seed, subject = divmod(index, _FACE_SUBJECTS)
    specs = [s for s in clip_specs("samm", _FACE_SUBJECTS, 1, seed) if s.label is not None]
    spec = dataclasses.replace(specs[subject], camera=_CAMERA)
    scene = Scene(spec)
    still = tuple(
        dataclasses.replace(drift, amplitudes=0 * drift.amplitudes) for drift in scene.motion.head
    )
    scene.motion = dataclasses.replace(scene.motion, head=still, blink=None)
    x, y = scene.placement.to_pixels(0, _FACE_MIDDLE)
    half = scene.placement.unit * CROP_SIDE / 2
    box = (x - half, y - half, x + half, y + half)
    # The onset has no displacement, so the flow from the apex to the onset gives the field.
    back = scene.true_flow(spec.apex, spec.onset)
    position = _picture_position(_grid(), box)
    field = np.stack([_sample(-back[..., part], position, order=1) for part in range(2)])
    picture = scene.clean_frame(spec.onset).astype(np.float32)
    return Skin(f"face {spec.emotion.lower()} {index}", picture, box, _normalised(field))


_PHOTOGRAPHS = ("astronaut", "moon", "camera", "coffee", "chelsea", "gravel", "brick", "grass")


@functools.cache
def _picture(index: int) -> Skin:
    """Return a photograph of scikit-image, or a skin texture, that bends and shears as a whole."""
    rng = random_stream(0, f"picture {index}")
    kind = index % (1 + len(_PHOTOGRAPHS))
    if kind == 1:
        name, picture = "texture like skin", _skin_texture(rng)
    else:
        name = _PHOTOGRAPHS[max(kind - 1, 0)]
        picture = getattr(skimage.data, name)()
        if picture.ndim == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = picture.astype(np.float32)
    height, width = picture.shape
    side = min(height, width, 3 * SIZE)
    x0, y0 = (width - side) / 2, (height - side) / 2
    box = (x0, y0, x0 + side, y0 + side)

    away = (_grid() - SIZE / 2) / SIZE
    affine = np.einsum("ij,jyx->iyx", rng.normal(0, 1, (2, 2)), away)
    elastic = np.zeros((2, SIZE, SIZE))
    for _ in range(4):
        wavelength, angle, phase = rng.uniform((100, 0, 0), (250, 2 * np.pi, 2 * np.pi))
        wave = np.array([np.cos(angle), np.sin(angle)]) * 2 * np.pi / wavelength
        elastic += rng.normal(0, 0.4, (2, 1, 1)) * np.sin(
            np.tensordot(wave, _grid(), axes=1) + phase
        )
    return Skin(f"{name} {index}", picture, box, _normalised(affine + elastic))


def _skin_texture(rng: np.random.Generator) -> np.ndarray:
    """Return smooth skin with shading, blotches and pores of a few grey levels."""
    side = 3 * SIZE
    picture = np.full((side, side), 150, np.float32)
    for size, strength in ((120, 15), (24, 3), (6, 2.5), (2.5, 2.5)):
        layer = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), size)
        picture += strength * layer / layer.std()
    return picture


def _normalised(field: np.ndarray) -> np.ndarray:
    return (field / np.hypot(*field).mean()).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Head:
    """A slow drift of the head: a similarity that changes smoothly.

    Attributes:
        speed: Largest speed of the shift right, the shift down (pixels per frame), the rotation
            (radians per frame) and the relative growth (per frame).
        phase: Phase of each of these, in radians.
        period: Period of the drift, in frames.
    """

    speed: tuple[float, float, float, float]
    phase: tuple[float, float, float, float]
    period: float = 80.0

    def pose(self, frame: int) -> np.ndarray:
        """Return the 2×3 matrix from the resting head (frame 0) to a frame, in pixels."""
        rate, phase = 2 * np.pi / self.period, np.array(self.phase)
        course = (np.sin(rate * frame + phase) - np.sin(phase)) / rate
        right, down, turn, growth = np.array(self.speed) * course
        linear = (1 + growth) * np.array(
            [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        )
        middle = np.full(2, (SIZE - 1) / 2)
        return np.column_stack([linear, middle - linear @ middle + (right, down)])


@dataclasses.dataclass(frozen=True)
class MovingClip:
    """A clip of 37 frames with the apex at the 19th.

    The expression rises for 16 frames and falls for 16 frames. If that would fold the skin, both
    take fewer frames, as with a slower camera: 2 pixels per frame for 16 frames would be 32 pixels.
    A clip whose `possible` is false cannot be used.

    Attributes:
        skin: The skin that the clip shows.
        motion: Mean length of the flow between neighbouring frames of the rise, in pixels.
        head: Drift of the head, None if it rests.
        alternation: Displacement of odd frames against even frames, right and down, in pixels.
    """

    skin: Skin
    motion: float
    head: Head | None = None
    alternation: tuple[float, float] = (0.0, 0.0)

    @property
    def rise(self) -> int:
        """Number of frames from onset to apex."""
        return min(LONGEST_RISE, math.floor(MOST_STRAIN / (self.skin.strain * self.motion)))

    @property
    def possible(self) -> bool:
        """True if the rise is long enough; fast expressions of small parts are too short."""
        return self.rise >= SHORTEST_RISE

    def course(self, frame: int) -> float:
        """Return the strength of the expression in a frame, 0 at rest and 1 at the apex."""
        t = max(0.0, 1 - abs(frame - APEX) / self.rise)
        return t * t * (3 - 2 * t)

    def frames(self) -> Float32[np.ndarray, "frame 224 224"]:
        """Return the frames before degradation, in grey levels."""
        return np.stack(_in_threads(self._frame, range(FRAMES)))

    def _frame(self, frame: int) -> np.ndarray:
        position = _picture_position(self._skin_point(frame, _grid()), self.skin.box)
        return _sample(self.skin.spline, position, order=3)

    def flows(self) -> Float32[np.ndarray, "frame-1 224 224 2"]:
        """Return the true flow between neighbouring frames, in pixels."""
        return np.stack(_in_threads(self._flow, range(FRAMES - 1)))

    def _flow(self, frame: int) -> np.ndarray:
        grid = _grid()
        moved = self._place(frame + 1, self._skin_point(frame, grid)) - grid
        return np.moveaxis(moved, 0, -1).astype(np.float32)

    def _skin_point(self, frame: int, place: np.ndarray) -> np.ndarray:
        """Return the points of the skin that a frame shows at places, both `[2, height, width]`."""
        linear, shift = self._pose(frame)
        rest = np.einsum("ij,jyx->iyx", np.linalg.inv(linear), place - shift)
        return rest - self._displacement(frame, rest)

    def _place(self, frame: int, point: np.ndarray) -> np.ndarray:
        """Return the places at which a frame shows points of the skin."""
        rest = point
        for _ in range(_MOST_ITERATIONS):
            previous, rest = rest, point + self._displacement(frame, rest)
            if np.abs(rest - previous).max() < _TOLERANCE:
                break
        linear, shift = self._pose(frame)
        return np.einsum("ij,jyx->iyx", linear, rest) + shift

    def _displacement(self, frame: int, rest: np.ndarray) -> np.ndarray:
        strength = self.course(frame) * self.motion * self.rise
        if not strength:
            return np.zeros_like(rest)
        return strength * np.stack([_sample(part, rest, order=1) for part in self.skin.field])

    def _pose(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        matrix = np.eye(2, 3) if self.head is None else self.head.pose(frame)
        side = 0.5 if frame % 2 else -0.5
        return matrix[:, :2], (matrix[:, 2] + side * np.array(self.alternation))[:, None, None]


def _grid() -> np.ndarray:
    """Return x and y of the pixels, `[2, 224, 224]`."""
    return np.mgrid[:SIZE, :SIZE][::-1].astype(np.float64)


def _picture_position(place: np.ndarray, box: Box) -> np.ndarray:
    """Convert places in the frame to positions in the picture; pixel centres are whole numbers."""
    start = np.array(box[:2])[:, None, None]
    scale = (np.array(box[2:]) - box[:2])[:, None, None] / SIZE
    return start + (place + 0.5) * scale - 0.5


def _sample(values: np.ndarray, position: np.ndarray, order: int) -> np.ndarray:
    """Sample values, or a spline, at positions x, y, with mirrored borders."""
    return ndimage.map_coordinates(
        values, position[::-1], output=np.float32, order=order, mode="mirror", prefilter=False
    )


def _in_threads(work: Callable[[int], np.ndarray], items: Iterable[int]) -> list[np.ndarray]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Degradation of a clip by a camera.

    Attributes:
        noise: Standard deviation of Gaussian noise in grey levels.
        jpeg: Compress each frame with quality 92.
        light: Let the gain drift smoothly by at most 2 %.
        head: Let the head drift by up to about 0.2 pixels per frame.
        alternation: Displace odd frames by 0.3 pixels from even frames.
        exact: Do not round grey levels to 8 bits.
    """

    noise: float = 0.0
    jpeg: bool = False
    light: bool = False
    head: bool = False
    alternation: bool = False
    exact: bool = False

    def clip(self, skin: Skin, motion: float) -> MovingClip:
        """Return the clip of a skin with the additional motions of this degradation."""
        rng = random_stream(0, f"{skin.name}/head")
        angle, other = rng.uniform(0, 2 * np.pi, 2)
        speed = float(rng.uniform(0.12, 0.17))
        turn, growth = float(rng.uniform(-6e-4, 6e-4)), float(rng.uniform(-3e-4, 3e-4))
        # The shift starts fast and reverses after a quarter of the period.
        start, *phases = map(float, rng.uniform((-0.5, 0, 0), (0.5, 2 * np.pi, 2 * np.pi)))
        head = Head(
            (speed * math.cos(angle), speed * math.sin(angle), turn, growth),
            (start, start, phases[0], phases[1]),
        )
        shift = ALTERNATION * math.cos(other), ALTERNATION * math.sin(other)
        return MovingClip(
            skin,
            motion,
            head if self.head else None,
            shift if self.alternation else (0.0, 0.0),
        )

    def apply(
        self, frames: Float32[np.ndarray, "frame height width"], seed: str
    ) -> UInt8[np.ndarray, "frame height width"] | Float32[np.ndarray, "frame height width"]:
        """Return the frames as the camera records them.

        Args:
            frames: Frames in grey levels.
            seed: Seed of the noise. Equal seeds give equal noise except for its strength.

        Returns:
            The degraded frames, uint8, or float32 if `exact`.
        """
        rng = random_stream(0, seed)
        phase = rng.uniform(0, 2 * np.pi)
        if self.light:
            time = np.arange(len(frames), dtype=np.float32)
            gain = 1 + ILLUMINATION * np.sin(2 * np.pi * time / len(frames) + np.float32(phase))
            frames = frames * gain[:, None, None].astype(np.float32)
        if self.noise:
            noise = rng.standard_normal(frames.shape, dtype=np.float32)
            frames = frames + np.float32(self.noise) * noise
        if self.exact:
            return frames
        rounded = np.rint(frames).clip(0, 255).astype(np.uint8)
        return np.stack([_through_jpeg(frame) for frame in rounded]) if self.jpeg else rounded


def _through_jpeg(frame: np.ndarray) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


def read_degradation(text: str) -> Degradation:
    """Parse the name of a degradation, such as `noise0.7+jpeg`.

    Args:
        text: Parts joined by +: `8bit`, `noiseNUMBER`, `jpeg`, `light`, `head`, `alternation`; or
            `exact` alone. All except `exact` imply `8bit`.

    Returns:
        The degradation.

    Raises:
        UserError: A part is unknown.
    """
    parts: dict[str, float | bool] = {}
    for part in text.split("+"):
        if part in ("jpeg", "light", "head", "alternation"):
            parts[part] = True
        elif part == "exact" and text == "exact":
            parts["exact"] = True
        elif part.startswith("noise") and part[5:].replace(".", "", 1).isdigit():
            parts["noise"] = float(part[5:])
        elif part != "8bit":
            raise UserError(
                f"Unknown degradation {part!r} in {text!r}. Join some of 8bit, noiseNUMBER, jpeg,"
                " light, head and alternation with +, or pass only exact."
            )
    return Degradation(**parts)  # pyright: ignore[reportArgumentType]
