"""Rendering of a clip's frames, and their true motion.

A frame is the person's portrait warped by a displacement. Pixel p of frame t shows the portrait's
point p - D_t(p), where D_t is a sum of fixed fields (head, action units) weighted by the time
courses. D_t is known exactly, and so is the motion between any two frames.
"""

import dataclasses
import functools

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from data_builders.synthetic import action_units
from data_builders.synthetic.clip_spec import Camera, ClipSpec, random_stream
from data_builders.synthetic.identity import Identity, Placement
from data_builders.synthetic.motion import CROP_SIDE, draw_motion
from data_builders.synthetic.portrait import EyeLids, Portrait, bump, paint, smooth_step

# cv2.remap rounds positions to 1/32 of a source pixel. With a source of three times the frame's
# size, this is 1/96 of a frame pixel, well below the motion of adjacent frames.
SOURCE_SCALE = 3
NOISE_SAMPLES = 1 << 22
# Standard deviation in face units. A large movement moves more of the skin. Without this spread,
# lips and lids would be compressed to a seventh of their area.
POSED_SPREAD = 0.03
# Grey level of skin in near infrared, which skin of every colour reflects equally.
NEAR_INFRARED_SKIN = 170.0
# The iteration that computes the true flow stops at this change, in pixels.
FLOW_TOLERANCE = 1e-4
MOST_ITERATIONS = 40


def _home(spec: ClipSpec) -> Placement:
    """Return the placement in which the person's portrait is painted."""
    camera = spec.camera
    return Placement(
        camera.width, camera.height, (camera.width / 2, camera.height * 0.45), camera.face_unit
    )


@functools.lru_cache(maxsize=1)
def _portrait(face: Identity, placement: Placement, camera: Camera) -> Portrait:
    portrait = paint(face, placement)
    if camera.colour:
        return portrait
    gain = 1.0
    if camera.near_infrared:
        skin = np.array(face.skin, np.float32).reshape(1, 1, 3)
        gain = NEAR_INFRARED_SKIN / float(cv2.cvtColor(skin, cv2.COLOR_BGR2GRAY)[0, 0])
    return dataclasses.replace(
        portrait,
        open=gain * cv2.cvtColor(portrait.open, cv2.COLOR_BGR2GRAY),
        closed=gain * cv2.cvtColor(portrait.closed, cv2.COLOR_BGR2GRAY),
    )


@functools.lru_cache(maxsize=1)
def _noise_pool() -> np.ndarray:
    """Return normal noise, from which the noise of all frames is cut."""
    return np.random.default_rng(0).standard_normal(NOISE_SAMPLES, dtype=np.float32)


class Scene:
    """One clip, ready to be rendered."""

    def __init__(self, spec: ClipSpec):
        rng = random_stream(spec.seed, f"{spec.performance}/scene")
        home = _home(spec)
        self.spec = spec
        self.face = spec.identity()
        self.motion = draw_motion(spec)
        self.placement = Placement(
            home.width,
            home.height,
            (
                home.centre[0] + float(rng.uniform(-0.05, 0.05)) * home.unit,
                home.centre[1] + float(rng.uniform(-0.02, 0.02)) * home.unit,
            ),
            home.unit * float(rng.uniform(0.96, 1.04)),
            float(rng.uniform(-0.035, 0.035)),
        )
        gain = float(rng.uniform(0.94, 1.05))
        self._noise_level = float(rng.uniform(0.7, 1.5))
        portrait = _portrait(self.face, home, spec.camera)
        self._source = gain * self._enlarge(portrait.open, portrait.scale, home)
        self._shut = (
            None
            if self.motion.blink is None
            else gain * self._enlarge(portrait.closed, portrait.scale, home)
        )
        self._bases = self._displacement_fields()
        # All motion is inside this window.
        moving = np.abs(self._bases).max((0, 1)) > 1e-4
        rows, columns = np.flatnonzero(moving.any(1)), np.flatnonzero(moving.any(0))
        self._window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self._bases = np.ascontiguousarray(self._bases[:, :, *self._window])
        # Clips that move only the upper or only the lower face need one field less.
        self._used = np.abs(self._bases).max((1, 2, 3)) > 0
        self._bases = self._bases[self._used]
        self._grid = np.mgrid[*self._window][::-1].astype(np.float32)
        self._still: dict[tuple[float, float], np.ndarray] = {}

    def _enlarge(self, portrait: np.ndarray, portrait_scale: float, home: Placement) -> np.ndarray:
        """Warp a portrait to the clip's placement, at `SOURCE_SCALE` times the frame's size."""
        place = self.placement
        turn = place.angle
        scale = home.unit / place.unit
        linear = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        shift = np.array(home.centre) - linear @ np.array(place.centre)
        # The matrix maps source pixels to frame pixels to portrait pixels. All pixel centres have
        # integer coordinates.
        shift = shift + linear @ np.full(2, 0.5 / SOURCE_SCALE - 0.5)
        matrix = np.column_stack(
            [linear * portrait_scale / SOURCE_SCALE, (shift + 0.5) * portrait_scale - 0.5]
        )
        return cv2.warpAffine(
            portrait,
            matrix,
            (place.width * SOURCE_SCALE, place.height * SOURCE_SCALE),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    def _displacement_fields(self) -> np.ndarray:
        """Return the fields in pixels per unit of each time course, [7, 2, height, width].

        The fields are right, down, roll, yaw and pitch of the head, and upper and lower face.
        """
        place, face = self.placement, self.face
        x, y = place.face_coordinates()
        # The head moves, while the room and the shoulders do not. Skin and hair between them
        # stretch.
        head = smooth_step(np.hypot(x / 0.60, (y - 0.0) / 0.80), 1.0, 0.72)
        depth = 0.30 * np.sqrt(np.clip(1 - (x / 0.5) ** 2 - ((y - 0.05) / 0.75) ** 2, 0, 1))
        depth = depth + 0.10 * bump(x, y, 0, face.nose_y - 0.06, 0.035, 0.06)
        zero = np.zeros_like(x)
        fields = [
            np.stack([head, zero]),
            np.stack([zero, head]),
            np.stack([-(y - 0.5), x]) * head,  # rolls about the neck
            np.stack([depth, zero]) * head,
            np.stack([zero, depth]) * head,
        ]
        lower = [a for a in self.spec.activations if a.unit not in action_units.UPPER_FACE]
        upper = [a for a in self.spec.activations if a.unit in action_units.UPPER_FACE]
        expression = [head * action_units.displacement(face, part, x, y) for part in (upper, lower)]
        if self.spec.posed:
            spread = POSED_SPREAD * place.unit
            expression = [
                np.stack([cv2.GaussianBlur(component, (0, 0), spread) for component in field])
                for field in expression
            ]
        strongest = float(np.linalg.norm(sum(expression), axis=0).max())
        # A neutral face has no active action units, so `strongest` is 0.
        scale = self.spec.peak * CROP_SIDE / 224 / strongest if strongest else 0.0
        fields += [scale * field for field in expression]
        cosine, sine = np.cos(place.angle), np.sin(place.angle)
        turned = [np.stack([cosine * u - sine * v, sine * u + cosine * v]) for u, v in fields]
        return (place.unit * np.stack(turned)).astype(np.float32)

    def _displacement(self, frame: int) -> np.ndarray:
        """Return D_t without the camera's defect, in the window: pixels [2, rows, columns]."""
        courses = np.concatenate([self.motion.head_pose(frame), self.motion.expression(frame)])
        shape = self._bases.shape
        flat = courses[self._used].astype(np.float32) @ self._bases.reshape(shape[0], -1)
        return flat.reshape(shape[1:])

    def _parity_pixels(self, frame: int) -> tuple[float, float]:
        u, v = self.motion.parity_shift(frame)
        return u * self.placement.unit, v * self.placement.unit

    def clean_frame(self, frame: int) -> Float[np.ndarray, "height width *channels"]:
        """Return the frame before noise and compression.

        Args:
            frame: Number of the frame.

        Returns:
            Values 0-255, with the channels blue, green, red if the camera records colour.
        """
        shift = self._parity_pixels(frame)
        picture = self._still_frame(shift).copy()
        position = np.subtract(self._grid, self._displacement(frame))
        picture[self._window] = _sample(self._blink(self.motion.closure(frame)), position, shift)
        return picture

    def _still_frame(self, shift: tuple[float, float]) -> np.ndarray:
        """Return the frame with no motion except the camera's defect."""
        if shift not in self._still:
            grid = np.mgrid[: self.placement.height, : self.placement.width]
            self._still[shift] = _sample(self._source, grid[::-1].astype(np.float32), shift)
        return self._still[shift]

    def frame(self, frame: int) -> UInt8[np.ndarray, "height width *channels"]:
        """Return the frame as the camera records it, with noise.

        Args:
            frame: Number of the frame.

        Returns:
            Values 0-255, with the channels blue, green, red if the camera records colour.
        """
        picture = self.clean_frame(frame)
        rng = random_stream(self.spec.seed, f"{self.spec.key}/noise/{frame}")
        start = int(rng.integers(NOISE_SAMPLES - picture.size))
        noise = _noise_pool()[start : start + picture.size].reshape(picture.shape)
        # cv2.addWeighted adds, rounds and clips to 0-255 in one pass.
        return cv2.addWeighted(picture, 1, noise, self._noise_level, 0, dtype=cv2.CV_8U)

    def _blink(self, closure: float) -> np.ndarray:
        """Return the source with the lids drawn over the eyes."""
        if closure <= 0 or self._shut is None:
            return self._source
        picture = self._source.copy()
        unit = self.placement.unit * SOURCE_SCALE
        for side in (-1, 1):
            cx, cy = self.placement.to_pixels(side * self.face.eye_x, 0.0)
            half = 0.12 * unit
            left, right = round(cx * SOURCE_SCALE - half), round(cx * SOURCE_SCALE + half)
            top, bottom = round(cy * SOURCE_SCALE - half), round(cy * SOURCE_SCALE + half)
            window = np.s_[top:bottom, left:right]
            cosine, sine = np.cos(self.placement.angle), np.sin(self.placement.angle)
            rows, columns = np.mgrid[window].astype(np.float32)
            dx = (columns + 0.5) / SOURCE_SCALE - 0.5 - self.placement.centre[0]
            dy = (rows + 0.5) / SOURCE_SCALE - 0.5 - self.placement.centre[1]
            x = (cosine * dx + sine * dy) / self.placement.unit
            y = (cosine * dy - sine * dx) / self.placement.unit
            along, height = EyeLids(self.face, side).local(x, y)
            upper, lower = EyeLids(self.face, side).curves(along)
            line = upper + closure * (0.9 * lower - upper)
            lid = smooth_step(height - line, 0.004, -0.004)
            lash = 0.85 * np.exp(-0.5 * ((height - line) / np.float32(0.0055)) ** 2)
            lash *= smooth_step(np.abs(along), 1.06, 0.88) * (1 - closure)
            # The shut portrait shows its own lashes at the lower lid.
            if picture.ndim == 3:
                lid, lash = lid[..., None], lash[..., None]
            lid = np.maximum(lid, np.float32(10 * closure - 9))
            opened = picture[window]
            mixed = opened + lid * (self._shut[window] - opened)
            picture[window] = mixed + lash * (24 - mixed)
        return picture

    def true_flow(self, first: int, second: int) -> Float[np.ndarray, "height width 2"]:
        """Return the true motion between two frames.

        The motion includes action units, the head, and the displacement of SMIC's odd frames
        against even ones. It does not include blinks, which only change the appearance: the lids
        cover the eye, while the skin around it does not move.

        Args:
            first: Number of the frame at which the motion starts.
            second: Number of the frame at which it ends, before or after `first`.

        Returns:
            float32 [height, width, 2]: u (right) and v (down) in pixels of the raw frame, on the
            pixel grid of `first`. `second` shows at p + flow(p) the point that `first` shows at p.
        """
        shift = np.subtract(self._parity_pixels(second), self._parity_pixels(first))
        flow = np.empty((self.placement.height, self.placement.width, 2), np.float32)
        flow[:] = shift
        start, target = self._displacement(first), self._displacement(second)
        shift = shift.astype(np.float32)[:, None, None]
        # Both frames show the same skin: p - D_1(p) = p + f - D_2(p + f), except for the camera's
        # defect. D changes by less than a pixel per pixel, so the iteration converges.
        moved = target - start + shift
        for _ in range(MOST_ITERATIONS):
            previous = moved
            moved = _displaced(target, previous) - start + shift
            if np.abs(moved - previous).max() < FLOW_TOLERANCE:
                break
        flow[self._window] = moved.transpose(1, 2, 0)
        return flow


def _sample(source: np.ndarray, position: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """Return the source at frame pixels `position` [2, h, w] - `shift`; overwrite `position`."""
    position *= np.float32(SOURCE_SCALE)
    for axis in range(2):
        position[axis] += np.float32((SOURCE_SCALE - 1) / 2 - SOURCE_SCALE * shift[axis])
    return cv2.remap(
        source, position[0], position[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _displaced(field: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return a field [2, rows, columns] at each pixel + `by`, bilinear, with 0 outside.

    cv2.remap is not used, because it rounds the positions to 1/32 of a pixel.
    """
    rows, columns = field.shape[1:]
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)))
    whole = np.floor(by)
    fx, fy = by - whole
    x = np.clip(whole[0].astype(np.int32) + np.arange(1, columns + 1), 0, columns)
    y = np.clip(whole[1].astype(np.int32) + np.arange(1, rows + 1)[:, None], 0, rows)
    start = y * (columns + 2) + x
    values = []
    for channel in padded.reshape(2, -1):
        top = channel[start]
        top += fx * (channel[start + 1] - top)
        bottom = channel[start + columns + 2]
        bottom += fx * (channel[start + columns + 3] - bottom)
        values.append(top + fy * (bottom - top))
    return np.stack(values)
