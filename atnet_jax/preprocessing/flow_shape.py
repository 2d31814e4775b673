"""The shape that functions of a flow expect."""

import numpy as np

from atnet_jax.errors import UserError


def check_flow(flow: np.ndarray, multiple: int = 1) -> None:
    """Check that an array is a flow.

    Args:
        flow: The array.
        multiple: Height and width must be multiples of this.

    Raises:
        UserError: The array is not `[height, width, 2]` of such a size.
    """
    if (
        flow.ndim != 3
        or flow.shape[-1] != 2
        or flow.shape[0] % multiple
        or flow.shape[1] % multiple
    ):
        sides = "" if multiple == 1 else f" with sides that are multiples of {multiple}"
        raise UserError(f"A flow has the shape {flow.shape}, expected [height, width, 2]{sides}.")
