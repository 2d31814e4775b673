"""Made face crops that move in a known way."""

import cv2
import numpy as np

SIDE = 224
MOUTH = (112.0, 176.0)
BROW = (113.0, 48.0)


def face(seed=0):
    """Shaded skin with dark eyes, brows and a mouth where MTCNN's crops have them."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2.5)
    round_cheeks = np.square(np.linspace(-1, 1, SIDE, dtype=np.float32))
    picture = 150 + 8 * texture / texture.std() - 60 * round_cheeks
    for x in (75, 151):
        cv2.ellipse(picture, (x, 86), (14, 7), 0, 0, 360, 50, -1)
        cv2.ellipse(picture, (x, 56), (24, 4), 0, 0, 360, 60, -1)
    cv2.ellipse(picture, (114, 171), (30, 5), 0, 0, 360, 70, -1)
    return cv2.GaussianBlur(picture, (0, 0), 1)


def bump(centre, size=16.0):
    """How far each pixel goes along with a movement of this centre."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * size**2))


def pulse(frames, onset, apex, offset):
    """From 0 at the onset smoothly to 1 at the apex and back to 0 at the offset."""
    t = np.interp(np.arange(frames), [onset, apex, offset], [0, 1, 0])
    return t * t * (3 - 2 * t)


def film(
    course, *, centre=MOUTH, pixels=2.0, head=(0.0, 0.0), gain=None, blink=None, noise=0.7, seed=0
):
    """Face crops whose patch around a centre moves up.

    Args:
      course: 0-1 of each frame.
      centre: of the patch.
      pixels: how far it moves.
      head: how far the whole picture has moved at the last frame, right and down; steadily.
      gain: brightness of each frame.
      blink: how far the eyes are shut in each frame, 0-1.
      noise: of the camera, grey levels.
      seed: of the face and the noise.
    """
    picture, patch = face(seed), bump(centre)
    shut = picture.copy()
    for eye in (75, 151):
        cv2.ellipse(shut, (eye, 86), (18, 13), 0, 0, 360, 175, -1)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    rng = np.random.default_rng(seed + 1)
    frames = []
    for t, strength in enumerate(course):
        way = t / max(len(course) - 1, 1)
        closed = 0.0 if blink is None else float(blink[t])
        seen = picture + closed * (shut - picture)
        frame = cv2.remap(
            seen,
            x - np.float32(way * head[0]),
            y - np.float32(way * head[1]) + np.float32(pixels * strength) * patch,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        frame = frame * (1.0 if gain is None else gain[t])
        frame = frame + noise * rng.standard_normal(frame.shape)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return np.stack(frames)
