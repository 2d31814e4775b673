"""One synthetic person: the geometry, colouring and lighting that all clips of a person share.

Lengths are in face units. The origin is the point between the eyes, x points right and y points
down. One unit is about the distance from hairline to chin. `Placement` positions a face in a frame.
"""

import dataclasses

import numpy as np

Number = int | float | np.floating
Colour = tuple[Number, Number, Number]  # blue, green, red; 0-255


@dataclasses.dataclass(frozen=True)
class Identity:
    """Appearance of one person."""

    texture_seed: int
    # Geometry, in face units.
    face_half_width: float
    jaw: float  # half width of the jaw over the half width of the face
    chin_y: float
    hairline_y: float
    eye_x: float
    eye_half_width: float
    eye_open: float  # height of the eye's opening over its width
    eye_tilt: float  # how much higher the outer corner lies, over the eye's half width
    brow_y: float
    brow_arch: float
    brow_tilt: float
    brow_thickness: float
    nose_half_width: float
    nose_y: float
    nose_height: float
    mouth_y: float
    mouth_half_width: float
    mouth_curve: float  # neutral height of the lip corners, up is positive
    upper_lip: float
    lower_lip: float
    # Colouring.
    skin: Colour
    hair: Colour
    brow_darkness: float
    lips: float  # redness of the lips, 0-1
    iris: Colour
    beard: float  # darkness of the shaved beard, 0-1
    freckles: int
    moles: int
    shirt: Colour
    background: Colour
    # Style.
    long_hair: bool
    fringe: float  # depth of a fringe below the hairline, face units; 0 without
    parting: float
    glasses: float  # roundness of the glasses, 0.0 for none
    # Direction towards the lamp (x right, y down, z to the camera), and share of ambient light.
    light: tuple[float, float, float]
    ambient: float


SKINS: tuple[Colour, ...] = (
    (170, 195, 228),
    (150, 182, 222),
    (135, 168, 212),
    (118, 152, 200),
    (98, 132, 182),
    (72, 104, 152),
)
HAIRS: tuple[Colour, ...] = (
    (22, 20, 22),
    (30, 32, 40),
    (34, 44, 62),
    (48, 66, 92),
    (78, 106, 138),
    (96, 98, 104),
)
IRISES: tuple[Colour, ...] = ((28, 38, 58), (36, 56, 84), (96, 92, 74), (86, 110, 84))


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a person.

    The mouths, brows and eyes of two persons differ by more than any micro-expression moves them.

    Args:
        rng: The random stream of the person.

    Returns:
        The person.
    """

    def around(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(rng.normal(), -1.8, 1.8))

    def colour(palette: tuple[Colour, ...], jitter: Number) -> Colour:
        base = palette[int(rng.integers(len(palette)))]
        # The hue stays near the palette's, while the brightness varies more.
        bright = 3 * jitter * float(np.clip(rng.normal(), -1.5, 1.5)) / 128
        tint = jitter * rng.normal(size=3)
        b, g, r = np.clip(np.array(base) * (1 + bright) + tint, 8, 245)
        return float(b), float(g), float(r)

    light_x = float(rng.uniform(-0.55, 0.55))
    long_hair = bool(rng.random() < 0.45)
    return Identity(
        texture_seed=int(rng.integers(2**31)),
        face_half_width=around(0.365, 0.014),
        jaw=around(0.80, 0.04),
        chin_y=around(0.585, 0.018),
        hairline_y=around(-0.345, 0.02),
        eye_x=around(0.165, 0.006),
        eye_half_width=around(0.074, 0.005),
        eye_open=around(0.36, 0.05),
        eye_tilt=around(0.06, 0.07),
        brow_y=around(-0.105, 0.010),
        brow_arch=around(0.022, 0.008),
        brow_tilt=around(0.0, 0.012),
        brow_thickness=around(0.017, 0.004),
        nose_half_width=around(0.088, 0.008),
        nose_y=around(0.225, 0.012),
        nose_height=around(0.125, 0.015),
        mouth_y=around(0.355, 0.012),
        mouth_half_width=around(0.128, 0.010),
        mouth_curve=around(0.0, 0.008),
        upper_lip=around(0.026, 0.006),
        lower_lip=around(0.036, 0.006),
        skin=colour(SKINS, 2.5),
        hair=colour(HAIRS, 2),
        brow_darkness=float(rng.uniform(0.55, 0.9)),
        lips=float(rng.uniform(0.25, 0.8)),
        iris=colour(IRISES, 4),
        beard=0.0 if long_hair else float(rng.uniform(0.0, 0.6)),
        freckles=int(rng.integers(0, 90)),
        moles=int(rng.integers(2, 7)),
        shirt=colour(((150, 120, 90), (60, 60, 140), (190, 190, 195), (60, 55, 50)), 8),
        background=colour(((150, 150, 150), (176, 170, 160), (120, 128, 132)), 3),
        long_hair=long_hair,
        fringe=float(rng.uniform(0.03, 0.09)) if rng.random() < 0.3 else 0.0,
        parting=float(rng.uniform(-0.15, 0.15)),
        glasses=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.25 else 0.0,
        light=(light_x, float(rng.uniform(-0.75, -0.35)), 1.0),
        ambient=float(rng.uniform(0.45, 0.62)),
    )


@dataclasses.dataclass(frozen=True)
class Placement:
    """Position of a face in a frame: pixel = centre + unit * rotation(angle) * face point.

    Attributes:
        width: Frame width in pixels.
        height: Frame height in pixels.
        centre: Pixel (x, y) of the point between the eyes.
        unit: Pixels per face unit.
        angle: In-plane rotation in radians, clockwise in the picture.
    """

    width: int
    height: int
    centre: tuple[float, float]
    unit: float
    angle: float = 0.0

    def face_coordinates(self, step: Number = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the face coordinates of the pixel centres of a grid `step` pixels apart.

        Args:
            step: 1 for the frame's own pixels, 0.5 for a picture of twice the size.

        Returns:
            x and y, float32, each [height / step, width / step].
        """
        columns, rows = round(self.width / step), round(self.height / step)
        x = ((np.arange(columns) + 0.5) * step - 0.5 - self.centre[0]).astype(np.float32)
        y = ((np.arange(rows) + 0.5) * step - 0.5 - self.centre[1]).astype(np.float32)
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        scale = np.float32(1 / self.unit)
        return (
            (cosine * x[None, :] + sine * y[:, None]) * scale,
            (-sine * x[None, :] + cosine * y[:, None]) * scale,
        )

    def to_pixels(self, x: Number, y: Number) -> tuple[float, float]:
        """Return the pixel of the face point (x, y)."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return (
            float(self.centre[0] + self.unit * (cosine * x - sine * y)),
            float(self.centre[1] + self.unit * (sine * x + cosine * y)),
        )
