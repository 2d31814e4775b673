"""Cutting pictures and clips into blocks."""

import itertools

from atnet_jax.errors import UserError


def even_slices(size: int, count: int) -> list[slice]:
    """Neighbouring slices that cover 0…size and differ in length by one at most.

    Args:
        size: Number of rows, columns or frames.
        count: Number of slices. Where there are more of them than `size`, some are empty.

    Raises:
        UserError: The number of slices is under 1.
    """
    if count < 1:
        raise UserError(f"a picture or clip is cut into one block or more, not {count}")
    edges = [size * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges)]
