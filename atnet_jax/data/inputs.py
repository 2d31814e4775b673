"""What a method reads of the composite: as it was prepared, or computed from that once and kept."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from atnet_jax.data.composite import Composite, load_composite
from atnet_jax.data.record import Key, from_record, prepared, read_records
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.system.kept import KeptRecords
from atnet_jax.system.locks import take_turn
from atnet_jax.system.workers import map_in_order

Compute = Callable[[PreparedClip], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a method reads a clip.

    Attributes:
      method: its name.
      names: what it reads of a clip, some of `INPUTS`.
      image_size: height and width of the pictures that it reads, in pixels.
      compute: what it makes of a clip that has these, by name; worker processes are sent it. It
        raises a `UserError` that names the clip where it cannot use one. None: the method reads
        what was prepared.
      origin: all that `compute` follows from, as JSON can hold it.
    """

    method: str
    names: Sequence[str]
    image_size: int
    compute: Compute | None
    origin: Mapping[str, Any]


def load_inputs(
    data_dir: str | os.PathLike[str], datasets: Sequence[str], flow: str, reading: Reading
) -> Composite:
    """The composite with what a method reads of it.

    What is computed of each clip is kept in `<data_dir>/features`, and read from there where the
    data and their origin are the same. A killed run leaves its finished clips, and the next goes on
    with them. Of several at a time, one computes.

    Args:
      data_dir: see `load_composite`, as for the next two.
      datasets: likewise.
      flow: likewise.
      reading: how the method reads a clip.

    Raises:
      UserError: the data are not prepared, lack something, the method cannot use a clip, or what it
        computes cannot be kept.
    """
    if reading.compute is None:
        return load_composite(data_dir, datasets, flow, reading.names, reading.image_size)
    composite = load_composite(data_dir, datasets, flow, ())
    builders = [prepared(data_dir, name, flow) for name in datasets]
    folder = Path(data_dir) / "features" / _digest(reading, composite, builders)
    if not folder.is_dir():
        try:
            _keep(folder, reading, composite, builders)
        except OSError as error:
            raise UserError(
                f"{folder.parent}: what {reading.method} reads of each clip cannot be kept"
                f" ({error})"
            ) from error
    try:
        inputs = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.iterdir())}
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{folder}: damaged ({error}). Delete that folder.") from error
    return dataclasses.replace(composite, inputs=inputs)


@dataclasses.dataclass(frozen=True)
class _Job:
    """One clip's work."""

    compute: Compute
    key: Key
    clip: PreparedClip


@dataclasses.dataclass(frozen=True)
class _Jobs(Collection[_Job]):
    """The work of these clips, which are read as they are asked for."""

    reading: Reading
    builders: Sequence[Any]
    keys: Collection[Key]

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, item: object) -> bool:
        return any(job is item for job in self)

    def __iter__(self) -> Iterator[_Job]:
        names, compute = self.reading.names, self.reading.compute
        assert compute is not None
        for builder in self.builders:
            for key, record in read_records(builder, names):
                if key in self.keys:
                    yield _Job(compute, key, from_record(record, names))


def _compute(job: _Job) -> tuple[Key, dict[str, np.ndarray] | str]:
    try:
        return job.key, job.compute(job.clip)
    except UserError as error:
        return job.key, str(error)


def _keep(folder: Path, reading: Reading, composite: Composite, builders: Sequence[Any]) -> None:
    """Computes the inputs of all clips and writes one file each, all or none."""
    partial = folder.with_name(f"{folder.name}.partial")
    folder.parent.mkdir(exist_ok=True)
    with take_turn(folder.with_name(f"{folder.name}.lock"), f"what {reading.method} reads"):
        if not folder.is_dir():
            partial.mkdir(exist_ok=True)
            inputs = _compute_all(reading, composite, builders, KeptRecords(partial / "clips"))
            written = partial / "inputs"
            if written.is_dir():
                shutil.rmtree(written)
            written.mkdir()
            for name, array in inputs.items():
                with (written / f"{name}.npy").open("xb") as file:
                    np.save(file, array, allow_pickle=False)
                    os.fsync(file.fileno())
            os.rename(written, folder)
        shutil.rmtree(partial, ignore_errors=True)


def _compute_all(
    reading: Reading, composite: Composite, builders: Sequence[Any], kept: KeptRecords
) -> dict[str, np.ndarray]:
    """What is computed of every clip, `[clip, ...]` in the order of the composite."""
    keys = list(zip(composite.dataset, composite.subject, composite.clip, strict=True))
    names = {key: hashlib.sha256(json.dumps(key).encode()).hexdigest() for key in keys}
    found = kept.find(names.values())
    computed = {key: kept.read(names[key])[0][1] for key in keys if names[key] in found}
    jobs = _Jobs(reading, builders, [key for key in keys if key not in computed])
    errors = []
    results = map_in_order(_compute, jobs)
    for key, result in tqdm(results, reading.method, len(keys), unit="clip", initial=len(computed)):
        if isinstance(result, str):
            errors.append(result)
        else:
            kept.write(names[key], [("inputs", result)])
            computed[key] = result
    if errors:
        listed = "\n".join(f"  - {error}" for error in errors)
        raise UserError(f"{reading.method}: {len(errors)} clips cannot be used:\n{listed}")
    return {name: np.stack([computed[key][name] for key in keys]) for name in computed[keys[0]]}


def _digest(reading: Reading, composite: Composite, builders: Sequence[Any]) -> str:
    """Of all that the inputs follow from."""
    origin = {
        **reading.origin,
        "clips": composite.digest(),
        "prepared": [builder.info.metadata["options"] for builder in builders],
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
