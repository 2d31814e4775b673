"""Task of a measurement: clips, folds and settings, in a folder that both sides read.

`task.json` holds the settings; `clips.npz` holds the clips and the training clips of each fold.
Neither depends on JAX or PyTorch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atnet_jax import models
from atnet_jax.config import Config, restore
from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Fold, make_folds
from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.published import COMPOSITE, DATABASES

CLIPS = COMPOSITE["full"].clips
PICTURES = ("apex", "regions")  # inputs of 8 bits


def random_composite(model: str, clips: int, image_size: int) -> Composite:
    """Return clips of noise with the shapes, databases, subjects and classes of the composite.

    Args:
        model: Name of the method, which selects the inputs.
        clips: Number of clips.
        image_size: Height and width of apex frames, in pixels.

    Returns:
        The clips.

    Raises:
        UserError: There are fewer clips than subjects.
    """
    subjects = [(name, k) for name in DATABASES for k in range(COMPOSITE[name].subjects)]
    if clips < len(subjects):
        raise UserError(
            f"--clips is {clips}, expected at least {len(subjects)}: the composite has"
            f" {len(subjects)} subjects."
        )
    rng = np.random.default_rng(0)
    share = np.array([COMPOSITE[name].clips / COMPOSITE[name].subjects for name, _ in subjects])
    more = rng.choice(len(subjects), clips - len(subjects), p=share / share.sum())
    owner = np.sort(np.concatenate([np.arange(len(subjects)), more]))
    shares = np.array(COMPOSITE["full"][2:]) / CLIPS
    shapes = models.find(model).build_network().input_shapes(image_size)

    def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in PICTURES:
            return rng.integers(0, 256, (clips, *shape), np.uint8)
        return rng.standard_normal((clips, *shape), np.float32)

    return Composite(
        inputs={name: noise(name, shape) for name, shape in shapes.items()},
        labels=rng.choice(len(CLASSES), clips, p=shares).astype(np.int32),
        dataset=[subjects[k][0] for k in owner],
        subject=[f"s{subjects[k][1]:02}" for k in owner],
        clip=[f"c{k:05}" for k in range(clips)],
    )


def flow_maps(path: Path) -> Composite:
    """Read released flow maps from onset to apex.

    Args:
        path: An .npz file with the arrays that `benchmarks/released_flow_maps.py` describes.

    Returns:
        The clips.

    Raises:
        UserError: The file cannot be read or lacks an array.
    """
    names = ("dataset", "subject", "clip", "label", "flow_rgb")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            dataset, subject, clip, label, maps = (arrays[name] for name in names)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"--maps={path} is not a readable file with the arrays {', '.join(names)} ({error})."
        ) from None
    return Composite(
        inputs={"flow_map": maps.astype(np.float32)},
        labels=label.astype(np.int32),
        dataset=dataset.tolist(),
        subject=subject.tolist(),
        clip=clip.tolist(),
    )


def save(folder: Path, config: Config, composite: Composite, folds: Sequence[Fold]) -> None:
    """Write a task.

    Args:
        folder: Folder of the task.
        config: Settings of the training.
        composite: The clips.
        folds: The folds to train, which must be the first of the protocol.
    """
    settings = {"folds": len(folds), "config": json.loads(config.to_json())}
    (folder / "task.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    inputs: dict[str, Any] = {f"input_{name}": array for name, array in composite.inputs.items()}
    np.savez(
        folder / "clips.npz",
        labels=composite.labels,
        dataset=np.array(composite.dataset),
        subject=np.array(composite.subject),
        clip=np.array(composite.clip),
        train=np.concatenate([fold.train for fold in folds]),
        train_ends=np.cumsum([len(fold.train) for fold in folds]),
        **inputs,
    )


def load(folder: Path) -> tuple[Config, Composite, list[Fold]]:
    """Return the settings, clips and folds that `save` has written to a folder."""
    settings: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    config = restore(settings["config"])
    with np.load(folder / "clips.npz", allow_pickle=False) as arrays:
        composite = Composite(
            inputs={
                name.removeprefix("input_"): arrays[name]
                for name in arrays.files
                if name.startswith("input_")
            },
            labels=arrays["labels"],
            dataset=arrays["dataset"].tolist(),
            subject=arrays["subject"].tolist(),
            clip=arrays["clip"].tolist(),
        )
    folds = make_folds(config.protocol, composite)[: settings["folds"]]
    return config, composite, folds
