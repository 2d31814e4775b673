"""Pictures of an explanation drawn over the face: PNG files, made with OpenCV.

Red supports the class and blue opposes it (ColorBrewer's RdBu, distinguishable with every type of
colour blindness). Stronger values are more opaque.
"""

import itertools

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from atnet_jax.inference.explain import Explanation
from atnet_jax.preprocessing.adm import BLOCKS
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.window import FLOWS, HALF_WINDOW

# Twice the size of the crop, so that the labels beside the face are sharp.
_FACE = 2 * SIZE
_MARGIN, _LINE = 14, 22
_BAR, _NUMBERS, _TITLE = 14, 80, 22  # Widths of a colour scale, its numbers and its title.
_SPANS, _COLUMNS = 8, 4  # Number of small faces, in all and in a row.
_SMALL, _GAP = 112, 16
_OPACITY = 0.8

# Blue, green, red.
_FOR, _AGAINST = np.array([43, 24, 178]), np.array([172, 102, 33])
_BLACK, _GREY, _PALE, _WHITE = (0, 0, 0), (120, 120, 120), (235, 235, 235), (255, 255, 255)
_MIDDLE = 150  # Background of the scales: the typical grey of a face.

_SIGNED_MAPS = {
    "occlusion": "drop of the class's probability",
    "flow_map": "integrated gradients, logits",
}

Canvas = UInt8[np.ndarray, "_ _ 3"]


def pictures(
    explanation: Explanation,
    apex_crop: UInt8[np.ndarray, "224 224"],
    adm: Float32[np.ndarray, "64 128"] | None,
) -> dict[str, bytes]:
    """Draw the maps of an explanation.

    Args:
        explanation: The explanation of a clip.
        apex_crop: Face crop of the apex frame.
        adm: ADM of the clip, which gives its motion and its rows; None if the clip has no ADM.

    Returns:
        PNG files by name: those of "grad_cam", "occlusion", "flow_map" and "adm" that the
        explanation contains.
    """
    drawn = {}
    if explanation.grad_cam is not None:
        drawn["grad_cam"] = _grad_cam(explanation.grad_cam, apex_crop)
    for name, title in _SIGNED_MAPS.items():
        if (values := getattr(explanation, name)) is not None:
            drawn[name] = _signed_map(values, apex_crop, title)
    if explanation.adm is not None:
        rows = np.zeros((FLOWS, 2 * BLOCKS * BLOCKS), np.float32) if adm is None else adm
        drawn["adm"] = _adm(explanation.adm, apex_crop, rows)
    return {name: png(canvas) for name, canvas in drawn.items()}


def _grad_cam(heat: np.ndarray, crop: np.ndarray) -> Canvas:
    def paint(values: np.ndarray, background: np.ndarray) -> Canvas:
        levels = np.rint(255 * values).astype(np.uint8)
        colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO).reshape(*levels.shape, 3)
        return _blend(background, colours, _OPACITY * values)

    face = paint(_stretched(heat, _FACE, cv2.INTER_LINEAR).clip(0, 1), _face(crop, _FACE))
    scale = paint(np.linspace(1, 0, _FACE)[:, None].repeat(_BAR, axis=1), _plain(_FACE, _BAR))
    return _framed(face, scale, ["1", "0"], "Grad-CAM, relative to its maximum")


def _signed_map(values: np.ndarray, crop: np.ndarray, title: str) -> Canvas:
    most = float(np.abs(values).max())
    smooth = cv2.INTER_LINEAR if len(values) >= BLOCKS * BLOCKS else cv2.INTER_NEAREST
    face = _signed(_stretched(values, _FACE, smooth), most, _face(crop, _FACE))
    return _framed(face, _signed_scale(_FACE), _ends(most), title)


def _adm(values: np.ndarray, crop: np.ndarray, adm: np.ndarray) -> Canvas:
    """Draw the sum over time on a face, spans of time on small faces, and a plot over time."""
    total = values.sum(axis=0)
    most = float(np.abs(total).max())
    face = _signed(_stretched(total, _FACE, cv2.INTER_NEAREST), most, _face(crop, _FACE))
    title = "sum over time, logits per block"
    left = _framed(face, _signed_scale(_FACE), _ends(most), title)
    return np.hstack([left, _in_time(values, crop, adm)])


def _in_time(values: np.ndarray, crop: np.ndarray, adm: np.ndarray) -> Canvas:
    rows = np.flatnonzero(adm.any(axis=1))
    first, stop = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, FLOWS)
    spans = _spans(first, stop)
    sums = [values[start:end].sum(axis=0) for start, end in spans]
    most = float(np.abs(sums).max())
    width = _COLUMNS * (_SMALL + _GAP) - _GAP
    height = 2 * (_SMALL + _LINE)
    canvas = _plain(_FACE + 2 * _MARGIN, width + _MARGIN, 255)
    for index, ((start, end), total) in enumerate(zip(spans, sums, strict=True)):
        row, column = divmod(index, _COLUMNS)
        x, y = column * (_SMALL + _GAP), _MARGIN + row * (_SMALL + _LINE)
        small = _signed(_stretched(total, _SMALL, cv2.INTER_NEAREST), most, _face(crop, _SMALL))
        canvas[y + _LINE - 6 :, x:][:_SMALL, :_SMALL] = small
        title = f"{_frame(start)} to {_frame(end)}"
        _write(canvas, title, (x + _SMALL // 2, y + 10), "centre")
    place = np.s_[_MARGIN + height + 10 :, :width]
    canvas[place] = _course(values.sum(axis=(1, 2)), adm, (first, stop), canvas[place].shape[:2])
    scale = _with_numbers(_signed_scale(height - 16), _ends(most), "logits per block")
    top = _MARGIN + _LINE - 6
    return np.hstack([canvas, _padded(scale, top, len(canvas) - top - len(scale))])


def _spans(first: int, stop: int) -> list[tuple[int, int]]:
    """Divide a clip's rows into at most eight spans of similar length; one ends at the apex."""
    count = min(_SPANS, stop - first)
    before = round(count * (HALF_WINDOW - first) / (stop - first))
    before = min(max(before, int(first < HALF_WINDOW)), count - int(stop > HALF_WINDOW))
    middle = min(max(HALF_WINDOW, first), stop)
    edges = [
        *np.linspace(first, middle, before + 1).round().astype(int).tolist()[:-1],
        *np.linspace(middle, stop, count - before + 1).round().astype(int).tolist(),
    ]
    return [(start, end) for start, end in itertools.pairwise(edges) if end > start]


def _frame(row: int, apex: str = "0") -> str:
    """Return the first frame of a row of the window, relative to the apex, as text."""
    return f"{row - HALF_WINDOW:+d}" if row != HALF_WINDOW else apex


def _course(
    values: Float[np.ndarray, " row"],
    adm: np.ndarray,
    clip: tuple[int, int],
    shape: tuple[int, int],
) -> Canvas:
    """Draw one bar per row of the window, the motion as a line, and an axis of frames."""
    canvas = _plain(*shape, 255)
    height, width = shape
    left, top, bottom = 2, 20 + _LINE, height - 38
    middle = (top + bottom) // 2
    step = (width - 2 * left) / FLOWS

    def x(row: int | float) -> int:
        return round(left + step * row)

    canvas[top:bottom, x(0) : x(FLOWS)] = 225
    canvas[top:bottom, x(clip[0]) : x(clip[1])] = 245
    most = float(np.abs(values).max()) or 1.0
    for row, value in enumerate(values):
        end = middle - round(value / most * (middle - top))
        colour = _FOR if value > 0 else _AGAINST
        canvas[min(end, middle) : max(end, middle), x(row) : x(row + 1) - 1] = colour
    motion = adm[:, 1::2].mean(axis=1)
    if motion.any():
        heights = bottom - motion / motion.max() * (bottom - top)
        points = [(x(row + 0.5), round(heights[row])) for row in range(*clip)]
        cv2.polylines(canvas, [np.array(points)], False, _BLACK, 1, cv2.LINE_AA)
    cv2.line(canvas, (x(0), middle), (x(FLOWS), middle), _GREY, 1)
    cv2.line(canvas, (x(HALF_WINDOW), top - 4), (x(HALF_WINDOW), bottom + 4), _GREY, 1)
    for row in range(0, FLOWS + 1, HALF_WINDOW // 2):
        align = {0: "left", FLOWS: "right"}.get(row, "centre")
        cv2.line(canvas, (x(row), bottom), (x(row), bottom + 3), _GREY)
        _write(canvas, _frame(row, "apex"), (x(row), bottom + 16), align)
    _write(canvas, "frames relative to the apex", (width // 2, height - 5), "centre")
    _write(canvas, f"bars: sum over the face, up to {most:.2g} logits", (left, 12))
    if motion.any():
        _write(canvas, f"line: motion, up to {motion.max():.2g} px", (left, 12 + _LINE))
    return canvas


def _signed(values: np.ndarray, most: float, background: Canvas) -> Canvas:
    """Overlay red or blue on a picture, with opacity proportional to the value."""
    share = values / (most or 1)
    return _blend(background, np.where(share[..., None] > 0, _FOR, _AGAINST), _OPACITY * abs(share))


def _signed_scale(height: int) -> Canvas:
    values = np.linspace(1, -1, height)[:, None].repeat(_BAR, axis=1)
    return _signed(values, 1.0, _plain(height, _BAR))


def _ends(most: float) -> list[str]:
    return [f"+{most:.2g}", "0", f"-{most:.2g}"] if most else ["0"]


def _blend(background: Canvas, colours: np.ndarray, opacity: np.ndarray) -> Canvas:
    mixed = background + opacity[..., None] * (colours - background.astype(float))
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def _face(crop: np.ndarray, size: int) -> Canvas:
    """Resize the crop and reduce its contrast so that colours stand out."""
    kind = cv2.INTER_CUBIC if size > len(crop) else cv2.INTER_AREA
    grey = cv2.resize(crop, (size, size), interpolation=kind)
    return cv2.cvtColor(cv2.addWeighted(grey, 0.8, grey, 0, 40), cv2.COLOR_GRAY2BGR)


def _stretched(values: np.ndarray, size: int, kind: int) -> Float[np.ndarray, "{size} {size}"]:
    return cv2.resize(values.astype(np.float64), (size, size), interpolation=kind)


def _framed(face: Canvas, scale: Canvas, numbers: list[str], title: str) -> Canvas:
    """Place the scale beside a face and add margins."""
    beside = _with_numbers(scale, numbers, title)
    return _padded(np.hstack([face, _plain(_FACE, 10, 255), beside]), _MARGIN, _MARGIN, _MARGIN)


def _with_numbers(scale: Canvas, numbers: list[str], title: str) -> Canvas:
    """Add numbers from top to bottom beside a scale, and a title along it."""
    height = len(scale)
    beside = _plain(height, _NUMBERS, 255)
    for number, y in zip(numbers, np.linspace(10, height - 2, len(numbers)), strict=True):
        _write(beside, number, (6, round(y)))
    along = _plain(_TITLE, height, 255)
    _write(along, title, (height // 2, 15), "centre")
    return np.hstack([scale, beside, cv2.rotate(along, cv2.ROTATE_90_COUNTERCLOCKWISE)])


def _padded(picture: Canvas, top: int, below: int, left: int = 0) -> Canvas:
    return np.pad(picture, ((top, below), (left, _MARGIN), (0, 0)), constant_values=255)


def _plain(height: int, width: int, grey: int = _MIDDLE) -> Canvas:
    return np.full((height, width, 3), grey, np.uint8)


def _write(canvas: Canvas, text: str, place: tuple[int, int], align: str = "left") -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    (width, _), _ = cv2.getTextSize(text, font, size, 1)
    x = place[0] - {"left": 0, "centre": width // 2, "right": width}[align]
    cv2.putText(canvas, text, (x, place[1]), font, size, _BLACK, 1, cv2.LINE_AA)


def png(canvas: Canvas) -> bytes:
    """Encode a picture as PNG."""
    return cv2.imencode(".png", canvas)[1].tobytes()
