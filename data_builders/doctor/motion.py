"""Motion between neighbouring frames, as far as a check-up must know it."""

from collections import defaultdict
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from atnet_jax.preprocessing.alternation import alternation

# Enough for motions of a tenth of a pixel in frames of 640×480. Both, and their halves, are
# products of small primes: cv2.phaseCorrelate would pad other sizes, and take that for a shift.
WIDTH, HEIGHT = 320, 256
# Part of the frame's shorter side: 7 pixels of 480, 3 of a face's 224. In 1/100 s no block of an
# ADM of the authors' release moves by more than 1.5 of 224, and shifts are exact to 0.005.
_JUMP = 0.015
# Neighbouring frames have about 0.95, unrelated pictures 0.1 and less.
_NO_MATCH = 0.25
_GRID = 4
# Grey levels squared per pixel; keeps a block without texture from being taken for motion.
_LEAST_TEXTURE = 0.1


def reduce(frame: UInt8[np.ndarray, "height width"]) -> Float32[np.ndarray, "256 320"]:
    """The whole frame at the size that motion is looked for in."""
    return cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)


def shift(
    first: Float32[np.ndarray, "256 320"], second: Float32[np.ndarray, "256 320"]
) -> tuple[float, float, float]:
    """How far the whole picture moved, by phase correlation.

    Returns:
        x and y as parts of the frame's width and height, and the response: about 1 for the same
        picture at another place, about 0 for pictures that have nothing to do with each other.
    """
    # Every frequency counts alike, and the highest of blurred or enlarged frames are but noise.
    size = WIDTH // 2, HEIGHT // 2
    one, other = (
        cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (first, second)
    )
    (x, y), response = cv2.phaseCorrelate(one, other, cv2.createHanningWindow(size, cv2.CV_32F))
    return x / size[0], y / size[1], response


def block_motion(
    first: Float32[np.ndarray, "256 320"], second: Float32[np.ndarray, "256 320"]
) -> Float[np.ndarray, "32"]:
    """Mean motion in 4×4 blocks, in pixels of the reduced frame, for motions below a pixel.

    One step of Lucas and Kanade's method (1981) with a block as its window: made for hundredths of
    a pixel, where phase correlation is too coarse.
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
    """What is odd from frame to frame, as texts by kind of finding.

    Args:
        frames: Number and grey picture `[height, width]` of each frame, ascending, of one size. Two
            are held at a time.
    """
    odd: dict[str, list[str]] = defaultdict(list)
    moves: list[np.ndarray] = []
    last = None
    for number, frame in frames:
        reduced = reduce(frame)
        # Where a frame is lost, its neighbours are no pair.
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
        return "do not match at all"
    x, y = x * shape[1], y * shape[0]
    far = np.hypot(x, y) > _JUMP * min(shape)
    return f"by ({round(x):+d}, {round(y):+d}) pixels" if far else None


def tell_alternation(lags: tuple[float, float]) -> str:
    """What was found, for the user."""
    return (
        f"the flow flips its sign at every frame (autocorrelation {lags[0]:.2f} at lag 1, "
        f"{lags[1]:.2f} at lag 2)"
    )
