"""Monogenic Riesz wavelets and an SVM: magnitude, phase and orientation. 5,400 features.

Oh, Le Ngo, See, Liong, Phan, Ling: Monogenic Riesz Wavelet Representation for Micro-expression
Recognition, DSP 2015. Its abstract was to be had, not the whole text: the wavelet, the histograms
and their cuboids are chosen here. Of its two ways to combine the features this is the second:
concatenation and a linear SVM.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32
from sklearn.pipeline import Pipeline

from atnet_jax.features.linear_svm import linear_machine
from atnet_jax.features.riesz import monogenic_histograms
from atnet_jax.features.tim import interpolate
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip

INPUTS = ("frames",)
TITLE = "Riesz wavelets"
PAPER_ROW = None
DEVIATIONS = (
    "The wavelet and the number of scales are not known; Simoncelli's isotropic wavelet at 3 scales"
    " stands in.",
    "How the components are pooled is not known; here they are counted in histograms of 8 bins over"
    " 5×5 blocks and 3 parts of the clip.",
    "Every clip is interpolated to 10 frames (TIM).",
    "C of the linear SVM is not known; it is 1, on standardised features.",
    "The publication's other classifier, multiple kernel learning (UFO-MKL), is left out.",
)


@dataclasses.dataclass(frozen=True)
class Features:
    """Frames around the apex → 24 features for each scale and cuboid.

    Attributes:
      scales: waves of about 4, 8, 16… pixels.
      blocks: cuboids along each side of the picture.
      parts: cuboids in time.
      length: frames that every clip is interpolated to.
      interpolation: "tim" or "linear".
    """

    scales: int = 3
    blocks: int = 5
    parts: int = 3
    length: int = 10
    interpolation: str = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        del flow  # Reads the frames alone.
        assert clip.frames is not None, "named in INPUTS"
        frames = interpolate(clip.frames, self.length, self.interpolation)
        return monogenic_histograms(frames, self.scales, self.blocks, self.parts)

    def machine(self) -> Pipeline:
        return linear_machine()
