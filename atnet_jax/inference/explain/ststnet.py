"""STSTNet for one clip, in a form that passes gradients back to its input.

The network itself is written for training, where no gradient of the input is needed and none given.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from atnet_jax.preprocessing.flow_range import scale_to_unit_range


def grey_levels(
    flow_map: Float[Array, "batch 28 28 3"],
) -> tuple[Float[Array, "batch 28 28 3"], Float[Array, "batch 28 28 3"]]:
    """The grey levels of no motion, by the stretching of these maps, and those of the maps."""
    grey = 255 * scale_to_unit_range(flow_map)
    low, high = (find(flow_map, axis=(1, 2), keepdims=True) for find in (jnp.min, jnp.max))
    still = -low * (255 / jnp.where(high > low, high - low, 1))
    # A flat channel is 0 whatever its value.
    return jnp.broadcast_to(jnp.where(high > low, still, 0), grey.shape), grey


def logits(
    variables: Mapping[str, Any], grey: Float[Array, "batch 28 28 3"]
) -> Float[Array, "batch 3"]:
    """What `atnet_jax.models.ststnet` gives, outside training.

    Args:
      variables: the network's parameters and statistics.
      grey: the maps' grey levels, 0 to 255 or beyond.
    """
    params, statistics = variables["params"], variables["batch_stats"]["norm"]
    kernel = params["streams"]["kernel"].reshape(3, 3, 3, 16)
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(grey, kernel, (1, 1), [(2, 2)] * 2, dimension_numbers=layout)
    x = nn.relu(x + params["streams"]["bias"])
    factor = jax.lax.rsqrt(statistics["var"] + 1e-5) * params["norm"]["scale"]
    x = (x - statistics["mean"]) * factor + params["norm"]["bias"]
    # Windows of 3×3 from row and column -1 on, a padding, to 28; row and column 29 are in none.
    x = jnp.pad(x[:, :29, :29], ((0, 0), (1, 0), (1, 0), (0, 0)), constant_values=-jnp.inf)
    x = nn.max_pool(x, (3, 3), (3, 3))
    x = nn.avg_pool(x, (2, 2), (2, 2))
    classifier = params["classifier"]
    return x.reshape(len(x), -1) @ classifier["kernel"] + classifier["bias"]
