"""Occlusion: how a class's probability changes when a grey patch hides part of the apex frame.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from atnet_jax.inference.explain.network import Explained, compiled, logits

POSITIONS = 13
"""Positions of the patch per axis: its side is 1/7 of the frame, its step half of its side."""


def patch_size(size: int) -> int:
    """Return the height and width of the patch for a frame of `size` pixels."""
    return max(1, round(2 * size / (POSITIONS + 1)))


def corners(size: int) -> Int[np.ndarray, "13"]:
    """Return the first row (or column) of the patch at each position; they cover the frame."""
    return np.rint(np.linspace(0, size - patch_size(size), POSITIONS)).astype(int)


def drops(
    explained: Explained,
    features: Mapping[str, jax.Array],
    apex: Float32[np.ndarray, "1 size size 1"],
    class_index: int,
) -> Float32[np.ndarray, "13 13"]:
    """Compute the drop of the class's probability at each position of the patch.

    Args:
        explained: The network.
        features: Features of all streams for the unoccluded frame, by stream.
        apex: The apex frame in grey levels.
        class_index: The class.

    Returns:
        The drops by row and column of the patch; negative where the probability rises.
    """
    others = {name: array for name, array in features.items() if name != "spatial"}
    top, left = (grid.ravel() for grid in np.meshgrid(*[corners(apex.shape[1])] * 2, indexing="ij"))
    # One row of positions per call: larger batches are not faster on a CPU.
    hidden = [
        _probabilities(explained, others, apex, class_index, *places)
        for places in zip(np.split(top, POSITIONS), np.split(left, POSITIONS), strict=True)
    ]
    return np.asarray(_probability(explained, features, class_index)) - np.stack(hidden)


def drop_map(drops: Float[np.ndarray, "13 13"], size: int) -> Float32[np.ndarray, "{size} {size}"]:
    """Return the mean drop, at each pixel, over the patch positions that hide it.

    Args:
        drops: Result of `drops`.
        size: Height and width of the frame in pixels.
    """
    pixels, starts = np.arange(size), corners(size)[:, None]
    hides = ((pixels >= starts) & (pixels < starts + patch_size(size))).astype(np.float32)
    hides /= hides.sum(axis=0)
    return (hides.T @ drops @ hides).astype(np.float32)


@compiled
def _probability(
    explained: Explained, features: Mapping[str, jax.Array], class_index: Any
) -> Float[Array, " clip"]:
    return jax.nn.softmax(logits(explained, features))[:, class_index]


@compiled
def _probabilities(
    explained: Explained,
    others: Mapping[str, jax.Array],
    apex: Float[Array, "1 size size 1"],
    class_index: Any,
    top: Int[Array, " position"],
    left: Int[Array, " position"],
) -> Float[Array, " position"]:
    """Compute the class's probability with a patch of the frame's mean grey at each position."""
    apex = jnp.asarray(apex, jnp.float32)
    size = patch_size(apex.shape[1])
    pixels = jnp.arange(apex.shape[1])
    rows, columns = ((pixels >= k[:, None]) & (pixels < k[:, None] + size) for k in (top, left))
    patch = (rows[:, :, None] & columns[:, None, :])[..., None]
    frames = {"apex": jnp.where(patch, apex.mean(), apex)}
    return jax.nn.softmax(logits(explained, others, frames))[:, class_index]
