"""Eulerian magnification of small motion in a clip, without learned parameters.

Wu, Rubinstein, Shih, Guttag, Durand, Freeman: Eulerian Video Magnification for Revealing Subtle
Changes in the World, SIGGRAPH 2012. The limit of each spatial scale follows their published code.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Shaped

from atnet_jax.preprocessing.prepared_clip import PreparedClip

ASSUMED_FRAME_RATE = 200.0
"""Frames per second of a clip with unknown rate, the rate of CASME II and SAMM."""

BAND = (5.0, 25.0)
"""Frequencies of a micro-expression in Hz; it takes 1/25 to 1/5 of a second."""

CUTOFF_WAVELENGTH = 16.0
"""Wavelength in pixels above which structures are magnified in full."""

# Width of the pyramid's filter: smaller levels are not reduced further.
_SMALLEST_SIDE = 5


def magnified(clip: PreparedClip, alpha: float) -> PreparedClip:
    """Return the clip with magnified motion in its frames and its apex frame.

    Args:
        clip: A clip with frames.
        alpha: Added motion, as a multiple of the original motion.
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
    """Magnify motion by amplifying brightness changes within a frequency band by about `alpha`.

    For structures much larger than their motion, brightness changes in proportion to the motion, so
    that motion becomes 1 + alpha times as large. Smaller structures tolerate less amplification.
    Therefore each level of a Laplacian pyramid, with wavelength λ, is multiplied by

        max(0, min(alpha, 2 (λ / 8δ − 1))) with δ = cutoff_wavelength / (8 (1 + alpha)),

    and the finest and the coarsest level by 0. The coarsest level has the wavelength diagonal / 3,
    and each finer level half that of the next coarser level. The temporal filter is ideal, for the
    clip mirrored at its ends: it has the frequencies k · frame_rate / 2n for k = 1…n − 1. A static
    clip, or a clip too short for any of them to lie in the band, is returned unchanged.

    Args:
        frames: Grey levels 0…255, of any integer or floating type; at least one frame.
        frame_rate: Frames per second; 0 if unknown, which stands for `ASSUMED_FRAME_RATE`.
        alpha: Added motion, as a multiple of the original motion.
        cutoff_wavelength: Wavelength in pixels below which structures are magnified less.
        band: Lowest and highest frequency in Hz, both included.

    Returns:
        The magnified frames; values can lie outside 0…255.
    """
    clip = frames.astype(np.float32)
    weights = _band_weights(len(clip), frame_rate or ASSUMED_FRAME_RATE, band).astype(np.float32)
    # Differences from the first frame make the changes of static pixels exactly 0.
    changes = np.einsum("wf,fhx->whx", weights, clip - clip[0], optimize=True)
    gains = _gains(clip.shape[1], clip.shape[2], alpha, cutoff_wavelength)
    return np.stack(
        [frame + _weigh_levels(change, gains) for frame, change in zip(clip, changes, strict=True)]
    )


def _band_weights(
    count: int, frame_rate: float, band: tuple[float, float]
) -> Float64[np.ndarray, "{count} {count}"]:
    """Return the weights of the frames in each band-passed frame, a projection on cosines."""
    order = np.arange(1, count)
    frequency = order * frame_rate / (2 * count)
    inside = order[(frequency >= band[0]) & (frequency <= band[1])]
    cosines = np.cos(np.pi / count * np.outer(np.arange(count) + 0.5, inside))
    return 2 / count * cosines @ cosines.T


def _gains(height: int, width: int, alpha: float, cutoff_wavelength: float) -> list[float]:
    """Return the factor of each level of the pyramid, the finest first."""
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
    """Reconstruct the picture from its Laplacian pyramid, each level times its factor."""
    if len(gains) == 1:
        return gains[0] * picture
    smaller = cv2.pyrDown(picture)
    height, width = picture.shape

    def enlarge(level: np.ndarray) -> np.ndarray:
        return cv2.pyrUp(level, dstsize=(width, height))

    detail = picture - enlarge(smaller)
    return gains[0] * detail + enlarge(_weigh_levels(smaller, gains[1:]))
