"""Where micro-expressions may be in a long video."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from atnet_jax.inference.spotting.apex import local_maxima
from atnet_jax.inference.spotting.regions import STANDARD_LANDMARKS
from atnet_jax.inference.spotting.signals import Features, Signal, signal
from atnet_jax.names import SPOTTERS
from atnet_jax.preprocessing.face import Landmarks

# Longest micro-expression in seconds.
_LONGEST = 0.5
# p of the threshold: how far between the mean and the largest contrast it lies.
_SHARE = 0.1
# How many robust standard deviations of the contrast its floor lies above the median.
_NOISE = 5.0
# A quarter of normally distributed values lie within this many standard deviations of the median.
_NORMAL_QUARTILE = 0.3186
# Part of the regions that counts: those that differ most (a third of the blocks of Moilanen et
# al.).
_STRONGEST = 1 / 3
# An echo is weaker than this share of what it echoes.
_ECHO = 0.5
# A flank is drawn through these shares of its height.
_LOW, _HIGH = 0.2, 0.8


@dataclass(frozen=True)
class Candidate:
    """An interval that may hold a micro-expression.

    Attributes:
        onset: Index of its first frame.
        apex: Index of its strongest.
        offset: Index of its last.
        strength: The contrast at its peak.
    """

    onset: int
    apex: int
    offset: int
    strength: float


@dataclass(frozen=True)
class Timeline:
    """What was seen in a video over time.

    Attributes:
        strength: Contrast of each frame, from 0.
        threshold: What a candidate's peak is above.
        candidates: In time.
    """

    strength: Float32[np.ndarray, " frame"]
    threshold: float
    candidates: tuple[Candidate, ...]


def spot_intervals(
    crops: UInt8[np.ndarray, "frame 224 224"],
    frame_rate: float,
    landmarks: Landmarks = STANDARD_LANDMARKS,
    method: str = SPOTTERS[0],
) -> Timeline:
    """Find rapid motions that come and go within half a second.

    Feature difference analysis (Moilanen, Zhao and Pietikäinen, ICPR 2014): each frame is compared
    with the average of the features of the frames k before and k after; the third of the regions
    that differ most are averaged to F; the contrast F[i] - (F[i-k] + F[i+k]) / 2, negative values
    set to 0, takes away what changes more slowly; its peaks above mean + p (max - mean) are
    candidates. k is half of the longest micro-expression. Steady motion, a drifting head's, is as
    far from the frame before as from the frame after and cancels.

    Such a threshold finds something in every video. So it has a floor here that comes from the
    signal's noise: the median of the contrast plus 5 robust standard deviations, negative values
    included. What they are is told by the quarter of the frames nearest to the median: where
    several expressions come in a few seconds, more than half of the frames see one of them.

    Nor does a contrast count that is no more than what a blink leaves in the skin around
    (`Signal.least`).

    A strong expression stands also in the averages that frames around it are compared with. So of
    two peaks nearer than k only the stronger counts, and within 3 k of one, as far as contrast
    reaches, those of under half its height are left out as its echoes.

    Moilanen et al. give peaks, not intervals; `_interval` tells how they are drawn here.

    Args:
        crops: The video.
        frame_rate: Frames a second.
        landmarks: Of the first frame, in pixels of the crop.
        method: `flow` (displacements, Euclidean distance) or `lbp` (patterns, χ² distance).

    Raises:
        UserError: There is no frame, the frame rate is not above 0, or the method is unknown.
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
    """Contrast of each frame's difference from the frames around it.

    Where a frame k before or after is missing, the features of the video's first or last frame
    stand in. Such a difference is too small, so the contrast is taken against the other side alone
    where one side has none better, and against both, such as they are, in videos of under 4 k.
    Smoothing in time has fewer frames to average at the video's ends, where more noise is left; the
    features there are taken to be those of the nearest frame with enough.

    Args:
        watched: The video.
        half: k, half of the longest micro-expression in frames.
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
    """Mean + p (max - mean) of Moilanen et al."""
    mean = float(strength.mean())
    return mean + _SHARE * (float(strength.max()) - mean)


def noise_floor(raw: Shaped[np.ndarray, " frame"]) -> float:
    """What the contrast does not exceed where nothing happens; see `spot_intervals`."""
    median = float(np.median(raw))
    deviation = float(np.quantile(np.abs(raw - median), 0.25)) / _NORMAL_QUARTILE
    return median + _NOISE * deviation


def _peaks(strength: np.ndarray, threshold: float, half: int) -> list[int]:
    """Peaks above the threshold, the strongest first; see `spot_intervals`."""
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
    """Onset, apex and offset around a peak of the contrast.

    The features' course is projected on what sets the peak's apart from those around it. The apex
    is its maximum near the peak. On either side lies the course's minimum within the longest
    micro-expression; a straight line through 20 and 80 % of the height between them meets the
    minimum's height where the expression begins, or ends.
    """
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
    """After how many frames a course that starts at its apex has gone down to its minimum."""
    bottom = int(course.argmin())
    height = (course[: bottom + 1] - course[bottom]) / max(course[0] - course[bottom], 1e-30)
    high, low = (int((height <= share).argmax()) for share in (_HIGH, _LOW))
    return min(bottom, round(low + (low - high) * _LOW / (_HIGH - _LOW)))


def _without_nested(found: list[Candidate]) -> tuple[Candidate, ...]:
    """Candidates in time, without those (given strongest first) whose apex is in a stronger one."""
    kept: list[Candidate] = []
    for candidate in found:
        if not any(other.onset <= candidate.apex <= other.offset for other in kept):
            kept.append(candidate)
    return tuple(sorted(kept, key=lambda candidate: candidate.apex))
