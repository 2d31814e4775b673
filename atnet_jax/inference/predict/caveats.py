"""Warnings: properties of the footage, the face or the scores that make a result unreliable."""

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
"""Longest duration of a micro-expression, onset to offset, in seconds (Yan et al., J. Nonverbal
Behavior 2013)."""

# The databases were filmed at 100 (SMIC) and 200 frames per second; half of the lower and one and a
# half times the higher rate are accepted.
_SLOWEST, _FASTEST = 50.0, 300.0
# Tolerated deviation of the interval between two frames from the median, in frames.
_UNEVEN = 0.5
# Tolerated fraction of repeated frames.
_DOUBLED = 0.1
# A repeated frame changes by less than this fraction of the changes before and after it.
_STILL = 0.3
# Limits of the mean (dark, bright) and standard deviation (flat) of the crop, in grey levels.
_DARK, _BRIGHT, _FLAT = 40.0, 215.0, 12.0
# Pixels of the frame: the crop enlarges smaller faces by more than a factor of two.
_SMALL = SIZE // 2
# Head motion from onset to apex: root mean square over the face, in pixels of the crop. An
# expression moves part of the face by 3 to 5 pixels.
_HEAD = 2.0
# Motion that noise and compression alone can cause, in pixels of the crop, and the percentile of
# the cells that is compared with it.
_WEAK, _CELLS = 0.5, 99
# Tolerated tilt of the head in degrees.
_TILT = 15.0
# Tolerated offset of the nose from the midpoint of the eyes, in distances between the eyes.
_TURNED = 0.3
# Mean difference of neighbouring crops in grey levels that indicates a cut, flash or camera shake.
_CUT = 20.0
# A quarter of the flows of the window.
_FEW = FLOWS // 4
# Tolerated standard deviation of the highest score over the networks.
_DIFFERENT = 0.2


@dataclasses.dataclass(frozen=True)
class Caveat:
    """One warning.

    Attributes:
        code: Identifier for programs.
        text: Sentences that state the problem and its effect on the result.
    """

    code: str
    text: str


def of_frame_rate(frame_rate: float, given: bool, assumed: float) -> Iterator[Caveat]:
    """Yield a warning if the frame rate is unknown or far from that of the training data.

    Args:
        frame_rate: Frames per second; 0 if unknown.
        given: Whether the user passed the frame rate.
        assumed: Frame rate that replaces an unknown one, in frames per second.
    """
    if not frame_rate:
        yield Caveat(
            "frame_rate_unknown",
            f"The frame rate is unknown and assumed to be {assumed:g} frames per second. Durations"
            " and the search for expressions depend on it. Pass it as --frame_rate.",
        )
    elif not _SLOWEST <= frame_rate <= _FASTEST:
        hint = "If the file plays in slow motion, pass the recording rate as --frame_rate."
        yield Caveat(
            f"frame_rate_{'slow' if frame_rate < _SLOWEST else 'fast'}",
            f"The clip has {frame_rate:g} frames per second; the networks were trained on 100 to"
            f" 200. The 65 frames around the apex last {(FLOWS + 1) / frame_rate:.2f} s instead of"
            " 0.3 to 0.6 s, and the motion per frame differs as well. Do not trust the scores."
            + ("" if given else f" {hint}"),
        )


def of_timing(seconds: Sequence[float] | Float64[np.ndarray, " frame"]) -> Iterator[Caveat]:
    """Yield a warning if the frames are unevenly spaced in time.

    Args:
        seconds: Time of each frame in seconds.
    """
    steps = np.diff(seconds)
    if len(steps) < 2 or not np.isfinite(seconds).all() or not (steps > 0).all():
        return
    uneven = float((np.abs(steps / np.median(steps) - 1) > _UNEVEN).mean())
    if uneven:
        yield Caveat(
            "uneven_timing",
            f"{uneven:.0%} of the frames are unevenly spaced in time (dropped frames or a variable"
            " frame rate). This looks like sudden motion.",
        )


def of_crops(crops: UInt8[np.ndarray, "frame 224 224"]) -> Iterator[Caveat]:
    """Yield warnings of repeated frames and of cuts, flashes or camera shake.

    Args:
        crops: Face crops of all frames of the clip.
    """
    if len(crops) < 2:
        return
    # A sixteenth of the pixels is enough; differences of bytes need 16 bits.
    some = crops[:, ::4, ::4].astype(np.int16)
    change = np.abs(np.diff(some, axis=0)).mean(axis=(1, 2))
    # A repeated frame differs from its original by compression only.
    still = change[1:-1] < _STILL * np.minimum(change[:-2], change[2:])
    doubled = float(still.mean()) if len(still) else 0.0
    if doubled >= _DOUBLED:
        yield Caveat(
            "doubled_frames",
            f"{doubled:.0%} of the frames repeat the previous frame: the video was converted to a"
            " higher frame rate, so its motion is jerky.",
        )
    if change.max() > _CUT:
        yield Caveat(
            "sudden_change",
            f"The picture changes suddenly at frame {int(change.argmax()) + 1} of the clip (a cut,"
            " a flash or camera shake). The networks mistake this for motion.",
        )


def of_face(
    faces: Sequence[Face], box: Box, crop: UInt8[np.ndarray, "224 224"]
) -> Iterator[Caveat]:
    """Yield warnings of the number, size, pose and lighting of the faces in the apex frame.

    Args:
        faces: Detected faces, first the one that is used; empty if the user passed a box.
        box: Box that was cropped, in pixels of the frame.
        crop: Face crop of the apex frame.
    """
    if len(faces) > 1:
        yield Caveat(
            "several_faces",
            f"{len(faces)} faces were found and the largest is used. Pass --box=x0,y0,x1,y1 to"
            " choose another.",
        )
    side = min(box[2] - box[0], box[3] - box[1])
    if side < _SMALL:
        yield Caveat(
            "small_face",
            f"The face is only {side:.0f} pixels wide and is enlarged to {SIZE}, so motion of"
            " hundredths of a pixel is lost. Faces in the databases are 200 to 500 pixels wide.",
        )
    if faces and (how := _pose(faces[0])):
        text = f"The head is {how}; the networks were trained on faces that look into the camera."
        yield Caveat("pose", text)
    mean, deviation = float(crop.mean()), float(crop.std())
    if mean < _DARK or mean > _BRIGHT or deviation < _FLAT:
        kind = "dark" if mean < _DARK else "bright" if mean > _BRIGHT else "low in contrast"
        yield Caveat(
            "light",
            f"The face is too {kind} (mean {mean:.0f}, standard deviation {deviation:.0f} of 255"
            " grey levels). The networks mistake noise for motion.",
        )


def _pose(face: Face) -> str:
    """Describe the pose of the head, or return "" if it looks straight ahead."""
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
    """Yield warnings of the expression's duration, weak motion and head motion.

    Args:
        crops: Face crops of the expression.
        frame_rate: Frames per second.
    """
    lasts = (crops.offset - crops.onset + 1) / frame_rate
    if lasts > LONGEST_EXPRESSION:
        yield Caveat(
            "long",
            f"The expression lasts {lasts:.2f} s from onset to offset; a micro-expression lasts at"
            f" most {LONGEST_EXPRESSION:g} s.",
        )
    flows = len(crops.window) - 1
    if flows < _FEW:
        yield Caveat(
            "short",
            f"Only {flows} of the {FLOWS} frame pairs around the apex lie between onset and offset,"
            " so the networks receive little motion.",
        )
    moved, remaining = head_and_face_motion(*crops.at([crops.onset, crops.apex]))
    if remaining < _WEAK:
        yield Caveat(
            "weak_motion",
            f"Apart from head motion, the face moves by at most {remaining:.2f} of the crop's"
            f" {SIZE} pixels from onset to apex. There may be no expression, and the scores may"
            " reflect noise.",
        )
    if moved > _HEAD:
        yield Caveat(
            "head_moves",
            f"The head moves by {moved:.1f} of the crop's {SIZE} pixels from onset to apex, as much"
            " as an expression. The networks may mistake this for an expression.",
        )


def head_and_face_motion(
    onset: UInt8[np.ndarray, "224 224"], apex: UInt8[np.ndarray, "224 224"]
) -> tuple[float, float]:
    """Measure the motion of the head and the remaining motion of the face between two crops.

    Args:
        onset: Face crop of the onset frame.
        apex: Face crop of the apex frame.

    Returns:
        The root mean square of the rigid motion, and the 99th percentile over the flow map's cells
        of the remaining motion, averaged in each cell; in pixels of the crop.
    """
    flow = flow_method("farneback").between(onset, apex)
    rigid = rigid_part(flow)
    step = SIZE // MAP_SIZE
    cells = (flow - rigid).reshape(MAP_SIZE, step, MAP_SIZE, step, 2).mean(axis=(1, 3))
    remaining = np.percentile(np.hypot(*cells.T), _CELLS)
    return float(np.sqrt((rigid**2).sum(axis=-1).mean())), float(remaining)


def of_scores(spread: float, networks: int) -> Iterator[Caveat]:
    """Yield a warning if the networks disagree.

    Args:
        spread: Standard deviation of the highest score over the networks.
        networks: Number of networks.
    """
    if networks > 1 and spread > _DIFFERENT:
        yield Caveat(
            "networks_differ",
            f"The {networks} networks disagree (standard deviation {spread:.2f} of the highest"
            " score) although they were trained on nearly the same clips. The result is fragile.",
        )
