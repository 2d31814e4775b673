"""The apex of a clip that is cut to one expression."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from atnet_jax.inference.spotting.regions import STANDARD_LANDMARKS
from atnet_jax.inference.spotting.signals import signal
from atnet_jax.names import SPOTTERS
from atnet_jax.preprocessing.face import Landmarks


@dataclass(frozen=True)
class Apex:
    """Where a clip's expression is strongest.

    Attributes:
        index: Of the frame, counted from 0.
        strength: How far each frame is from the first: with `flow` the mean motion of brows, cheeks
            and mouth against the head, in pixels of the crop; with `lbp` 1 less the correlation of
            their patterns.
    """

    index: int
    strength: Float32[np.ndarray, " frame"]


def spot_apex(
    crops: UInt8[np.ndarray, "frame 224 224"],
    frame_rate: float,
    landmarks: Landmarks = STANDARD_LANDMARKS,
    method: str = SPOTTERS[0],
) -> Apex:
    """Find the frame that differs most from the first, which is taken for neutral.

    `flow`: the frame of the largest mean displacement. That motion vectors of small regions are
    integrated over space and time is after Patel, Zhao and Pietikäinen (ACIVS 2015); the regions,
    the flow and the way the head's motion is taken out are this project's.

    `lbp`: patterns of each frame are compared with the first frame's (Yan et al., ECCV workshops
    2014), and `divide_and_conquer` searches the course for its peak (Liong et al., ACPR 2015).
    The published regions hold the eyes; here they are left out, for the sake of blinks.

    Args:
        crops: The clip, from onset to offset.
        frame_rate: Frames a second.
        landmarks: Of the first frame, in pixels of the crop.
        method: `flow` or `lbp`.

    Raises:
        UserError: There is no frame, the frame rate is not above 0, or the method is unknown.
    """
    watched = signal(crops, frame_rate, landmarks, method)
    parts = watched.from_first(watched.features, watched.features[:1])
    strength = parts.mean(axis=1).astype(np.float32)
    search = divide_and_conquer if method == "lbp" else np.argmax
    return Apex(int(search(strength)), strength)


def divide_and_conquer(strength: Shaped[np.ndarray, " frame"]) -> int:
    """Index of the peak found by halving, or of the largest value where there is none.

    As long as there is more than one peak, the frames are halved and the half kept whose peaks have
    the larger sum, the earlier one if they are equal (Liong et al., ACPR 2015).
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
    """Indices of the values that both neighbours are below; of a plateau its first.

    The first and the last value are no peaks.
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
