"""Scaling of flow maps to the range of 0 to 1 that published networks expect."""

from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float

Maps = TypeVar("Maps", Float[np.ndarray, "*batch height width channel"], jax.Array)


def scale_to_unit_range(flow_maps: Maps) -> Maps:
    """Return the maps with each channel scaled linearly to 0…1; constant channels become 0.

    A map in pixels and the same map published as a picture, 0…255, therefore give equal results up
    to the picture's rounding.

    Args:
        flow_maps: NumPy or JAX array `[..., height, width, channel]`.
    """
    maps: Any = flow_maps
    low = maps.min(axis=(-3, -2), keepdims=True)
    span = maps.max(axis=(-3, -2), keepdims=True) - low
    return (maps - low) / (span + (span == 0))
