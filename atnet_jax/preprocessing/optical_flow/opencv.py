"""The flow methods that come with OpenCV, on all cores: one pair a thread at a time."""

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
    """Flow of grey levels, 0–255, by polynomial expansion (Farnebäck, SCIA 2003).

    Parameters: 3 pyramid levels of half the size each, 3 iterations, neighbourhoods of 5 pixels
    weighted with sigma 1.1, averaged over a box of 25 pixels. The box is a little smaller than an
    ADM block (28): smaller ones let the noise add to the magnitude, larger ones blur across blocks.

    Two properties of OpenCV's code are made up for. It adds a constant to the determinant it
    divides by, which on smooth skin shortens the flow to a third; as the determinant grows with
    the fourth power of contrast, contrast is doubled. And it takes the image to be black beyond
    its border, which shows as motion there; so the border is continued by 16 pixels. Equal images
    still have a flow of rounding errors, 2e-5 pixels in the mean.

    Returns:
        For each pixel of `first` its motion to `second` in pixels: u to the right, v downwards.
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
    """A solver by dense inverse search (Kroeger et al., ECCV 2016).

    It takes pictures of 8 bits: grey levels are rounded.

    Args:
        preset: OpenCV's, `ULTRAFAST`, `FAST` or `MEDIUM`.
        variational_iterations: Steps of the variational refinement; the preset's number (5; none
            in `ULTRAFAST`) if not given.
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

    # OpenCV itself on one thread: DIS gives another flow on two.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return map_pairs(solve_chunk, first, second, chunk=1, threads=cpus.count())
    finally:
        cv2.setNumThreads(threads)
