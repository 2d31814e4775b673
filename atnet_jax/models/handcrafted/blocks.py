"""Division of pictures and clips into blocks."""

import itertools
from collections.abc import Sequence


def even_slices(size: int, count: int) -> list[slice]:
    """Return adjacent slices that cover 0…size and differ in length by at most one.

    Args:
        size: Number of rows, columns or frames.
        count: Number of slices. If it exceeds `size`, some slices are empty.
    """
    edges = [size * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def cuboids(shape: Sequence[int], counts: Sequence[int]) -> list[tuple[slice, ...]]:
    """Return all blocks of an array, with the last axis varying fastest.

    Args:
        shape: Shape of the array, or of its first axes.
        counts: Number of `even_slices` along each axis.
    """
    return list(itertools.product(*map(even_slices, shape, counts)))
