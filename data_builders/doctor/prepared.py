"""Check of prepared data: every record of the sets of micro-expressions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atnet_jax.data.record import (
    FIRST_VERSION,
    INPUTS,
    DamagedDataError,
    features,
    key_of,
    open_records,
    prepared,
)
from atnet_jax.errors import UserError
from atnet_jax.names import MICRO_EXPRESSIONS
from atnet_jax.published import DATABASES
from atnet_jax.system.workers import map_in_order
from atnet_jax.words import alike
from data_builders.doctor.findings import Checkup
from data_builders.doctor.records import Examined, Unread, examine

# Overlap (intersection over union) of a face's box with the subject's median box. It is reached by
# a shift of a third of the width, or by a box 1.4 times as wide and high.
_LEAST_OVERLAP = 0.5

_KEY = ("dataset", "subject", "clip")

# Data of older versions lack these features.
_OPTIONAL = {
    feature
    for name, each in INPUTS.items()
    if each.since != FIRST_VERSION
    for feature in (name, f"has_{name}")
}


def check_prepared(
    data_dir: Path, dataset: str | None, flow: str, num_workers: int | None = None
) -> Checkup:
    """Check the records of prepared data.

    Args:
        data_dir: The `data_dir` of `prepare`.
        dataset: The prepared set to check. By default, all sets of micro-expressions in the folder
            are checked, and the folder must hold the paper's three databases.
        flow: The optical flow of the prepared data, as in `config.data.flow`.
        num_workers: Number of processes, by default one for each CPU.

    Returns:
        The checked clips and the findings.
    """
    checkup = Checkup(())
    absent: dict[str, str] = {}
    boxes: dict[tuple[str, str], dict[str, np.ndarray]] = defaultdict(dict)
    contents: dict[str, str] = {}
    for name in MICRO_EXPRESSIONS if dataset is None else (dataset,):
        try:
            builder = prepared(data_dir, name, flow)
        except DamagedDataError as error:
            checkup.add("unreadable", name, f"the set cannot be opened: {_tell(error)}")
            continue
        except UserError as error:
            absent[name] = str(error)
            continue
        metadata = builder.info.metadata or {}
        checkup.notes += [f"{name}: {note}" for note in metadata.get("notes", [])]
        checkup.left_out += [
            (name, f"{row['subject']}/{row['clip']}", row["reason"])
            for row in metadata.get("excluded", [])
        ]
        for examined in _examine_all(builder, name, num_workers, checkup):
            clip = examined.clip
            if clip.key in contents:
                checkup.add("duplicate_key", clip.key, f"the set {name} defines it again")
                continue
            for kind, found in examined.found:
                checkup.add(kind, clip.key, found)
            inputs = (clip.digests[column] for column in sorted(clip.digests))
            contents[clip.key] = " ".join(inputs) or clip.key
            checkup.clips.append(clip)
            box = examined.crop_box
            if box.any() and np.isfinite(box).all():
                boxes[clip.dataset, clip.subject][clip.key] = box
    for group in boxes.values():
        _check_boxes(group, checkup)
    checkup.add_same_clips(contents)
    for group in alike(f"{clip.dataset}/{clip.subject}" for clip in checkup.clips):
        checkup.add("same_person", group[0], f"differs little from {', '.join(group[1:])}")
    # The clips of a database may be prepared by a manifest instead of the database's own builder.
    there = {clip.dataset for clip in checkup.clips}
    for name, message in absent.items():
        if name not in there and (name in DATABASES or dataset is not None):
            checkup.add("not_prepared", name, message)
    expected = set(DATABASES) if dataset is None else {dataset, *there}
    checkup.databases = tuple(name for name in DATABASES if name in expected)
    return checkup


def _tell(error: BaseException) -> str:
    error = error.__cause__ or error  # The doctor need not be told to ask the doctor.
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


class _Records(Sequence[Any]):
    """Records of a set, read one by one when the processes request them."""

    def __init__(self, source: Sequence[Any]):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            record = self._source[index]
            return {**record, **dict(zip(_KEY, key_of(record), strict=True))}
        except Exception as error:  # array_record and TFDS raise many kinds of errors.
            return Unread(f"record {index} of {len(self)}: {_tell(error)}")


def _examine_all(
    builder: Any, name: str, num_workers: int | None, checkup: Checkup
) -> Iterator[Examined]:
    """Yield the results for all readable records, and add a finding for each other record."""
    lacking = set(features()) - set(builder.info.features or ()) - _OPTIONAL
    if lacking:
        checkup.add("unreadable", name, f"its records lack {', '.join(sorted(lacking))}")
        return
    try:
        source = _Records(open_records(builder))
        count = len(source)
    except Exception as error:
        checkup.add("unreadable", name, f"the records cannot be read: {_tell(error)}")
        return
    results = map_in_order(examine, source, num_workers)
    for result in tqdm(results, name, count, unit="clip", disable=None):
        if isinstance(result, Unread):
            checkup.add("unreadable", name, result.why)
        else:
            yield result


def _check_boxes(boxes: Mapping[str, np.ndarray], checkup: Checkup) -> None:
    """Compare the boxes of one subject's clips with their median."""
    usual = np.median(list(boxes.values()), axis=0)
    for key, box in boxes.items():
        if _overlap(box, usual) < _LEAST_OVERLAP:
            found, expected = (", ".join(f"{value:.0f}" for value in b) for b in (box, usual))
            checkup.add("crop_box", key, f"the box is {found}, the subject's median is {expected}")


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - common
    return common / union if union > 0 else 0.0
