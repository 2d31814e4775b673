"""The temporal interpolation model (TIM), which resamples clips to a fixed number of frames."""

import numpy as np
from jaxtyping import Float, Float32, Shaped

from atnet_jax.errors import UserError
from atnet_jax.words import numbered


def interpolate_frames(
    frames: Shaped[np.ndarray, "frame height width"], length: int, kind: str = "tim"
) -> Float32[np.ndarray, "{length} height width"]:
    """Resample a clip evenly from its first to its last frame.

    "tim" is the temporal interpolation model (Zhou, Zhao and Pietikäinen, CVPR 2011). It treats the
    frames as nodes of a path graph, whose Laplacian has sampled cosines as eigenvectors, and fits a
    curve along those cosines through the frames. Without noise the embedding and its inverse
    cancel. The result is each pixel's discrete cosine transform (DCT-II) over the n frames,
    evaluated between them. With c_k = Σ_i x_i cos(πk(i − ½)/n) and time s in 1…n,

        x(s) = c_0/n + 2/n Σ_{k=1}^{n−1} c_k cos(πk(s − ½)/n).

    Unlike the embedding, this form allows repeated frames. A sum of cosines can overshoot, so
    values are clipped to 0…255.

    "linear" is linear interpolation between neighbouring frames.

    With both kinds, a clip that already has `length` frames stays unchanged, a longer clip is
    sampled without smoothing, and a single frame is repeated.

    Args:
        frames: The clip, grey levels of 0…255, of any integer or floating type.
        length: Number of frames to return, 2 or more; the first and last frames of the clip stay.
        kind: "tim" or "linear".

    Returns:
        The resampled clip, not rounded to integer grey levels.

    Raises:
        UserError: The clip has no frames.
    """
    if kind not in ("tim", "linear") or length < 2:
        raise UserError(
            f"kind is {kind!r} and length {length}, expected 'tim' or 'linear', and at least 2."
        )
    count = len(frames)
    if not count:
        raise UserError(
            f"A clip without frames cannot be interpolated to {numbered(length, 'frame')}."
            f" Expected at least 1"
            " frame."
        )
    clip = frames.astype(np.float32).reshape(count, -1)
    if count != length:
        weights = (_cosine_weights if kind == "tim" else _linear_weights)(count, length)
        # The weights of a frame sum to one. Applied to the differences from the first frame, they
        # leave a constant pixel exactly unchanged, which the comparison >= of LBP relies on.
        first = clip[0].copy()
        clip -= first
        clip = weights.astype(np.float32) @ clip
        clip += first
        np.clip(clip, 0, 255, out=clip)
    return clip.reshape(length, *frames.shape[1:])


def _cosine_weights(count: int, length: int) -> Float[np.ndarray, "{length} {count}"]:
    """Return each given frame's weight in each new one: DCT-II and its inverse at the new times."""
    order = np.arange(count)
    given = np.cos(np.pi / count * np.outer(np.arange(count) + 0.5, order))
    wanted = np.cos(np.pi / count * np.outer(np.linspace(0.5, count - 0.5, length), order))
    return wanted * np.where(order == 0, 1 / count, 2 / count) @ given.T


def _linear_weights(count: int, length: int) -> Float[np.ndarray, "{length} {count}"]:
    """Return each given frame's weight in each new one: a triangle with a base of two frames."""
    distance = np.linspace(0, count - 1, length)[:, None] - np.arange(count)
    return np.maximum(0, 1 - np.abs(distance))
