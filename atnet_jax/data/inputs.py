"""What a method reads of the composite: as it was prepared, or computed from that once and kept."""

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

import atnet_jax
from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.data.composite import Composite, load_composite, resize
from atnet_jax.data.record import Key, prepared, prepared_clip, read_records
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.magnification import magnified
from atnet_jax.preprocessing.motion import motion_named
from atnet_jax.preprocessing.optical_flow import FlowMethod, flow_method
from atnet_jax.preprocessing.prepared_clip import PreparedClip
from atnet_jax.system.kept import KeptRecords
from atnet_jax.system.locks import NO_LOCKS
from atnet_jax.system.workers import map_in_order

# Folders of this package with code that inputs are computed by, beside the method's own file.
_CODE = ("features", "preprocessing")


def reads(config: Config) -> tuple[str, ...]:
    """What is read of each clip, some of `atnet_jax.data.INPUTS`.

    It is what the method names and, if motion is magnified, the frames.

    Raises:
      UserError: there is no such method, or nothing that it reads can be magnified.
    """
    names = models.load(config.model).INPUTS
    if not config.magnification:
        return names
    if config.magnification < 0 or not {"apex", "frames"}.intersection(names):
        raise UserError(
            f"config.magnification is {config.magnification:g}, expected 0 (none) or more, and more"
            f" only for a method that reads the apex frame or frames; {config.model} reads"
            f" {', '.join(names)}."
        )
    return (*names, *(name for name in ("frames",) if name not in names))


def load_inputs(config: Config) -> Composite:
    """The composite with the inputs of the method of `config`.

    A network without `prepare` reads what was prepared, unless motion is magnified. What is
    computed of each clip is kept in `<data_dir>/features`, and read from there where the data, the
    options and the code are the same; of features for an SVM it is one input, "features" `[clip,
    feature]`. A killed run leaves its finished clips, and the next goes on with them. Of several at
    a time, one computes.

    Raises:
      UserError: the data are not prepared, lack something, the method cannot use a clip, or what it
        computes cannot be kept.
    """
    method, read = _method(config), reads(config)
    data = config.data_dir, config.datasets, config.flow
    as_prepared = models.is_network(config.model) and not hasattr(method, "prepare")
    if as_prepared and not config.magnification:
        return load_composite(*data, read, config.image_size)
    composite = load_composite(*data, ())
    builders = [prepared(config.data_dir, name, config.flow) for name in config.datasets]
    folder = Path(config.data_dir) / "features" / _digest(config, composite, builders)
    if not folder.is_dir():
        try:
            _keep(folder, config, composite, builders)
        except OSError as error:
            raise UserError(
                f"{folder.parent}: what {config.model} reads of each clip cannot be kept ({error})"
            ) from error
    try:
        inputs = {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.iterdir())}
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{folder}: damaged ({error}). Delete that folder.") from error
    return dataclasses.replace(composite, inputs=inputs)


def inputs_of_clip(config: Config, clip: PreparedClip, flow: FlowMethod) -> dict[str, np.ndarray]:
    """What the method of `config` reads of one clip, by name.

    Args:
      config: names the method, its options, the size of pictures and their magnification.
      clip: with all that `reads` names.
      flow: the flow method, for inputs that are computed from frames.

    Raises:
      UserError: the method cannot use the clip; the message names it.
    """
    method = _method(config)
    try:
        if config.magnification:
            clip = magnified(clip, config.magnification)
        if not models.is_network(config.model):
            return {"features": method(clip, flow)}
        if not hasattr(method, "prepare"):
            given = {name: getattr(clip, name) for name in models.load(config.model).INPUTS}
            if "apex" in given:
                given["apex"] = resize(given["apex"], config.image_size)
            return given
        found = method.prepare(clip, flow, config.image_size)
    except UserError as error:
        raise UserError(f"{clip.key}: {error}") from None
    shapes = {name: array.shape for name, array in found.items()}
    expected = method.input_shapes(config.image_size)
    if shapes != expected:
        raise ValueError(f"{config.model} prepares {shapes}, but says {expected}")
    return found


def _method(config: Config) -> Any:
    return models.build(config.model, config.options.to_dict())


@dataclasses.dataclass(frozen=True)
class _Job:
    """One clip's work."""

    config: Config
    key: Key
    clip: PreparedClip


@dataclasses.dataclass(frozen=True)
class _Jobs(Collection[_Job]):
    """The work of these clips, which are read as they are asked for."""

    config: Config
    builders: Sequence[Any]
    keys: Collection[Key]

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, item: object) -> bool:
        return any(job is item for job in self)

    def __iter__(self) -> Iterator[_Job]:
        read = reads(self.config)
        for builder in self.builders:
            for key, record in read_records(builder, read):
                if key in self.keys:
                    yield _Job(self.config, key, prepared_clip(key, record, read))


def _compute(job: _Job) -> tuple[Key, dict[str, np.ndarray] | str]:
    try:
        flow = flow_method(motion_named(job.config.flow).flow)
        return job.key, inputs_of_clip(job.config, job.clip, flow)
    except UserError as error:
        return job.key, str(error)


def _keep(folder: Path, config: Config, composite: Composite, builders: Sequence[Any]) -> None:
    """Computes the inputs of all clips and writes one file each, all or none."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("w") as lock:
        _await_turn(lock, config.model)
        if not folder.is_dir():
            inputs = _compute_all(config, composite, builders, KeptRecords(partial / "clips"))
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


def _await_turn(lock: TextIO, model: str) -> None:
    """Waits while another process holds the lock; it ends with the process, however that ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{model}: another process computes what it reads; waiting for it", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def _compute_all(
    config: Config, composite: Composite, builders: Sequence[Any], kept: KeptRecords
) -> dict[str, np.ndarray]:
    """What is computed of every clip, `[clip, ...]` in the order of the composite."""
    keys = list(zip(composite.dataset, composite.subject, composite.clip, strict=True))
    names = {key: hashlib.sha256(json.dumps(key).encode()).hexdigest() for key in keys}
    found = kept.find(names.values())
    computed = {key: kept.read(names[key])[0][1] for key in keys if names[key] in found}
    jobs = _Jobs(config, builders, [key for key in keys if key not in computed])
    errors = []
    results = map_in_order(_compute, jobs)
    for key, result in tqdm(results, config.model, len(keys), unit="clip", initial=len(computed)):
        if isinstance(result, str):
            errors.append(result)
        else:
            kept.write(names[key], [("inputs", result)])
            computed[key] = result
    if errors:
        listed = "\n".join(f"  - {error}" for error in errors)
        raise UserError(f"{config.model}: {len(errors)} clips cannot be used:\n{listed}")
    return {name: np.stack([computed[key][name] for key in keys]) for name in computed[keys[0]]}


def _digest(config: Config, composite: Composite, builders: Sequence[Any]) -> str:
    """Of all that the inputs follow from."""
    origin = {
        "code": _code(config.model),
        "model": config.model,
        "options": config.options.to_dict(),
        "magnification": config.magnification,
        "image_size": config.image_size if models.is_network(config.model) else None,
        "flow": config.flow,
        "clips": composite.digest(),
        "prepared": [builder.info.metadata["options"] for builder in builders],
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def _code(model: str) -> str:
    """A digest of the code that a method's inputs are computed by: it changes as one writes it."""
    package = Path(atnet_jax.__file__).parent
    files = [path for folder in _CODE for path in sorted((package / folder).rglob("*.py"))]
    digest = hashlib.sha256(atnet_jax.__version__.encode())
    for path in (Path(str(models.load(model).__file__)), *files):
        digest.update(path.read_bytes())
    return digest.hexdigest()
