"""Features of all clips of the prepared data sets, computed once and kept."""

import dataclasses
import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from tqdm import tqdm

import atnet_jax
from atnet_jax import models
from atnet_jax.config import Config
from atnet_jax.data import Composite, Key, load_composite, prepared, read_records
from atnet_jax.errors import UserError
from atnet_jax.preprocessing.optical_flow import flow_method
from data_builders.variants import motion_named
from data_builders.workers import map_in_order

# Clips in memory at once: about 200 MB.
_AT_ONCE = 64


def load_features(config: Config) -> Composite:
    """The composite with one input, "features" `[clip, feature]`, of the method of `config`.

    What was computed before from the same data with the same options is read from
    `<data_dir>/features`.

    Raises:
      UserError: the data are not prepared, lack the frames, or cannot give these features.
    """
    method = models.build(config.model, config.options.to_dict())
    composite = load_composite(config.data_dir, config.datasets, config.flow, ())
    builders = [prepared(config.data_dir, name, config.flow) for name in config.datasets]
    path = Path(config.data_dir) / "features" / f"{_digest(config, composite, builders)}.npy"
    if path.exists():
        features = np.load(path, allow_pickle=False)
    else:
        features = _compute_all(config, method, composite, builders)
        _save(path, features)
    return dataclasses.replace(composite, inputs={"features": features})


@dataclasses.dataclass(frozen=True)
class _Job:
    """One clip's work.

    Attributes:
      key: data set, subject, clip.
      method: frames and flow method → features.
      flow: as `config.flow`.
      frames: face crops.
    """

    key: Key
    method: Callable[..., np.ndarray]
    flow: str
    frames: UInt8[np.ndarray, "frame height width"]


def _compute(job: _Job) -> np.ndarray | str:
    try:
        return job.method(job.frames, flow_method(motion_named(job.flow).flow))
    except UserError as error:
        return f"{'/'.join(job.key)}: {error}"


def _compute_all(
    config: Config, method: Any, composite: Composite, builders: list[Any]
) -> Float32[np.ndarray, "clip feature"]:
    def jobs() -> Iterator[_Job]:
        for builder in builders:
            for key, record in read_records(builder, ("frames",)):
                width = record["frames"].shape[1]
                yield _Job(key, method, config.flow, record["frames"].reshape(-1, width, width))

    features: dict[Key, np.ndarray] = {}
    errors = []
    remaining = jobs()
    with tqdm(total=len(composite.labels), desc=config.model, unit="clip") as bar:
        while batch := list(itertools.islice(remaining, _AT_ONCE)):
            for job, result in zip(batch, map_in_order(_compute, batch), strict=True):
                if isinstance(result, str):
                    errors.append(result)
                else:
                    features[job.key] = result
                bar.update()
    if errors:
        listed = "\n".join(f"  - {error}" for error in errors)
        raise UserError(f"{config.model}: {len(errors)} clips cannot be used:\n{listed}")
    keys = zip(composite.dataset, composite.subject, composite.clip, strict=True)
    return np.stack([features[key] for key in keys])


def _digest(config: Config, composite: Composite, builders: list[Any]) -> str:
    """Of all that the features follow from."""
    origin = {
        "atnet_jax": atnet_jax.__version__,
        "model": config.model,
        "options": config.options.to_dict(),
        "flow": config.flow,
        "clips": composite.digest(),
        "prepared": [builder.info.metadata["options"] for builder in builders],
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def _save(path: Path, features: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            np.save(file, features, allow_pickle=False)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
