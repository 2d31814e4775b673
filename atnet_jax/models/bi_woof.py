"""Bi-WOOF and an SVM: bi-weighted oriented optical flow from onset to apex. 200 features.

Blocks, bins and weights follow the authors' released code.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.preprocessing.flow_map import optical_strain
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.published import Published

INPUTS = ("flow",)
TITLE = "Bi-WOOF"
SOURCE = (
    "Liong, See, Wong, Phan: Less Is More: Micro-expression Recognition from Video Using Apex"
    " Frame, Signal Processing: Image Communication 62, 2018"
)
PUBLISHED = Published(
    cde={
        "full": (0.630, 0.623),
        "smic": (0.573, 0.583),
        "casme2": (0.781, 0.803),
        "samm": (0.521, 0.514),
    },
    note="as printed with STSTNet (FG 2019).",
)
DEVIATIONS = (
    "The flow comes from the prepared data instead of TV-L1, on a face crop of 224×224 pixels"
    " instead of 170×140.",
    "Derivatives of the strain are central differences, as in the flow maps; other code of the same"
    " group uses backward differences.",
    "C = 10,000 of the linear SVM is the value commonly reported for this method; the released code"
    " does not include the SVM.",
)


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Flow from onset to apex → `bins` features for each block.

    Attributes:
        blocks: Number of blocks along each side of the picture.
        bins: Number of direction bins over the whole circle.
    """

    blocks: int = 5
    bins: int = 8

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.flow is not None, "named in INPUTS"
        return bi_woof(clip.flow, self.blocks, self.bins)

    def size(self) -> int:
        return self.blocks**2 * self.bins

    def machine(self) -> Any:
        """Return a linear SVM; the features have length 1 and are not standardised."""
        from sklearn.svm import SVC

        return SVC(C=10_000.0, kernel="linear", decision_function_shape="ovo")


def bi_woof(
    flow: Float32[np.ndarray, "height width 2"], blocks: int = 5, bins: int = 8
) -> Float32[np.ndarray, " feature"]:
    """Compute histograms of flow directions, weighted by magnitude locally and by strain globally.

    This follows Liong, See, Wong and Phan (Signal Processing: Image Communication 2018) and their
    released code. Each block has a histogram of the direction atan2(v, u), in which every pixel
    counts with its magnitude. The histogram is divided by its sum and multiplied by the block's sum
    of optical strain. The concatenated histograms are then scaled to length 1. The histogram of a
    block without motion is zero.

    Args:
        flow: Flow from onset to apex: u to the right and v downwards, in pixels.
        blocks: Number of blocks along each side of the picture; see `overlapping_slices`.
        bins: Number of equal bins of the circle. The first begins at -180°, to the left. The
            following bins are clockwise as seen in the image: up, right, down. 180° counts as
            -180°.

    Returns:
        `bins` values for each block, row by row; all zero without any motion.

    Raises:
        UserError: The picture has fewer rows or columns than `blocks`.
    """
    u, v = flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64)
    # In float64 the axes and diagonals are exactly on the edges of their bins.
    direction = np.floor((np.arctan2(v, u) + np.pi) / (2 * np.pi / bins)).astype(np.intp) % bins
    magnitude = np.hypot(u, v)
    strain = optical_strain(flow)
    features = []
    for rows in overlapping_slices(flow.shape[0], blocks):
        for columns in overlapping_slices(flow.shape[1], blocks):
            block = rows, columns
            histogram = np.bincount(
                direction[block].ravel(), weights=magnitude[block].ravel(), minlength=bins
            )
            total = histogram.sum()
            weight = strain[block].sum(dtype=np.float64) / total if total else 0.0
            features.append(histogram * weight)
    whole = np.concatenate(features)
    norm = np.linalg.norm(whole)
    return (whole / norm if norm else whole).astype(np.float32)


def overlapping_slices(size: int, count: int) -> list[slice]:
    """Return the blocks of the released code along one axis.

    Blocks have ⌊size / count⌋ pixels. Each block but the first begins one pixel earlier and each
    but the last ends one pixel later, so neighbours share two pixels. The last extends to the end.

    Args:
        size: Number of rows or columns.
        count: Number of blocks.

    Raises:
        UserError: `count` is not in 1…`size`.
    """
    if not 1 <= count <= size:
        raise UserError(
            f"{size} pixels cannot be divided into {count} blocks. Choose 1 to {size} blocks."
        )
    share = size // count
    return [
        slice(max(k * share - 1, 0), size if k == count - 1 else (k + 1) * share + 1)
        for k in range(count)
    ]
