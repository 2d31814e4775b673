"""Alternation: a camera fault that displaces odd frames against even ones.

It affects all SMIC clips in the authors' release, by 0.2 to 0.4 pixels of the face crop. The motion
between neighbouring frames then changes its sign at every frame.
"""

import numpy as np
from jaxtyping import Float, Float32

# In the ADMs of the authors' release, SMIC has -0.81 to -0.89 at lag 1 and at least 0.85 at lag 2.
# CASME II and SAMM have at least -0.02 at lag 1.
_LAG_1, _LAG_2 = -0.5, 0.5
_SHORTEST = 8
_BLOCKS = 8


def alternation(motion: Float[np.ndarray, "pair value"]) -> tuple[float, float] | None:
    """Detect frames that alternate between two positions, so that motion flips its sign each frame.

    Args:
        motion: Components of the motion between each pair of neighbouring frames.

    Returns:
        The autocorrelations of the mean-free motion at lags of one and two pairs, if the first is
        below -0.5 and the second above 0.5; otherwise, or with fewer than 8 pairs, None. Frames
        with independent noise and no motion give -0.5 and 0.
    """
    if len(motion) < _SHORTEST:
        return None
    centred = motion - motion.mean(axis=0)
    lags = []
    for lag in (1, 2):
        one, other = centred[:-lag], centred[lag:]
        power = np.sqrt((one * one).sum() * (other * other).sum())
        lags.append(float((one * other).sum() / power) if power > 0 else 0.0)
    # Doubled frames move at every other pair, which looks the same once the mean is subtracted.
    flips = (motion[1:] * motion[:-1]).sum() < 0
    return (lags[0], lags[1]) if flips and lags[0] < _LAG_1 and lags[1] > _LAG_2 else None


def alternating_part(
    flows: Float32[np.ndarray, "pair height width 2"],
) -> Float32[np.ndarray, "height width 2"] | None:
    """Estimate the part of the motion that changes its sign from pair to pair.

    The estimate is the mean of (-1)^t (2 f_t - f_(t-1) - f_(t+1)) / 4. In these second differences
    of the flows f_t, constant and linearly changing motion cancels.

    Args:
        flows: Flow between neighbouring frames in pixels, in order and without gaps.

    Returns:
        The displacement of frame 1 against frame 0 in pixels; None if `alternation` detects none.
    """
    pairs, height, width, _ = flows.shape
    blocks = flows.reshape(pairs, _BLOCKS, height // _BLOCKS, _BLOCKS, width // _BLOCKS, 2)
    if alternation(blocks.mean(axis=(2, 4), dtype=np.float64).reshape(pairs, -1)) is None:
        return None
    sign = np.where(np.arange(pairs) % 2, -1.0, 1.0)
    # The weights express that mean as a weighted sum of the flows.
    weights = 2 * sign
    weights[[0, -1]] = 0
    weights[:-2] -= sign[1:-1]
    weights[2:] -= sign[1:-1]
    weights /= 4 * (pairs - 2)
    return np.tensordot(weights.astype(np.float32), flows, axes=1)
