"""HOOF: histograms of oriented optical flow."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError


def hoof(flows: Iterable[np.ndarray], bins: int) -> Float32[np.ndarray, "flow {bins}"]:
    """Distribution of the directions of each flow, weighted by magnitude (paper, section IV-A).

    The circle is cut into equal bins. The first begins at direction 0, to the right, and they go
    round clockwise as seen in the image: with 4 bins right-down, down-left, left-up, up-right. A
    direction on the edge of two belongs to the one that begins there. Unlike Chaudhry et al. (CVPR
    2009) left and right are not folded together.

    Args:
        flows: The flows of a clip, each `[height, width, 2]`: u to the right and v downwards.
        bins: Number of bins.

    Returns:
        One row a flow, which sums to 1; a flow without any motion gives zeros. The authors'
        released features sum to 1 for each flow likewise; they are stored bin by bin, so a clip is
        `[bin, flow]`.

    Raises:
        UserError: The number of bins is under 1.
    """
    if bins < 1:
        raise UserError(f"HOOF needs one bin or more, not {bins}")
    rows = [_histogram(flow, bins) for flow in flows]
    return np.array(rows, np.float32).reshape(-1, bins)


def _histogram(flow: np.ndarray, bins: int) -> np.ndarray:
    # In float64 the axes and diagonals are exactly on the edges of their bins.
    u, v = flow.reshape(-1, 2).T.astype(np.float64, order="C")
    direction = np.arctan2(v, u)  # −π…π
    index = np.floor(direction / (2 * np.pi / bins)).astype(np.intp) % bins
    weight = np.bincount(index, weights=np.sqrt(u * u + v * v), minlength=bins)
    total = weight.sum()
    return weight / total if total else weight
