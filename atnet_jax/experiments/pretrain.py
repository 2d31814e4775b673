"""Pre-training of the spatial stream on macro-expressions; writes weights for `config.init_from`.

It is the training of one fold: it tests nobody, and holds subjects back for validation. The weights
are those of the epoch with the highest validation UF1. That choice looks at macro-expressions
alone: no subject that a later protocol tests is among them.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from atnet_jax.config import Config, check
from atnet_jax.data.folds import Fold, Unit
from atnet_jax.data.macro_expressions import MacroPictures, load_macro_pictures, split_by_subject
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics, model_card
from atnet_jax.evaluation.record import Data, Folds, Record
from atnet_jax.experiments.workdir import claim, command, environment, lock
from atnet_jax.system import files
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import make_trainer
from atnet_jax.training.feed import FromDisk
from atnet_jax.training.loop import FoldResult, read_network, read_start, train_units
from atnet_jax.weights import folder as weights

_STREAM = "spatial"


def pretrain(config: Config, workdir: str | os.PathLike[str]) -> Path:
    """Runs `config` in `workdir` and returns the folder of weights, for `config.init_from`.

    The weights are those of the spatial stream; the classifier is left out, because each later
    training starts its own afresh, as Caffe does where the last layer has a new name.

    Writes config.json, checkpoints/, tensorboard/, metrics.json and weights/. Started again after a
    kill, goes on from the last checkpoint to the same weights; after its end, only tells the
    result.

    Raises:
      UserError: the data are not prepared, the configuration does not fit them, the workdir holds
        a different run or is in use, or training diverged.
    """
    config = check(config)
    if jax.process_count() > 1:
        raise UserError("Pre-training is one training: it takes one process.")
    with lock(Path(workdir)):
        return _pretrain(config, Path(workdir))


def _pretrain(config: Config, workdir: Path) -> Path:
    pictures = load_macro_pictures(config.data.dir, config.data.datasets, config.data.image_size)
    train, validation = split_by_subject(pictures, config.validation_share, config.seeds[0])
    feed = FromDisk(pictures, config.recipe.batch_size)
    start, fresh = read_start(config, feed.inputs)
    fold = Fold(0, "macro-expressions", train, validation, test=np.zeros(0, np.intp))
    unit = Unit(config.seeds[0], fold, pictures.labels)
    new = Record(
        config=json.loads(config.to_json()),
        data=Data(len(pictures.labels), pictures.sha256),
        init_from=None if start is None else weights.digest(start),
        environment=environment(),
        command=command(),
        folds=Folds((fold.name,), (fold.number,)),
    )
    record = claim(workdir, new)
    datasets = _count(pictures, train, validation)
    print(f"pretrain of {config.model} on {record.environment.device}")
    for name, counts in datasets.items():
        sides = [
            f"{side} on {counts[side]['pictures']}{noun} (subjects: {counts[side]['subjects']})"
            for side, noun in (("training", " pictures"), ("validation", ""))
        ]
        print(f"  {name}: {', '.join(sides)}")
    if start is not None:
        print(f"  from the weights in {config.init_from}; at random: {', '.join(fresh) or 'none'}")

    path = workdir / "weights"
    if not path.exists():
        result = train_units(config, feed, [unit], [unit], {unit.seed: workdir}, start)[unit.key]
        about = {
            "source": "pretrain",
            "model": config.model,
            "seed": unit.seed,
            "image_size": config.data.image_size,
            "datasets": datasets,
            "epoch": result.epoch,
            "init_from": record.init_from,
            "versions": record.environment.versions,
        }
        curves, about["validation"] = _figures(unit, result)
        files.write_json_atomically(workdir / "metrics.json", {**about, "curves": curves})
        model_card.write(workdir, [record], [], about["validation"])
        shapes = make_trainer(config, feed.inputs).unit_shapes()
        with FoldCheckpoints(workdir / "checkpoints") as checkpoints:
            network = read_network(checkpoints, fold.number, shapes)
        stream = {name: {_STREAM: part[_STREAM]} for name, part in network.items()}
        # Last: where there are weights, the run is at its end.
        weights.save(path, weights.Weights(**stream, about=about))
    print(_summary(config, json.loads((workdir / "metrics.json").read_text()), path))
    return path


def _count(
    pictures: MacroPictures,
    train: Int[np.ndarray, " train"],
    validation: Int[np.ndarray, " validation"],
) -> dict[str, dict[str, dict[str, int]]]:
    """Pictures and subjects on each side, by data set."""

    def count(side: np.ndarray, dataset: int) -> dict[str, int]:
        own = side[pictures.dataset[side] == dataset]
        return {"pictures": len(own), "subjects": len(np.unique(pictures.subject[own]))}

    return {
        name: {"training": count(train, number), "validation": count(validation, number)}
        for number, name in enumerate(pictures.names)
    }


def _figures(
    unit: Unit, result: FoldResult
) -> tuple[dict[str, list[float]], dict[str, Any] | None]:
    """Figures of every epoch, and those of validation after the kept one: None without it."""
    curves = {"loss": result.loss.tolist(), "accuracy": result.accuracy.tolist()}
    labels = unit.labels[unit.fold.validation]
    if not len(labels):
        return curves, None
    likelihood = result.validation_scores[:, np.arange(len(labels)), labels]
    loss = -np.log(np.maximum(likelihood, np.finfo(np.float32).tiny)).mean(axis=1)
    curves["validation_loss"] = loss.tolist()
    confusions = [
        metrics.confusion_matrix(labels, scores.argmax(-1)) for scores in result.validation_scores
    ]
    for name, values in zip(metrics.METRICS, metrics.scores(np.array(confusions)).T, strict=True):
        curves[f"validation_{name}"] = values.tolist()
    kept = result.epoch - 1
    figures = {name: curves[f"validation_{name}"][kept] for name in ("loss", *metrics.METRICS)}
    return curves, {**figures, "confusion": confusions[kept].tolist()}


def _summary(config: Config, result: dict[str, Any], path: Path) -> str:
    """What came out, and what to do with it."""
    lines = [f"\nKept: epoch {result['epoch']} of {len(result['curves']['loss'])}"]
    figures = result["validation"]
    if figures:
        lines[0] += (
            f"; validation accuracy {figures['accuracy']:.3f}, UF1 {figures['uf1']:.3f},"
            f" UAR {figures['uar']:.3f}, loss {figures['loss']:.3f}"
        )
    model = "fusion" if config.model == "spatial" else config.model
    lines.append(f"Weights: {path.absolute()}")
    lines.append(
        f"Next: atnet train --config=cde:{model} --config.init_from={path} --workdir=runs/cde"
    )
    return "\n".join(lines)
