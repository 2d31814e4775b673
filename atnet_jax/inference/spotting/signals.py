"""What a spotting method watches over time."""

from collections.abc import Callable
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
"""Of each part of the face: its motion in pixels, or its histogram of patterns."""

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""How far features `[..., part, feature]` are from others, `[..., part]`."""


@dataclass(frozen=True)
class Signal:
    """A video as a spotting method sees it.

    Attributes:
        features: Smoothed in time.
        reach: How many frames before and after a frame have a part in its features.
        least: No smaller contrast is an expression's.
        from_first: How the apex's search compares two frames.
        from_around: How the search for intervals does.
    """

    features: Features
    reach: int
    least: float
    from_first: Distance
    from_around: Distance


# Standard deviation of the Gaussian that smooths features in time, in seconds.
_FLOW_SMOOTHING = 0.01
_LBP_SMOOTHING = 0.015
# Least contrast: of motion twice what blinks were seen to leave, in pixels of the crop; of
# patterns more than rounding.
_FLOW_LEAST = 0.1
_LBP_LEAST = 1e-3


def signal(
    crops: UInt8[np.ndarray, "frame 224 224"], frame_rate: float, landmarks: Landmarks, method: str
) -> Signal:
    """Computes what a method watches; see `spot_apex` for the arguments.

    Raises:
        UserError: There is no frame, the frame rate is not above 0, or the method is unknown.
    """
    if method not in SPOTTERS:
        raise UserError(f"unknown spotting method {method!r}; choose one of {', '.join(SPOTTERS)}")
    if not (np.isfinite(frame_rate) and frame_rate > 0):
        raise UserError(f"expected a frame rate above 0 frames per second, found {frame_rate:g}")
    if not len(crops):
        raise UserError("a video without frames has no expression to spot; give at least one frame")
    cells, head = face_motion(crops, frame_rate, landmarks)
    if method == "flow":
        moved, reach = _smooth(cells[:, EXPRESSIVE], _FLOW_SMOOTHING * frame_rate)
        return Signal(moved, reach, _FLOW_LEAST, euclidean, euclidean)
    counts = histograms(crops, landmarks, head)
    counts, reach = _smooth(counts, _LBP_SMOOTHING * frame_rate)
    return Signal(counts, reach, _LBP_LEAST, uncorrelated, chi_squared)


def _smooth(features: Features, sigma: float) -> tuple[Features, int]:
    """Features smoothed in time by a Gaussian of `sigma` frames, and how far it reaches.

    Beyond the video its first and last frame are continued.
    """
    reach = int(np.ceil(3 * sigma))
    flat = features.reshape(len(features), -1)
    kernel = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_32F)
    blurred = cv2.filter2D(flat, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred.reshape(features.shape), reach


def euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Length of the difference."""
    return np.linalg.norm(a - b, axis=-1)


def uncorrelated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """1 - a·b / (|a| |b|)."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return 1 - (a * b).sum(axis=-1) / lengths


def chi_squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of (a - b)² / (a + b); bins that are empty in both do not count."""
    total = a + b
    return np.divide((a - b) ** 2, total, out=np.zeros_like(total), where=total > 0).sum(axis=-1)
