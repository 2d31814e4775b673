"""Motion of the parts of a face relative to the first frame of a video."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from atnet_jax.inference.spotting.regions import CELL, CELLS, in_picture
from atnet_jax.preprocessing.face import SIZE, Landmarks
from atnet_jax.preprocessing.head_motion import similarities
from atnet_jax.preprocessing.optical_flow.opencv import farneback
from atnet_jax.preprocessing.time_smoothing import even_light

# Flow is computed on crops of half the size: it takes a quarter of the time at no larger error.
_REDUCED = SIZE // 2
# A new reference frame is used after this many seconds, before the head has moved far.
_REFERENCE_SECONDS = 0.5
# Flow is sampled at this many points per cell along each axis.
_POINTS = 4
_ROUNDS = 10


@dataclasses.dataclass(frozen=True)
class Part:
    """Motion in some consecutive frames of a video.

    Attributes:
        crops: Face crops of these frames.
        cells: Displacement of each of the `CELLS` relative to the head since the video's first
            frame; right and down, in pixels of the crop.
        head: Displacement of the centre of the face with the head since the first frame.
    """

    crops: UInt8[np.ndarray, "frame 224 224"]
    cells: Float32[np.ndarray, "frame cell 2"]
    head: Float32[np.ndarray, "frame 2"]


def face_motion(
    crops: Iterable[UInt8[np.ndarray, "224 224"]], frame_rate: float, landmarks: Landmarks
) -> Iterator[Part]:
    """Compute the motion of a face's parts since the first frame, without the head's motion.

    Farnebäck's flow is computed from a reference frame to each frame of the next half second. The
    last of these frames is the next reference, and the motions are summed. Noise of a reference
    cancels between the flow that ends at it and the flows that start from it, so it does not
    accumulate. The cells follow the head from reference to reference. Memory holds half a second
    only.

    Args:
        crops: Face crops of the video, in order.
        frame_rate: Frames per second.
        landmarks: Landmarks of the first frame, in pixels of the crop.

    Yields:
        The motion in the first frame, and then in each half second.
    """
    step = max(1, round(_REFERENCE_SECONDS * frame_rate))
    offsets = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    within = CELL * np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
    points = in_picture(landmarks, CELLS[:, None] + within)
    middle = in_picture(landmarks, np.array([0.0, 0.5]))
    cells = np.zeros((1, len(CELLS), 2), np.float32)
    head = np.zeros((1, 2), np.float32)
    left = iter(crops)
    reference = next(left, None)
    if reference is None:
        return
    yield Part(reference[None], cells, head)
    while now := list(itertools.islice(left, step)):
        centres = points.mean(axis=1)
        flows = _flows(np.stack([reference, *now]), points).mean(axis=2)
        heads = head_motion(flows, centres - middle)
        rigid = np.einsum("pca,fa->fpc", similarities(*np.moveaxis(centres - middle, -1, 0)), heads)
        cells = (cells[-1] + flows - rigid).astype(np.float32)
        head = (head[-1] + heads[:, :2]).astype(np.float32)
        yield Part(np.stack(now), cells, head)
        points = points + similarities(*np.moveaxis(points - middle, -1, 0)) @ heads[-1]
        middle = middle + heads[-1, :2]
        reference = now[-1]


def _flows(
    crops: UInt8[np.ndarray, "frame 224 224"], points: Float64[np.ndarray, "cell point 2"]
) -> Float32[np.ndarray, "frame-1 cell point 2"]:
    """Compute the flow from the first crop to each later crop, at points of the first."""
    small = np.stack(
        [
            cv2.resize(crop, (_REDUCED, _REDUCED), interpolation=cv2.INTER_AREA).astype(np.float32)
            for crop in crops
        ]
    )
    small = even_light(small)
    flows = farneback(np.broadcast_to(small[0], small[1:].shape), small[1:])
    scale = SIZE / _REDUCED
    # Pixel i of the crop lies at (i + 0.5) / scale - 0.5 in the reduced crop.
    x, y = np.moveaxis(((points + 0.5) / scale - 0.5).astype(np.float32), -1, 0)
    read = [
        cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for flow in flows
    ]
    return scale * np.stack(read)


def head_motion(
    flows: Float32[np.ndarray, "frame cell 2"], centres: Float64[np.ndarray, "cell 2"]
) -> Float64[np.ndarray, "frame 4"]:
    """Fit the shift, scaling and rotation that most cells of a face follow.

    This is the fit of `preprocessing.head_motion.rigid_part` (Geman and McClure's weights, scaled
    by the median residual), applied to cells instead of pixels and to many frames at once.

    Args:
        flows: Motion of each cell in pixels.
        centres: Position of each cell, in pixels from the centre of the face.

    Returns:
        Shift right and down in pixels, scaling minus 1, and rotation in radians.
    """
    basis = similarities(*centres.T)
    target = flows.astype(np.float64)
    weights = np.ones(target.shape[:2])
    found = np.zeros((len(target), 4))
    for _ in range(_ROUNDS):
        normal = np.einsum("fp,pca,pcb->fab", weights, basis, basis, optimize=True)
        right = np.einsum("fp,pca,fpc->fa", weights, basis, target, optimize=True)
        found = np.einsum("fab,fb->fa", np.linalg.pinv(normal, hermitian=True), right)
        squared = ((target - np.einsum("pca,fa->fpc", basis, found)) ** 2).sum(axis=-1)
        scale = np.median(squared, axis=1, keepdims=True)
        # If most cells follow the fit exactly, the scale is 0 and all weights are set to 1.
        ratio = np.divide(squared, scale, out=np.zeros_like(squared), where=scale > 0)
        weights = 1 / (1 + ratio) ** 2
    return found
