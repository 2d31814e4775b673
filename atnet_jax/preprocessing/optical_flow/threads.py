"""Pairs of pictures spread over the cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(first, second), grey levels 0–255, float32 `[pair, height, width]` → flow from first to second,
float32 `[pair, height, width, 2]` in pixels."""


def map_pairs(
    solve_chunk: Solver, first: np.ndarray, second: np.ndarray, chunk: int, threads: int
) -> np.ndarray:
    """Flow of any number of pairs, by a function for `chunk` pairs.

    Args:
        solve_chunk: Called in threads, always with `chunk` pairs; it should release the GIL.
        first: Grey levels, float32 `[pair, height, width]`.
        second: Of the same shape.
        chunk: Pairs a call; the last pair is repeated to fill the last chunk.
        threads: Calls at the same time.

    Returns:
        float32 `[pair, height, width, 2]`.
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
