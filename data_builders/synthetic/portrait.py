"""Painting of a person's neutral face: a height map lit by one lamp, skin, hair, eyes and lips.

The picture is painted once per person and then only warped, so that every frame of a clip shows
exactly the same skin.
"""

import dataclasses

import cv2
import numpy as np

from data_builders.synthetic.identity import Colour, Identity, Number, Placement

# Pixels of the portrait per face unit, at least 1.5 times as many as in any database's frames.
PORTRAIT_UNIT = 600.0
# Standard deviation of the lens blur, in pixels of the frame.
LENS_BLUR = 0.6


def smooth_step(
    value: np.ndarray, low: Number | np.ndarray, high: Number | np.ndarray
) -> np.ndarray:
    """Return a step from 0 at `low` to 1 at `high`, with a cubic transition between them.

    Args:
        value: Any array.
        low: Value at which the step starts. If it exceeds `high`, the step falls.
        high: Value at which the step ends.
    """
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(
    x: np.ndarray, y: np.ndarray, cx: Number, cy: Number, sx: Number, sy: Number, angle: Number = 0
) -> np.ndarray:
    """Return a Gaussian of height 1.

    Args:
        x: Coordinates of the points.
        y: Coordinates of the points.
        cx: x of the centre.
        cy: y of the centre.
        sx: Standard deviation along the first axis.
        sy: Standard deviation along the second axis.
        angle: Rotation of the axes in radians.
    """
    dx, dy = x - np.float32(cx), y - np.float32(cy)
    if angle:
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = cosine * dx + sine * dy, cosine * dy - sine * dx
    return np.exp(-0.5 * ((dx / np.float32(sx)) ** 2 + (dy / np.float32(sy)) ** 2))


@dataclasses.dataclass(frozen=True)
class EyeLids:
    """The lids of one eye, in face units: the two curves that bound its opening."""

    identity: Identity
    side: int  # -1 left in the picture, 1 right

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates of points along and across the eye's axis.

        Args:
            x: Face coordinates of the points.
            y: Face coordinates of the points.

        Returns:
            Along the axis (-1 at the nose, 1 at the temple) and across it (face units).
        """
        face = self.identity
        along = (np.float32(self.side) * x - np.float32(face.eye_x)) / np.float32(
            face.eye_half_width
        )
        return along, y + np.float32(face.eye_tilt * face.eye_half_width) * along

    def curves(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the height of the open upper and lower lid at the positions `along` the axis."""
        height = np.float32(self.identity.eye_open * self.identity.eye_half_width * 2)
        inside = np.maximum(1 - along**2, 0)
        # The upper lid is highest near the nose, and the lower lid is lowest near the temple.
        upper = -0.62 * height * inside**0.75 * (1 - 0.12 * along)
        lower = 0.38 * height * inside**0.85 * (1 + 0.15 * along)
        return upper, lower


@dataclasses.dataclass(frozen=True)
class Portrait:
    """A person's neutral face.

    Attributes:
        open: float32 [rows, columns] or [rows, columns, 3] (blue, green, red), 0-255.
        closed: The same face with its eyes shut.
        scale: Pixels of the portrait per pixel of the frame.
    """

    open: np.ndarray
    closed: np.ndarray
    scale: float


def half_width(face: Identity, y: np.ndarray) -> np.ndarray:
    """Return the half width of the face's outline at y (0 above the crown and below the chin)."""
    width, jaw_y = face.face_half_width, 0.36
    upper = width * np.sqrt(np.clip(1 - ((y - 0.02) / 0.62) ** 2, 0, 1))
    jaw = width * face.jaw
    # The cheeks narrow to the jaw, and the jaw closes like an ellipse to the chin.
    cheek = width + (jaw - width) * smooth_step(y, 0.02, jaw_y + 0.06)
    below = np.clip((y - 0.18) / (face.chin_y - 0.18), 0, 1)
    return np.where(y < 0.02, upper, cheek * np.power(np.clip(1 - below**2.6, 0, 1), 0.5))


def _height_map(face: Identity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the distance of the skin from the face's base plane, in face units."""
    outline = np.maximum(half_width(face, y), 1e-3)
    across = np.clip(np.abs(x) / outline, 0, 1)
    along = np.clip(np.abs(y - 0.08) / 0.58, 0, 1)
    depth = 0.34 * np.sqrt(np.clip(1 - across**2.3, 0, 1)) * np.sqrt(1 - 0.75 * along**3)
    mirrored = np.abs(x)
    # Brow ridge, sockets, cheekbones.
    depth += 0.020 * bump(mirrored, y, 0.14, face.brow_y + 0.005, 0.10, 0.030)
    depth -= 0.040 * bump(mirrored, y, face.eye_x - 0.02, -0.015, 0.075, 0.050)
    depth += 0.018 * bump(mirrored, y, face.eye_x, 0.0, 0.055, 0.032)  # the eyeball
    depth += 0.022 * bump(mirrored, y, 0.22, 0.12, 0.08, 0.055)
    depth -= 0.010 * bump(mirrored, y, 0.20, 0.27, 0.06, 0.08)
    # Nose: a ridge that widens and rises from its root to its tip, and two wings.
    t = np.clip((y + 0.06) / (face.nose_y - 0.02 + 0.06), 0, 1)
    ridge = (0.03 + (face.nose_height - 0.03) * t**1.3) * smooth_step(y, -0.13, -0.02)
    ridge *= smooth_step(y, face.nose_y + 0.020, face.nose_y - 0.045)
    spread = np.float32(0.026) + np.float32(0.022) * t
    depth += ridge * np.exp(-0.5 * (x / spread) ** 2)
    wing_x = face.nose_half_width * 0.72
    depth += 0.042 * bump(mirrored, y, wing_x, face.nose_y - 0.025, 0.020, 0.024)
    depth -= 0.016 * bump(mirrored, y, face.nose_half_width + 0.016, face.nose_y, 0.012, 0.028, 0.4)
    # Furrow from the nose's wing to the corner of the mouth.
    fold_x = face.nose_half_width + 0.025 + 0.28 * np.clip(y - face.nose_y + 0.03, 0, 0.2)
    fold = smooth_step(y, face.nose_y - 0.03, face.nose_y + 0.03)
    fold *= smooth_step(y, face.mouth_y + 0.04, face.mouth_y - 0.03)
    depth -= 0.007 * fold * np.exp(-0.5 * ((mirrored - fold_x) / 0.016) ** 2)
    # Philtrum, lips, the hollow under the lower lip, the chin.
    mouth = face.mouth_y
    depth -= 0.006 * bump(x, y, 0, mouth - 0.065, 0.012, 0.025)
    lip = np.exp(-0.5 * (x / (0.62 * face.mouth_half_width)) ** 2)
    depth += 0.024 * lip * bump(0 * x, y, 0, mouth - 0.5 * face.upper_lip, 1, 0.018)
    depth += 0.030 * lip * bump(0 * x, y, 0, mouth + 0.55 * face.lower_lip, 1, 0.019)
    depth -= 0.016 * bump(x, y, 0, mouth + face.lower_lip + 0.035, 0.08, 0.018)
    depth -= 0.008 * bump(mirrored, y, face.mouth_half_width + 0.01, mouth, 0.018, 0.016)
    depth += 0.030 * bump(x, y, 0, face.chin_y - 0.085, 0.07, 0.045)
    return depth.astype(np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: Number) -> np.ndarray:
    """Return smooth noise of unit variance with a correlation length of `scale` pixels."""
    shrink = float(max(scale / 2, 1))
    small = (int(shape[0] / shrink) + 2, int(shape[1] / shrink) + 2)
    noise = rng.standard_normal(small, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(float(scale) / shrink / 2, 0.5))
    noise = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return noise / noise.std()


def _over(picture: np.ndarray, colour: Colour | np.ndarray, mask: np.ndarray) -> None:
    """Blend `colour` into the picture, in place, with the opacity `mask`."""
    picture += mask[..., None] * (np.asarray(colour, np.float32) - picture)


def _strokes(
    shape: tuple[int, ...], starts: np.ndarray, ends: np.ndarray, thickness: int
) -> np.ndarray:
    """Return a mask 0-1 of anti-aliased hairs from `starts` to `ends`, both [n, 2] pixels x, y."""
    mask = np.zeros(shape, np.uint8)
    first, last = np.round(starts * 16).astype(int), np.round(ends * 16).astype(int)
    for (x0, y0), (x1, y1) in zip(first, last, strict=True):
        cv2.line(mask, (x0, y0), (x1, y1), 255, thickness, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def paint(face: Identity, placement: Placement) -> Portrait:
    """Paint a person.

    Args:
        face: The person.
        placement: Position of the face in the frame, with an angle of 0.

    Returns:
        The portrait of the whole frame.
    """
    rng = np.random.default_rng(face.texture_seed)
    scale = PORTRAIT_UNIT / placement.unit
    x, y = placement.face_coordinates(1 / scale)
    shape = x.shape
    unit = PORTRAIT_UNIT

    def around(cx: Number, cy: Number, half_x: Number, half_y: Number) -> tuple[slice, slice]:
        """Return the rows and columns of the portrait that show a part of the face."""
        px, py = placement.to_pixels(cx, cy)
        column, row = round((px + 0.5) * scale), round((py + 0.5) * scale)
        wide, tall = round(half_x * unit), round(half_y * unit)
        return np.s_[max(row - tall, 0) : row + tall, max(column - wide, 0) : column + wide]

    edge = 1.5 / unit  # softness of a drawn edge, in face units
    mirrored = np.abs(x)
    light = np.array(face.light, np.float32)
    light /= np.linalg.norm(light)

    def lit(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the diffuse shade (about 0.4 to 1.15) and the highlight of a height map."""
        zx = cv2.Sobel(depth, cv2.CV_32F, 1, 0, scale=unit / 8)
        zy = cv2.Sobel(depth, cv2.CV_32F, 0, 1, scale=unit / 8)
        norm = 1 / np.sqrt(zx * zx + zy * zy + 1)
        diffuse = np.clip((light[2] - zx * light[0] - zy * light[1]) * norm, 0, None)
        half = light + np.array([0, 0, 1], np.float32)
        half /= np.linalg.norm(half)
        gloss = np.clip((half[2] - zx * half[0] - zy * half[1]) * norm, 0, 1) ** 24
        # Hollows receive less ambient light.
        hollow = cv2.GaussianBlur(depth, (0, 0), 0.03 * unit) - depth
        shade = face.ambient + (1.08 - face.ambient) * diffuse
        return shade * (1 - np.clip(hollow * 9, -0.05, 0.32)), gloss

    # Background and shoulders.
    picture = np.empty((*shape, 3), np.float32)
    wall = 1 + 0.10 * light[0] * x + 0.05 * y + 0.012 * _noise(rng, shape, unit * 0.25)
    picture[:] = np.asarray(face.background, np.float32) * wall[..., None]
    skin = np.asarray(face.skin, np.float32)

    # Hair behind the head.
    outline = half_width(face, y)
    radius = np.hypot(x, (y + 0.02) * 0.9)
    strands = _hair_texture(face, rng, x, y)
    hair = np.asarray(face.hair, np.float32) * strands[..., None]
    ragged = 0.004 * _noise(rng, shape, unit * 0.025)
    cap_width = face.face_half_width + (0.075 if face.long_hair else 0.035)
    cap = (x / cap_width) ** 2 + ((y + 0.08) / 0.56) ** 2
    crown = smooth_step(cap + ragged * 4, 1.06, 0.98) * smooth_step(y, 0.12, 0.02)
    if face.long_hair:
        sides = smooth_step(mirrored + ragged, cap_width + 0.01, cap_width - 0.02)
        crown = np.maximum(crown, sides * smooth_step(y, -0.1, 0.0) * smooth_step(y, 0.82, 0.72))
    _over(picture, hair * 0.8, crown)

    # Neck and shirt.
    neck_width = 0.235 + 0.10 * smooth_step(y, 0.62, 0.95)
    neck = smooth_step(mirrored, neck_width + 0.012, neck_width - 0.012)
    neck *= smooth_step(y, 0.36, 0.40)
    roundness = np.sqrt(np.clip(1 - (mirrored / (neck_width + 0.02)) ** 2, 0, 1))
    shadow = 0.62 + 0.16 * smooth_step(y, 0.60, 0.78)
    _over(picture, skin * ((0.55 + 0.45 * roundness) * shadow)[..., None], neck)
    collar = 0.80 + 0.05 * np.clip(1 - (x / 0.22) ** 2, -1, 1) + 0.22 * mirrored**2
    shoulder = smooth_step(y - collar + 0.10 * smooth_step(mirrored, 0.16, 0.26), -0.006, 0.006)
    shoulder *= smooth_step(0.70 + 0.9 * np.clip(mirrored - 0.34, 0, 1) ** 1.4 - y, 0.006, -0.006)
    cloth = 0.9 + 0.025 * _noise(rng, shape, 3) + 0.15 * light[0] * x
    _over(picture, np.asarray(face.shirt, np.float32) * cloth[..., None], shoulder)

    # Ears.
    ear_x = face.face_half_width + 0.012
    ear = ((mirrored - ear_x) / 0.042) ** 2 + ((y - 0.05 - 0.25 * (mirrored - ear_x)) / 0.105) ** 2
    inner = bump(mirrored, y, ear_x + 0.008, 0.04, 0.012, 0.055)
    ear_shade = (0.86 - 0.30 * inner) * (1 + 0.25 * light[0] * np.sign(x))
    if not face.long_hair:
        tone = skin * np.array([0.92, 0.94, 1.0], np.float32)
        _over(picture, tone * ear_shade[..., None], smooth_step(ear, 1.05, 0.9))

    # Face: height map, shading, albedo.
    depth = _height_map(face, x, y)
    shade, gloss = lit(depth)
    inside = smooth_step(mirrored, outline + edge, outline - edge)
    inside *= smooth_step(y, face.chin_y + 0.01, face.chin_y - 0.01)
    inside *= smooth_step(y, -0.58, -0.56)
    albedo = np.broadcast_to(skin, picture.shape).copy()
    red = 0.5 * bump(mirrored, y, 0.20, 0.13, 0.085, 0.07)
    red += 0.55 * bump(x, y, 0, face.nose_y - 0.03, 0.05, 0.045)
    red += 0.25 * bump(x, y, 0, face.chin_y - 0.08, 0.07, 0.05)
    red += 0.10 * _noise(rng, shape, unit * 0.05)
    albedo *= 1 - red[..., None] * np.array([0.16, 0.13, 0.02], np.float32)
    under_eye = bump(mirrored, y, face.eye_x - 0.01, 0.062, 0.06, 0.020)
    lid = bump(mirrored, y, face.eye_x, -0.042, 0.07, 0.022)
    albedo *= 1 - (0.13 * under_eye + 0.14 * lid)[..., None]
    beard = smooth_step(y + 0.35 * mirrored, 0.27, 0.40) * (
        1 - bump(x, y, 0, face.mouth_y + 0.005, 0.10, 0.03)
    )
    stubble = 0.75 + 0.25 * _noise(rng, shape, 2.2)
    albedo *= 1 - face.beard * (beard * stubble)[..., None] * np.array(
        [0.30, 0.38, 0.42], np.float32
    )
    # Pores and blotches give optical flow its texture.
    mottle = 0.020 * _noise(rng, shape, 0.006 * unit) + 0.016 * _noise(rng, shape, 0.014 * unit)
    mottle += 0.018 * _noise(rng, shape, 0.035 * unit)
    albedo *= 1 + mottle[..., None]
    albedo *= 1 - _spots(face, rng, x, y)[..., None] * np.array([0.75, 0.62, 0.42], np.float32)
    skin_lit = albedo * shade[..., None]
    skin_lit += (gloss * (20 + 8 * _noise(rng, shape, 0.008 * unit)))[..., None]
    _over(picture, skin_lit, inside)

    lips = around(0.0, face.mouth_y, 0.20, 0.09)
    _paint_lips(face, picture[lips], x[lips], y[lips], shade[lips], rng)
    nostril = smooth_step(
        ((mirrored - 0.44 * face.nose_half_width) / 0.023) ** 2
        + ((y - face.nose_y + 0.004 + 0.25 * (mirrored - 0.04)) / 0.0105) ** 2,
        1.5,
        0.6,
    )
    _over(picture, skin * 0.22, 0.85 * nostril)
    under = bump(x, y, 0, face.nose_y + 0.016, 0.055, 0.008)
    picture *= 1 - 0.22 * under[..., None]

    # Hair over the forehead.
    hairline = face.hairline_y + 0.10 * (x / 0.3) ** 2 + 0.9 * np.clip(mirrored - 0.26, 0, 1)
    hairline += face.fringe * (1 - 0.6 * np.abs(x - face.parting) / 0.3) * 2
    hairline += 1.6 * ragged - 0.02 * bump(x, y, face.parting, face.hairline_y, 0.04, 0.2)
    fore = smooth_step(y - hairline, 0.022, -0.022) * np.maximum(crown, inside)
    fore = np.maximum(
        fore,
        smooth_step(mirrored - outline + 0.028 + ragged, -0.012, 0.02)
        * inside
        * smooth_step(y, 0.62 if face.long_hair else 0.06, 0.45 if face.long_hair else -0.06),
    )
    picture *= 1 - 0.22 * (smooth_step(y - hairline, 0.07, 0.0) * inside)[..., None]
    sheen = 0.75 + 0.9 * np.clip(1 - radius / 0.62, 0, 1)
    _over(picture, hair * sheen[..., None], fore)

    _paint_brows(face, picture, placement, rng)
    closed = picture.copy()
    for side in (-1, 1):
        eye = around(side * face.eye_x, 0.0, 0.12, 0.09)
        _paint_eye(face, picture[eye], x[eye], y[eye], side, shade[eye], edge)
        _paint_shut_eye(face, closed[eye], x[eye], y[eye], side)
    if face.glasses:
        for image in (picture, closed):
            _paint_glasses(face, image, x, y, edge)

    blur = LENS_BLUR * scale
    return Portrait(
        open=cv2.GaussianBlur(np.clip(picture, 0, 255), (0, 0), blur),
        closed=cv2.GaussianBlur(np.clip(closed, 0, 255), (0, 0), blur),
        scale=scale,
    )


def _hair_texture(
    face: Identity, rng: np.random.Generator, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return the brightness of hair, about 1, with strands that run down from the parting."""
    spread = 0.30 + 0.70 * smooth_step(y, -0.68, -0.05)
    across = (x - np.float32(face.parting)) / spread
    strands = np.zeros(x.shape, np.float32)
    for density, length, weight in ((260, 5, 0.13), (110, 3, 0.10)):
        table = cv2.GaussianBlur(rng.standard_normal((64, 1024), dtype=np.float32), (0, 0), 0.9)
        table /= table.std()
        rows = (y + 1) * length + 4
        columns = across * density + 512 + 2 * np.sin(rows)
        strands += weight * cv2.remap(
            table, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
    return np.clip(1.05 + strands, 0.4, 1.9)


def _spots(face: Identity, rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the darkness 0-1 of freckles and moles."""
    spots = np.zeros(x.shape, np.float32)
    unit = 1 / float(x[0, 1] - x[0, 0])
    x0, y0 = float(x[0, 0]), float(y[0, 0])
    for number in range(face.freckles + face.moles):
        mole = number >= face.freckles
        cx = float(rng.uniform(-0.3, 0.3))
        cy = float(rng.uniform(-0.25, 0.5) if mole else rng.normal(0.08, 0.07))
        size = float(rng.uniform(0.006, 0.010) if mole else rng.uniform(0.0035, 0.007))
        dark = float(rng.uniform(0.45, 0.8) if mole else rng.uniform(0.12, 0.35))
        left, top = int((cx - 4 * size - x0) * unit), int((cy - 4 * size - y0) * unit)
        side = int(8 * size * unit) + 1
        window = np.s_[max(top, 0) : top + side, max(left, 0) : left + side]
        spot = bump(x[window], y[window], cx, cy, size / 2, size / 2)
        spots[window] = np.maximum(spots[window], dark * spot)
    return spots


def _paint_lips(
    face: Identity,
    picture: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    shade: np.ndarray,
    rng: np.random.Generator,
) -> None:
    across = np.clip(np.abs(x) / np.float32(face.mouth_half_width), 0, 1.2)
    level = face.mouth_y - face.mouth_curve * (across**2 - 0.4)
    level = level + 0.004 * np.cos(across * 9) * (across < 1)
    arch = np.clip(1 - across**2.2, 0, 1)
    bow = 1 - 0.28 * bump(x, 0 * y, 0, 0, 0.016, 1) - 0.15 * across
    above, below = level - y, y - level
    upper = face.upper_lip * arch**0.8 * bow * 1.15
    lower = face.lower_lip * arch**0.6
    mask = smooth_step(upper - above, -0.006, 0.006) * smooth_step(above, -0.003, 0.003)
    full = smooth_step(lower - below, -0.008, 0.006) * smooth_step(below, -0.003, 0.003)
    skin = np.asarray(face.skin, np.float32)
    red = np.array([0.62, 0.60, 0.86], np.float32)
    lip_colour = skin * (1 - face.lips * (1 - red)) * np.array([0.90, 0.86, 0.95], np.float32)
    lines = 1 + 0.05 * _noise(rng, (1, x.shape[1]), 5) * np.ones_like(x)
    tone = (shade * lines)[..., None]
    _over(picture, lip_colour * 0.86 * tone, 0.9 * mask * (across < 1.0))
    _over(picture, lip_colour * 1.04 * tone, 0.9 * full * (across < 1.0))
    picture += (14 * bump(x, y, 0.02, face.mouth_y + 0.5 * face.lower_lip, 0.045, 0.007))[..., None]
    seam = np.exp(-0.5 * ((y - level) / 0.0052) ** 2) * smooth_step(across, 1.04, 0.96)
    corner = bump(
        np.abs(x), y, face.mouth_half_width, face.mouth_y - 0.6 * face.mouth_curve, 0.012, 0.008
    )
    _over(picture, lip_colour * 0.24, np.clip(0.82 * seam + 0.35 * corner, 0, 1))


def _paint_brows(
    face: Identity, picture: np.ndarray, placement: Placement, rng: np.random.Generator
) -> None:
    shape = picture.shape[:2]
    unit = PORTRAIT_UNIT
    count = 420
    starts: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    for side in (-1, 1):
        t = rng.uniform(0, 1, count)
        thickness = (
            face.brow_thickness * np.minimum(1, 0.55 + 1.6 * t) * np.clip(1.9 - 1.7 * t, 0.25, 1)
        )
        across = rng.uniform(-1, 1, count)
        bx = 0.072 + 0.185 * t
        by = face.brow_y - face.brow_arch * np.sin(np.pi * np.clip(t * 0.85 + 0.12, 0, 1)) * 1.3
        by = by + face.brow_tilt * (0.5 - t) + 0.035 * np.clip(t - 0.72, 0, 1) + across * thickness
        lean = np.where(t < 0.15, -1.2, -0.5 + 0.75 * t) + across * 0.3 + rng.normal(0, 0.15, count)
        length = rng.uniform(0.018, 0.032, count)
        starts.append(np.stack([side * bx, by], 1))
        ends.append(np.stack([side * (bx + length * np.cos(lean)), by + length * np.sin(lean)], 1))
    centre = (np.array(placement.centre) + 0.5) * unit / placement.unit - 0.5
    mask = _strokes(
        shape,
        np.concatenate(starts) * unit + centre,
        np.concatenate(ends) * unit + centre,
        max(1, round(unit / 420)),
    )
    mask = cv2.GaussianBlur(mask, (0, 0), 0.002 * unit) + 0.30 * cv2.GaussianBlur(
        mask, (0, 0), 0.008 * unit
    )
    colour = np.minimum(np.asarray(face.hair, np.float32) * 0.8, 70)
    _over(picture, colour, np.clip(face.brow_darkness * mask, 0, 0.92))


def _paint_eye(
    face: Identity,
    picture: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    side: int,
    shade: np.ndarray,
    edge: float,
) -> None:
    lids = EyeLids(face, side)
    along, height = lids.local(x, y)
    upper, lower = lids.curves(along)
    near = np.abs(along) < 1.02
    opening = smooth_step(height - upper, -edge, edge) * smooth_step(lower - height, -edge, edge)
    opening = opening * near
    # The eyeball: white, iris, pupil, the lid's shadow, a highlight.
    radius = np.hypot(along * np.float32(face.eye_half_width), height + 0.004)
    white = (
        np.array([196, 204, 212], np.float32)
        * (1 - 0.30 * np.clip(np.abs(along), 0, 1) ** 2)[..., None]
    )
    white *= np.clip(shade, 0.7, 1.05)[..., None]
    ball = white
    iris_radius = 0.0335
    spokes = 1 + 0.22 * np.sin(23 * np.arctan2(height + 0.004, along * face.eye_half_width))
    rim = 1 - 0.55 * smooth_step(radius, 0.7 * iris_radius, iris_radius)
    iris = np.asarray(face.iris, np.float32) * (1.25 * spokes * rim)[..., None]
    _over(ball, iris, smooth_step(radius, iris_radius + edge, iris_radius - edge))
    _over(ball, (12, 10, 10), smooth_step(radius, 0.0145 + edge, 0.0145 - edge))
    lid_shadow = smooth_step(height - upper, 0.022, 0.0)
    ball *= (1 - 0.5 * lid_shadow)[..., None]
    glint = bump(
        x, y, side * face.eye_x + 0.010 * np.sign(face.light[0] + 1e-6), -0.012, 0.0042, 0.0042
    )
    ball += (190 * glint)[..., None]
    _over(picture, ball, opening)
    inner = bump(along, height, -0.93, 0.003, 0.07, 0.006)
    pink = np.array([0.62, 0.60, 0.88], np.float32)
    _over(picture, np.asarray(face.skin, np.float32) * pink, 0.7 * inner)
    # Lashes and the crease above the lid.
    lash = np.exp(-0.5 * ((height - upper) / np.float32(0.0055)) ** 2) * smooth_step(
        np.abs(along), 1.06, 0.9
    )
    _over(picture, (22, 22, 26), np.clip(0.88 * lash * (0.75 + 0.25 * along), 0, 1))
    low = np.exp(-0.5 * ((height - lower - 0.002) / np.float32(0.0035)) ** 2) * near
    _over(picture, np.asarray(face.skin, np.float32) * 0.42, 0.5 * low)
    _crease(face, picture, along, height, upper)


def _crease(
    face: Identity, picture: np.ndarray, along: np.ndarray, height: np.ndarray, upper: np.ndarray
) -> None:
    line = upper * 1.12 - 0.018
    crease = np.exp(-0.5 * ((height - line) / np.float32(0.0048)) ** 2) * smooth_step(
        np.abs(along), 1.12, 0.75
    )
    _over(picture, np.asarray(face.skin, np.float32) * 0.45, 0.45 * crease)


def _paint_shut_eye(
    face: Identity, picture: np.ndarray, x: np.ndarray, y: np.ndarray, side: int
) -> None:
    lids = EyeLids(face, side)
    along, height = lids.local(x, y)
    upper, lower = lids.curves(along)
    inside = np.clip(1 - along**2, 0, 1)
    # The lid is skin that is lit from above and slightly darker towards the lashes.
    lid = bump(0 * x, height, 0, 0, 1, 0.028) * inside
    picture *= (1 + 0.10 * bump(along, height, 0, -0.012, 0.6, 0.012) - 0.06 * lid)[..., None]
    lash = np.exp(-0.5 * ((height - lower * 0.9) / np.float32(0.0052)) ** 2) * smooth_step(
        np.abs(along), 1.06, 0.88
    )
    _over(picture, (24, 24, 28), 0.85 * lash)
    _crease(face, picture, along, height, upper)


def _paint_glasses(
    face: Identity, picture: np.ndarray, x: np.ndarray, y: np.ndarray, edge: float
) -> None:
    power = 2 + 4 * (1 - face.glasses)
    rim_x, rim_y = 0.118, 0.088
    ring = np.abs((np.abs(x) - np.float32(0.168)) / rim_x) ** power
    ring = (ring + np.abs((y - 0.018) / rim_y) ** power) ** (1 / power)
    frame = smooth_step(np.abs(ring - 1) * rim_y, 0.0075 + edge, 0.0075 - edge)
    bridge = smooth_step(np.abs(y + 0.012 - 0.9 * x**2), 0.007 + edge, 0.007 - edge) * (
        np.abs(x) < 0.168 - rim_x
    )
    temple = smooth_step(np.abs(y + 0.010), 0.008 + edge, 0.008 - edge)
    temple = temple * (np.abs(x) > 0.168 + rim_x) * (np.abs(x) < face.face_half_width + 0.01)
    mask = np.clip(frame + bridge + temple, 0, 1)
    lens = smooth_step(ring, 1.0, 0.97)
    picture += (7 * lens * smooth_step(x - y, -0.3, 0.3))[..., None]
    _over(picture, (34, 32, 34), 0.9 * mask)
