"""Pictures of a result as PNG files: faces, motion, maps, and one sheet with all of them."""

import base64
import re
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.inference.explain.picture import pictures, png
from atnet_jax.inference.predict.answers import Answer, Expression
from atnet_jax.inference.predict.intervals import Course, Interval
from atnet_jax.inference.predict.scan import Watched
from atnet_jax.names import CLASSES

# Twice the size of the crop, so that thin lines and small text are legible.
_SIDE = 448
_INK, _PAPER, _QUIET = (33, 29, 26), (250, 250, 250), (120, 120, 120)
# Sky blue and vermilion of the colour-blind-safe palette of Okabe and Ito.
_BLUE, _RED = (233, 180, 86), (0, 94, 213)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Cells of the flow map (8 pixels of the crop each) per arrow, along each axis.
_CELLS = 2
# Expressions whose pictures are part of the sheet; each takes about 1600 rows of pixels.
_DRAWN = 3


def figures(expression: Expression) -> dict[str, tuple[str, bytes]]:
    """Return the pictures of one expression by name, each as a caption and a PNG file.

    Args:
        expression: An expression of an answer.
    """
    interval, features = expression.interval, expression.features
    apex, flow_map, adm = features.apex, features.flow_map, features.adm
    assert apex is not None and flow_map is not None and adm is not None
    shown = {
        "onset": (f"Onset, frame {interval.onset}", png(_large(expression.onset_crop))),
        "apex": (f"Apex, frame {interval.apex}", png(_large(apex))),
        "flow": (
            f"Motion from onset to apex; the longest arrow is {_longest(flow_map):.1f}"
            " pixels of the 224-pixel crop",
            png(_arrows(apex, flow_map)),
        ),
    }
    if expression.explanation is None:
        return shown
    name = CLASSES[expression.explanation.class_index]
    captions = {
        "grad_cam": f"Grad-CAM: regions of the apex frame that support {name}",
        "occlusion": f"Occlusion: drop of the score for {name} when a patch hides the region",
        "adm": f"Integrated gradients: motion that supports or opposes {name}, by region and time",
        "flow_map": f"Integrated gradients: motion that supports or opposes {name}, by region",
    }
    drawn = pictures(expression.explanation, apex, adm)
    return shown | {key: (captions[key], picture) for key, picture in drawn.items()}


def sheet(answer: Answer) -> bytes:
    """Return one PNG file of the answer: scores and pictures of the expressions.

    Of many expressions, the pictures of those with the strongest motion are shown, so that the
    file can be viewed. The page of the answer shows all.

    Args:
        answer: The answer.
    """
    rows = [_line(f"{answer.frames} frames at {answer.frame_rate:g} frames per second", 26)]
    if answer.course is not None:
        intervals = [expression.interval for expression in answer.expressions]
        rows.append(_course(answer.course, intervals))
    if not answer.expressions:
        rows.append(_line("No expression found", 26))
        if answer.watched is not None:
            rows.append(_captioned(*watched_face(answer.watched)))
    drawn = _strongest(answer)
    for expression in answer.expressions:
        rows.append(_heading(expression))
        if not any(expression is each for each in drawn):  # Arrays have no equality.
            continue
        shown = [_captioned(*each) for each in figures(expression).values()]
        wide = [image for image in shown if image.shape[1] > 2 * _SIDE]
        narrow = [image for image in shown if image.shape[1] <= 2 * _SIDE]
        rows += [_beside([_scores(expression), *narrow[:3]]), _beside(narrow[3:]), *wide]
    return png(_stack([row for row in rows if row.size]))


def watched_face(watched: Watched) -> tuple[str, bytes]:
    """Return the caption and the PNG file of the face that was watched.

    Args:
        watched: The face.
    """
    return f"Face that was watched, frame {watched.frame}", png(_large(watched.crop))


def _strongest(answer: Answer) -> list[Expression]:
    """Return the expressions whose pictures are drawn."""
    course = answer.course
    if course is None:
        return answer.expressions[:_DRAWN]

    def strength(expression: Expression) -> float:
        return float(course.strength[expression.interval.apex - course.first])

    return sorted(answer.expressions, key=strength, reverse=True)[:_DRAWN]


def data_uri(picture: bytes) -> str:
    """Return a PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _large(crop: UInt8[np.ndarray, "224 224"]) -> UInt8[np.ndarray, "448 448 3"]:
    larger = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.cvtColor(larger, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)


def _longest(flow_map: Float32[np.ndarray, "28 28 3"]) -> float:
    return float(np.hypot(*np.moveaxis(_cells(flow_map), -1, 0)).max())


def _cells(flow_map: Float32[np.ndarray, "28 28 3"]) -> Float32[np.ndarray, "row column 2"]:
    """Average the flow over the cells of each arrow."""
    count = len(flow_map) // _CELLS
    return flow_map[..., :2].reshape(count, _CELLS, count, _CELLS, 2).mean(axis=(1, 3))


def _arrows(
    apex: UInt8[np.ndarray, "224 224"], flow_map: Float32[np.ndarray, "28 28 3"]
) -> UInt8[np.ndarray, "448 448 3"]:
    # The face is drawn paler so that the arrows stand out.
    image = cv2.addWeighted(_large(apex), 0.6, np.full((_SIDE, _SIDE, 3), 255, np.uint8), 0.4, 0)
    cells = _cells(flow_map)
    step = _SIDE // len(cells)
    scale = step / max(_longest(flow_map), 1e-6)
    for row, column in np.ndindex(*cells.shape[:2]):
        middle = np.array([column + 0.5, row + 0.5]) * step
        along = cells[row, column] * scale
        if np.hypot(*along) < 2:
            continue
        start, end = (tuple(np.rint(middle + side * along / 2).astype(int)) for side in (-1, 1))
        cv2.arrowedLine(image, start, end, _INK, 3, cv2.LINE_AA, tipLength=0.35)
        cv2.arrowedLine(image, start, end, _BLUE, 1, cv2.LINE_AA, tipLength=0.35)
    return image


def _scores(expression: Expression) -> UInt8[np.ndarray, "height width 3"]:
    """Draw bars of the three scores."""
    image = np.full((_SIDE + 36, _SIDE, 3), _PAPER, np.uint8)
    for k, (name, score) in enumerate(zip(CLASSES, expression.scores, strict=True)):
        top = 60 + k * 110
        cv2.putText(image, f"{name}  {score:.2f}", (24, top), _FONT, 0.7, _INK, 1, cv2.LINE_AA)
        cv2.rectangle(image, (24, top + 14), (_SIDE - 24, top + 50), (225, 225, 225), -1)
        right = 24 + round(float(score) * (_SIDE - 48))
        cv2.rectangle(image, (24, top + 14), (right, top + 50), _BLUE, -1)
    said = CLASSES[expression.predicted] if expression.predicted is not None else "no prediction"
    cv2.putText(image, said, (24, _SIDE - 30), _FONT, 1.0, _INK, 2, cv2.LINE_AA)
    return image


def _heading(expression: Expression) -> UInt8[np.ndarray, "height width 3"]:
    interval = expression.interval
    text = f"onset {interval.onset}, apex {interval.apex}, offset {interval.offset}"
    text += f": {CLASSES[expression.likeliest]} {expression.scores.max():.2f}"
    warnings = ", ".join(each.code.replace("_", " ") for each in expression.warnings)
    return _line(f"{text}; warnings: {warnings}" if warnings else text, 40)


def _course(course: Course, intervals: Sequence[Interval]) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the strength of motion over time and mark the expressions."""
    width, height, left = 4 * _SIDE, 240, 24
    image = np.full((height, width, 3), _PAPER, np.uint8)
    strength = course.strength
    top = max(float(strength.max()), course.threshold or 0.0, 1e-9)

    def place(frame: int, value: float) -> tuple[int, int]:
        x = left + (frame - course.first) / max(len(strength) - 1, 1) * (width - 2 * left)
        return round(x), round(height - 40 - value / top * (height - 70))

    for interval in intervals:
        start, end = place(interval.onset, top), place(interval.offset, 0.0)
        cv2.rectangle(image, start, end, (244, 226, 205), -1)
        apex = place(interval.apex, 0.0)
        cv2.line(image, place(interval.apex, top), apex, _RED, 2)
        cv2.putText(image, str(interval.apex), (apex[0] - 12, 20), _FONT, 0.5, _RED, 1)
    if course.threshold is not None:
        start = place(course.first, course.threshold)
        cv2.line(image, start, (width - left, start[1]), _QUIET, 1)
    points = [place(course.first + k, float(value)) for k, value in enumerate(strength)]
    cv2.polylines(image, [np.array(points, np.int32)], False, _INK, 2, cv2.LINE_AA)
    last = course.first + len(strength) - 1
    cv2.putText(image, f"frame {course.first}", (left, height - 12), _FONT, 0.5, _INK, 1)
    cv2.putText(image, f"{last}", (width - left - 50, height - 12), _FONT, 0.5, _INK, 1)
    cv2.putText(image, "strength of motion", (width // 2 - 80, height - 12), _FONT, 0.5, _INK, 1)
    return image


def _captioned(caption: str, picture: bytes) -> UInt8[np.ndarray, "height width 3"]:
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    text = np.full((36, image.shape[1], 3), _PAPER, np.uint8)
    short = re.split("[:;]", caption)[0]
    cv2.putText(text, short, (6, 24), _FONT, 0.55, _INK, 1, cv2.LINE_AA)
    return np.vstack([text, image])


def _line(text: str, height: int) -> UInt8[np.ndarray, "height width 3"]:
    image = np.full((height, 4 * _SIDE, 3), _PAPER, np.uint8)
    cv2.putText(image, text, (24, height - 10), _FONT, 0.6, _INK, 1, cv2.LINE_AA)
    return image


def _beside(images: Sequence[np.ndarray]) -> UInt8[np.ndarray, "height width 3"]:
    if not images:
        return np.zeros((0, 0, 3), np.uint8)
    height = max(len(image) for image in images)
    return np.hstack([_padded(image, height, image.shape[1] + 12) for image in images])


def _stack(images: Sequence[np.ndarray]) -> UInt8[np.ndarray, "height width 3"]:
    width = max(image.shape[1] for image in images)
    return np.vstack([_padded(image, len(image) + 8, width) for image in images])


def _padded(image: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    padded = np.full((height, width, 3), _PAPER, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded
