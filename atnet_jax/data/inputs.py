"""Inputs of a method: read as prepared, or computed from prepared data once and cached."""

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
from atnet_jax.words import numbered

Compute = Callable[[PreparedClip], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Description of the inputs that a method reads.

    Attributes:
        method: Name of the method.
        names: Prepared inputs that the method needs, some of `INPUTS`.
        image_size: Height and width of the method's pictures, in pixels.
        compute: Function that returns the method's arrays for a clip, by name. It must be picklable
            for worker processes, and raise a `UserError` with the clip's name if it cannot use a
            clip. None: the method reads the prepared inputs themselves.
        origin: Everything that determines the output of `compute`, as JSON values.
    """

    method: str
    names: Sequence[str]
    image_size: int
    compute: Compute | None
    origin: Mapping[str, Any]


def load_inputs(
    data_dir: str | os.PathLike[str], datasets: Sequence[str], flow: str, reading: Reading
) -> Composite:
    """Load the composite with the inputs of a method.

    Computed inputs are cached in `<data_dir>/features` and reused while the data and `origin` are
    unchanged. If a run is killed, the next run resumes with the remaining clips. If several runs
    need the same inputs, one of them computes and the others wait.

    Args:
        data_dir: Folder of the prepared data (`--data_dir` of `atnet prepare`).
        datasets: Names of the data sets, such as ("casme2", "samm", "smic").
        flow: Optical flow of the prepared data with its suffixes, a `Motion.name`.
        reading: Inputs that the method reads.

    Returns:
        The composite; each of its inputs is `[clip, ...]`.

    Raises:
        UserError: The data are not prepared or lack an input, the method cannot use a clip, or the
            computed inputs cannot be written or read.
    """
    if reading.compute is None:
        return load_composite(data_dir, datasets, flow, reading.names, reading.image_size)
    composite = load_composite(data_dir, datasets, flow, ())
    builders = [prepared(data_dir, name, flow) for name in datasets]
    folder = Path(data_dir) / "features" / _digest(reading, composite)
    if not folder.is_dir():
        try:
            _keep(folder, reading, composite, builders)
        except OSError as error:
            raise UserError(
                f"{folder.parent}: the inputs of {reading.method} cannot be written ({error})."
                " Fix this and rerun the same command."
            ) from error
    try:
        inputs = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.iterdir())}
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"{folder}: damaged ({error}). Delete this folder and rerun the command."
        ) from error
    return dataclasses.replace(composite, inputs=inputs)


@dataclasses.dataclass(frozen=True)
class _Job:
    """Computation of one clip's inputs."""

    compute: Compute
    key: Key
    clip: PreparedClip


@dataclasses.dataclass(frozen=True)
class _Jobs(Collection[_Job]):
    """Jobs of the clips in `keys`; iteration reads the clips from disk one by one."""

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
    """Compute the inputs of all clips and write one file per input, all of them or none."""
    partial = folder.with_name(f"{folder.name}.partial")
    folder.parent.mkdir(exist_ok=True)
    with take_turn(folder.with_name(f"{folder.name}.lock"), f"Inputs of {reading.method}"):
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
    """Return the computed inputs of all clips, each `[clip, ...]` in the composite's order."""
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
        raise UserError(
            f"{reading.method}: {numbered(len(errors), 'clip')} cannot be used:\n{listed}"
        )
    return {name: np.stack([computed[key][name] for key in keys]) for name in computed[keys[0]]}


def _digest(reading: Reading, composite: Composite) -> str:
    """Return the digest of everything that determines the inputs."""
    origin = {
        **reading.origin,
        "clips": composite.digest(),
        "prepared": list(composite.preparation.values()),
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
