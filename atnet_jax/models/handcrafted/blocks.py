"""Cutting pictures and clips into blocks."""

import itertools
from collections.abc import Sequence


def even_slices(size: int, count: int) -> list[slice]:
    """Neighbouring slices that cover 0…size and differ in length by one at most.

    Args:
        size: Number of rows, columns or frames.
        count: Number of slices. Where there are more of them than `size`, some are empty.
    """
    edges = [size * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def cuboids(shape: Sequence[int], counts: Sequence[int]) -> list[tuple[slice, ...]]:
    """All blocks of an array, its last axis first to change.

    Args:
        shape: Of the array, or of its first axes.
        counts: Number of `even_slices` along each axis.
    """
    return list(itertools.product(*map(even_slices, shape, counts)))
