"""HOOF and an SVM: histograms of oriented optical flow. The paper's second baseline.

The paper has 4 and 8 bins; its released features are those of 9 flows ("TIM 10": 10 frames) and of
64 ("TIM 64": 65).
"""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32

from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.values import whole

INPUTS = ("frames",)
TITLE = "HOOF"
SOURCE = (
    "Chaudhry, Ravichandran, Hager, Vidal: Histograms of Oriented Optical Flow and Binet-Cauchy"
    " Kernels on Nonlinear Dynamical Systems for the Recognition of Human Actions, CVPR 2009"
)
PRESETS = {
    f"hoof_n{bins}_tim{tim}": ({"bins": bins, "length": length}, f"HOOF N={bins} TIM {tim}")
    for tim, length in ((10, 10), (64, 65))
    for bins in (4, 8)
}


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Frames around the apex → `bins` features for each of the flows between adjacent frames.

    Attributes:
        bins: Of direction, over the whole circle.
        length: Frames that every clip is interpolated to; the flows are one fewer.
        interpolation: "tim" or "linear".
    """

    bins: int = 4
    length: Annotated[int, whole(2, 1000)] = 10
    interpolation: Literal["tim", "linear"] = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None
        frames = interpolate_frames(flow.smooth(clip.frames), self.length, self.interpolation)
        frames = frames.astype(np.float32)
        return hoof(flow.solve(frames[:-1], frames[1:]), self.bins).ravel()

    def size(self) -> int:
        return self.bins * (self.length - 1)


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
    """
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
