"""Spotting of the apex in a clip that is cut to one expression."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from atnet_jax.inference.spotting.regions import STANDARD_LANDMARKS
from atnet_jax.inference.spotting.signals import signal
from atnet_jax.names import SPOTTERS
from atnet_jax.preprocessing.face import Landmarks


@dataclass(frozen=True)
class Apex:
    """The frame at which a clip's expression is strongest.

    Attributes:
        index: Index of the frame, from 0.
        strength: Difference of each frame from the first. For `flow` it is the mean motion of
            brows, cheeks and mouth relative to the head, in pixels of the crop. For `lbp` it is 1
            minus the correlation of their patterns.
    """

    index: int
    strength: Float32[np.ndarray, " frame"]


def spot_apex(
    crops: Iterable[UInt8[np.ndarray, "224 224"]],
    frame_rate: float,
    landmarks: Landmarks = STANDARD_LANDMARKS,
    method: str = SPOTTERS[0],
) -> Apex:
    """Find the frame that differs most from the first frame, which is assumed to be neutral.

    `flow` selects the frame with the largest mean displacement. Integrating motion vectors of small
    regions over space and time follows Patel, Zhao and Pietikäinen (ACIVS 2015). The regions, the
    flow and the removal of head motion are this project's own.

    `lbp` compares the patterns of each frame with those of the first frame (Yan et al., ECCV
    workshops 2014), and `divide_and_conquer` finds the peak (Liong et al., ACPR 2015). Unlike the
    published regions, these exclude the eyes, so that blinks have no effect.

    Args:
        crops: Face crops from onset to offset, in order. They are read once.
        frame_rate: Frames per second.
        landmarks: Landmarks of the first frame, in pixels of the crop.
        method: "flow" or "lbp".

    Returns:
        The apex and the strength of each frame.

    Raises:
        UserError: `crops` is empty, `frame_rate` is not above 0, or `method` is unknown.
    """
    watched = signal(crops, frame_rate, landmarks, method)
    parts = watched.from_first(watched.features, watched.features[:1])
    strength = parts.mean(axis=1).astype(np.float32)
    search = divide_and_conquer if method == "lbp" else np.argmax
    return Apex(int(search(strength)), strength)


def divide_and_conquer(strength: Shaped[np.ndarray, " frame"]) -> int:
    """Return the index of the peak found by halving, or of the maximum if no value is a peak.

    While more than one peak remains, the frames are halved and the half whose peaks have the larger
    sum is kept, or the earlier half if the sums are equal (Liong et al., ACPR 2015).

    Args:
        strength: Difference of each frame from the first.
    """
    peaks = local_maxima(strength)
    if not len(peaks):
        return int(strength.argmax())
    start, stop = 0, len(strength)
    while len(peaks) > 1:
        middle = (start + stop) // 2
        early, late = peaks[peaks < middle], peaks[peaks >= middle]
        if strength[early].sum() >= strength[late].sum():
            peaks, stop = early, middle
        else:
            peaks, start = late, middle
    return int(peaks[0])


def local_maxima(values: Shaped[np.ndarray, " frame"]) -> Shaped[np.ndarray, " peak"]:
    """Return the indices of local maxima, and of the first value of each plateau.

    The first and the last value never count as peaks.

    Args:
        values: One value per frame.
    """
    rises = np.diff(values) > 0
    changes = np.flatnonzero(np.diff(values))
    return np.array(
        [
            before + 1
            for before, after in itertools.pairwise(changes)
            if rises[before] and not rises[after]
        ],
        int,
    )
