"""LBP-TOP and an SVM: local binary patterns on three orthogonal planes. The paper's first baseline.

Zhao, Pietikäinen: Dynamic Texture Recognition Using Local Binary Patterns with an Application to
Facial Expressions, PAMI 2007. The paper's settings are {R_XY, R_XT, R_YT, P} on clips of 10 and 64
frames (section IV-A).
"""

import dataclasses

import numpy as np
from jaxtyping import Float32

from atnet_jax.features.lbp_top import lbp_top
from atnet_jax.features.tim import interpolate
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "LBP-TOP"
PRESETS = {
    f"lbp_top_p{points}_tim{length}": (
        {"points": points, "length": length},
        f"LBP-TOP {{3,3,3,{points}}} TIM {length}",
    )
    for length in (10, 64)
    for points in (4, 8)
}


@dataclasses.dataclass(frozen=True)
class Features:
    """Frames around the apex → 177 features.

    Attributes:
      radii: on the planes XY, XT and YT, in pixels and frames.
      points: on each circle, 4 or 8.
      length: frames that every clip is interpolated to.
      interpolation: "tim" or "linear".
    """

    radii: tuple[int, int, int] = (3, 3, 3)
    points: int = 4
    length: int = 10
    interpolation: str = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        del flow  # Reads the frames alone.
        assert clip.frames is not None
        frames = interpolate(clip.frames, self.length, self.interpolation)
        return lbp_top(frames, self.radii, self.points)
