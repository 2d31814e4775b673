"""The optional fields of the form, as the settings that a clip is read with."""

import math
import re
from collections.abc import Mapping
from typing import Any

from atnet_jax.names import DETECTORS

FRAMES = ("onset", "apex", "offset")


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
        status: of the HTTP response.
        sentence: what the person reads: what is wrong and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def options(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that are filled in, each of its type.

    Args:
        fields: "onset", "apex" and "offset" are frame numbers; "face" is a detector; "frame_rate"
            is in frames per second; "explain" is "on".

    Raises:
        Refused: A value cannot be meant.
    """
    return {name: FIELDS[name](name, value) for name, value in fields.items()}


def _frame(name: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise Refused(400, f"The {name} is the number of a frame, such as 12.")
    return int(value)


def _face(name: str, value: str) -> str:
    if value not in DETECTORS:
        raise Refused(400, f"The {name} detector is one of {', '.join(DETECTORS)}.")
    return value


def _frame_rate(_: str, value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise Refused(400, "The frame rate is a number above 0, such as 200, in frames per second.")
    return rate


def _explain(name: str, value: str) -> bool:
    if value != "on":
        raise Refused(400, f"The field {name} is “on”, or left out.")
    return True


FIELDS = {
    **dict.fromkeys(FRAMES, _frame),
    "face": _face,
    "frame_rate": _frame_rate,
    "explain": _explain,
}
"""What the form holds besides the clip, and what reads it."""
