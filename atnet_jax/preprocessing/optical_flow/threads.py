"""Distribution of pairs of pictures over threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(first, second), grey levels 0–255, float32 `[pair, height, width]` → flow from first to second,
float32 `[pair, height, width, 2]` in pixels."""


def map_pairs(
    solve_chunk: Solver, first: np.ndarray, second: np.ndarray, chunk: int, threads: int
) -> np.ndarray:
    """Compute the flow of any number of pairs with a function for `chunk` pairs.

    Args:
        solve_chunk: Solver called in threads, always with `chunk` pairs; it should release the GIL.
        first: Grey levels, float32 `[pair, height, width]`.
        second: Grey levels of the same shape.
        chunk: Pairs per call; the last pair is repeated to fill the last chunk.
        threads: Number of threads.

    Returns:
        The flow, float32 `[pair, height, width, 2]` in pixels.
    """
    count = len(first)
    flow = np.empty((*first.shape, 2), np.float32)

    def solve(start: int) -> None:
        index = np.minimum(np.arange(start, start + chunk), count - 1)
        stop = min(start + chunk, count)
        flow[start:stop] = solve_chunk(first[index], second[index])[: stop - start]

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(solve, start) for start in range(0, count, chunk)]:
            done.result()
    return flow
