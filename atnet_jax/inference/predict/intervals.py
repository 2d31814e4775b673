"""The intervals of a clip's expressions, as the user passes them or as they are spotted."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from atnet_jax.errors import UserError
from atnet_jax.inference import spotting
from atnet_jax.inference.predict.caveats import LONGEST_EXPRESSION, Caveat
from atnet_jax.inference.predict.scan import Crops, Watched
from atnet_jax.preprocessing.apex import check_apex
from atnet_jax.preprocessing.face import Landmarks

# Seconds: longer clips are searched for expressions; a shorter clip is taken as one expression.
_LONG_CLIP = 2 * LONGEST_EXPRESSION
# Most intervals in which a face is sought.
_MOST = 100


@dataclasses.dataclass(frozen=True)
class Interval:
    """The frames of an expression.

    Attributes:
        onset: Number of the first frame.
        apex: Number of the strongest frame.
        offset: Number of the last frame.
        spotted: Names of those that were found automatically.
    """

    onset: int
    apex: int
    offset: int
    spotted: tuple[str, ...] = ()

    @property
    def span(self) -> tuple[int, int, int]:
        """Onset, apex and offset."""
        return self.onset, self.apex, self.offset


@dataclasses.dataclass(frozen=True)
class Course:
    """Strength of motion over a clip.

    Attributes:
        first: Number of the first frame.
        strength: Strength of each frame; its meaning depends on the spotting method.
        threshold: Strength above which intervals are found; None if only the apex was spotted.
    """

    first: int
    strength: Float32[np.ndarray, " frame"]
    threshold: float | None


def given(path: Path, onset: int | None, apex: int | None, offset: int | None) -> Interval | None:
    """Return the user's interval if it is complete, otherwise None.

    Args:
        path: Path of the clip, for messages.
        onset: Number of the first frame, or None.
        apex: Number of the strongest frame, or None.
        offset: Number of the last frame, or None.

    Raises:
        UserError: The numbers are not in order, or apex and onset are the same frame.
    """
    if onset is None or apex is None or offset is None:
        return None
    return _checked(path, onset, apex, offset)


def _checked(path: Path, onset: int, apex: int, offset: int) -> Interval:
    check_apex(onset, apex, offset, where=str(path))
    if apex == onset:
        raise UserError(
            f"{path}: apex and onset are both frame {apex}. Motion is measured from onset to apex,"
            " so they must differ."
        )
    return Interval(onset, apex, offset)


def find(
    watched: Watched,
    frame_rate: float,
    method: str,
    numbers: tuple[int | None, int | None, int | None],
    progress: Callable[[int], None],
) -> tuple[list[Interval], Course | None, list[Caveat]]:
    """Complete the numbers that the user passed, or search a long clip for expressions.

    A clip of more than a second without any numbers is searched for expressions. Otherwise the
    expression extends over the clip where onset or offset are missing (in long clips, up to
    `LONGEST_EXPRESSION` from a given apex), and a missing apex is spotted.

    Args:
        watched: The face to watch.
        frame_rate: Frames per second.
        method: Spotting method, one of `SPOTTERS`.
        numbers: Numbers of the onset, apex and offset frames; None if not given.
        progress: Called with the number of frames read, every 100 frames.

    Returns:
        The intervals, the strongest first; the strength of motion (None if nothing was spotted);
        and warnings.

    Raises:
        UserError: A number is outside the clip, the numbers are not in order, or nothing moves.
    """
    footage = watched.footage
    path, first, last = footage.path, footage.numbers[0], footage.numbers[-1]
    for name, number in zip(("onset", "apex", "offset"), numbers, strict=True):
        if number is not None and number not in footage.numbers:
            raise UserError(
                f"{path}: {name} is {number}, expected a frame number from {first} to {last}."
            )
    onset, apex, offset = numbers
    long = len(footage.numbers) / frame_rate > _LONG_CLIP
    if onset is None and apex is None and offset is None and long:
        return _search(watched, frame_rate, method, progress)
    found = []
    if apex is not None and long and (onset is None or offset is None):
        reach = round(LONGEST_EXPRESSION * frame_rate)
        onset = max(first, apex - reach) if onset is None else onset
        offset = min(last, apex + reach) if offset is None else offset
        text = (
            f"A missing onset or offset is assumed to be {LONGEST_EXPRESSION:g} s from the apex."
            f" The expression extends from frame {onset} to {offset}."
        )
        found.append(Caveat("ends_assumed", text))
    onset = first if onset is None else onset
    offset = last if offset is None else offset
    if apex is not None:
        return [_checked(path, onset, apex, offset)], None, found
    if onset >= offset:
        raise UserError(
            f"{path}: onset {onset} and offset {offset} leave no frames between them for an apex."
            " Pass an earlier onset or a later offset."
        )
    crops = Crops(watched, onset, offset, progress)
    spotted = spotting.spot_apex(crops, frame_rate, _landmarks(watched), method)
    found += crops.warnings(frame_rate)
    if spotted.index == 0 or not crops.moves:
        raise UserError(
            f"{path}: no motion was found in frames {onset} to {offset}. If there is an"
            " expression, pass its --apex."
        )
    interval = Interval(onset, onset + spotted.index, offset, ("apex",))
    return [interval], Course(onset, spotted.strength, None), found


def _search(
    watched: Watched, frame_rate: float, method: str, progress: Callable[[int], None]
) -> tuple[list[Interval], Course, list[Caveat]]:
    """Search a long clip for expressions."""
    first, last = watched.footage.numbers[0], watched.footage.numbers[-1]
    crops = Crops(watched, first, last, progress)
    timeline = spotting.spot_intervals(crops, frame_rate, _landmarks(watched), method)
    everything = ("onset", "apex", "offset")
    intervals = [
        Interval(first + each.onset, first + each.apex, first + each.offset, everything)
        for each in sorted(timeline.candidates, key=lambda each: each.strength, reverse=True)
        if each.onset < each.apex
    ]
    found = list(crops.warnings(frame_rate))
    if not intervals:
        text = (
            "No interval moves like an expression. If there is an expression, pass its --onset,"
            " --apex and --offset."
        )
        found.append(Caveat("nothing_found", text))
    return intervals[:_MOST], Course(first, timeline.strength, timeline.threshold), found


def _landmarks(watched: Watched) -> Landmarks:
    if not watched.faces:
        return spotting.STANDARD_LANDMARKS
    return watched.faces[0].landmarks.within(watched.box)
