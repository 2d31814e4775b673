"""Figures of the tiny-motion benchmark, drawn with OpenCV."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from atnet_jax.errors import UserError

_CELL = (6, 3)  # pixels of a frame and of a block
_COLUMNS = 4
_COLOURS = (
    (180, 119, 31),
    (14, 127, 255),
    (44, 160, 44),
    (40, 39, 214),
    (189, 103, 148),
    (75, 86, 140),
    (194, 119, 227),
    (127, 127, 127),
    (34, 189, 188),
    (207, 190, 23),
)  # blue, green, red
_BLACK = (0, 0, 0)


def write_blocks(path: Path, magnitudes: Mapping[str, np.ndarray]) -> None:
    """Draw block magnitudes, with blocks downwards and frames to the right.

    All panels have the same scale, from 0 to the largest magnitude of the first panel.

    Args:
        path: PNG file to write.
        magnitudes: Magnitudes `[pair, 64]` by the name of their panel; the truth comes first.

    Raises:
        UserError: The file cannot be written.
    """
    largest = max(float(next(iter(magnitudes.values())).max()), 1e-9)
    panels = []
    for name, values in magnitudes.items():
        levels = np.rint(255 * np.clip(values.T / largest, 0, 1)).astype(np.uint8)
        picture = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
        size = (levels.shape[1] * _CELL[0], levels.shape[0] * _CELL[1])
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
        picture = cv2.copyMakeBorder(picture, 22, 6, 6, 6, cv2.BORDER_CONSTANT, value=(255,) * 3)
        _write(picture, name, (6, 16))
        panels.append(picture)
    columns = min(_COLUMNS, len(panels))
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % columns)
    rows = [np.hstack(panels[start : start + columns]) for start in range(0, len(panels), columns)]
    _save(path, np.vstack(rows))


def write_curves(
    path: Path, title: str, curves: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """Draw correlation against motion on a logarithmic axis.

    Args:
        path: PNG file to write.
        title: Title of the figure.
        curves: (pixels per frame, correlation) of each method, with ascending motion.

    Raises:
        UserError: The file cannot be written.
    """
    left, top, width, height = 50, 30, 400, 300
    canvas = np.full((top + height + 45, left + width + 190, 3), 255, np.uint8)
    motions = sorted({motion for curve in curves.values() for motion, _ in curve})
    lowest = min(0.0, *(value for curve in curves.values() for _, value in curve))
    start, stop = np.log(motions[0]), np.log(motions[-1])

    def place(motion: float, value: float) -> tuple[int, int]:
        across = (np.log(motion) - start) / (stop - start)
        return round(left + width * across), round(top + height * (1 - value) / (1 - lowest))

    _write(canvas, title, (left, 20))
    for motion in motions:
        x, bottom = place(motion, lowest)
        cv2.line(canvas, (x, top), (x, bottom), (225, 225, 225), 1)
        _write(canvas, f"{motion:g}", (x - 12, bottom + 16))
    for value in np.arange(0, 1.01, 0.2):
        (x, y), (end, _) = place(motions[0], value), place(motions[-1], value)
        cv2.line(canvas, (x, y), (end, y), (225, 225, 225), 1)
        _write(canvas, f"{value:.1f}", (14, y + 4))
    _write(canvas, "pixels a frame", (left + width // 2 - 45, top + height + 36))
    for index, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = np.array([place(*point) for point in curve])
        cv2.polylines(canvas, [points], False, colour, 2, cv2.LINE_AA)
        y = top + 14 + 18 * index
        cv2.line(canvas, (left + width + 12, y - 4), (left + width + 30, y - 4), colour, 2)
        _write(canvas, name, (left + width + 36, y))
    _save(path, canvas)


def _write(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _BLACK, 1, cv2.LINE_AA)


def _save(path: Path, picture: np.ndarray) -> None:
    done, encoded = cv2.imencode(".png", picture)
    try:
        assert done
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f"{path}: cannot write the figure ({error.strerror}).") from None
