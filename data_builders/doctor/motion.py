"""Estimates of the motion between neighbouring frames, precise enough for the checks."""

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from atnet_jax.preprocessing.alternation import alternation

# This size resolves motions of a tenth of a pixel in frames of 640×480. Both sides, and their
# halves, are products of small primes: cv2.phaseCorrelate would pad other sizes, and the padding
# would look like a shift.
WIDTH, HEIGHT = 320, 256
# Fraction of the frame's shorter side: 7 of 480 pixels, or 3 of a face's 224. In the authors'
# release, blocks of an ADM move by at most 1.5 of 224 in 1/100 s. Shifts are exact to 0.005.
_JUMP = 0.015
# The response is about 0.95 for neighbouring frames and at most 0.1 for unrelated pictures.
_NO_MATCH = 0.25
_GRID = 4
# Grey levels squared per pixel. The term suppresses motion in blocks without texture.
_LEAST_TEXTURE = 0.1


def reduce(frame: UInt8[np.ndarray, "height width"]) -> Float32[np.ndarray, "256 320"]:
    """Return the whole frame, resized for the motion estimates."""
    return cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)


def shift(
    first: Float32[np.ndarray, "256 320"], second: Float32[np.ndarray, "256 320"]
) -> tuple[float, float, float]:
    """Estimate the shift of the whole picture by phase correlation.

    Args:
        first: The first frame as returned by `reduce`.
        second: The second frame as returned by `reduce`.

    Returns:
        x and y as fractions of the frame's width and height, and the response. The response is
        about 1 for the same picture at another position and about 0 for unrelated pictures.
    """
    # Phase correlation weights all frequencies equally. The highest frequencies of blurred or
    # enlarged frames are only noise, so they are removed.
    size = WIDTH // 2, HEIGHT // 2
    one, other = (
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (first, second)
    )
    (x, y), response = cv2.phaseCorrelate(one, other, cv2.createHanningWindow(size, cv2.CV_32F))
    return x / size[0], y / size[1], response


def block_motion(
    first: Float32[np.ndarray, "256 320"], second: Float32[np.ndarray, "256 320"]
) -> Float[np.ndarray, "32"]:
    """Estimate the mean motion in 4×4 blocks, for motions below a pixel.

    The estimate is one step of the method of Lucas and Kanade (1981) with a block as its window. It
    resolves hundredths of a pixel, for which phase correlation is too coarse.

    Args:
        first: The first frame as returned by `reduce`.
        second: The second frame as returned by `reduce`.

    Returns:
        x of the 16 blocks, then y, in pixels of the reduced frame.
    """
    mean, change = (first + second) / 2, second - first
    dx = cv2.Sobel(mean, cv2.CV_32F, 1, 0, scale=1 / 8)
    dy = cv2.Sobel(mean, cv2.CV_32F, 0, 1, scale=1 / 8)

    def blocks(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float64)

    xx, yy, xy = blocks(dx * dx) + _LEAST_TEXTURE, blocks(dy * dy) + _LEAST_TEXTURE, blocks(dx * dy)
    xt, yt = blocks(dx * change), blocks(dy * change)
    determinant = xx * yy - xy * xy
    x, y = xy * yt - yy * xt, xy * xt - xx * yt
    return np.stack([x / determinant, y / determinant]).reshape(-1)


def look_at(frames: Iterable[tuple[int, np.ndarray]]) -> dict[str, list[str]]:
    """Return the findings about consecutive frames, as texts by kind of finding.

    Args:
        frames: Number and grey picture `[height, width]` of each frame, in ascending order and of
            one size. Only two frames are in memory at a time.
    """
    odd: dict[str, list[str]] = defaultdict(list)
    moves: list[np.ndarray] = []
    last = None
    for number, frame in frames:
        reduced = reduce(frame)
        # The neighbours of a missing frame are not consecutive.
        if last is not None and number == last[0] + 1:
            pair = f"{last[0]}→{number}"
            if np.array_equal(last[1], frame):
                odd["same_frames"].append(pair)
            elif jump := _jump(last[2], reduced, frame.shape):
                odd["jump"].append(f"{pair} {jump}")
            moves.append(block_motion(last[2], reduced))
        last = number, frame, reduced
    if moves and (lags := alternation(np.array(moves))):
        odd["alternating"].append(tell_alternation(lags))
    return odd


def _jump(
    first: Float32[np.ndarray, "256 320"],
    second: Float32[np.ndarray, "256 320"],
    shape: tuple[int, ...],
) -> str | None:
    x, y, response = shift(first, second)
    if response < _NO_MATCH:
        return "show unrelated pictures"
    x, y = x * shape[1], y * shape[0]
    far = np.hypot(x, y) > _JUMP * min(shape)
    return f"are shifted by ({round(x):+d}, {round(y):+d}) pixels" if far else None


def tell_alternation(lags: tuple[float, float]) -> str:
    """Return a description of an alternation with these two autocorrelations."""
    return (
        f"the flow changes its sign at every frame (autocorrelation {lags[0]:.2f} at lag 1, "
        f"{lags[1]:.2f} at lag 2)"
    )
