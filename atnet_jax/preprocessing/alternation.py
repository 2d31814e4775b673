"""Even and odd frames that lie apart: a camera's fault that shows as motion flipping its sign.

All clips of SMIC in the authors' release have it, by 0.2 to 0.4 pixels of the face crop.
"""

import numpy as np
from jaxtyping import Float, Float32

# In the ADMs of the authors' release lag 1 is -0.81 to -0.89 and lag 2 is 0.85 or more in SMIC, and
# lag 1 is -0.02 or more in CASME II and SAMM.
_LAG_1, _LAG_2 = -0.5, 0.5
_SHORTEST = 8
_BLOCKS = 8


def alternation(motion: Float[np.ndarray, "pair value"]) -> tuple[float, float] | None:
    """Whether the frames alternate between two positions: motion flips its sign at every frame.

    Args:
        motion: Components of the motion of each pair of neighbouring frames.

    Returns:
        The autocorrelation of the motion at a lag of one and of two pairs, values' means taken
        off, if the first is below -0.5 and the second above 0.5; None if not, or if there are
        fewer than 8 pairs. Noise in the frames alone gives -0.5 and 0.
    """
    if len(motion) < _SHORTEST:
        return None
    centred = motion - motion.mean(axis=0)
    lags = []
    for lag in (1, 2):
        one, other = centred[:-lag], centred[lag:]
        power = np.sqrt((one * one).sum() * (other * other).sum())
        lags.append(float((one * other).sum() / power) if power > 0 else 0.0)
    # Doubled frames move at every other pair, which looks alike once the mean is taken off.
    flips = (motion[1:] * motion[:-1]).sum() < 0
    return (lags[0], lags[1]) if flips and lags[0] < _LAG_1 and lags[1] > _LAG_2 else None


def alternating_part(
    flows: Float32[np.ndarray, "pair height width 2"],
) -> Float32[np.ndarray, "height width 2"] | None:
    """The motion that changes its sign from pair to pair, as the first pair has it.

    Found in the flows' second differences, in which steady and evenly changing motion cancels:
    the mean of (-1)^t (2 f_t - f_(t-1) - f_(t+1)) / 4.

    Args:
        flows: Flow between neighbouring frames, in order and without a gap.

    Returns:
        The flow that frame 1 is displaced by against frame 0, in pixels; None where `alternation`
        finds none, or there are fewer than 8 pairs.
    """
    pairs, height, width, _ = flows.shape
    blocks = flows.reshape(pairs, _BLOCKS, height // _BLOCKS, _BLOCKS, width // _BLOCKS, 2)
    if alternation(blocks.mean(axis=(2, 4), dtype=np.float64).reshape(pairs, -1)) is None:
        return None
    sign = np.where(np.arange(pairs) % 2, -1.0, 1.0)
    # The same mean as a weighted sum of the flows.
    weights = 2 * sign
    weights[[0, -1]] = 0
    weights[:-2] -= sign[1:-1]
    weights[2:] -= sign[1:-1]
    weights /= 4 * (pairs - 2)
    return np.tensordot(weights.astype(np.float32), flows, axes=1)
