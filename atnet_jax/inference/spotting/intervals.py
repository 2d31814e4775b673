"""Spotting of intervals that may contain micro-expressions in a long video."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from atnet_jax.inference.spotting.apex import local_maxima
from atnet_jax.inference.spotting.regions import STANDARD_LANDMARKS
from atnet_jax.inference.spotting.signals import Features, Signal, signal
from atnet_jax.names import SPOTTERS
from atnet_jax.preprocessing.face import Landmarks

# Duration of the longest micro-expression in seconds.
_LONGEST = 0.5
# p of the threshold: its position between the mean (0) and the largest contrast (1).
_SHARE = 0.1
# Distance of the noise floor from the median of the contrast, in robust standard deviations.
_NOISE = 5.0
# A quarter of normally distributed values lie within this many standard deviations of the median.
_NORMAL_QUARTILE = 0.3186
# Fraction of the regions that counts: those that differ most (a third, as in Moilanen et al.).
_STRONGEST = 1 / 3
# An echo has less than this fraction of the original peak's contrast.
_ECHO = 0.5
# The line that replaces a flank passes through these fractions of its height.
_LOW, _HIGH = 0.2, 0.8


@dataclass(frozen=True)
class Candidate:
    """An interval that may contain a micro-expression.

    Attributes:
        onset: Index of the first frame.
        apex: Index of the strongest frame.
        offset: Index of the last frame.
        strength: Contrast at the peak.
    """

    onset: int
    apex: int
    offset: int
    strength: float


@dataclass(frozen=True)
class Timeline:
    """Contrast of a video over time, with the candidates found in it.

    Attributes:
        strength: Contrast of each frame; negative values are set to 0.
        threshold: Value that the peak of each candidate exceeds.
        candidates: Candidates in order of time.
    """

    strength: Float32[np.ndarray, " frame"]
    threshold: float
    candidates: tuple[Candidate, ...]


def spot_intervals(
    crops: Iterable[UInt8[np.ndarray, "224 224"]],
    frame_rate: float,
    landmarks: Landmarks = STANDARD_LANDMARKS,
    method: str = SPOTTERS[0],
) -> Timeline:
    """Find rapid motions that appear and disappear within half a second.

    The method is feature difference analysis (Moilanen, Zhao and Pietikäinen, ICPR 2014). Each
    frame is compared with the average of the features k frames before and k frames after, where k
    is half of the longest micro-expression. F is the mean difference of the third of the regions
    that differ most. The contrast F[i] - (F[i-k] + F[i+k]) / 2, with negative values set to 0,
    suppresses slower changes. Its peaks above mean + p (max - mean) are candidates. Steady motion,
    such as that of a drifting head, cancels.

    The published threshold finds a candidate in every video. Here the threshold is therefore at
    least a noise floor: the median of the contrast, negative values included, plus 5 robust
    standard deviations. These are estimated from the quarter of the frames nearest to the median,
    because several expressions within a few seconds affect more than half of the frames.

    The threshold is also at least `Signal.least`, the contrast that a blink leaves in the
    surrounding skin.

    A strong expression also enters the averages that its neighbouring frames are compared with. Of
    two peaks nearer than k, only the stronger counts. Within 3 k of a peak, peaks of less than half
    its height are dropped as echoes.

    Moilanen et al. define peaks but no intervals; `_interval` defines the intervals used here.

    Args:
        crops: Face crops of the video, in order. They are read once.
        frame_rate: Frames per second.
        landmarks: Landmarks of the first frame, in pixels of the crop.
        method: "flow" (displacements, Euclidean distance) or "lbp" (patterns, χ² distance).

    Returns:
        The contrast of each frame, the threshold and the candidates.

    Raises:
        UserError: `crops` is empty, `frame_rate` is not above 0, or `method` is unknown.
    """
    watched = signal(crops, frame_rate, landmarks, method)
    half = max(1, round(_LONGEST * frame_rate / 2))
    raw = contrast(watched, half)
    strength = np.maximum(raw, 0)
    threshold = max(relative_threshold(strength), noise_floor(raw), watched.least)
    found = [
        _interval(watched.features, peak, half, float(strength[peak]))
        for peak in _peaks(strength, threshold, half)
    ]
    return Timeline(strength, threshold, _without_nested(found))


def contrast(watched: Signal, half: int) -> Float32[np.ndarray, " frame"]:
    """Return the contrast of each frame with its surroundings; see `spot_intervals`.

    If the frame k before or after lies outside the video, the features of the first or last frame
    replace it. The resulting difference is too small, so the contrast then uses the other side
    only, or both sides in videos of less than 4 k frames. Smoothing in time averages fewer frames
    at the ends of the video and leaves more noise. The features there are copied from the nearest
    fully smoothed frame.

    Args:
        watched: The video.
        half: k, half of the longest micro-expression, in frames.
    """
    last = len(watched.features) - 1
    frames = np.arange(last + 1)
    margin = min(watched.reach, last // 2)
    features = watched.features[np.clip(frames, margin, last - margin)]
    before, after = np.maximum(frames - half, 0), np.minimum(frames + half, last)
    parts = watched.from_around(features, (features[before] + features[after]) / 2)
    count = max(1, round(_STRONGEST * parts.shape[1]))
    difference = np.sort(parts, axis=1)[:, -count:].mean(axis=1)
    early, late = before < half, after > last - half
    surroundings = np.where(early & ~late, after, before), np.where(late & ~early, before, after)
    return (difference - difference[np.stack(surroundings)].mean(axis=0)).astype(np.float32)


def relative_threshold(strength: Shaped[np.ndarray, " frame"]) -> float:
    """Return mean + p (max - mean), the threshold of Moilanen et al. (ICPR 2014)."""
    mean = float(strength.mean())
    return mean + _SHARE * (float(strength.max()) - mean)


def noise_floor(raw: Shaped[np.ndarray, " frame"]) -> float:
    """Return the largest contrast to expect from noise alone; see `spot_intervals`."""
    median = float(np.median(raw))
    deviation = float(np.quantile(np.abs(raw - median), 0.25)) / _NORMAL_QUARTILE
    return median + _NOISE * deviation


def _peaks(strength: np.ndarray, threshold: float, half: int) -> list[int]:
    """Return the peaks above the threshold without echoes, strongest first."""
    peaks = [int(peak) for peak in local_maxima(strength) if strength[peak] > threshold]
    kept: list[int] = []
    for peak in sorted(peaks, key=lambda index: -strength[index]):
        if not any(_overshadows(strength, other, peak, half) for other in kept):
            kept.append(peak)
    return kept


def _overshadows(strength: np.ndarray, stronger: int, peak: int, half: int) -> bool:
    distance = abs(stronger - peak)
    echo = strength[peak] < _ECHO * strength[stronger]
    return bool(distance < half or (echo and distance <= 3 * half))


def _interval(features: Features, peak: int, half: int, strength: float) -> Candidate:
    """Determine onset, apex and offset around a peak of the contrast."""
    # The features are projected on the difference between the peak and its surroundings. The apex
    # is the maximum of this course near the peak. On each side, the minimum is sought within the
    # longest micro-expression. The onset or offset is where a straight line through 20 and 80 % of
    # the flank's height reaches the height of the minimum.
    before, after = max(peak - half, 0), min(peak + half, len(features) - 1)
    around = (features[before] + features[after]) / 2
    start, stop = max(peak - 3 * half, 0), min(peak + 3 * half + 1, len(features))
    course = np.tensordot(features[start:stop], features[peak] - around, axes=2)
    low, high = max(peak - half // 2, 0), min(peak + half // 2 + 1, len(features))
    apex = low + int(course[low - start : high - start].argmax())
    rise = course[max(apex - 2 * half, start) - start : apex - start + 1]
    fall = course[apex - start : min(apex + 2 * half + 1, stop) - start]
    return Candidate(
        onset=apex - _flank(rise[::-1]), apex=apex, offset=apex + _flank(fall), strength=strength
    )


def _flank(course: np.ndarray) -> int:
    """Return the number of frames from the apex, where the course starts, to its foot."""
    bottom = int(course.argmin())
    height = (course[: bottom + 1] - course[bottom]) / max(course[0] - course[bottom], 1e-30)
    high, low = (int((height <= share).argmax()) for share in (_HIGH, _LOW))
    return min(bottom, round(low + (low - high) * _LOW / (_HIGH - _LOW)))


def _without_nested(found: list[Candidate]) -> tuple[Candidate, ...]:
    """Drop candidates whose apex lies in a stronger one (`found` starts with the strongest)."""
    kept: list[Candidate] = []
    for candidate in found:
        if not any(other.onset <= candidate.apex <= other.offset for other in kept):
            kept.append(candidate)
    return tuple(sorted(kept, key=lambda candidate: candidate.apex))
