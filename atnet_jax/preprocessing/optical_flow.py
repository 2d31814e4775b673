"""Dense optical flow between two face crops: one interface, several methods.

The paper (section III-A) takes the flow of Sun, Roth and Black (IJCV 2014). Offered here are two
methods that come with OpenCV.

Motion between adjacent frames is tiny: at 200 frames per second a mean of about 0.04 pixels per
ADM block, at SMIC's 100 about 0.4 (the authors' release). So the methods were measured on known
smooth warps of six pictures (a building, a face, sharp and smooth textures like skin), rounded to
8 bits after adding noise of 0.7 grey levels. For each mean motion in pixels the table gives the
correlation of the mean (u, v) of the 8×8 blocks with the truth, the correlation of their mean
magnitude, and that magnitude as a multiple of the true one; time is for one pair on one core:

| method | 0.03 | 0.1 | 0.5 | 2 | ms |
|---|---|---|---|---|---|
| `farneback` | .70 .51 1.55 | .94 .86 1.03 | .98 .94 0.89 | .98 .95 0.88 | 12 |
| `dis` | .45 .37 1.90 | .88 .75 1.15 | .99 .97 0.96 | .99 .98 0.95 | 6 |

Farnebäck's is the default: far better at the motions of CASME II and SAMM, and all but equal at
those of SMIC and from onset to apex.
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError

FlowMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(first, second), grey uint8 `[height, width]` → flow float32 `[height, width, 2]` in pixels."""

DEFAULT = "farneback"


def farneback(
    first: UInt8[np.ndarray, "height width"], second: UInt8[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width 2"]:
    """Flow by polynomial expansion (Farnebäck, SCIA 2003).

    Parameters: 3 pyramid levels of half the size each, 3 iterations, neighbourhoods of 5 pixels
    weighted with sigma 1.1, averaged over a box of 25 pixels. The box is a little smaller than an
    ADM block (28): smaller ones let the noise add to the magnitude, larger ones blur across blocks.

    Two properties of OpenCV's code are made up for. It adds a constant to the determinant it
    divides by, which on smooth skin shortens the flow to a third; as the determinant grows with
    the fourth power of contrast, contrast is doubled. And it takes the image to be black beyond
    its border, which shows as motion there; so the border is continued by 16 pixels. Equal images
    still have a flow of rounding errors, 2e-5 pixels in the mean.

    Args:
        first: Grey image.
        second: The image that follows it.

    Returns:
        For each pixel of `first` its motion to `second` in pixels: u to the right, v downwards.
    """
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
    return np.ascontiguousarray(flow[margin:-margin, margin:-margin], np.float32)


def dis(
    first: UInt8[np.ndarray, "height width"], second: UInt8[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width 2"]:
    """Flow by dense inverse search (Kroeger et al., ECCV 2016), OpenCV's preset MEDIUM.

    The preset FAST does worse from 0.1 pixels on. Going down to full resolution (finest scale 0)
    takes five times as long, improves only motions of half a pixel and more, and those by 0.01 of
    the correlation.

    Args:
        first: Grey image.
        second: The image that follows it.

    Returns:
        For each pixel of `first` its motion to `second` in pixels: u to the right, v downwards.
    """
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    flow = _dis_solver().calc(first, second, None)  # pyright: ignore
    return flow.astype(np.float32, copy=False)


@functools.cache
def _dis_solver() -> cv2.DISOpticalFlow:
    """The solver, made once a process as it keeps its work space; no flow is carried over."""
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


_METHODS: dict[str, FlowMethod] = {"dis": dis, "farneback": farneback}
METHODS = tuple(_METHODS)


def flow_method(name: str) -> FlowMethod:
    """The flow method of this name.

    Args:
        name: One of `METHODS`.

    Returns:
        A function of two grey uint8 images `[height, width]` that gives the flow from the first to
        the second, float32 `[height, width, 2]`: u to the right, v downwards, in pixels.

    Raises:
        UserError: There is none of this name.
    """
    if name not in _METHODS:
        raise UserError(f"unknown flow method {name!r}; choose one of {', '.join(METHODS)}")
    return _METHODS[name]
