"""Smoothing of a clip's frames in time, which takes noise away and leaves slow motion."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

# Weights beyond are under 0.02 of the largest.
_REACH = 2.8
# Enough pixels for a median: 5,625 of a crop.
_EVERY = 3


def reach(sigma: float) -> int:
    """How many frames on each side have a part in a smoothed frame."""
    return int(np.ceil(_REACH * sigma))


def smoothing_weights(
    numbers: Sequence[int], wanted: Sequence[int], sigma: float
) -> Float64[np.ndarray, "wanted frame"]:
    """Weights of the frames in each smoothed frame.

    A straight line is fitted to each pixel's course, weighted by a Gaussian around the wanted
    frame, and read there (local linear regression: Cleveland, J. Am. Stat. Assoc. 1979). Inside a
    clip that is a Gaussian filter; at its ends, where frames lie to one side only, it still gives
    steady motion exactly, where a filter that continues the last frame would slow it down.

    Args:
        numbers: Numbers of the frames, ascending; gaps are allowed.
        wanted: Numbers of the frames to estimate, each among `numbers`.
        sigma: Standard deviation of the Gaussian in frames, above 0.
    """
    time = np.subtract.outer(np.asarray(wanted, np.float64), np.asarray(numbers, np.float64))
    weights = np.where(np.abs(time) <= reach(sigma), np.exp(-0.5 * (time / sigma) ** 2), 0.0)
    total, first, second = ((weights * time**power).sum(1, keepdims=True) for power in range(3))
    spread = total * second - first**2
    # A frame without neighbours stays as it is.
    alone = spread <= 0
    line = weights * (second - first * time) / np.where(alone, 1.0, spread)
    return np.where(alone, weights / total, line)


def even_light(
    frames: Float32[np.ndarray, "frame height width"],
) -> Float32[np.ndarray, "frame height width"]:
    """Frames whose light no longer drifts: each is divided by its gain against the clip's mean.

    The gain is the median over the pixels of their ratio to the mean frame, because what moves
    makes as many pixels brighter as darker. A flow that takes brightness for constant mistakes a
    drift of a thousandth for motion of hundredths of a pixel.
    """
    some = frames[:, ::_EVERY, ::_EVERY].reshape(len(frames), -1)
    gains = np.median(some / np.maximum(some.mean(axis=0), 1), axis=1)
    # A black clip has no light to even out.
    return frames / np.where(gains > 0, gains, 1).astype(np.float32)[:, None, None]


def smooth(
    frames: Float32[np.ndarray, "frame height width"],
    numbers: Sequence[int],
    wanted: Sequence[int],
    sigma: float,
) -> Float32[np.ndarray, "wanted height width"]:
    """Frames smoothed in time; see `smoothing_weights`."""
    weights = smoothing_weights(numbers, wanted, sigma).astype(np.float32)
    return np.einsum("wf,fp->wp", weights, frames.reshape(len(frames), -1), optimize=True).reshape(
        -1, *frames.shape[1:]
    )
