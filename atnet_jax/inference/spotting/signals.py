"""Signals over time that the spotting methods search."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError
from atnet_jax.inference.spotting.motion import face_motion
from atnet_jax.inference.spotting.patterns import histograms
from atnet_jax.inference.spotting.regions import EXPRESSIVE
from atnet_jax.names import SPOTTERS
from atnet_jax.preprocessing.face import Landmarks

Features = Float32[np.ndarray, "frame part feature"]
"""Features of each part of the face: its motion in pixels or its histogram of patterns."""

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Distance between two arrays of features `[..., part, feature]`, as `[..., part]`."""


@dataclass(frozen=True)
class Signal:
    """Features of a video and the distances with which a spotting method compares them.

    Attributes:
        features: Features, smoothed in time.
        reach: Number of frames before and after a frame that its smoothed features depend on.
        least: Smallest contrast that counts as an expression.
        from_first: Distance used to find the apex.
        from_around: Distance used to find intervals.
    """

    features: Features
    reach: int
    least: float
    from_first: Distance
    from_around: Distance


# Standard deviation of the Gaussian that smooths features in time, in seconds.
_FLOW_SMOOTHING = 0.01
_LBP_SMOOTHING = 0.015
# Smallest contrast of an expression. For motion, in pixels of the crop, it is twice the contrast
# that blinks left in tests. For patterns it only exceeds rounding errors.
_FLOW_LEAST = 0.1
_LBP_LEAST = 1e-3


def signal(
    crops: Iterable[UInt8[np.ndarray, "224 224"]],
    frame_rate: float,
    landmarks: Landmarks,
    method: str,
) -> Signal:
    """Compute the signal that a spotting method searches.

    Args:
        crops: Face crops of the video, in order. They are read once, half a second at a time.
        frame_rate: Frames per second.
        landmarks: Landmarks of the first frame, in pixels of the crop.
        method: "flow" or "lbp".

    Returns:
        The smoothed features and the distances of the method.

    Raises:
        UserError: `crops` is empty, `frame_rate` is not above 0, or `method` is unknown.
    """
    if method not in SPOTTERS:
        raise UserError(f"Unknown spotting method {method!r}. Choose one of {', '.join(SPOTTERS)}.")
    if not (np.isfinite(frame_rate) and frame_rate > 0):
        raise UserError(
            f"The frame rate is {frame_rate:g}, expected a number above 0, in frames per second."
        )
    parts = []
    for part in face_motion(crops, frame_rate, landmarks):
        if method == "flow":
            parts.append(part.cells[:, EXPRESSIVE])
        else:
            parts.append(histograms(part.crops, landmarks, part.head))
    if not parts:
        raise UserError("The video has no frames. Spotting needs at least one.")
    features = np.concatenate(parts)
    if method == "flow":
        moved, reach = _smooth(features, _FLOW_SMOOTHING * frame_rate)
        return Signal(moved, reach, _FLOW_LEAST, euclidean, euclidean)
    counts, reach = _smooth(features, _LBP_SMOOTHING * frame_rate)
    return Signal(counts, reach, _LBP_LEAST, uncorrelated, chi_squared)


def _smooth(features: Features, sigma: float) -> tuple[Features, int]:
    """Return features smoothed in time by a Gaussian of `sigma` frames, and its reach in frames."""
    reach = int(np.ceil(3 * sigma))
    flat = features.reshape(len(features), -1)
    kernel = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_32F)
    blurred = cv2.filter2D(flat, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred.reshape(features.shape), reach


def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of features `[..., part, feature]`, as `[..., part]`."""
    return np.linalg.norm(a - b, axis=-1)


def uncorrelated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return 1 - a·b / (|a| |b|) of features `[..., part, feature]`, as `[..., part]`."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return 1 - (a * b).sum(axis=-1) / lengths


def chi_squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the sum over bins of (a - b)² / (a + b); bins that are empty in both do not count."""
    total = a + b
    return np.divide((a - b) ** 2, total, out=np.zeros_like(total), where=total > 0).sum(axis=-1)
