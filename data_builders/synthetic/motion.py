"""Motion of a clip's face over time: the expression, the head's drift and blinks."""

import dataclasses

import numpy as np

from data_builders.synthetic.clip_spec import ClipSpec, random_stream

# Side of the square that a face detector crops, in face units. It becomes 224 pixels.
CROP_SIDE = 0.95


def _ease(t: float) -> float:
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


@dataclasses.dataclass(frozen=True)
class Drift:
    """Slow drift, a sum of sinusoids.

    Attributes:
        amplitudes: [waves].
        frequencies: Radians per second, [waves].
        phases: Radians, [waves].
    """

    amplitudes: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    def at(self, seconds: float) -> float:
        """Return the drift's value at a time in seconds."""
        return float(self.amplitudes @ np.sin(self.frequencies * seconds + self.phases))


def _draw_drift(rng: np.random.Generator, speed: float) -> Drift:
    """Draw a drift with a speed of about `speed` per second."""
    periods = rng.uniform(0.5, 2.5, 3)
    frequencies = 2 * np.pi / periods
    amplitudes = speed * rng.uniform(0.5, 1.2, 3) / frequencies
    return Drift(amplitudes, frequencies, rng.uniform(0, 2 * np.pi, 3))


@dataclasses.dataclass(frozen=True)
class Motion:
    """The time courses of one clip.

    Attributes:
        spec: The clip.
        rise: Exponent that skews the rise to the apex.
        fall: Exponent that skews the fall from the apex.
        lag: Fraction of the rise and of the fall by which the movement of the upper face (if
            positive) or of the lower face (if negative) is shorter.
        head: Drifts right and down (face units), and of roll, yaw and pitch (radians).
        blink: Frame in which the eyes are shut, or None.
        blink_length: Number of frames from open to open.
        parity: Displacement of odd frames against even ones, right and down, in face units.
    """

    spec: ClipSpec
    rise: float
    fall: float
    lag: float
    head: tuple[Drift, Drift, Drift, Drift, Drift]
    blink: int | None
    blink_length: int
    parity: tuple[float, float]

    def expression(self, frame: int) -> tuple[float, float]:
        """Return the activation of the upper and the lower face: 0 outside the clip, 1 at the apex.

        Args:
            frame: Number of the frame.
        """
        spec = self.spec
        if frame <= spec.apex:
            t = max(frame - spec.onset, 0) / (spec.apex - spec.onset)
            t = t**self.rise
        else:
            t = max(spec.offset - frame, 0) / (spec.offset - spec.apex)
            t = t**self.fall
        late = abs(self.lag)
        shorter, longer = _ease((t - late) / (1 - late)), _ease(t)
        return (shorter, longer) if self.lag > 0 else (longer, shorter)

    def head_pose(self, frame: int) -> np.ndarray:
        """Return the head's pose relative to the onset frame.

        Args:
            frame: Number of the frame.

        Returns:
            Right and down (face units), roll, yaw and pitch (radians), [5].
        """
        seconds = frame / self.spec.camera.frame_rate
        onset = self.spec.onset / self.spec.camera.frame_rate
        return np.array([drift.at(seconds) - drift.at(onset) for drift in self.head])

    def closure(self, frame: int) -> float:
        """Return the closure of the eyes: 0 open, 1 shut. Lids close faster than they open."""
        if self.blink is None:
            return 0.0
        distance = (frame - self.blink) / self.blink_length
        return _ease(1 + distance / 0.35) if distance < 0 else _ease(1 - distance / 0.65)

    def parity_shift(self, frame: int) -> tuple[float, float]:
        """Return the displacement of the picture by the camera's defect, in face units."""
        half = 0.5 if frame % 2 else -0.5
        return half * self.parity[0], half * self.parity[1]


def draw_motion(spec: ClipSpec) -> Motion:
    """Draw a clip's time courses. Equal specs give equal courses."""
    rng = random_stream(spec.seed, f"{spec.performance}/motion")
    pixel = CROP_SIDE / 224  # face units of one pixel of the face crop
    head = (
        _draw_drift(rng, 2.0 * pixel),
        _draw_drift(rng, 2.0 * pixel),
        _draw_drift(rng, 0.015),
        _draw_drift(rng, 0.015),
        _draw_drift(rng, 0.015),
    )
    shift = rng.uniform(*spec.camera.parity_shift) * pixel
    direction = rng.uniform(0, 2 * np.pi)
    blinks = rng.random() < 0.15 and not spec.posed
    blink_at = int(rng.integers(spec.first, spec.last + 1))
    return Motion(
        spec=spec,
        rise=float(rng.uniform(0.8, 1.25)),
        fall=float(rng.uniform(0.8, 1.25)),
        lag=float(rng.uniform(-0.15, 0.15)),
        head=head,
        blink=blink_at if blinks else None,
        blink_length=round(rng.uniform(0.16, 0.28) * spec.camera.frame_rate),
        parity=(float(shift * np.cos(direction)), float(shift * np.sin(direction))),
    )
