"""LBP-SIP and an SVM: local binary patterns with six intersection points. 1,500 features.

Only the publication's abstract and descriptions of the method by others were available.
"""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32, Shaped

from atnet_jax.errors import UserError
from atnet_jax.models.handcrafted.blocks import cuboids
from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.models.handcrafted.svm import linear_machine
from atnet_jax.models.handcrafted.tim import interpolate_frames
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.values import whole
from atnet_jax.words import numbered

INPUTS = ("frames",)
TITLE = "LBP-SIP"
SOURCE = (
    "Wang, See, Phan, Oh: LBP with Six Intersection Points: Reducing Redundant Information in"
    " LBP-TOP for Micro-expression Recognition, ACCV 2014"
)
DEVIATIONS = (
    "Every clip is interpolated to 10 frames (TIM), and the radii are 1 pixel and 1 frame; the"
    " publication's values are not known.",
    "The number of levels of the Gaussian pyramid is not known; here it is 3.",
    "Pictures are divided into 5×5 blocks on every database; 8×8 blocks are reported for SMIC.",
    "The kernel of the SVM is not known; a linear SVM, C = 1, on standardised features is used"
    " instead. Three of the authors also used a linear SVM for their Riesz wavelets.",
)


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Frames around the apex → 20 features for each block and level.

    Attributes:
        blocks: Number of blocks along each side of the picture.
        levels: Number of levels of the Gaussian pyramid.
        radius: Distance of the neighbours in space, in pixels of the level.
        time_radius: Distance of the neighbours in time, in frames.
        length: Number of frames to which every clip is interpolated.
        interpolation: "tim" or "linear".
    """

    blocks: int = 5
    levels: int = 3
    radius: int = 1
    time_radius: int = 1
    length: Annotated[int, whole(2, 1000)] = 10
    interpolation: Literal["tim", "linear"] = "tim"

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        frames = interpolate_frames(clip.frames, self.length, self.interpolation)
        return lbp_sip(frames, self.blocks, self.levels, self.radius, self.time_radius)

    def size(self) -> int:
        return BINS * self.levels * self.blocks**2

    def machine(self) -> Any:
        return linear_machine()


# Right, up, left, down, as (rows, columns): the bits of the code in space, lowest first.
_IN_SPACE = ((0, 1), (-1, 0), (0, -1), (1, 0))
# Earlier, later: the bits of the code in time.
_IN_TIME = (-1, 1)
# 2⁴ codes in space and 2² in time.
BINS = 2 ** len(_IN_SPACE) + 2 ** len(_IN_TIME)

# Filter along one axis of Burt and Adelson's pyramid.
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def lbp_sip(
    frames: Shaped[np.ndarray, "frame height width"],
    blocks: int = 5,
    levels: int = 3,
    radius: int = 1,
    time_radius: int = 1,
) -> Float32[np.ndarray, " feature"]:
    """Compute histograms of local binary patterns with six intersection points.

    This follows Wang, See, Phan and Oh (ACCV 2014). The planes XY, XT and YT through a voxel
    intersect in three lines, which contain six of its neighbours: right, up, left and down at
    `radius`, and the same pixel `time_radius` frames before and after. A neighbour that is at least
    as bright as the voxel sets its bit. The four neighbours in space give one of 16 codes, the two
    in time one of 4. This makes 20 bins, where LBP-TOP with four points has 48. Only voxels whose
    six neighbours lie inside the clip have codes; clips are not wrapped around or padded.

    The codes are counted in each block of the picture, over all frames, on each level of a Gaussian
    pyramid of the frames. Each level is half as large as the previous level.

    Args:
        frames: The clip, of any integer or floating type.
        blocks: Number of blocks along each side of the picture.
        levels: Number of levels of the pyramid; the first is the picture itself.
        radius: Distance of the neighbours in space, in pixels of the level.
        time_radius: Distance of the neighbours in time, in frames.

    Returns:
        20 values for each level and block, row by row: the shares of the codes in space, then those
        of the codes in time. Each of the two groups sums to 1.

    Raises:
        UserError: The clip is too small for the radii, blocks and levels.
    """
    needed = 2 * radius + blocks
    smallest = -(-min(frames.shape[1:]) // 2 ** (levels - 1))
    if len(frames) < 2 * time_radius + 1 or smallest < needed:
        raise UserError(
            f"LBP-SIP with radii {radius} and {time_radius}, {blocks}x{blocks} blocks and {levels}"
            f" levels needs {2 * time_radius + 1} frames or more and, on the last level,"
            f" {needed}x{needed} pixels. The clip has {numbered(len(frames), 'frame')} of"
            f" {frames.shape[1]}x"
            f"{frames.shape[2]} pixels. Choose fewer levels or blocks, smaller radii or a longer"
            " clip."
        )
    level = frames.astype(np.float32)
    rows = []
    for _ in range(levels):
        rows.append(_block_histograms(*_codes(level, radius, time_radius), blocks))
        level = halved(level)
    return np.concatenate(rows)


def halved(
    frames: Float32[np.ndarray, "frame height width"],
) -> Float32[np.ndarray, "frame half_height half_width"]:
    """Smooth each frame by a binomial filter of 5 pixels and keep every second row and column.

    Frames are mirrored at their borders. All pixels are computed by the same operations in the same
    order, so constant areas stay exactly constant, which the patterns' comparison >= relies on.

    Args:
        frames: Pictures of 3×3 pixels or more.

    Returns:
        The reduced pictures.
    """
    padded = np.pad(frames, ((0, 0), (2, 2), (2, 2)), "reflect")
    height, width = frames.shape[1:]
    tall = sum(np.float32(w) * padded[:, k : k + height : 2] for k, w in enumerate(_BINOMIAL))
    assert isinstance(tall, np.ndarray)
    half = sum(np.float32(w) * tall[:, :, k : k + width : 2] for k, w in enumerate(_BINOMIAL))
    assert isinstance(half, np.ndarray)
    return half


def _codes(
    frames: Float32[np.ndarray, "frame height width"], radius: int, time_radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes in space and in time of all voxels whose neighbours are inside the clip."""
    length, height, width = frames.shape
    r, t = radius, time_radius
    rows, columns, times = slice(r, height - r), slice(r, width - r), slice(t, length - t)
    centre = frames[times, rows, columns]
    space = np.zeros(centre.shape, np.uint8)
    for bit, (down, right) in enumerate(_IN_SPACE):
        moved = frames[times, _moved(rows, down * r), _moved(columns, right * r)]
        space |= (moved >= centre).view(np.uint8) << np.uint8(bit)
    time = np.zeros(centre.shape, np.uint8)
    for bit, later in enumerate(_IN_TIME):
        moved = frames[_moved(times, later * t), rows, columns]
        time |= (moved >= centre).view(np.uint8) << np.uint8(bit)
    return space, time


def _moved(place: slice, by: int) -> slice:
    return slice(place.start + by, place.stop + by)


def _block_histograms(
    space: np.ndarray, time: np.ndarray, blocks: int
) -> Float32[np.ndarray, " feature"]:
    parts = []
    for block in cuboids(space.shape, (1, blocks, blocks)):
        for codes, bins in ((space, 2 ** len(_IN_SPACE)), (time, 2 ** len(_IN_TIME))):
            counts = np.bincount(codes[block].ravel(), minlength=bins)
            parts.append(counts / counts.sum())
    return np.concatenate(parts).astype(np.float32)
