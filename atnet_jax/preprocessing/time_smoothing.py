"""Temporal smoothing of frames, which reduces noise and preserves slow motion."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

# In standard deviations: weights beyond are below 0.02 of the largest.
_REACH = 2.8
# Spacing of the pixels for the median: 5,625 pixels of a crop are enough.
_EVERY = 3


def reach(sigma: float) -> int:
    """Return the number of frames on each side that contribute to a smoothed frame."""
    return int(np.ceil(_REACH * sigma))


def smoothing_weights(
    numbers: Sequence[int], wanted: Sequence[int], sigma: float
) -> Float64[np.ndarray, "wanted frame"]:
    """Return the weights of the frames in each smoothed frame.

    The method is local linear regression (Cleveland, J. Am. Stat. Assoc. 1979): a straight line is
    fitted to each pixel's values over time, weighted by a Gaussian around the wanted frame, and
    evaluated there. Inside a clip this equals a Gaussian filter. At its ends, it still reproduces
    uniform motion exactly, while a filter that repeats the last frame would slow it down.

    Args:
        numbers: Numbers of the frames, ascending; gaps are allowed.
        wanted: Numbers of the frames to estimate, each among `numbers`.
        sigma: Standard deviation of the Gaussian in frames, above 0.
    """
    time = np.subtract.outer(np.asarray(wanted, np.float64), np.asarray(numbers, np.float64))
    weights = np.where(np.abs(time) <= reach(sigma), np.exp(-0.5 * (time / sigma) ** 2), 0.0)
    total, first, second = ((weights * time**power).sum(1, keepdims=True) for power in range(3))
    spread = total * second - first**2
    # A frame without neighbours stays unchanged.
    alone = spread <= 0
    line = weights * (second - first * time) / np.where(alone, 1.0, spread)
    return np.where(alone, weights / total, line)


def even_light(
    frames: Float32[np.ndarray, "frame height width"],
) -> Float32[np.ndarray, "frame height width"]:
    """Return the frames without drift of the light: each frame is divided by its gain.

    The gain is the median, over the pixels, of the ratio to the clip's mean frame. Motion hardly
    changes this median, because it makes about as many pixels brighter as darker. A flow method
    that assumes constant brightness mistakes a drift of 0.1% for motion of hundredths of a pixel.

    Args:
        frames: Grey levels.
    """
    some = frames[:, ::_EVERY, ::_EVERY].reshape(len(frames), -1)
    gains = np.median(some / np.maximum(some.mean(axis=0), 1), axis=1)
    # A black clip has a gain of 0.
    return frames / np.where(gains > 0, gains, 1).astype(np.float32)[:, None, None]


def smooth(
    frames: Float32[np.ndarray, "frame height width"],
    numbers: Sequence[int],
    wanted: Sequence[int],
    sigma: float,
) -> Float32[np.ndarray, "wanted height width"]:
    """Smooth frames in time; see `smoothing_weights`."""
    weights = smoothing_weights(numbers, wanted, sigma).astype(np.float32)
    return np.einsum("wf,fp->wp", weights, frames.reshape(len(frames), -1), optimize=True).reshape(
        -1, *frames.shape[1:]
    )
