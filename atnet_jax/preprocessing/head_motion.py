"""The head's own motion, which an expression's is to be told from."""

import numpy as np
from jaxtyping import Float32, Float64

_ROUNDS = 10
# Every how many pixels the fit looks at the flow, which is smooth.
_STEP = 4


def rigid_part(
    flow: Float32[np.ndarray, "height width 2"],
) -> Float32[np.ndarray, "height width 2"]:
    """The flow, in pixels, of the shift, rotation and scaling that most of a face's flow follows.

    A similarity, u = a + s·x - r·y and v = b + r·x + s·y, fitted by iteratively reweighted least
    squares with Geman and McClure's weights; their scale is the median residual of the round
    before. What an expression moves are outliers. The flow decides, no landmarks: they are found to
    a pixel at best.
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
    """The flows of a shift right, a shift down, scaling by one and rotation by one."""
    one, zero = np.ones_like(x, np.float64), np.zeros_like(x, np.float64)
    return np.stack(
        [np.stack([one, zero, x, -y], axis=-1), np.stack([zero, one, y, x], axis=-1)], axis=-2
    )
