"""Pre-training of the spatial stream on macro-expressions; writes weights for `config.init_from`.

The training is that of `atnet_jax.train`, on one "fold" whose test side are subjects held back for
validation. The weights kept are those of the epoch with the highest validation UF1. That selection
looks at macro-expressions alone: no subject that a later protocol tests is among them.
"""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from atnet_jax.config import Config, check
from atnet_jax.data.macro_expressions import MacroPictures, load_macro_pictures, split_by_subject
from atnet_jax.errors import UserError
from atnet_jax.evaluation import metrics
from atnet_jax.experiments.workdir import claim, lock
from atnet_jax.system import files
from atnet_jax.training.batches import Batches
from atnet_jax.training.checkpoint import FoldCheckpoints
from atnet_jax.training.engine import Trainer, TrainState, make_trainer
from atnet_jax.training.loop import is_checkpoint
from atnet_jax.training.optimizer import learning_rate
from atnet_jax.training.sampling import epoch_batches, one_pass
from atnet_jax.weights import folder as weights

_STREAM = "spatial"
_FOLD = 0


def pretrain(config: Config, workdir: str | os.PathLike[str]) -> Path:
    """Runs `config` in `workdir` and returns the folder of weights, for `config.init_from`.

    The weights are those of the spatial stream; the classifier is left out, because each later
    training starts its own afresh, as Caffe does where the last layer has a new name.

    Writes config.json, checkpoints/, metrics.json and weights/. Started again after a kill, goes on
    from the last checkpoint to the same weights; after its end, only tells the result.

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
    size = config.data.image_size
    shapes = {"apex": np.empty((0, size, size, 1), np.uint8)}
    trainer = make_trainer(config, shapes, jax.local_devices()[:1])
    state = trainer.init(np.array([config.seeds[0]], np.int32), np.array([_FOLD], np.int32))
    start, fresh = None, []
    if config.init_from:
        start = weights.load(Path(config.init_from))
        state, fresh = weights.overlay(state, start)
    record = claim(
        workdir,
        config,
        data={"pictures": len(pictures.labels), "sha256": pictures.sha256},
        init_from=None if start is None else weights.digest(start),
    )
    datasets = _count(pictures, train, validation)
    print(f"pretrain of {config.model} on {record['environment']['device']}")
    for name, counts in datasets.items():
        sides = [
            f"{side} on {counts[side]['pictures']}{noun} (subjects: {counts[side]['subjects']})"
            for side, noun in (("training", " pictures"), ("validation", ""))
        ]
        print(f"  {name}: {', '.join(sides)}")
    if start is not None:
        print(f"  from the weights in {config.init_from}; at random: {', '.join(fresh) or 'none'}")

    result = workdir / "weights"
    if not result.exists():
        kept = _train(config, trainer, state, pictures, train, validation, workdir / "checkpoints")
        about = {
            "source": "pretrain",
            "model": config.model,
            "seed": config.seeds[0],
            "image_size": config.data.image_size,
            "datasets": datasets,
            "epoch": kept.epoch,
            "validation": kept.validation,
            "init_from": record["init_from"],
            "versions": record["environment"]["versions"],
        }
        files.write_json_atomically(workdir / "metrics.json", {**about, "curves": kept.curves})
        # Last: where there are weights, the run is at its end.
        weights.save(result, weights.Weights(kept.params, kept.batch_stats, about))
    print(_summary(config, json.loads((workdir / "metrics.json").read_text()), result))
    return result


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The stream at the end of its best epoch.

    Attributes:
      params: {"spatial": …}.
      batch_stats: {"spatial": …}.
      epoch: counted from 1.
      validation: its figures, or None without validation.
      curves: figures of every epoch.
    """

    params: dict[str, Any]
    batch_stats: dict[str, Any]
    epoch: int
    validation: dict[str, Any] | None
    curves: dict[str, list[float]]


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


def _train(
    config: Config,
    trainer: Trainer,
    state: TrainState,
    pictures: MacroPictures,
    train: Int[np.ndarray, " train"],
    validation: Int[np.ndarray, " validation"],
    directory: Path,
) -> _Kept:
    """Trains from the last checkpoint on, or from `state` where there is none."""
    best = _stream(state)
    history: dict[str, np.ndarray] = {
        name: np.full(config.recipe.num_epochs, np.nan, np.float32)
        for name in ("loss", "accuracy", "validation_loss")
    }
    history["confusion"] = np.zeros((config.recipe.num_epochs, 3, 3), np.int64)
    passes = one_pass(
        pictures.labels[train], config.recipe.balance_classes, config.seeds[0], _FOLD, 0
    )
    steps = config.recipe.steps_per_epoch or math.ceil(len(passes) / config.recipe.batch_size)
    with FoldCheckpoints(directory) as checkpoints:
        tree = None
        while tree is None and (done := checkpoints.epochs_done(_FOLD)):
            tree = checkpoints.restore(_FOLD, {"state": state, "best": best, "history": history})
        if tree is not None:
            state, best, history = jax.device_put(tree["state"]), tree["best"], tree["history"]
        with tqdm(
            total=config.recipe.num_epochs * steps,
            initial=done * steps,
            desc=f"pretrain {config.model}",
            unit=" steps",
            smoothing=0.02,
        ) as bar:
            for epoch in range(done, config.recipe.num_epochs):
                state, loss, accuracy = _train_epoch(
                    config, trainer, state, pictures, train, epoch, bar
                )
                history["loss"][epoch], history["accuracy"][epoch] = loss, accuracy
                told = f"epoch {epoch + 1}: loss {loss:.3f}"
                if len(validation):
                    loss, confusion = _validate(config, trainer, state, pictures, validation)
                    _refuse_divergence("validation", loss, epoch)
                    history["validation_loss"][epoch], history["confusion"][epoch] = loss, confusion
                    told += f", validation UF1 {metrics.uf1(confusion):.3f}"
                bar.set_postfix_str(told)
                if _best_epoch(history, epoch + 1) == epoch:
                    best = _stream(state)
                if is_checkpoint(config, epoch + 1):
                    tree = {"state": jax.device_get(state), "best": best, "history": history}
                    checkpoints.save(_FOLD, epoch + 1, tree)

    epoch = _best_epoch(history, config.recipe.num_epochs)
    curves = _curves(history)
    figures = None
    if len(validation):
        figures = {
            **{name: curves[f"validation_{name}"][epoch] for name in ("loss", *_SCORES)},
            "confusion": history["confusion"][epoch].tolist(),
        }
    kept = jax.tree.map(lambda leaf: leaf[0], best)
    return _Kept(kept["params"], kept["batch_stats"], epoch + 1, figures, curves)


def _train_epoch(
    config: Config,
    trainer: Trainer,
    state: TrainState,
    pictures: MacroPictures,
    train: Int[np.ndarray, " train"],
    epoch: int,
    bar: tqdm,
) -> tuple[TrainState, float, float]:
    """One epoch; returns the state, the mean loss and the accuracy."""
    size = config.recipe.batch_size
    batches = epoch_batches(
        pictures.labels[train],
        epoch=epoch,
        batch_size=size,
        steps=config.recipe.steps_per_epoch,
        balance=config.recipe.balance_classes,
        seed=config.seeds[0],
        fold=_FOLD,
    )
    order = train[np.concatenate(batches)]
    # The last batch is filled up, so that one program does for all; what fills it weighs nothing.
    weight = np.ones(len(order), np.float32)
    padding = -len(order) % size
    order, weight = np.pad(order, (0, padding), mode="edge"), np.pad(weight, (0, padding))
    positions = np.arange(size, dtype=np.int32)[None]
    rate = learning_rate(config, epoch)
    steps = []
    for number, apex in enumerate(pictures.batches(order, size)):
        rows = slice(number * size, (number + 1) * size)
        labels = pictures.labels[order[rows]][None, None]
        weighed = weight[rows][None, None] if padding else None
        batch = Batches(positions[None], labels, weighed)
        state, step = trainer.epoch(state, {"apex": apex}, [batch], rate)
        jax.block_until_ready(steps[-1:])  # Batches must not pile up on the device.
        steps.append(step)
        bar.update()
    loss, correct, count = (
        float(np.sum([np.asarray(getattr(step, name)) for step in steps]))
        for name in ("loss", "correct", "count")
    )
    _refuse_divergence("training", loss, epoch)
    return state, loss / count, correct / count


def _validate(
    config: Config,
    trainer: Trainer,
    state: TrainState,
    pictures: MacroPictures,
    validation: Int[np.ndarray, " validation"],
) -> tuple[float, Int[np.ndarray, "3 3"]]:
    """The mean loss and the confusion matrix of the validation pictures."""
    count = len(validation)
    padded = np.pad(validation, (0, -count % config.recipe.batch_size), mode="edge")
    positions = np.arange(config.recipe.batch_size, dtype=np.int32)[None]
    scores = np.concatenate(
        [
            np.asarray(trainer.predict(state, {"apex": apex}, positions))[0]
            for apex in pictures.batches(padded, config.recipe.batch_size)
        ]
    )[:count]
    labels = pictures.labels[validation]
    likelihood = np.maximum(scores[np.arange(count), labels], np.finfo(np.float32).tiny)
    return float(-np.log(likelihood).mean()), metrics.confusion_matrix(labels, scores.argmax(-1))


def _refuse_divergence(side: str, loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"The {side} loss is {loss} in epoch {epoch + 1}. Lower config.recipe.learning_rate, or"
            f" look for odd pictures in the data."
        )


def _best_epoch(history: dict[str, np.ndarray], epochs: int) -> int:
    """Of the first `epochs`: that of the highest validation UF1, the first of equals.

    Without validation, the last.
    """
    if not history["confusion"].any():
        return epochs - 1
    return int(np.argmax([metrics.uf1(confusion) for confusion in history["confusion"][:epochs]]))


def _stream(state: TrainState) -> dict[str, Any]:
    """What is written at the end: the stream, not the classifier. A copy on the host."""
    stream = {
        "params": {_STREAM: state.params[_STREAM]},
        "batch_stats": {_STREAM: state.batch_stats[_STREAM]},
    }
    return jax.tree.map(np.array, stream)


_SCORES = {"accuracy": metrics.accuracy, "uf1": metrics.uf1, "uar": metrics.uar}


def _curves(history: dict[str, np.ndarray]) -> dict[str, list[float]]:
    curves = {name: history[name].tolist() for name in ("loss", "accuracy")}
    if history["confusion"].any():
        curves["validation_loss"] = history["validation_loss"].tolist()
        for name, score in _SCORES.items():
            curves[f"validation_{name}"] = [score(c) for c in history["confusion"]]
    return curves


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
