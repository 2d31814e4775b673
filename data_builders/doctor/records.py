"""Checks one record of prepared data; it needs no TFDS, which is slow to import."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from atnet_jax.data.record import ADM_SHAPE, APEX_SHAPE, COLOUR_SHAPE, FLOW_MAP_SHAPE
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.alternation import alternation
from atnet_jax.preprocessing.face import SIZE
from atnet_jax.preprocessing.window import HALF_WINDOW, flow_pairs
from data_builders.doctor import motion
from data_builders.doctor.findings import CheckedClip, some

# Pixels. The strongest block of a flow in the authors' release has 0.03 at the least; the flow of
# two equal frames is 2e-5, as Farnebäck's method rounds.
_STILL = 1e-3


@dataclass(frozen=True)
class Examined:
    """A record's clip, what is odd about it as kinds and texts, and the box of its face."""

    clip: CheckedClip
    found: list[tuple[str, str]]
    crop_box: np.ndarray


@dataclass(frozen=True)
class Unread:
    """Stands for a record that cannot be read, and says why."""

    why: str


def examine(record: Mapping[str, Any] | Unread) -> Examined | Unread:
    """Checks one record.

    Args:
        record: As `data_builders.micro_expression.record_features` describes it, pictures still
            encoded, names as text. The frames may be missing, as in data of an older version.
    """
    if isinstance(record, Unread):
        return record
    odd: list[tuple[str, str]] = []
    digests: dict[str, str] = {}
    label = int(record["label"])
    if not 0 <= label < len(CLASSES):
        odd.append(("label", f"label {label}, expected 0, 1 or 2"))
    if not np.isfinite(record["crop_box"]).all():
        odd.append(("not_finite", "crop box"))
    onset, apex, offset = (int(record[name]) for name in ("onset", "apex_frame", "offset"))
    rows = None
    if min(onset, apex, offset) >= 0:
        if onset < apex <= offset:
            rows = [row for row, _, _ in flow_pairs(onset, apex, offset)]
        else:
            odd.append(("apex", f"onset {onset}, apex {apex}, offset {offset}"))
    if record["has_apex"]:
        picture = _decode(record["apex"], "the apex picture", odd)
        if picture is not None and picture.shape != APEX_SHAPE:
            odd.append(("unreadable", f"the apex picture has the shape {picture.shape}"))
        if picture is not None:
            digests["apex_sha256"] = _sha256(picture)
    for name, title, shape in (("flow_map", "flow map", FLOW_MAP_SHAPE), ("adm", "ADM", ADM_SHAPE)):
        if not record[f"has_{name}"]:
            continue
        values = record[name]
        digests[f"{name}_sha256"] = _sha256(np.asarray(values, "<f4"))
        if values.shape != shape:
            odd.append(("unreadable", f"the {title} has the shape {values.shape}"))
        elif not np.isfinite(values).all():
            odd.append(("not_finite", title))
        elif name == "adm":
            odd += _examine_adm(values, rows)
        elif np.abs(values).max() < _STILL:
            odd.append(("zero_flow", title))
    if record.get("has_flow") and not np.isfinite(record["flow"]).all():
        odd.append(("not_finite", "flow"))
    if record.get("has_colour"):
        pictures = _decode(record["colour"], "the pictures in colour", odd)
        if pictures is not None and pictures.shape != COLOUR_SHAPE:
            odd.append(("unreadable", f"the pictures in colour have the shape {pictures.shape}"))
    if record.get("has_frames"):
        first = 0 if rows is None else apex - HALF_WINDOW + rows[0]
        odd += _examine_frames(record, first, odd)
    clip = CheckedClip(
        record["dataset"],
        record["subject"],
        record["clip"],
        label,
        *(None if number < 0 else number for number in (onset, apex, offset)),
        frames=None,
        digests=digests,
    )
    return Examined(clip, odd, record["crop_box"])


def _sha256(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _decode(encoded: bytes, title: str, odd: list[tuple[str, str]]) -> np.ndarray | None:
    data = np.frombuffer(encoded, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if picture is None:
        odd.append(("unreadable", f"{title} cannot be decoded"))
    return picture


def _examine_frames(
    record: Mapping[str, Any], first: int, odd: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """What is odd from frame to frame of the window, whose first frame is number `first`."""
    stacked = _decode(record["frames"], "the frames", odd)
    if stacked is None:
        return []
    if stacked.ndim != 2 or stacked.shape[1] != SIZE or len(stacked) % SIZE:
        return [("unreadable", f"the frames have the shape {stacked.shape}")]
    found = motion.look_at(enumerate(stacked.reshape(-1, SIZE, SIZE), first))
    if record["has_adm"]:
        found.pop("alternating", None)  # Its ADM tells.
    return [(kind, some(texts)) for kind, texts in found.items()]


def _examine_adm(
    adm: Float32[np.ndarray, "64 128"], rows: list[int] | None
) -> list[tuple[str, str]]:
    """What is odd about an ADM whose `rows` are to be filled; None: which ones is unknown."""
    moving = adm[:, 1::2].max(axis=1) >= _STILL
    if not moving.any():
        return [("zero_flow", "ADM")]
    odd = []
    if rows is not None:
        of = f"of {rows[0]}…{rows[-1]}"
        outside = [str(row) for row in np.flatnonzero(adm.any(axis=1)) if row not in rows]
        if outside:
            odd.append(("outside_rows", f"rows {some(outside)} are filled, none {of}"))
        still = [str(row) for row in rows if not moving[row]]
        if still:
            odd.append(("still_rows", f"rows {some(still)} {of}"))
    lags = adm_alternation(adm)
    if lags is not None:
        odd.append(("alternating", motion.tell_alternation(lags)))
    return odd


def adm_alternation(adm: Float32[np.ndarray, "64 128"]) -> tuple[float, float] | None:
    """Whether the flow flips its sign at every frame, see `preprocessing.alternation`.

    Taken over the mean motion of the blocks, (ρ cos θ, ρ sin θ), from the first filled row to the
    last.
    """
    filled = np.flatnonzero(adm.any(axis=1))
    if not filled.size:
        return None
    rows = adm[filled[0] : filled[-1] + 1].astype(np.float64)
    direction, magnitude = rows[:, ::2], rows[:, 1::2]
    return alternation(np.hstack([magnitude * np.cos(direction), magnitude * np.sin(direction)]))
