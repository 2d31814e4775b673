"""The temporal interpolation model (TIM), which gives every clip the same number of frames."""

import numpy as np
from jaxtyping import Float, Float32, Shaped

from atnet_jax.errors import UserError


def interpolate_frames(
    frames: Shaped[np.ndarray, "frame height width"], length: int, kind: str = "tim"
) -> Float32[np.ndarray, "{length} height width"]:
    """Resample a clip evenly from its first to its last frame.

    `tim`: the temporal interpolation model (Zhou, Zhao and Pietikäinen, CVPR 2011). It takes the
    frames for the nodes of a path graph, whose Laplacian has sampled cosines for eigenvectors, and
    goes through the frames along those cosines. Without noise the embedding and its inverse cancel,
    and what is left is each pixel's discrete cosine transform (DCT-II) over the n frames, evaluated
    between them: with c_k = Σ_i x_i cos(πk(i − ½)/n) and time s in 1…n,

        x(s) = c_0/n + 2/n Σ_{k=1}^{n−1} c_k cos(πk(s − ½)/n).

    Unlike the embedding this needs no frames that differ, so repeated frames do no harm. As any
    sum of cosines it can overshoot: what leaves 0…255 is clipped.

    `linear`: linear interpolation between neighbouring frames.

    Either way a clip that has `length` frames already stays as it is, a longer one is sampled
    without smoothing, and a single frame is repeated.

    Args:
        frames: The clip, grey levels of 0…255, of any integer or floating type.
        length: Number of frames to return, 2 or more; the first and the last are the clip's own.
        kind: "tim" or "linear".

    Returns:
        The resampled clip; not rounded to whole grey levels.

    Raises:
        UserError: There are no frames.
    """
    count = len(frames)
    if not count:
        raise UserError("a clip without frames cannot be interpolated")
    clip = frames.astype(np.float32).reshape(count, -1)
    if count != length:
        weights = (_cosine_weights if kind == "tim" else _linear_weights)(count, length)
        # The weights of a frame sum to one. Applied to the differences from the first frame they
        # leave a pixel that never changes exactly as it is, which LBP's >= relies on.
        first = clip[0].copy()
        clip -= first
        clip = weights.astype(np.float32) @ clip
        clip += first
        np.clip(clip, 0, 255, out=clip)
    return clip.reshape(length, *frames.shape[1:])


def _cosine_weights(count: int, length: int) -> Float[np.ndarray, "{length} {count}"]:
    """Weight of each given frame in each new one: DCT-II and its inverse at the new times."""
    order = np.arange(count)
    given = np.cos(np.pi / count * np.outer(np.arange(count) + 0.5, order))
    wanted = np.cos(np.pi / count * np.outer(np.linspace(0.5, count - 0.5, length), order))
    return wanted * np.where(order == 0, 1 / count, 2 / count) @ given.T


def _linear_weights(count: int, length: int) -> Float[np.ndarray, "{length} {count}"]:
    """Weight of each given frame in each new one: a triangle as wide as two frames."""
    distance = np.linspace(0, count - 1, length)[:, None] - np.arange(count)
    return np.maximum(0, 1 - np.abs(distance))
