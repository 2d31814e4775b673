"""Flow maps as the pictures that networks of the field read: each channel over a fixed range."""

from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float

Maps = TypeVar("Maps", Float[np.ndarray, "*batch height width channel"], jax.Array)


def scale_to_unit_range(flow_maps: Maps) -> Maps:
    """Each channel of each map linearly to 0…1, its least value to 0; a flat one to 0.

    So a map in pixels and one that was published as a picture, 0…255, give the same.

    Args:
      flow_maps: `[..., height, width, channel]`, of NumPy or JAX.
    """
    maps: Any = flow_maps
    low = maps.min(axis=(-3, -2), keepdims=True)
    span = maps.max(axis=(-3, -2), keepdims=True) - low
    return (maps - low) / (span + (span == 0))
