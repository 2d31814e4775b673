"""Local binary patterns of a face's parts, frame by frame."""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.inference.spotting.regions import BLOCK, BLOCKS, in_picture
from atnet_jax.models.lbp_top import BINS, neighbourhood, uniform_bins
from atnet_jax.preprocessing.face import SIZE, Landmarks

RADIUS = 3
# Sensor noise decides the patterns of smooth skin; this many pixels of blur leave the wrinkles.
_BLUR = 1.5


def codes(image: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Local binary pattern of each pixel: 8 points at a radius of 3 pixels.

    As on the plane XY of `lbp_top`, but the points are the nearest pixels, which is several times
    faster, and the picture's border is continued.
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
    """How often each uniform pattern occurs in each of the `BLOCKS`.

    The blocks follow the head by whole pixels, none until it has moved by half a pixel; fractions
    of a pixel would have to be interpolated, which changes patterns. Where blocks leave the crop
    its border is continued.

    Args:
        crops: The video.
        landmarks: Of the first frame, in pixels of the crop.
        head: How far the head has moved since, right and down, in pixels.

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
