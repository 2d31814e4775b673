"""Warnings: properties of the footage, the face or the scores that make a result unreliable."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.crops import Crops
from atnet_jax.preprocessing.face import SIZE, Box, Face, is_upside_down
from atnet_jax.preprocessing.flow_map import MAP_SIZE
from atnet_jax.preprocessing.frames import Survey
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
# Lowest frame rate of a video that is recognised after its conversion to a higher one.
_SLOWEST_ORIGINAL = 5.0
# Mean change of new frames in grey levels: the keyframes of a codec change less.
_LEAST_CHANGE = 0.5
# Fewer new frames show no rhythm.
_FEWEST_GAPS = 4
# Difference in grey levels between neighbouring rows of an interlaced frame, and the tolerated
# share of such pixels. The dithering of GIF gives up to 0.04.
_TEETH, _COMBED = 10, 0.05
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


Span = tuple[int, int, int]
"""Numbers of the onset, apex and offset frames."""


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


def of_survey(found: Survey, given: bool) -> Iterator[Caveat]:
    """Yield warnings where the header of a video contradicts its frames or OpenCV ignores it.

    Args:
        found: What the frames of the video state.
        given: Whether the user passed the frame rate.
    """
    if found.lost:
        yield Caveat(
            "ends_early",
            f"The file declares {found.frames + found.lost} frames, but only {found.frames} can be"
            " decoded. It may be truncated.",
        )
    rate, told = found.frame_rate, found.told_rate
    if rate and rate != told and not given:
        yield Caveat(
            "frame_rate_header",
            f"The file states {told:g} frames per second, but its frames are {1000 / rate:.3g} ms"
            f" apart. {rate:.4g} frames per second are assumed; pass another rate as --frame_rate.",
        )
    ignored = []
    if found.turn:
        ignored.append(f"turn the picture by {found.turn} degrees")
    if found.cropped:
        ignored.append("show only a part of the picture")
    for what in ignored:
        text = f"The file asks players to {what}, which is not applied: the stored picture is used."
        yield Caveat("display", text)
    yield from of_timing(found.seconds)


def of_timing(seconds: Sequence[float] | Float64[np.ndarray, " frame"]) -> Iterator[Caveat]:
    """Yield a warning if the frames are unevenly spaced in time.

    Args:
        seconds: Time of each frame in seconds, NaN if unknown.
    """
    known = np.flatnonzero(np.isfinite(seconds))
    steps = np.diff(np.asarray(seconds)[known]) / np.diff(known)
    if len(steps) < 2 or not (steps > 0).any():
        return
    usual = np.median(steps[steps > 0])
    wrong = np.abs(steps / usual - 1) > _UNEVEN
    if wrong.any():
        back = known[:-1][steps < 0] + 1
        jumps = f" The times jump back at frame {back[0]}, as in joined files." if len(back) else ""
        yield Caveat(
            "uneven_timing",
            f"{_percent(wrong.mean())} of the frames are unevenly spaced in time (dropped frames or"
            f" a variable frame rate). This looks like sudden motion.{jumps}",
        )


def _percent(share: float) -> str:
    return "Less than 1%" if share < 0.01 else f"{share:.0%}"


def of_changes(
    changes: Sequence[float] | Float64[np.ndarray, " pair"], first: int, frame_rate: float
) -> Iterator[Caveat]:
    """Yield warnings of repeated frames and of cuts, flashes or camera shake.

    Args:
        changes: Mean difference of each two neighbouring face crops, in grey levels.
        first: Number of the first frame.
        frame_rate: Frames per second.
    """
    change = np.asarray(changes)
    if not len(change):
        return
    if (found := _repeated(change, frame_rate)) is not None:
        share, every = found
        yield Caveat(
            "doubled_frames",
            f"{share:.0%} of the frames repeat the previous frame: the video was recorded at about"
            f" {frame_rate / every:.3g} frames per second and converted to {frame_rate:.4g}, so its"
            " motion is jerky. Do not trust the scores.",
        )
    if change.max() > _CUT:
        yield Caveat(
            "sudden_change",
            f"The picture changes suddenly at frame {first + int(change.argmax()) + 1} of the clip"
            " (a cut, a flash or camera shake). The networks mistake this for motion.",
        )


def _repeated(
    change: Float64[np.ndarray, " pair"], frame_rate: float
) -> tuple[float, float] | None:
    """Find copies of frames that a conversion to a higher frame rate has inserted.

    Args:
        change: Difference of each two neighbouring frames, in grey levels.
        frame_rate: Frames per second.

    Returns:
        The share of copies, and the number of frames per new frame; None if there are no copies or
        if they follow no rhythm, as in a face that rests from time to time.
    """
    reach = max(2, round(frame_rate / _SLOWEST_ORIGINAL))
    padded = np.pad(change, reach)
    most = np.lib.stride_tricks.sliding_window_view(padded, reach).max(axis=1)
    # A copy differs from its original by compression only, whereas frames before and after differ.
    before, after = most[: len(change)], most[reach + 1 : reach + 1 + len(change)]
    copy = change < _STILL * np.minimum(before, after)
    new = np.flatnonzero(~copy)
    gaps = np.diff(new)
    if len(gaps) < _FEWEST_GAPS or np.median(change[new]) < _LEAST_CHANGE:
        return None
    gaps = gaps[np.abs(gaps - np.median(gaps)) <= 1]
    every, share = float(gaps.mean()), float(copy.mean())
    return (share, every) if share >= _DOUBLED and every >= 1 + _DOUBLED else None


def combing(image: UInt8[np.ndarray, "height width"], box: Box) -> float:
    """Measure how far odd rows of a frame differ from even ones, as in interlaced video.

    Args:
        image: Frame in grey levels.
        box: Box of the face in pixels.

    Returns:
        The share of pixels that differ from the pixels above and below, which equal each other,
        minus the share of pixels that differ so from the pixels on the left and right.
    """
    x0, y0, x1, y1 = (max(round(edge), 0) for edge in box)
    face = image[y0:y1, x0:x1].astype(np.int16)

    def share(rows: np.ndarray) -> float:
        one, other = rows[1:-1] - rows[:-2], rows[1:-1] - rows[2:]
        least = np.minimum(np.abs(one), np.abs(other))
        combs = (np.sign(one) == np.sign(other)) & (least > _TEETH) & (np.abs(one - other) < least)
        return float(combs.mean()) if combs.size else 0.0

    return share(face) - share(face.T)


def of_combing(shares: Sequence[float]) -> Iterator[Caveat]:
    """Yield a warning if frames are interlaced.

    Args:
        shares: `combing` of some frames.
    """
    # Only frames in which the face moves show it.
    if shares and max(shares) > _COMBED:
        yield Caveat(
            "interlaced",
            "The frames are interlaced: odd and even rows show different moments, which looks like"
            " motion. Convert the video, for example with `ffmpeg -i OLD -vf bwdif NEW.mp4`.",
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
    how = "upside down" if faces and is_upside_down(crop) else _pose(faces[0]) if faces else ""
    if how:
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


def of_overlap(interval: Span, others: Iterable[Span]) -> Iterator[Caveat]:
    """Yield a warning if an expression shares frames with another one of the clip.

    Args:
        interval: Onset, apex and offset of the expression.
        others: Those of the other expressions.
    """
    onset, _, offset = interval
    apexes = [apex for start, apex, end in others if start <= offset and end >= onset]
    if apexes:
        yield Caveat(
            "overlaps",
            "The expression shares frames with the one whose apex is frame"
            f" {' and '.join(map(str, apexes))}. It may be one movement, found twice.",
        )


def of_scores(
    scores: Float32[np.ndarray, "3"], least: float, spread: float, networks: int
) -> Iterator[Caveat]:
    """Yield a warning if no score suffices to name a class, or if the networks disagree.

    Args:
        scores: Mean score of each class.
        least: Smallest score that names a class.
        spread: Standard deviation of the highest score over the networks.
        networks: Number of networks.
    """
    best = int(scores.argmax())
    if scores[best] < least:
        yield Caveat(
            "low_score",
            f"The highest score, {scores[best]:.2f} for {CLASSES[best]}, is below {least:g}, so no"
            " class is named.",
        )
    if networks > 1 and spread > _DIFFERENT:
        yield Caveat(
            "networks_differ",
            f"The {networks} networks disagree (standard deviation {spread:.2f} of the highest"
            " score) although they were trained on nearly the same clips. The result is fragile.",
        )
