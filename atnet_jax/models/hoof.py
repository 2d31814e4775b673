"""HOOF and an SVM: histograms of oriented optical flow. The paper's second baseline.

Chaudhry, Ravichandran, Hager, Vidal: Histograms of Oriented Optical Flow and Binet-Cauchy Kernels
on Nonlinear Dynamical Systems for the Recognition of Human Actions, CVPR 2009. The paper has 4 and
8 bins; its released features are those of 9 flows ("TIM 10": 10 frames) and of 64 ("TIM 64": 65).
"""

import dataclasses

import numpy as np
from jaxtyping import Float32

from atnet_jax.features.hoof import hoof
from atnet_jax.features.tim import interpolate
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "HOOF"
PRESETS = {
    f"hoof_n{bins}_tim{tim}": ({"bins": bins, "length": length}, f"HOOF N={bins} TIM {tim}")
    for tim, length in ((10, 10), (64, 65))
    for bins in (4, 8)
}


@dataclasses.dataclass(frozen=True)
class Features:
    """Frames around the apex → `bins` features for each of the flows between adjacent frames.

    Attributes:
      bins: of direction, over the whole circle.
      length: frames that every clip is interpolated to; the flows are one fewer.
      interpolation: "tim" or "linear".
    """

    bins: int = 4
    length: int = 10
    interpolation: str = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None
        frames = interpolate(flow.smooth(clip.frames), self.length, self.interpolation)
        frames = frames.astype(np.float32)
        return hoof(flow.solve(frames[:-1], frames[1:]), self.bins).ravel()
