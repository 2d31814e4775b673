"""Local binary patterns of the parts of a face in each frame."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.inference.spotting.regions import BLOCK, BLOCKS, in_picture
from atnet_jax.models.lbp_top import BINS, neighbourhood, uniform_bins
from atnet_jax.preprocessing.face import SIZE, Landmarks

RADIUS = 3
# Sensor noise determines the patterns of smooth skin; a blur of this many pixels keeps wrinkles.
_BLUR = 1.5


def codes(image: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Return the local binary pattern of each pixel: 8 points at a radius of 3 pixels.

    It equals the plane XY of `lbp_top`, except that points are rounded to the nearest pixel, which
    is several times faster, and that the border of the picture is replicated.

    Args:
        image: Grey levels.
    """
    height, width = image.shape
    padded = cv2.copyMakeBorder(image, RADIUS, RADIUS, RADIUS, RADIUS, cv2.BORDER_REPLICATE)
    found = np.zeros_like(image)
    for bit, (_, row, column) in enumerate(neighbourhood("XY", RADIUS, 8)):
        top, left = RADIUS + round(row), RADIUS + round(column)
        found |= (padded[top : top + height, left : left + width] >= image) * np.uint8(1 << bit)
    return found


def histograms(
    crops: UInt8[np.ndarray, "frame 224 224"],
    landmarks: Landmarks,
    head: Float32[np.ndarray, "frame 2"],
) -> Float32[np.ndarray, "frame block 59"]:
    """Compute the histogram of uniform patterns in each of the `BLOCKS`.

    The blocks follow the head, rounded to whole pixels, because interpolation would change the
    patterns. Outside the crop its border is replicated.

    Args:
        crops: Face crops of the video.
        landmarks: Landmarks of the first frame, in pixels of the crop.
        head: Displacement of the head since the first frame, right and down, in pixels.

    Returns:
        Histograms, each summing to 1.
    """
    bins = uniform_bins().astype(np.uint8)
    places = in_picture(landmarks, BLOCKS)
    corners = in_picture(landmarks, BLOCKS + BLOCK / 2)
    half = np.maximum(np.abs(corners - places).mean(axis=0).round().astype(int), 1)
    centres = places.round().astype(int) + head.round().astype(int)[:, None]
    found = np.empty((len(crops), len(BLOCKS), BINS), np.float32)
    for index, crop in enumerate(crops):
        smooth = cv2.GaussianBlur(crop, (0, 0), _BLUR)
        pattern = cv2.LUT(codes(smooth), bins)
        for block, centre in enumerate(centres[index]):
            rows, columns = (
                np.clip(np.arange(c - h, c + h), 0, SIZE - 1)
                for c, h in zip(centre[::-1], half[::-1], strict=True)
            )
            found[index, block] = np.bincount(
                pattern[np.ix_(rows, columns)].ravel(), minlength=BINS
            )
    return found / found.sum(axis=-1, keepdims=True)
