"""Displacement of pictures and of their parts."""

import numpy as np

from data_builders.doctor import motion
from tests.data_builders.doctor.conftest import moved, texture


def test_shift_and_block_motion_are_those_of_the_picture():
    picture = texture(5, (640, 480))
    first = motion.reduce(picture)
    x, y, response = motion.shift(first, motion.reduce(moved(picture, 12, -7)))
    np.testing.assert_allclose((x, y), (12 / 640, -7 / 480), atol=0.005)
    assert response > 0.5
    assert abs(motion.shift(first, first)[0]) < 1e-3
    blocks = motion.block_motion(first, motion.reduce(moved(picture, 0.3, -0.1))).reshape(2, -1)
    # 640 pixels are 320 in the reduced frame, 480 are 256.
    np.testing.assert_allclose(blocks.mean(axis=1), (0.15, -0.1 * 256 / 480), atol=0.02)
