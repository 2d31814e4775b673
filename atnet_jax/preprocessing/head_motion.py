"""Estimation of rigid head motion, to separate it from the motion of an expression."""

import numpy as np
from jaxtyping import Float32, Float64

_ROUNDS = 10
# Spacing of the pixels used by the fit; the flow is smooth, so this is sufficient.
_STEP = 4


def rigid_part(
    flow: Float32[np.ndarray, "height width 2"],
) -> Float32[np.ndarray, "height width 2"]:
    """Return the flow of the shift, rotation and scaling that most of a face's flow follows.

    The similarity u = a + s·x - r·y, v = b + r·x + s·y is fitted by iteratively reweighted least
    squares with Geman and McClure's weights, scaled by the median residual of the previous round.
    Pixels that an expression moves are outliers. The fit uses no landmarks, because these are
    accurate to a pixel at best.

    Args:
        flow: u and v of each pixel, in pixels.
    """
    height, width, _ = flow.shape
    rows = np.arange(_STEP // 2, height, _STEP)
    columns = np.arange(_STEP // 2, width, _STEP)
    y, x = np.meshgrid(rows - height / 2, columns - width / 2, indexing="ij")
    target = flow[np.ix_(rows, columns)].reshape(-1, 2).astype(np.float64)
    basis = similarities(x.ravel(), y.ravel())
    weights = np.ones(len(target))
    found = np.zeros(4)
    for _ in range(_ROUNDS):
        weighted = weights[:, None, None] * basis
        found = np.linalg.lstsq(
            np.einsum("pca,pcb->ab", weighted, basis),
            np.einsum("pca,pc->a", weighted, target),
            rcond=None,
        )[0]
        squared = ((target - basis @ found) ** 2).sum(axis=1)
        scale = np.median(squared)
        if scale == 0:
            break
        weights = 1 / (1 + squared / scale) ** 2
    y, x = np.mgrid[:height, :width]
    return (similarities(x - width / 2, y - height / 2) @ found).astype(np.float32)


def similarities(x: np.ndarray, y: np.ndarray) -> Float64[np.ndarray, "*pixels 2 4"]:
    """Return the flows of a unit shift to the right and down, of unit scaling and unit rotation."""
    one, zero = np.ones_like(x, np.float64), np.zeros_like(x, np.float64)
    return np.stack(
        [np.stack([one, zero, x, -y], axis=-1), np.stack([zero, one, y, x], axis=-1)], axis=-2
    )
