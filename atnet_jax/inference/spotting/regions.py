"""Regions of a face in which motion and patterns are measured, placed by five landmarks."""

import dataclasses

import numpy as np
from jaxtyping import Float, Float64

from atnet_jax.preprocessing.face import Landmarks

# Rounded mean over 54 synthetic clips (seed 101) cropped by MTCNN.
STANDARD_LANDMARKS = Landmarks(
    left_eye=(75.0, 86.0),
    right_eye=(151.0, 85.0),
    nose=(112.0, 135.0),
    mouth_left=(82.0, 172.0),
    mouth_right=(146.0, 171.0),
)


def in_picture(
    landmarks: Landmarks, places: Float[np.ndarray, "*places 2"]
) -> Float64[np.ndarray, "*places 2"]:
    """Convert face coordinates to pixels.

    The origin of face coordinates is midway between the eyes. x points right, in units of the
    distance between the eyes. y points down, in units of the distance from the origin to the
    midpoint between the corners of the mouth.

    Args:
        landmarks: Landmarks of the face, in pixels.
        places: Points in face coordinates.

    Returns:
        x and y in the pixels of the landmarks.
    """
    left, right, _, *mouth = (np.array(point) for point in dataclasses.astuple(landmarks))
    centre = (left + right) / 2
    return centre + places @ np.stack([right - left, sum(mouth) / 2 - centre])


def _grid(columns: np.ndarray, rows: np.ndarray) -> Float64[np.ndarray, "place 2"]:
    return np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)


def _outside_eyes(cells: np.ndarray) -> np.ndarray:
    x, y = np.abs(cells).T[0], cells.T[1]
    return cells[~((x > 0.2) & (y > -0.1) & (y < 0.3))]


CELL = 0.2
"""Width and height of a cell in face coordinates."""

CELLS = _outside_eyes(_grid(np.arange(-0.7, 0.8, CELL), np.arange(-0.6, 1.3, CELL)))
"""Centres of the cells in which motion is averaged, `[cell, 2]` in face coordinates.

The cells cover the face from the forehead to below the mouth, without the eyes.
"""


def _expressive(cells: np.ndarray) -> np.ndarray:
    x, y = np.abs(cells).T[0], cells.T[1]
    brows = y < -0.3
    cheeks = (y > 0.5) & (x > 0.35)
    mouth = y > 0.7
    return brows | cheeks | mouth


EXPRESSIVE = _expressive(CELLS)
"""Mask of the cells that show expressions: brows and forehead, cheeks, mouth and its surroundings.

Cells next to the eyes are excluded, because a blink is stronger than a micro-expression and the
flow spreads it there. The nose is excluded because it moves with the head.
"""

BLOCK = 0.4
"""Width and height of a block in face coordinates."""

BLOCKS = np.concatenate(
    [
        _grid(np.array([-0.6, -0.2, 0.2, 0.6]), np.array([-0.4, 1.0])),
        _grid(np.array([-0.6, 0.6]), np.array([0.6])),
    ]
)
"""Centres of the blocks in which local binary patterns are counted, `[block, 2]` in face
coordinates: brows, cheeks, mouth."""
