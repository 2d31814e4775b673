"""Where the expressions of a clip are: as the user says, or as they are spotted."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError
from atnet_jax.inference import spotting
from atnet_jax.inference.predict.caveats import LONGEST_EXPRESSION, Caveat
from atnet_jax.inference.predict.scan import Scan
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.face import Landmarks

# Seconds: what is longer is searched for expressions, what is shorter is one, cut out already.
_LONG_CLIP = 2 * LONGEST_EXPRESSION
_MOST = 20


@dataclasses.dataclass(frozen=True)
class Interval:
    """An expression, by frame numbers.

    Attributes:
        onset: Its first frame.
        apex: Its strongest.
        offset: Its last.
        spotted: Which of these were found by the program.
    """

    onset: int
    apex: int
    offset: int
    spotted: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Course:
    """How strong the motion is over a clip, for a picture.

    Attributes:
        first: Number of the first frame.
        strength: Of each frame; what it measures depends on the method of spotting.
        threshold: Above it, intervals are found; None where only the apex was looked for.
    """

    first: int
    strength: Float32[np.ndarray, " frame"]
    threshold: float | None


def given(path: Path, onset: int | None, apex: int | None, offset: int | None) -> Interval | None:
    """The user's interval, if all of it is given.

    Raises:
        UserError: The numbers are not in order, or apex and onset are one frame.
    """
    if onset is None or apex is None or offset is None:
        return None
    return _checked(path, onset, apex, offset)


def _checked(path: Path, onset: int, apex: int, offset: int) -> Interval:
    check_apex(onset, apex, offset, where=str(path))
    if apex == onset:
        raise UserError(
            f"{path}: apex and onset are both frame {apex}, so there is no motion between them"
        )
    return Interval(onset, apex, offset)


def find(
    path: Path,
    scan: Scan,
    frame_rate: float,
    method: str,
    numbers: tuple[int | None, int | None, int | None],
) -> tuple[list[Interval], Course | None, list[Caveat]]:
    """What is not given is spotted, or taken to be the clip's ends.

    A clip of up to a second of which no onset and offset are given is one expression, cut out
    already; a longer one is searched for expressions.

    Args:
        path: For messages.
        scan: The clip.
        frame_rate: Frames per second.
        method: Of spotting, one of `SPOTTERS`.
        numbers: Of the onset, apex and offset frames, as far as they are given.

    Returns:
        The intervals in order of time, the course of the motion where something was spotted, and
        what the user should know.

    Raises:
        UserError: The numbers are outside the clip or not in order, or there is no motion.
    """
    first, last = scan.numbers[0], scan.numbers[-1]
    for name, number in zip(("onset", "apex", "offset"), numbers, strict=True):
        if number is not None and number not in scan.numbers:
            raise UserError(f"{path}: {name} is {number}, but the frames are {first}…{last}")
    onset, apex, offset = numbers
    long = len(scan.numbers) / frame_rate > _LONG_CLIP
    if onset is None and apex is None and offset is None and long:
        return _search(scan, frame_rate, method)
    found = []
    if apex is not None and long and (onset is None or offset is None):
        reach = round(LONGEST_EXPRESSION * frame_rate)
        onset = max(first, apex - reach) if onset is None else onset
        offset = min(last, apex + reach) if offset is None else offset
        text = (
            f"Of onset and offset, what is not given is taken to be {LONGEST_EXPRESSION:g} s from"
            f" the apex: frames {onset} and {offset}."
        )
        found.append(Caveat("ends_assumed", text))
    onset = first if onset is None else onset
    offset = last if offset is None else offset
    if apex is not None:
        return [_checked(path, onset, apex, offset)], None, found
    if onset >= offset:
        raise UserError(
            f"{path}: onset {onset} and offset {offset} leave no frames between them to find an"
            " apex in"
        )
    crops = scan.crops[onset - first : offset - first + 1]
    spotted = spotting.spot_apex(crops, frame_rate, _landmarks(scan), method)
    if spotted.index == 0 or (crops == crops[0]).all():
        raise UserError(
            f"{path}: no motion found in frames {onset}…{offset}; if there is any, give its --apex"
        )
    interval = Interval(onset, onset + spotted.index, offset, ("apex",))
    return [interval], Course(onset, spotted.strength, None), found


def _search(
    scan: Scan, frame_rate: float, method: str
) -> tuple[list[Interval], Course, list[Caveat]]:
    """The expressions of a long clip."""
    first = scan.numbers[0]
    timeline = spotting.spot_intervals(scan.crops, frame_rate, _landmarks(scan), method)
    strongest = sorted(timeline.candidates, key=lambda each: each.strength, reverse=True)[:_MOST]
    everything = ("onset", "apex", "offset")
    intervals = [
        Interval(first + each.onset, first + each.apex, first + each.offset, everything)
        for each in sorted(strongest, key=lambda each: each.apex)
        if each.onset < each.apex
    ]
    found = []
    if len(timeline.candidates) > _MOST:
        text = (
            f"{len(timeline.candidates)} intervals look like expressions; the {_MOST} strongest are"
            " read. Speech, chewing or a moving head do this."
        )
        found.append(Caveat("many_candidates", text))
    if not intervals:
        text = (
            "No interval moves as an expression does. If there is one, give its --onset, --apex"
            " and --offset."
        )
        found.append(Caveat("nothing_found", text))
    return intervals, Course(first, timeline.strength, timeline.threshold), found


def _landmarks(scan: Scan) -> Landmarks:
    if scan.face is None:
        return spotting.STANDARD_LANDMARKS
    return scan.face.landmarks.within(scan.face.box)
