"""Grad-CAM: the regions of the apex frame that support a class in the spatial stream's last map.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: Visual Explanations from Deep Networks
via Gradient-based Localization, ICCV 2017.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from atnet_jax.inference.explain.network import Explained, compiled, logits, margin

# The receptive field of cell k of ResNet-10's last map is centred on pixel 32 k + 2: five layers
# have stride 2, and only the unpadded pooling shifts the centre, by 2 pixels.
_STRIDE, _OFFSET = 32, 2


@compiled
def weighted_sum(
    explained: Explained,
    features: Mapping[str, jax.Array],
    last_map: Float[Array, "1 height width channel"],
    class_index: Any,
) -> Float[Array, "height width"]:
    """Return Σₖ αₖ Aₖ, equations 1 and 2 before the ReLU, for one network and one clip.

    αₖ is the mean of ∂ score / ∂ Aₖ over the cells of the map. The features of the stream are the
    means of the maps, so αₖ is the gradient of the features divided by the number of cells.

    Args:
        explained: The network.
        features: Features of all streams, by stream.
        last_map: A, the last map of the spatial stream.
        class_index: The class.
    """

    def score(spatial: jax.Array) -> jax.Array:
        replaced = {**features, "spatial": spatial}
        return margin(logits(explained, replaced), class_index).sum()

    (gradient,) = jax.grad(score)(features["spatial"])
    cells = last_map.shape[1] * last_map.shape[2]
    return jnp.einsum("hwc,c->hw", last_map[0], gradient / cells)


def heat_map(
    weighted: Float[np.ndarray, "height width"], size: int
) -> Float32[np.ndarray, "{size} {size}"]:
    """Return the positive part of the sum, interpolated to the apex frame and scaled to maximum 1.

    Args:
        weighted: Result of `weighted_sum`.
        size: Height and width of the apex frame in pixels.
    """
    cells = np.maximum(weighted, 0)
    place = (np.arange(size) - _OFFSET) / _STRIDE
    across = np.stack([np.interp(place, np.arange(len(row)), row) for row in cells])
    heat = np.stack([np.interp(place, np.arange(len(cells)), row) for row in across.T], axis=1)
    return (heat / (heat.max() or 1)).astype(np.float32)
