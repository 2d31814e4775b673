"""Eulerian magnification: small motion of a clip made larger, without anything learned.

Wu, Rubinstein, Shih, Guttag, Durand, Freeman: Eulerian Video Magnification for Revealing Subtle
Changes in the World, SIGGRAPH 2012; the limits of each spatial scale as in its published program.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Shaped

from atnet_jax.preprocessing.prepared_clip import PreparedClip

ASSUMED_FRAME_RATE = 200.0
"""Frames per second of a clip whose rate is unknown: that of CASME II and SAMM."""

BAND = (5.0, 25.0)
"""In Hz: a micro-expression's quickest and slowest course, 1/25 to 1/5 of a second."""

CUTOFF_WAVELENGTH = 16.0
"""In pixels: what is coarser is magnified in full."""

# As wide as the pyramid's filter: no level is made of a smaller one.
_SMALLEST_SIDE = 5


def magnified(clip: PreparedClip, alpha: float) -> PreparedClip:
    """The clip with the motion in its grey pictures, the frames and the apex, made larger.

    Args:
        clip: With frames.
        alpha: How much motion is added, times its own size.
    """
    assert clip.frames is not None
    larger = np.rint(np.clip(magnify(clip.frames, clip.frame_rate, alpha), 0, 255))
    frames = larger.astype(np.uint8)
    return dataclasses.replace(clip, frames=frames, apex=frames[clip.apex_index])


def magnify(
    frames: Shaped[np.ndarray, "frame height width"],
    frame_rate: float,
    alpha: float,
    cutoff_wavelength: float = CUTOFF_WAVELENGTH,
    band: tuple[float, float] = BAND,
) -> Float32[np.ndarray, "frame height width"]:
    """Adds to each frame its own changes within a band of frequencies, times about `alpha`.

    For structures much larger than their motion, brightness changes in proportion to it, so that
    motion comes out 1 + alpha times as large. The changes are taken apart in a Laplacian pyramid,
    because small structures bear less: a level of wavelength λ is multiplied by

        min(alpha, 2 (λ / 8δ − 1)), not below 0, with δ = cutoff_wavelength / (8 (1 + alpha)),

    the finest and the coarsest level by 0. The coarsest has the wavelength diagonal / 3, each finer
    one half of the next. The band is cut out sharply, of the clip mirrored at its ends: frequencies
    k · frame_rate / 2n for k = 1…n − 1. A clip so short that none of them lies in the band comes
    back as it was, and so does a still one.

    Args:
        frames: Grey levels of 0…255, of any integer or floating type; one frame or more.
        frame_rate: Frames per second. 0 if unknown: `ASSUMED_FRAME_RATE` is taken.
        alpha: How much motion is added, times its own size.
        cutoff_wavelength: In pixels; structures that are smaller are magnified less.
        band: Lowest and highest frequency in Hz, both included.

    Returns:
        The magnified frames; they can leave 0…255.
    """
    clip = frames.astype(np.float32)
    weights = _band_weights(len(clip), frame_rate or ASSUMED_FRAME_RATE, band).astype(np.float32)
    # Of the differences from the first frame, so that what never changes has no change at all.
    changes = np.einsum("wf,fhx->whx", weights, clip - clip[0], optimize=True)
    gains = _gains(clip.shape[1], clip.shape[2], alpha, cutoff_wavelength)
    return np.stack(
        [frame + _weigh_levels(change, gains) for frame, change in zip(clip, changes, strict=True)]
    )


def _band_weights(
    count: int, frame_rate: float, band: tuple[float, float]
) -> Float64[np.ndarray, "{count} {count}"]:
    """Weight of each frame in each band-passed one: projects on the cosines within the band."""
    order = np.arange(1, count)
    frequency = order * frame_rate / (2 * count)
    inside = order[(frequency >= band[0]) & (frequency <= band[1])]
    cosines = np.cos(np.pi / count * np.outer(np.arange(count) + 0.5, inside))
    return 2 / count * cosines @ cosines.T


def _gains(height: int, width: int, alpha: float, cutoff_wavelength: float) -> list[float]:
    """The factor of each level of the pyramid, the finest first."""
    levels = 1
    side = min(height, width)
    while side >= _SMALLEST_SIDE:
        levels += 1
        side = (side + 1) // 2
    delta = cutoff_wavelength / (8 * (1 + alpha))
    coarsest = math.hypot(height, width) / 3
    wavelengths = [coarsest / 2**finer for finer in reversed(range(levels))]
    gains = [min(alpha, max(0.0, 2 * (length / (8 * delta) - 1))) for length in wavelengths]
    gains[0] = gains[-1] = 0.0
    return gains


def _weigh_levels(
    picture: Float32[np.ndarray, "height width"], gains: list[float]
) -> Float32[np.ndarray, "height width"]:
    """The picture put together again from its Laplacian pyramid, each level times its factor."""
    if len(gains) == 1:
        return gains[0] * picture
    smaller = cv2.pyrDown(picture)
    height, width = picture.shape

    def enlarge(level: np.ndarray) -> np.ndarray:
        return cv2.pyrUp(level, dstsize=(width, height))

    detail = picture - enlarge(smaller)
    return gains[0] * detail + enlarge(_weigh_levels(smaller, gains[1:]))
