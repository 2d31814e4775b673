"""Workdirs of finished runs, written file by file as a run writes them."""

import functools
import json
import operator
from pathlib import Path

import numpy as np

from atnet_jax import models, published
from atnet_jax.config import default_config
from atnet_jax.evaluation import metrics, predictions
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import Data, Environment, Folds, Record

DIGEST = "0123456789abcdef" * 4


def clips(subjects=3, each=4, databases=tuple(published.DATABASES)):
    """(database, subject, clip, label): a small composite."""
    return [
        (database, f"s{subject}", f"c{clip}", (subject + clip) % 3)
        for database in databases
        for subject in range(subjects)
        for clip in range(each)
    ]


def paper_clips():
    """As many clips and subjects of every class as the paper has."""
    found = []
    for database in published.DATABASES:
        counts = published.COMPOSITE[database]
        labels = np.repeat([0, 1, 2], counts[2:]).tolist()
        found += [
            (database, f"s{i % counts.subjects:02d}", f"c{i:03d}", label)
            for i, label in enumerate(labels)
        ]
    return found


def predict(tested, *, protocol="cde", seed=0, right=0.6, rng=None):
    """Return a prediction of every clip; about this share of them is correct."""
    rng = rng or np.random.default_rng(seed)
    groups = [d if protocol == "hde" else f"{d}/{s}" for d, s, _, _ in tested]
    folds = {name: number for number, name in enumerate(sorted(set(groups)))}
    rows = []
    for group, (database, subject, clip, label) in zip(groups, tested, strict=True):
        off = 0 if rng.random() < right else int(rng.integers(1, 3))
        scores = np.full(3, 0.125)
        scores[(label + off) % 3] = 0.75
        where = (protocol, folds[group], database, subject, clip, label)
        rows.append(Prediction(*where, int(scores.argmax()), *scores.tolist(), seed))
    return rows


def write_run(
    folder: Path,
    method="fusion",
    *,
    seed=0,
    protocol="cde",
    rows=None,
    tested=None,
    right=0.6,
    epochs=0,
    settings=None,
    options=None,
    data=None,
    **record,
) -> Path:
    """A finished run of a method or preset.

    `epochs` adds curves.json and epoch_scores.npz; `settings` (dotted names) and `options` change
    config.json's settings, `data` its data and other names its other fields. With settings of
    `folds`, there is one fold more than was run.
    """
    folder.mkdir(parents=True)
    tested = clips() if tested is None else tested
    if rows is None:
        rows = predict(tested, protocol=protocol, seed=seed, right=right)
    predictions.write(folder / "predictions.csv", rows)
    rows = predictions.read(folder / "predictions.csv")
    config = json.loads(default_config(method).to_json()) if method in _KNOWN else {"model": method}
    config |= {"task": "evaluate", "protocol": protocol, "seeds": [seed], "folds": ""}
    for name, value in (settings or {}).items():
        *groups, own = name.split(".")
        functools.reduce(operator.getitem, groups, config)[own] = value
    config["options"] = {**config.get("options", {}), **(options or {})}
    write_json(
        folder / "metrics.json",
        {"protocol": protocol, "model": config["model"], "seed": seed, **metrics.evaluate(rows)},
    )
    run = tuple(sorted({row.fold for row in rows}))
    names = tuple(f"fold {number}" for number in range(run[-1] + 1 + bool(config["folds"])))
    about = {
        "config": config,
        "data": Data(**{"clips": len(rows), "sha256": DIGEST, **(data or {})}),
        "init_from": None,
        "environment": Environment("1 × cpu", {"jax": "0.10.1", "numpy": "2.3.0"}, None),
        "command": f"python -m atnet_jax.main --config=configs/{protocol}.py:{method}",
        "folds": Folds(names, run),
    }
    Record(**{**about, **record}).write(folder)
    if epochs:
        write_epochs(folder, rows, epochs)
    return folder


def write_epochs(folder: Path, rows, epochs: int) -> None:
    """Curves, and scores of every epoch; those of the last are the predictions'."""
    rng = np.random.default_rng(len(rows))
    scores = rng.dirichlet([1, 1, 1], (epochs, len(rows))).astype(np.float32)
    scores[-1] = [row.scores for row in rows]
    numbers = np.arange(1, epochs + 1, dtype=np.int32)
    np.savez(folder / "epoch_scores.npz", epochs=numbers, scores=scores)
    names = {row.fold: f"{row.dataset}/{row.subject}" for row in rows}
    write_json(folder / "curves.json", {str(k): curve(name, epochs) for k, name in names.items()})


def curve(name="casme2/s0", epochs=3, loss=1.0):
    epoch = list(range(1, epochs + 1))
    return {
        "name": name,
        "kept_epoch": epochs,
        "epoch": epoch,
        "loss": [loss / i for i in epoch],
        "accuracy": [1 - 0.5 / i for i in epoch],
        "seconds": [0.5] * epochs,
    }


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value))


def change_json(path: Path, **changes) -> None:
    write_json(path, {**json.loads(path.read_text()), **changes})


_KNOWN = {*models.names(), *models.presets()}
