"""What lessens the trust in an answer: found in the footage and in the face, said in a sentence."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64, UInt8

from atnet_jax.preprocessing.crops import Crops
from atnet_jax.preprocessing.face import SIZE, Box, Face
from atnet_jax.preprocessing.flow_map import MAP_SIZE
from atnet_jax.preprocessing.head_motion import rigid_part
from atnet_jax.preprocessing.optical_flow import flow_method
from atnet_jax.preprocessing.window import FLOWS

LONGEST_EXPRESSION = 0.5
"""Seconds from onset to offset: what is longer is no micro-expression (Yan et al., J. Nonverbal
Behavior 2013)."""

# The databases were filmed at 100 (SMIC) and 200 frames a second; half and one and a half of that
# is still alike.
_SLOWEST, _FASTEST = 50.0, 300.0
# Of the deviation of the frames' times from even ones, in frames.
_UNEVEN = 0.5
_DOUBLED = 0.1
# Of the change before and after.
_STILL = 0.3
# Grey levels of the face crop.
_DARK, _BRIGHT, _FLAT = 40.0, 215.0, 12.0
# Pixels of the frame: a smaller face is enlarged to twice its size and more.
_SMALL = SIZE // 2
# Pixels of the crop, root mean square over the face, onset to apex. An expression moves a part of
# it by 3 to 5.
_HEAD = 2.0
# Pixels of the crop: what noise and a codec alone may come to, in all but a few cells.
_WEAK, _CELLS = 0.5, 99
_TILT = 15.0
# How far the nose is from between the eyes, in distances of the eyes.
_TURNED = 0.3
# Grey levels between neighbouring frames, mean over the crop: a cut, a flash or a shaken camera.
_CUT = 20.0
# Fewer flows than a quarter of the window.
_FEW = FLOWS // 4
# Of the highest score's standard deviation over the networks.
_DIFFERENT = 0.2


@dataclasses.dataclass(frozen=True)
class Caveat:
    """One thing that is not as it should be.

    Attributes:
        code: A word for programs.
        text: A sentence: what it is, and what it does to the answer.
    """

    code: str
    text: str


def of_frame_rate(frame_rate: float, given: bool, assumed: float) -> Iterator[Caveat]:
    """Whether the clip was filmed about as fast as the training data.

    Args:
        frame_rate: Frames per second; 0 if nobody knows.
        given: Whether the user gave it.
        assumed: What is used where nobody knows.
    """
    if not frame_rate:
        yield Caveat(
            "frame_rate_unknown",
            f"The frame rate is unknown, {assumed:g} frames a second are assumed; give it with"
            " --frame_rate. Durations, and where expressions are looked for, depend on it.",
        )
    elif not _SLOWEST <= frame_rate <= _FASTEST:
        hint = "If the file plays in slow motion, give the rate it was filmed at with --frame_rate."
        yield Caveat(
            f"frame_rate_{'slow' if frame_rate < _SLOWEST else 'fast'}",
            f"{frame_rate:g} frames a second: the networks know 100 to 200, at which the 65 frames"
            f" around the apex last 0.3 to 0.6 s; here they last {(FLOWS + 1) / frame_rate:.2f} s,"
            " and the motion from frame to frame is another. Do not trust the scores."
            + ("" if given else f" {hint}"),
        )


def of_timing(seconds: Sequence[float] | Float64[np.ndarray, " frame"]) -> Iterator[Caveat]:
    """Whether the frames follow one another evenly.

    Args:
        seconds: When each is shown.
    """
    steps = np.diff(seconds)
    if len(steps) < 2 or not np.isfinite(seconds).all() or not (steps > 0).all():
        return
    uneven = float((np.abs(steps / np.median(steps) - 1) > _UNEVEN).mean())
    if uneven:
        yield Caveat(
            "uneven_timing",
            f"{uneven:.0%} of the frames follow unevenly (dropped frames, or a variable frame"
            " rate), which looks like sudden motion.",
        )


def of_crops(crops: UInt8[np.ndarray, "frame 224 224"]) -> Iterator[Caveat]:
    """Doubled frames, and cuts, flashes or shakes, in all frames of a clip."""
    if len(crops) < 2:
        return
    # Enough pixels to tell, in integers as wide as their difference needs.
    some = crops[:, ::4, ::4].astype(np.int16)
    change = np.abs(np.diff(some, axis=0)).mean(axis=(1, 2))
    # A copy differs little from its original, but for the codec, and both differ from the others.
    still = change[1:-1] < _STILL * np.minimum(change[:-2], change[2:])
    doubled = float(still.mean()) if len(still) else 0.0
    if doubled >= _DOUBLED:
        yield Caveat(
            "doubled_frames",
            f"{doubled:.0%} of the frames repeat the one before: the video was stretched to its"
            " frame rate, and its motion comes in jerks.",
        )
    if change.max() > _CUT:
        yield Caveat(
            "sudden_change",
            f"The picture changes suddenly at frame {int(change.argmax()) + 1} of the clip (a cut,"
            " a flash or a shaken camera), which is taken for motion.",
        )


def of_face(
    faces: Sequence[Face], box: Box, crop: UInt8[np.ndarray, "224 224"]
) -> Iterator[Caveat]:
    """Of the face at the apex: how many, how large, how it is held and lit.

    Args:
        faces: Those found, the one that is read first; none where its box was given.
        box: What was cropped.
        crop: Of the apex frame.
    """
    if len(faces) > 1:
        yield Caveat(
            "several_faces",
            f"{len(faces)} faces: the largest one is read; give --box=x0,y0,x1,y1 for another.",
        )
    side = min(box[2] - box[0], box[3] - box[1])
    if side < _SMALL:
        yield Caveat(
            "small_face",
            f"The face is {side:.0f} pixels wide and is enlarged to {SIZE}: motion of hundredths"
            " of a pixel is lost. In the databases faces are 200 to 500 pixels.",
        )
    if faces and (how := _pose(faces[0])):
        text = f"The head is {how}; the networks know faces that look straight into the camera."
        yield Caveat("pose", text)
    mean, deviation = float(crop.mean()), float(crop.std())
    if mean < _DARK or mean > _BRIGHT or deviation < _FLAT:
        kind = "dark" if mean < _DARK else "bright" if mean > _BRIGHT else "low in contrast"
        yield Caveat(
            "light",
            f"The face is too {kind} (mean {mean:.0f}, standard deviation {deviation:.0f} of 255"
            " grey levels): noise is taken for motion.",
        )


def _pose(face: Face) -> str:
    """How the head is held, if not straight."""
    marks = face.landmarks
    across = np.subtract(marks.right_eye, marks.left_eye)
    eyes = float(np.hypot(*across))
    if not eyes:
        return ""
    tilt = abs(math.degrees(math.atan2(across[1], across[0])))
    if tilt > _TILT:
        return f"tilted by {tilt:.0f} degrees"
    off = np.subtract(marks.nose, np.add(marks.left_eye, marks.right_eye) / 2) @ (across / eyes)
    return "turned to the side" if abs(off) / eyes > _TURNED else ""


def of_motion(crops: Crops, frame_rate: float) -> Iterator[Caveat]:
    """Of the expression: how long it is, how much of its window it fills, whether the head moves.

    Args:
        crops: Of the expression.
        frame_rate: Frames per second.
    """
    lasts = (crops.offset - crops.onset + 1) / frame_rate
    if lasts > LONGEST_EXPRESSION:
        yield Caveat(
            "long",
            f"Onset to offset last {lasts:.2f} s; a micro-expression lasts at most"
            f" {LONGEST_EXPRESSION:g} s.",
        )
    flows = len(crops.window) - 1
    if flows < _FEW:
        yield Caveat(
            "short",
            f"Only {flows} of the {FLOWS} steps around the apex lie within onset and offset: the"
            " networks see little motion.",
        )
    moved, remaining = head_and_face_motion(*crops.at([crops.onset, crops.apex]))
    if remaining < _WEAK:
        yield Caveat(
            "weak_motion",
            f"Apart from the head, nothing moves by more than {remaining:.2f} of the crop's {SIZE}"
            " pixels from onset to apex: there may be no expression, and the scores are of noise.",
        )
    if moved > _HEAD:
        yield Caveat(
            "head_moves",
            f"The head moves by {moved:.1f} of the crop's {SIZE} pixels from onset to apex, as much"
            " as an expression does, which the networks may take for one.",
        )


def head_and_face_motion(
    onset: UInt8[np.ndarray, "224 224"], apex: UInt8[np.ndarray, "224 224"]
) -> tuple[float, float]:
    """How far the head as a whole moves between two crops, and how far the face moves besides.

    Returns:
        Root mean square of the rigid motion, and what remains, averaged over each of the flow map's
        cells, in all but the hundredth of them that moves most; in pixels.
    """
    flow = flow_method("farneback").between(onset, apex)
    rigid = rigid_part(flow)
    step = SIZE // MAP_SIZE
    cells = (flow - rigid).reshape(MAP_SIZE, step, MAP_SIZE, step, 2).mean(axis=(1, 3))
    remaining = np.percentile(np.hypot(*cells.T), _CELLS)
    return float(np.sqrt((rigid**2).sum(axis=-1).mean())), float(remaining)


def of_scores(spread: float, networks: int) -> Iterator[Caveat]:
    """Whether the networks agree.

    Args:
        spread: Standard deviation over the networks of the winning class's probability.
        networks: How many they are.
    """
    if networks > 1 and spread > _DIFFERENT:
        yield Caveat(
            "networks_differ",
            f"The {networks} networks differ (standard deviation {spread:.2f} of the highest"
            " score): they were trained on nearly the same clips, so the answer is fragile.",
        )
