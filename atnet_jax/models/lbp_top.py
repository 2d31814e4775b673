"""LBP-TOP and an SVM: local binary patterns on three orthogonal planes. The paper's first baseline.

The paper's settings are {R_XY, R_XT, R_YT, P} on clips of 10 and 64 frames (section IV-A).
"""

import dataclasses
import math
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32, Int, Shaped, UInt8

from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.values import whole
from atnet_jax.words import numbered

INPUTS = ("frames",)
TITLE = "LBP-TOP"
SOURCE = (
    "Zhao, Pietikäinen: Dynamic Texture Recognition Using Local Binary Patterns with an"
    " Application to Facial Expressions, PAMI 2007"
)
PRESETS = {
    f"lbp_top_p{points}_tim{length}": (
        {"points": points, "length": length},
        f"LBP-TOP {{3,3,3,{points}}} TIM {length}",
    )
    for length in (10, 64)
    for points in (4, 8)
}


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Frames around the apex → 177 features.

    Attributes:
        radii: Radii on the planes XY, XT and YT, in pixels and frames.
        points: Number of points on each circle, 4 or 8.
        length: Number of frames to which every clip is interpolated.
        interpolation: "tim" or "linear".
    """

    radii: tuple[int, int, int] = (3, 3, 3)
    points: Literal[4, 8] = 4
    length: Annotated[int, whole(2, 1000)] = 10
    interpolation: Literal["tim", "linear"] = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None
        frames = interpolate_frames(clip.frames, self.length, self.interpolation)
        return lbp_top(frames, self.radii, self.points)

    def size(self) -> int:
        return BINS * len(PLANES)


PLANES = ("XY", "XT", "YT")
BINS = 59

Offset = tuple[float, float, float]
"""Offset from a voxel to a point of its neighbourhood: frames, rows, columns."""


def lbp_top(
    frames: Shaped[np.ndarray, "frame height width"],
    radii: tuple[int, int, int] = (3, 3, 3),
    points: int = 8,
) -> Float32[np.ndarray, "177"]:
    """Compute histograms of the local binary patterns on the planes XY, XT and YT.

    This follows Zhao and Pietikäinen (PAMI 2007), with the paper's settings {R_XY, R_XT, R_YT, P}
    (section IV-A). On each plane, P points are evenly spaced on a circle around a voxel (see
    `neighbourhood`); points between voxels are interpolated bilinearly. Bit p of the voxel's code
    is 1 if point p is at least as bright as the voxel, so all bits are 1 in a constant area. Codes
    are counted over the whole face by `uniform_bins`. Only voxels whose neighbourhoods on all three
    planes lie inside the clip count: radii of 3 exclude a border of 3 pixels and the first and last
    3 frames.

    Args:
        frames: The clip, of any integer or floating type.
        radii: Radius of the circle on XY, XT and YT, in pixels and frames.
        points: Number of points on a circle, 4 or 8.

    Returns:
        The histograms of XY, XT and YT, 59 values each, each summing to 1.

    Raises:
        UserError: The clip is too small for the radii, or the radii or points are not possible.
    """
    if points not in (4, 8) or min(radii) < 1:
        raise UserError(
            f"LBP-TOP has {points} points and radii {radii}, expected 4 or 8 points and radii of 1"
            " or more."
        )
    xy, xt, yt = radii
    margins = max(xt, yt), max(xy, yt), max(xy, xt)  # frames, rows, columns
    needed = tuple(2 * margin + 1 for margin in margins)
    if any(size < least for size, least in zip(frames.shape, needed, strict=True)):
        raise UserError(
            f"LBP-TOP with radii {radii} needs at least {numbered(needed[0], 'frame')} of"
            f" {needed[1]}x{needed[2]} pixels. The clip has {numbered(frames.shape[0], 'frame')} of"
            f" {frames.shape[1]}x{frames.shape[2]} pixels. Interpolate to more frames or choose"
            " smaller radii."
        )
    volume = frames.astype(np.float32, copy=False)
    neighbourhoods = [
        neighbourhood(plane, radius, points) for plane, radius in zip(PLANES, radii, strict=True)
    ]
    codes = np.zeros((len(PLANES), 256), np.int64)
    # Frame by frame, so that the intermediate pictures of a frame stay in the processor's cache.
    for frame in range(margins[0], len(volume) - margins[0]):
        for count, offsets in zip(codes, neighbourhoods, strict=True):
            pattern = _codes(volume, frame, margins[1:], offsets)
            count += np.bincount(pattern.ravel(), minlength=256)
    bins = uniform_bins()
    histograms = [np.bincount(bins, weights=count, minlength=BINS) for count in codes]
    return np.concatenate([count / count.sum() for count in histograms]).astype(np.float32)


def neighbourhood(plane: str, radius: int, points: int) -> list[Offset]:
    """Return the offsets of a circle's points, in the order of their bits.

    On XY the first point is to the right and the next ones follow towards up. On XT they start at
    right and follow towards later; on YT they start at later and follow towards up. This is the
    order in Zhao and Pietikäinen's own code.

    Args:
        plane: One of `PLANES`.
        radius: Radius of the circle in pixels and frames.
        points: Number of points.
    """
    offsets: list[Offset] = []
    for point in range(points):
        angle = 2 * math.pi * point / points
        # Rounded, because cos(π/2) is not exactly 0 in floating point.
        cosine, sine = (round(radius * f(angle), 9) for f in (math.cos, math.sin))
        on = {"XY": (0.0, -sine, cosine), "XT": (sine, 0.0, cosine), "YT": (cosine, -sine, 0.0)}
        offsets.append(on[plane])
    return offsets


def uniform_bins() -> Int[np.ndarray, "256"]:
    """Return the bin of each code: 0…57 for uniform patterns in ascending order, 58 for the others.

    A pattern of 8 bits is uniform if its bits, read as a circle, change at most twice. Codes of 4
    bits are looked up in the same table. With four points a plane therefore uses 12 of the 59 bins,
    as in the paper's features: of 0…15, all but 5, 9, 10, 11 and 13 are uniform as 8-bit numbers.
    Read as circles of 4 bits, all but 5 and 10 would be uniform, which would give 15 bins. With
    four points, the choice of the first point of the circle therefore affects the result.
    """
    codes = np.arange(256)
    changes = np.bitwise_count(codes ^ (codes >> 1 | (codes & 1) << 7))
    uniform = changes <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, BINS - 1)


def _codes(
    volume: Float32[np.ndarray, "frame height width"],
    frame: int,
    margins: tuple[int, int],
    offsets: list[Offset],
) -> UInt8[np.ndarray, "row column"]:
    """Return the codes of all voxels of a frame outside the margins at its border."""
    height, width = volume.shape[1:]
    inside = (frame, margins[0], margins[1]), (frame + 1, height - margins[0], width - margins[1])
    centre = _shifted(volume, inside, (0.0, 0.0, 0.0))
    codes = np.zeros(centre.shape, np.uint8)
    for bit, offset in enumerate(offsets):
        codes |= (_shifted(volume, inside, offset) >= centre).view(np.uint8) << np.uint8(bit)
    return codes[0]


def _shifted(
    volume: np.ndarray, inside: tuple[tuple[int, ...], tuple[int, ...]], offset: tuple[float, ...]
) -> np.ndarray:
    """Return the volume from `inside[0]` to `inside[1]`, shifted, interpolated between voxels."""
    for axis, distance in enumerate(offset):
        whole = distance // 1
        if whole != distance:
            before, after = (
                _shifted(volume, inside, (*offset[:axis], to, *offset[axis + 1 :]))
                for to in (whole, whole + 1)
            )
            # In this form, points of equal brightness interpolate to exactly that brightness.
            between = after - before
            between *= np.float32(distance - whole)
            between += before
            return between
    start, stop = inside
    return volume[
        tuple(slice(a + int(o), b + int(o)) for a, b, o in zip(start, stop, offset, strict=True))
    ]
