"""Pre-training of the spatial stream on macro-expressions, for `config.init_from`.

Pre-training trains one fold without test subjects and keeps the weights of the epoch with the
highest UF1 on validation subjects. That choice cannot leak test data: validation uses
macro-expressions only, and later protocols test none of their subjects.
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
    """Pre-train the spatial stream and write its weights.

    The weights exclude the classifier, because later training initialises a new one, as Caffe does
    for a last layer with a new name. The files are config.json, checkpoints/, tensorboard/,
    metrics.json and weights/. If the run is killed, the same call resumes from the last checkpoint
    and produces the same weights. If it is finished, the call only prints the result.

    Args:
        config: The configuration of the task "pretrain".
        workdir: A new folder, or the folder of the same run to resume.

    Returns:
        The folder of the weights, for `config.init_from`.

    Raises:
        UserError: The data are not prepared or do not fit the configuration, the workdir holds
            another run or is in use, several processes take part, or training diverged.
    """
    config = check(config)
    if jax.process_count() > 1:
        raise UserError(
            f"Pre-training cannot use several processes, but {jax.process_count()} take part. Start"
            f" one process."
        )
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
    print(f"Pre-training {config.model} on {record.environment.device}")
    for name, counts in datasets.items():
        sides = [
            f"{side} on {counts[side]['pictures']}{noun} (subjects: {counts[side]['subjects']})"
            for side, noun in (("training", " pictures"), ("validation", ""))
        ]
        print(f"  {name}: {', '.join(sides)}")
    if start is not None:
        print(
            f"  initial weights from {config.init_from};"
            f" randomly initialised: {', '.join(fresh) or 'none'}"
        )

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
        # The weights are written last, because their presence marks the run as finished.
        weights.save(path, weights.Weights(**stream, about=about))
    print(_summary(config, json.loads((workdir / "metrics.json").read_bytes()), path))
    return path


def _count(
    pictures: MacroPictures,
    train: Int[np.ndarray, " train"],
    validation: Int[np.ndarray, " validation"],
) -> dict[str, dict[str, dict[str, int]]]:
    """Count the pictures and subjects for training and validation in each data set."""

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
    """Return the scores of every epoch, and of validation in the kept epoch (None without any)."""
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
    """Return the lines that print the result and the next command."""
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
