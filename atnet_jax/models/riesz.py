"""Monogenic Riesz wavelets and an SVM: magnitude, phase and orientation. 5,400 features.

Only the publication's abstract was available: the wavelet, the histograms and their cuboids are
chosen here. Of its two ways to combine the features this is the second: concatenation and a linear
SVM.
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Complex64, Float32, Shaped
from sklearn.pipeline import Pipeline

from atnet_jax.models.handcrafted.blocks import cuboids
from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.models.handcrafted.svm import linear_machine
from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.values import whole

INPUTS = ("frames",)
TITLE = "Riesz wavelets"
SOURCE = (
    "Oh, Le Ngo, See, Liong, Phan, Ling: Monogenic Riesz Wavelet Representation for"
    " Micro-expression Recognition, DSP 2015"
)
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
class Features(BaseFeatures):
    """Frames around the apex → 24 features for each scale and cuboid.

    Attributes:
        scales: Waves of about 4, 8, 16… pixels.
        blocks: Cuboids along each side of the picture.
        parts: Cuboids in time.
        length: Frames that every clip is interpolated to.
        interpolation: "tim" or "linear".
    """

    scales: int = 3
    blocks: int = 5
    parts: int = 3
    length: Annotated[int, whole(2, 1000)] = 10
    interpolation: Literal["tim", "linear"] = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        frames = interpolate_frames(clip.frames, self.length, self.interpolation)
        return monogenic_histograms(frames, self.scales, self.blocks, self.parts)

    def size(self) -> int:
        return 3 * BINS * self.scales * self.parts * self.blocks**2

    def machine(self) -> Pipeline:
        return linear_machine()


BINS = 8

# Edges of the bins of magnitude, in grey levels.
_MAGNITUDES = 2.0 ** np.arange(BINS - 1)
# A wave fainter than this, in grey levels, has neither phase nor orientation: the rounding of the
# transform gives under 0.0001, while a step of one grey level gives more.
_FAINT = 0.01


def monogenic_histograms(
    frames: Shaped[np.ndarray, "frame height width"],
    scales: int = 3,
    blocks: int = 5,
    parts: int = 3,
) -> Float32[np.ndarray, " feature"]:
    """Histograms of the monogenic signal's magnitude, phase and orientation at each scale.

    After Oh, Le Ngo, See, Liong, Phan and Ling (DSP 2015), who take each of the three at each scale
    for a feature of its own and concatenate them. With the band-passed picture f of `monogenic` and
    its Riesz transform r = (r_x, r_y), at each pixel

        magnitude = √(f² + |r|²), phase = atan2(|r|, f), orientation = atan2(r_y, r_x).

    The clip is cut into cuboids in space and time, and each of the three is counted in 8 bins in
    each cuboid. Magnitudes double from bin to bin: under 1 grey level, 1…2, … 64 and more. Phases
    go from 0, at the crest of a wave, to π, and weigh as much as their magnitude. Orientations go
    all around, the first bin centred on 0, to the right, the next ones clockwise as seen in the
    image; they weigh as much as |r|, for at a crest there is none.

    Args:
        frames: The clip, grey levels of any integer or floating type.
        scales: Number of scales.
        blocks: Number of cuboids along each side of the picture.
        parts: Number of cuboids in time.

    Returns:
        For each scale, part and block, row by row: the shares of magnitudes, phases and
        orientations, which sum to 1 each. Where the picture is flat, phases and orientations are
        zero; where there are fewer frames than parts, so is all of a part without a frame.
    """
    places = cuboids(frames.shape, (parts, blocks, blocks))
    features = []
    for f, r_x, r_y in monogenic(frames.astype(np.float32), scales):
        odd = np.hypot(r_x, r_y)
        magnitude = np.hypot(f, odd)
        phase = np.arctan2(odd, f) / np.pi  # 0…1
        orientation = np.arctan2(r_y, r_x) / (2 * np.pi)  # -½…½
        counted = (
            (np.searchsorted(_MAGNITUDES, magnitude, side="right"), np.ones_like(magnitude)),
            (np.minimum((phase * BINS).astype(np.intp), BINS - 1), _clear(magnitude)),
            (np.floor(orientation * BINS + 0.5).astype(np.intp) % BINS, _clear(odd)),
        )
        for cuboid in places:
            for place, weight in counted:
                total = np.bincount(place[cuboid].ravel(), weight[cuboid].ravel(), minlength=BINS)
                features.append(total / (total.sum() or 1.0))
    return np.concatenate(features).astype(np.float32)


def monogenic(
    frames: Float32[np.ndarray, "frame height width"], scales: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each scale's band of the frames and its Riesz transform, the finest scale first.

    The band of scale k = 0, 1, … is that of Simoncelli's isotropic wavelet, cos(π/2 log₂(2^{k+1}
    |ω| / π)) where π/4 < 2^k |ω| ≤ π, else 0: waves of about 4·2^k pixels. The Riesz transform
    multiplies the spectrum by -i ω_x / |ω| and -i ω_y / |ω|. Frames are continued by their mirror
    images, so that they have no edges at their borders.

    Args:
        frames: Grey levels.
        scales: Number of scales.

    Yields:
        f, r_x and r_y, each `[frame, height, width]`, in grey levels.
    """
    height, width = frames.shape[1:]
    mirrored = np.pad(frames, ((0, 0), (0, height), (0, width)), "symmetric")
    spectrum = np.fft.rfft2(mirrored)[:, None]
    for scale in range(scales):
        waves = np.fft.irfft2(spectrum * _filters(height, width, scale), mirrored.shape[1:])
        f, r_x, r_y = np.moveaxis(waves[:, :, :height, :width], 1, 0)
        yield f, r_x, r_y


def _filters(height: int, width: int, scale: int) -> Complex64[np.ndarray, "3 _ _"]:
    """What the spectrum of a mirrored picture is multiplied by for f, r_x and r_y."""
    y = 2 * np.pi * np.fft.fftfreq(2 * height)[:, None]
    x = 2 * np.pi * np.fft.rfftfreq(2 * width)
    radius = np.hypot(x, y)
    radius[0, 0] = 1.0  # The mean has no direction; it is in no band either.
    octave = np.log2(2 ** (scale + 1) * radius / np.pi)
    band = np.where(np.abs(octave) < 1, np.cos(np.pi / 2 * octave), 0.0)
    band[0, 0] = 0.0
    return np.stack([band, -1j * band * x / radius, -1j * band * y / radius]).astype(np.complex64)


def _clear(amplitude: np.ndarray) -> np.ndarray:
    """The amplitude as a weight: none where it is rounding."""
    return np.where(amplitude < _FAINT, 0, amplitude)
