"""Monogenic Riesz wavelets and an SVM: magnitude, phase and orientation. 5,400 features.

Only the publication's abstract was available, so this implementation chooses the wavelet, the
histograms and their cuboids. Of the publication's two ways to combine features, it uses the second:
concatenation and a linear SVM.
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Complex64, Float32, Shaped

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
    " is used instead.",
    "The pooling of the components is not known; here they are counted in histograms of 8 bins over"
    " 5×5 blocks and 3 parts of the clip.",
    "Every clip is interpolated to 10 frames (TIM).",
    "C of the linear SVM is not known; here it is 1, on standardised features.",
    "The publication's other classifier, multiple kernel learning (UFO-MKL), is not implemented.",
)


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Frames around the apex → 24 features for each scale and cuboid.

    Attributes:
        scales: Number of scales: wavelengths of about 4, 8, 16… pixels.
        blocks: Number of cuboids along each side of the picture.
        parts: Number of cuboids in time.
        length: Number of frames to which every clip is interpolated.
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

    def machine(self) -> Any:
        return linear_machine()


BINS = 8

# Edges of the bins of magnitude, in grey levels.
_MAGNITUDES = 2.0 ** np.arange(BINS - 1)
# Waves of a smaller magnitude, in grey levels, have neither phase nor orientation. Rounding errors
# of the transform are below 0.0001, and a step of one grey level gives more than this limit.
_FAINT = 0.01


def monogenic_histograms(
    frames: Shaped[np.ndarray, "frame height width"],
    scales: int = 3,
    blocks: int = 5,
    parts: int = 3,
) -> Float32[np.ndarray, " feature"]:
    """Compute histograms of the monogenic signal's magnitude, phase and orientation at each scale.

    This follows Oh, Le Ngo, See, Liong, Phan and Ling (DSP 2015), who treat each of the three at
    each scale as a separate feature and concatenate them. With the band-passed picture f of
    `monogenic` and its Riesz transform r = (r_x, r_y), at each pixel

        magnitude = √(f² + |r|²), phase = atan2(|r|, f), orientation = atan2(r_y, r_x).

    The clip is divided into cuboids in space and time, and each of the three is counted in 8 bins
    in each cuboid. Magnitude bins double in width: under 1 grey level, 1…2, … 64 and more. Phases
    range from 0, at the crest of a wave, to π, and are weighted by magnitude. Orientations cover
    the whole circle. Their first bin is centred on 0, to the right, and the next bins are clockwise
    as seen in the image. Orientations are weighted by |r|, because a crest has no orientation.

    Args:
        frames: The clip, grey levels of any integer or floating type.
        scales: Number of scales.
        blocks: Number of cuboids along each side of the picture.
        parts: Number of cuboids in time.

    Returns:
        For each scale, part and block, row by row: the shares of magnitudes, phases and
        orientations, each of which sum to 1. Phases and orientations are zero where the picture is
        constant. If there are fewer frames than parts, all values of a part without a frame are
        zero.
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
    """Compute each scale's band of the frames and its Riesz transform, the finest scale first.

    The band of scale k = 0, 1, … is Simoncelli's isotropic wavelet, cos(π/2 log₂(2^{k+1}
    |ω| / π)) where π/4 < 2^k |ω| ≤ π, else 0: wavelengths of about 4·2^k pixels. The Riesz
    transform multiplies the spectrum by -i ω_x / |ω| and -i ω_y / |ω|. Frames are extended by their
    mirror images, so that they have no edges at their borders.

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
    """Return the factors of a mirrored picture's spectrum that give f, r_x and r_y."""
    y = 2 * np.pi * np.fft.fftfreq(2 * height)[:, None]
    x = 2 * np.pi * np.fft.rfftfreq(2 * width)
    radius = np.hypot(x, y)
    radius[0, 0] = 1.0  # Avoids division by 0; the mean has no direction and is outside all bands.
    octave = np.log2(2 ** (scale + 1) * radius / np.pi)
    band = np.where(np.abs(octave) < 1, np.cos(np.pi / 2 * octave), 0.0)
    band[0, 0] = 0.0
    return np.stack([band, -1j * band * x / radius, -1j * band * y / radius]).astype(np.complex64)


def _clear(amplitude: np.ndarray) -> np.ndarray:
    """Return the amplitude as a weight, with 0 for rounding errors."""
    return np.where(amplitude < _FAINT, 0, amplitude)
