"""Check of one record of prepared data. The module avoids TFDS, which is slow to import."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from atnet_jax.data.record import INPUTS
from atnet_jax.names import CLASSES
from atnet_jax.preprocessing.alternation import alternation
from atnet_jax.preprocessing.window import HALF_WINDOW, flow_pairs
from data_builders.doctor import motion
from data_builders.doctor.findings import CheckedClip, some

# Pixels. In the authors' release, the strongest block of every flow has at least 0.03. The flow of
# two equal frames is 2e-5, because of rounding in Farnebäck's method.
_STILL = 1e-3
# Inputs of which two labs compare digests.
_DIGESTED = ("apex", "adm", "flow_map")


@dataclass(frozen=True)
class Examined:
    """The clip of a record, its findings as kinds and texts, and its face box."""

    clip: CheckedClip
    found: list[tuple[str, str]]
    crop_box: np.ndarray


@dataclass(frozen=True)
class Unread:
    """Placeholder for a record that cannot be read, with the reason."""

    why: str


def examine(record: Mapping[str, Any] | Unread) -> Examined | Unread:
    """Check one record.

    Args:
        record: A record of `atnet_jax.data.record.open_records`, with its names as text. Inputs may
            be missing, as in data of an older version.

    Returns:
        The result, or `record` itself if it is `Unread`.
    """
    if isinstance(record, Unread):
        return record
    odd: list[tuple[str, str]] = []
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
    inputs: dict[str, np.ndarray] = {}
    for name, each in INPUTS.items():
        if record.get(f"has_{name}"):
            try:
                inputs[name] = each.decode(record[name])
            except ValueError as error:
                odd.append(("unreadable", str(error)))
    digests = {f"{name}_sha256": _sha256(inputs[name]) for name in _DIGESTED if name in inputs}
    spoiled = [name for name, array in inputs.items() if not np.isfinite(array).all()]
    odd += [("not_finite", INPUTS[name].title) for name in spoiled]
    if "adm" in inputs and "adm" not in spoiled:
        odd += _examine_adm(inputs["adm"], rows)
    if "flow_map" in inputs and np.abs(inputs["flow_map"]).max() < _STILL:
        odd.append(("zero_flow", "flow map"))
    if "frames" in inputs:
        first = 0 if rows is None else apex - HALF_WINDOW + rows[0]
        odd += _examine_frames(inputs["frames"], first, has_adm="adm" in inputs)
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
    little_endian = values.astype(values.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.tobytes()).hexdigest()


def _examine_frames(
    frames: UInt8[np.ndarray, "frame 224 224"], first: int, *, has_adm: bool
) -> list[tuple[str, str]]:
    """Return the findings about the window's frames, the first of which has number `first`."""
    found = motion.look_at(enumerate(frames, first))
    if has_adm:
        found.pop("alternating", None)  # The ADM shows an alternation more reliably.
    return [(kind, some(texts)) for kind, texts in found.items()]


def _examine_adm(
    adm: Float32[np.ndarray, "64 128"], rows: list[int] | None
) -> list[tuple[str, str]]:
    """Return the findings about an ADM with motion in `rows`, or None if these are unknown."""
    moving = adm[:, 1::2].max(axis=1) >= _STILL
    if not moving.any():
        return [("zero_flow", "ADM")]
    odd = []
    if rows is not None:
        expected = f"{rows[0]}…{rows[-1]}"
        outside = [str(row) for row in np.flatnonzero(adm.any(axis=1)) if row not in rows]
        if outside:
            text = f"rows {some(outside)} have values, expected only {expected}"
            odd.append(("outside_rows", text))
        still = [str(row) for row in rows if not moving[row]]
        if still:
            odd.append(("still_rows", f"rows {some(still)} of {expected} have no motion"))
    lags = adm_alternation(adm)
    if lags is not None:
        odd.append(("alternating", motion.tell_alternation(lags)))
    return odd


def adm_alternation(adm: Float32[np.ndarray, "64 128"]) -> tuple[float, float] | None:
    """Return the autocorrelations of a flow that changes its sign at every frame, or None.

    The test of `preprocessing.alternation` is applied to the mean motion of the blocks,
    (ρ cos θ, ρ sin θ), from the first filled row to the last.

    Args:
        adm: The ADM matrix, with direction θ and magnitude ρ of each block in turn.

    Returns:
        The autocorrelations at lags 1 and 2, or None if the flow does not alternate.
    """
    filled = np.flatnonzero(adm.any(axis=1))
    if not filled.size:
        return None
    rows = adm[filled[0] : filled[-1] + 1].astype(np.float64)
    direction, magnitude = rows[:, ::2], rows[:, 1::2]
    return alternation(np.hstack([magnitude * np.cos(direction), magnitude * np.sin(direction)]))
