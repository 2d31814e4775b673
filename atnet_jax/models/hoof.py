"""HOOF and an SVM: histograms of oriented optical flow. The paper's second baseline.

The paper uses 4 and 8 bins. Its released features come from 9 flows ("TIM 10": 10 frames) and from
64 flows ("TIM 64": 65 frames).
"""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.preprocessing.flow_shape import check_flow
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
        bins: Number of direction bins over the whole circle.
        length: Number of frames to which every clip is interpolated; there is one flow fewer.
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
    """Compute each flow's distribution of directions, weighted by magnitude (paper, section IV-A).

    The circle is divided into equal bins. The first begins at direction 0, to the right, and the
    following bins are clockwise as seen in the image. With 4 bins, they are right-down, down-left,
    left-up, up-right. A direction on an edge belongs to the bin that begins there. Unlike Chaudhry
    et al. (CVPR 2009), left and right are not folded together.

    Args:
        flows: The flows of a clip, each `[height, width, 2]`: u to the right and v downwards.
        bins: Number of bins.

    Returns:
        One row per flow, which sums to 1, or is zero for a flow without any motion. The authors'
        released features also sum to 1 for each flow; they are stored bin by bin, as `[bin, flow]`.

    Raises:
        UserError: There are no bins, or an entry of `flows` is not a flow.
    """
    if bins < 1:
        raise UserError(f"bins is {bins}, expected 1 or more.")
    rows = [_histogram(flow, bins) for flow in flows]
    return np.array(rows, np.float32).reshape(-1, bins)


def _histogram(flow: np.ndarray, bins: int) -> np.ndarray:
    check_flow(flow)
    # In float64, axes and diagonals lie exactly on the edges of their bins.
    u, v = flow.reshape(-1, 2).T.astype(np.float64, order="C")
    direction = np.arctan2(v, u)  # −π…π
    index = np.floor(direction / (2 * np.pi / bins)).astype(np.intp) % bins
    weight = np.bincount(index, weights=np.sqrt(u * u + v * v), minlength=bins)
    total = weight.sum()
    return weight / total if total else weight
