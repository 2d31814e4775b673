"""Optional fields of the form, converted to options of the prediction."""

import math
import re
from collections.abc import Mapping
from typing import Any

from atnet_jax.names import DETECTORS

FRAMES = ("onset", "apex", "offset")


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
        status: Status of the HTTP response.
        sentence: Message for the user: what is wrong and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def options(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that are filled in, converted to their types.

    Args:
        fields: Texts by field: "onset", "apex" and "offset" (frame numbers), "face" (a detector),
            "frame_rate" (frames per second) and "explain" ("on").

    Raises:
        Refused: A value is not allowed.
    """
    return {name: FIELDS[name](name, value) for name, value in fields.items()}


def _frame(name: str, value: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value):
        raise Refused(400, f"The {name} must be a frame number, such as 12.")
    return int(value)


def _face(name: str, value: str) -> str:
    if value not in DETECTORS:
        raise Refused(400, f"The {name} detector must be one of {', '.join(DETECTORS)}.")
    return value


def _frame_rate(_: str, value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise Refused(
            400, "The frame rate must be a number above 0, such as 200, in frames per second."
        )
    return rate


def _explain(name: str, value: str) -> bool:
    if value != "on":
        raise Refused(400, f"The field {name} must be “on” or omitted.")
    return True


FIELDS = {
    **dict.fromkeys(FRAMES, _frame),
    "face": _face,
    "frame_rate": _frame_rate,
    "explain": _explain,
}
"""Fields of the form besides the clip, with the functions that convert them."""
