"""Flow methods of OpenCV, run on all cores with one pair per thread."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from atnet_jax.preprocessing.optical_flow.threads import Solver, map_pairs
from atnet_jax.system import cpus


def farneback(
    first: Float32[np.ndarray, "pair height width"],
    second: Float32[np.ndarray, "pair height width"],
) -> Float32[np.ndarray, "pair height width 2"]:
    """Compute flow by polynomial expansion (Farnebäck, SCIA 2003).

    Parameters: 3 pyramid levels of half the size each, 3 iterations, neighbourhoods of 5 pixels
    weighted with sigma 1.1, averaged over a box of 25 pixels. The box is slightly smaller than an
    ADM block (28). With smaller boxes noise increases the magnitude; larger boxes blur across
    blocks.

    Two properties of OpenCV's code are compensated. OpenCV adds a constant to the determinant that
    it divides by, which on smooth skin shortens the flow to a third. The determinant grows with the
    fourth power of contrast, so contrast is doubled. OpenCV also treats the picture as black beyond
    its border, which appears as motion, so the border is extended by 16 pixels. Equal pictures
    still have a flow of rounding errors, 2e-5 pixels on average.

    Args:
        first: Grey levels, 0–255.
        second: Grey levels, 0–255.

    Returns:
        Motion of each pixel of `first` to `second` in pixels: u to the right, v downwards.
    """
    return _each_pair(_farneback, first, second)


def _farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    margin, contrast = 16, np.float32(2)

    def prepare(image: np.ndarray) -> np.ndarray:
        return np.pad(image, margin, mode="edge") * contrast

    flow = cv2.calcOpticalFlowFarneback(
        prepare(first),
        prepare(second),
        None,  # pyright: ignore[reportArgumentType, reportCallIssue]
        pyr_scale=0.5,
        levels=3,
        winsize=25,
        iterations=3,
        poly_n=5,
        poly_sigma=1.1,
        flags=0,
    )
    return flow[margin:-margin, margin:-margin]


def dis(preset: str, variational_iterations: int | None = None) -> Solver:
    """Return a solver that uses dense inverse search (Kroeger et al., ECCV 2016).

    The solver rounds grey levels to integers, because OpenCV expects pictures of 8 bits.

    Args:
        preset: Preset of OpenCV: `ULTRAFAST`, `FAST` or `MEDIUM`.
        variational_iterations: Steps of the variational refinement; by default those of the preset
            (5; none in `ULTRAFAST`).
    """

    def solve_pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        solver = cv2.DISOpticalFlow.create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset}"))
        if variational_iterations is not None:
            solver.setVariationalRefinementIterations(variational_iterations)
        images = (np.rint(image).clip(0, 255).astype(np.uint8) for image in (first, second))
        return solver.calc(*images, None)  # pyright: ignore

    def solve(
        first: Float32[np.ndarray, "pair height width"],
        second: Float32[np.ndarray, "pair height width"],
    ) -> Float32[np.ndarray, "pair height width 2"]:
        return _each_pair(solve_pair, first, second)

    return solve


def _each_pair(
    solve_pair: Callable[[np.ndarray, np.ndarray], np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    def solve_chunk(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return solve_pair(first[0], second[0])[None]

    # Limit OpenCV to one thread, because the flow of DIS depends on the number of threads.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return map_pairs(solve_chunk, first, second, chunk=1, threads=cpus.count())
    finally:
        cv2.setNumThreads(threads)
