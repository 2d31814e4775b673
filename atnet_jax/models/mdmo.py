"""MDMO and an SVM: main directional mean optical flow of 36 regions of the face. 72 features.

Only the publication's abstract was available. Regions and averages follow a public
re-implementation, without two of its errors: it counts directions about -45° as those about 0°, and
it weights frames by the sum of their angles. The alignment follows published MATLAB code for MDMO.
"""

import dataclasses
import functools
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from atnet_jax.models.handcrafted.features import BaseFeatures
from atnet_jax.preprocessing.optical_flow import FlowMethod
from atnet_jax.preprocessing.prepared_clip import STANDARD_LANDMARKS, PreparedClip
from atnet_jax.values import number

INPUTS = ("frames", "landmarks")
TITLE = "MDMO"
SOURCE = (
    "Liu, Zhang, Yan, Wang, Zhao, Fu: A Main Directional Mean Optical Flow Feature for"
    " Spontaneous Micro-expression Recognition, IEEE Transactions on Affective Computing 7(4),"
    " 2016"
)
DEVIATIONS = (
    "The publication defines regions by 68 landmarks. Here they are the landmarks of a standard"
    " face, mapped onto the five detected landmarks by an affine map.",
    "The five landmarks come from the apex frame, not from the first frame.",
    "The clip begins with the window's first frame, at most 32 frames before the apex.",
    "The flow method is the one chosen for all methods; the publication's method is not known.",
    "b, C and the radial kernel of the SVM are the rounded values of a public re-implementation,"
    " which seems to have tuned them on this composite; the publication's values are not known.",
)


@dataclasses.dataclass(frozen=True)
class Features(BaseFeatures):
    """Frames around the apex → magnitude and direction of each of 36 regions.

    Attributes:
        weight: The weight b of the magnitudes, 0…1; directions have the weight 1 - b.
    """

    weight: Annotated[float, number(0, 1)] = 0.8

    def __call__(self, clip: PreparedClip, flow: FlowMethod) -> Float32[np.ndarray, " feature"]:
        assert clip.frames is not None, "named in INPUTS"
        # A clip of a single frame has no motion: repeat the frame to get a flow of zero.
        frames = clip.frames if len(clip.frames) > 1 else clip.frames.repeat(2, axis=0)
        smoothed = flow.smooth(frames)
        first = np.broadcast_to(smoothed[:1], smoothed[1:].shape)
        landmarks = STANDARD_LANDMARKS if clip.landmarks is None else clip.landmarks
        return mdmo(flow.solve(first, smoothed[1:]), landmarks, self.weight)

    def size(self) -> int:
        return 2 * REGIONS

    def machine(self) -> Any:
        """Return a radial SVM; b weights magnitudes and directions, so none is standardised."""
        from sklearn.svm import SVC

        return SVC(
            C=28.0,
            kernel="rbf",
            gamma=0.27,  # pyright: ignore[reportArgumentType] (the stubs know only its names)
            decision_function_shape="ovo",
        )


# A standard face, symmetric about x = 112, in pixels of a crop of 224×224. The order follows the
# 68-point scheme, counted from 0: jaw 0–16, brows 17–26, bridge and base of the nose 27–35, eyes
# 36–47, outer and inner lips 48–67. The left side of the picture comes first.
# fmt: off
STANDARD_FACE = np.array([
    [38, 90], [39, 108], [42, 127], [46, 146], [53, 164], [64, 181], [78, 196], [94, 208],
    [112, 213],
    [130, 208], [146, 196], [160, 181], [171, 164], [178, 146], [182, 127], [185, 108], [186, 90],
    [50, 72], [59, 64], [71, 61], [83, 63], [95, 68],
    [129, 68], [141, 63], [153, 61], [165, 64], [174, 72],
    [112, 86], [112, 101], [112, 115], [112, 130],
    [96, 139], [104, 142], [112, 144], [120, 142], [128, 139],
    [63, 88], [72, 83], [84, 83], [93, 90], [84, 92], [72, 92],
    [131, 90], [140, 83], [152, 83], [161, 88], [152, 92], [140, 92],
    [84, 166], [94, 160], [105, 157], [112, 159], [119, 157], [130, 160], [140, 166],
    [130, 175], [120, 180], [112, 181], [104, 180], [94, 175],
    [89, 166], [104, 164], [112, 165], [120, 164], [135, 166], [120, 170], [112, 171], [104, 170],
], np.float64)
# fmt: on

# Points that move with the head, not with the expression: jaw and top of the nose's bridge.
HEAD_POINTS = (0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 27)

REGIONS = 36
BINS = 8

# Height of the forehead's regions above the brows, in pixels of the standard face.
_FOREHEAD = 20
# Below this magnitude, in pixels, the rest of a flow after alignment is a rounding error.
_STILL = 1e-4


def mdmo(
    flows: Float32[np.ndarray, "frame height width 2"],
    landmarks: Float[np.ndarray, "5 2"],
    weight: float = 0.8,
) -> Float32[np.ndarray, "72"]:
    """Compute each region's main direction and mean magnitude of flow, averaged over the clip.

    This follows Liu, Zhang, Yan, Wang, Zhao and Fu (IEEE Transactions on Affective Computing 2016).
    The head's motion is first removed from each flow (`aligned`). In each frame and region,
    directions are counted in 8 bins of 45°, the first centred on 0°, to the right. The vectors in
    the fullest bin (the first, if several are equally full) are averaged, and these averages are
    averaged over all frames. Both are means of vectors, so that directions next to ±180° do not
    average to 0°. A region without pixels has no motion. Magnitudes are divided by the largest
    magnitude of all regions.

    Args:
        flows: Flows from the first to each later frame: u to the right, v downwards, in pixels.
        landmarks: x and y of the left and right eye, the nose and the left and right corner of the
            mouth, in pixels.
        weight: The weight b of the magnitudes, 0…1.

    Returns:
        b times the regions' magnitudes of 0…1, then (1 - b) times their directions in radians, -π…π
        clockwise as seen in the image. All values are zero without motion other than the head's.
    """
    to_picture = standard_to_picture(landmarks)
    points = _moved(STANDARD_FACE[list(HEAD_POINTS)], to_picture)
    pixels, region = _pixels(region_corners(to_picture), flows.shape[1:3])
    vectors = aligned(flows, points, pixels)
    mean = _main_vectors(vectors, region).mean(axis=0)
    magnitude = np.hypot(*mean.T)
    if magnitude.max() < _STILL:
        return np.zeros(2 * REGIONS, np.float32)
    magnitude /= magnitude.max()
    direction = np.arctan2(mean[:, 1], mean[:, 0])
    return np.concatenate([weight * magnitude, (1 - weight) * direction]).astype(np.float32)


def standard_to_picture(landmarks: Float[np.ndarray, "5 2"]) -> Float64[np.ndarray, "3 2"]:
    """Fit the affine map from the standard face's five landmarks to these, by least squares.

    Unlike a similarity, the map also adapts to the length and width of the face.

    Args:
        landmarks: As for `mdmo`.

    Returns:
        The matrix by which the row vector [x, y, 1] is multiplied.
    """
    face = STANDARD_FACE
    standard = np.stack([face[36:42].mean(0), face[42:48].mean(0), face[30], face[48], face[54]])
    return np.linalg.lstsq(_homogeneous(standard), landmarks.astype(np.float64), rcond=None)[0]


def region_corners(to_picture: Float[np.ndarray, "3 2"]) -> Float64[np.ndarray, "36 4 2"]:
    """Return the four corners of each region, in pixels of the picture.

    Args:
        to_picture: Map from the standard face to the picture, from `standard_to_picture`.
    """
    return _moved(_standard_regions(), to_picture)


def aligned(
    flows: Float32[np.ndarray, "frame height width 2"],
    points: Float[np.ndarray, "point 2"],
    pixels: Int[np.ndarray, "pixel 2"],
) -> Float64[np.ndarray, "frame pixel 2"]:
    """Return the flow of the given pixels without the head's motion.

    For each frame, the affine map H with the least squared error maps the moved points p + flow(p)
    back to p. The aligned flow of a pixel x is H(x + flow(x)) - x.

    Args:
        flows: As for `mdmo`.
        points: x and y of the points that move with the head. A point moves like the nearest pixel
            of the picture.
        pixels: x and y of the pixels.
    """
    size = np.array(flows.shape[2:0:-1])
    nearest = np.clip(np.rint(points).astype(np.intp), 0, size - 1)
    moved = nearest + flows[:, nearest[:, 1], nearest[:, 0]].astype(np.float64)
    back = np.linalg.pinv(_homogeneous(moved)) @ nearest.astype(np.float64)
    vectors = flows[:, pixels[:, 1], pixels[:, 0]].astype(np.float64)
    return _homogeneous(pixels + vectors) @ back - pixels


@functools.cache
def _standard_regions() -> Float64[np.ndarray, "36 4 2"]:
    """Return the corners of the regions on the standard face.

    Each row of regions lies side by side, from left to right, between a lower and an upper line.
    """
    face = STANDARD_FACE
    brows = [17, 19, 21, 27, 22, 24, 26]
    raised = face[brows] - [0, _FOREHEAD]
    raised[3] = (raised[2] + raised[4]) / 2

    def between(first: int, second: int) -> np.ndarray:
        return (face[first] + face[second]) / 2

    def corners(*numbers: int) -> list[np.ndarray]:
        return list(face[list(numbers)])

    forehead = _side_by_side(list(face[brows]), list(raised))
    eyes = _side_by_side(
        corners(1, 36, 38, 39, 28, 42, 43, 45, 15), corners(0, 17, 19, 21, 27, 22, 24, 26, 16)
    )
    # Line between jaw and lips, from corner to corner of the mouth.
    chin = [between(5, 59), between(6, 58), between(8, 57), between(10, 56), between(11, 55)]
    under_lip = _side_by_side(chin, corners(59, 58, 57, 56, 55))
    jaw = _side_by_side(corners(5, 6, 8, 10, 11), chin)
    cheek, beside_lips = between(3, 29), between(4, 33)
    left_side = [
        [face[3], face[2], between(2, 41), cheek],
        [cheek, between(2, 41), face[41], face[39]],
        [cheek, face[39], face[28], face[29]],
        [beside_lips, cheek, face[29], face[33]],  # nose
        [chin[0], beside_lips, face[33], face[59]],  # upper lip
        [face[4], face[3], cheek, beside_lips],  # outer cheek
        [face[5], face[4], beside_lips, chin[0]],  # side of the mouth
    ]
    right_side = [[_mirrored(corner) for corner in quad] for quad in left_side]
    return np.array([*forehead, *eyes, *under_lip, *jaw, *left_side, *right_side])


def _side_by_side(lower: list[np.ndarray], upper: list[np.ndarray]) -> list[list[np.ndarray]]:
    return [[lower[k], upper[k], upper[k + 1], lower[k + 1]] for k in range(len(lower) - 1)]


def _mirrored(corner: np.ndarray) -> np.ndarray:
    return np.array([2 * STANDARD_FACE[8, 0] - corner[0], corner[1]])


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)


def _moved(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    return _homogeneous(points) @ by


def _pixels(
    quads: Float[np.ndarray, "region 4 2"], shape: tuple[int, ...]
) -> tuple[Int[np.ndarray, "pixel 2"], Int[np.ndarray, " pixel"]]:
    """Return column and row of all pixels whose centre lies in a region, and that region."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    found = [np.argwhere(_inside(quad, x, y))[:, ::-1] for quad in quads]
    return np.concatenate(found), np.repeat(np.arange(len(found)), [len(part) for part in found])


def _inside(quad: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the points inside: a ray to the right crosses an odd number of the quad's sides."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _main_vectors(
    vectors: Float64[np.ndarray, "frame pixel 2"], region: Int[np.ndarray, " pixel"]
) -> Float64[np.ndarray, "frame 36 2"]:
    """Return each region's mean of the vectors in its fullest bin; zero for one without pixels."""
    frames = len(vectors)
    direction = np.arctan2(vectors[..., 1], vectors[..., 0])
    place = np.floor(direction / (2 * np.pi / BINS) + 0.5).astype(np.intp) % BINS
    place += BINS * (region + REGIONS * np.arange(frames)[:, None])

    def sums(weights: np.ndarray | None) -> np.ndarray:
        counted = np.bincount(place.ravel(), weights, minlength=frames * REGIONS * BINS)
        return counted.reshape(frames, REGIONS, BINS)

    count = sums(None)
    total = np.stack([sums(vectors[..., k].ravel()) for k in (0, 1)], axis=-1)
    fullest = count.argmax(axis=-1)[..., None]
    members = np.take_along_axis(count, fullest, axis=-1)
    return np.take_along_axis(total, fullest[..., None], axis=-2)[..., 0, :] / members.clip(1)
