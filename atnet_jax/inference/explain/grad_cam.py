"""Grad-CAM: where in the apex frame the spatial stream's last map speaks for a class.

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

# Cell k of ResNet-10's last map looks at the pixels around 32 k + 2: five layers of stride 2, of
# which the pooling, without padding, moves the middle by 2 pixels and no other layer moves it.
_STRIDE, _OFFSET = 32, 2


@compiled
def weighted_sum(
    explained: Explained,
    features: Mapping[str, jax.Array],
    last_map: Float[Array, "1 height width channel"],
    class_index: Any,
) -> Float[Array, "height width"]:
    """Σₖ αₖ Aₖ, equations 1 and 2 before the ReLU, of one network and one clip.

    αₖ is the mean over the map's cells of ∂ score / ∂ Aₖ. The stream's features are the maps'
    means, so αₖ is the features' gradient over the number of cells.

    Args:
      explained: the network.
      features: of all streams.
      last_map: A.
      class_index: the class.
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
    """The positive part of the sum, at the apex frame's size; its largest value is 1.

    Args:
      weighted: as `weighted_sum` gives it.
      size: height and width of the apex frame, in pixels.
    """
    cells = np.maximum(weighted, 0)
    place = (np.arange(size) - _OFFSET) / _STRIDE
    across = np.stack([np.interp(place, np.arange(len(row)), row) for row in cells])
    heat = np.stack([np.interp(place, np.arange(len(cells)), row) for row in across.T], axis=1)
    return (heat / (heat.max() or 1)).astype(np.float32)
