"""How far the parts of a face have moved since a video's first frame."""

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from atnet_jax.inference.spotting.regions import CELL, CELLS, in_picture
from atnet_jax.preprocessing.face import SIZE, Landmarks
from atnet_jax.preprocessing.head_motion import similarities
from atnet_jax.preprocessing.optical_flow.opencv import farneback
from atnet_jax.preprocessing.time_smoothing import even_light

# Flow is computed of crops of half the size: a quarter of the time, and no larger error.
_REDUCED = SIZE // 2
# Flow starts from a new reference frame after this many seconds, before the head is far away.
_REFERENCE_SECONDS = 0.5
# Flow is read at this many points a cell along each axis.
_POINTS = 4
_ROUNDS = 10


def face_motion(
    crops: UInt8[np.ndarray, "frame 224 224"], frame_rate: float, landmarks: Landmarks
) -> tuple[Float32[np.ndarray, "frame cell 2"], Float32[np.ndarray, "frame 2"]]:
    """Motion of a face's parts since the first frame, the head's own motion taken out.

    Flow (Farnebäck's) leads from a reference frame to each frame of the next half second, whose
    last frame is the next reference; the motions add up. What a reference's noise adds to one
    flow it takes from those that start from it, so no noise gathers. The cells follow the head
    from reference to reference. Only half a second's flows are held at a time.

    Args:
        crops: The video.
        frame_rate: Frames a second.
        landmarks: Of the first frame, in pixels of the crop.

    Returns:
        How far each of the `CELLS` has moved against the head, and the middle of the face with the
        head, right and down, in pixels of the crop.
    """
    step = max(1, round(_REFERENCE_SECONDS * frame_rate))
    offsets = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    within = CELL * np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)
    points = in_picture(landmarks, CELLS[:, None] + within)
    middle = in_picture(landmarks, np.array([0.0, 0.5]))
    cells = np.zeros((len(crops), len(CELLS), 2), np.float32)
    head = np.zeros((len(crops), 2), np.float32)
    for start in range(0, len(crops) - 1, step):
        now = slice(start + 1, start + 1 + step)
        centres = points.mean(axis=1)
        flows = _flows(crops[start : now.stop], points).mean(axis=2)
        heads = head_motion(flows, centres - middle)
        rigid = np.einsum("pca,fa->fpc", similarities(*np.moveaxis(centres - middle, -1, 0)), heads)
        cells[now] = cells[start] + flows - rigid
        head[now] = head[start] + heads[:, :2]
        points = points + similarities(*np.moveaxis(points - middle, -1, 0)) @ heads[-1]
        middle = middle + heads[-1, :2]
    return cells, head


def _flows(
    crops: UInt8[np.ndarray, "frame 224 224"], points: Float64[np.ndarray, "cell point 2"]
) -> Float32[np.ndarray, "frame-1 cell point 2"]:
    """Flow from the first crop to each other one, at points of the first."""
    small = np.stack(
        [
            cv2.resize(crop, (_REDUCED, _REDUCED), interpolation=cv2.INTER_AREA).astype(np.float32)
            for crop in crops
        ]
    )
    small = even_light(small)
    flows = farneback(np.broadcast_to(small[0], small[1:].shape), small[1:])
    scale = SIZE / _REDUCED
    # Pixel i of the crop lies at (i + 0.5) / scale - 0.5 of the reduced one.
    x, y = np.moveaxis(((points + 0.5) / scale - 0.5).astype(np.float32), -1, 0)
    read = [
        cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for flow in flows
    ]
    return scale * np.stack(read)


def head_motion(
    flows: Float32[np.ndarray, "frame cell 2"], centres: Float64[np.ndarray, "cell 2"]
) -> Float64[np.ndarray, "frame 4"]:
    """The shift, scaling and rotation that most cells of a face follow.

    The fit of `preprocessing.head_motion.rigid_part` (Geman and McClure's weights, scaled by the
    median residual), of the face's cells instead of all pixels, and of many frames at a time.

    Args:
        flows: Motion of each cell in pixels.
        centres: Where the cells lie, in pixels from the middle of the face.

    Returns:
        Shift right and down in pixels, scaling less 1, rotation in radians.
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
        # Where most cells follow the fit exactly, all weights are 1.
        ratio = np.divide(squared, scale, out=np.zeros_like(squared), where=scale > 0)
        weights = 1 / (1 + ratio) ** 2
    return found
