"""Results of a finished run in its folder, in the same form for every method."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import Fold
from atnet_jax.evaluation import metrics, model_card, predictions, report
from atnet_jax.evaluation.digests import ClipDigests, Digests, FoldDigests
from atnet_jax.evaluation.inflation import EpochScores
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import read
from atnet_jax.evaluation.report.result_tables import table_markdown
from atnet_jax.evaluation.runs import Curve, load_run
from atnet_jax.system import files


def digests_of(
    composite: Composite,
    inputs: Sequence[Mapping[str, str]],
    folds: Sequence[Fold],
    starts: Mapping[int, tuple[str | None, float | None]],
) -> Digests:
    """Return the digests of a run.

    Args:
        composite: All clips.
        inputs: The composite's `clip_digests()`.
        folds: The folds of the run.
        starts: Fold number → digest of the initial weights and loss of the first step. Folds that
            are absent have no steps.
    """
    keys = list(zip(composite.dataset, composite.subject, composite.clip, strict=True))
    labels = composite.labels.tolist()

    def clips_of(fold: Fold) -> str:
        parts = [[keys[clip] for clip in part] for part in (fold.train, fold.validation, fold.test)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    return Digests(
        clips=tuple(
            ClipDigests(*key, label, own)
            for key, label, own in zip(keys, labels, inputs, strict=True)
        ),
        folds={
            str(fold.number): FoldDigests(clips_of(fold), *starts.get(fold.number, (None, None)))
            for fold in folds
        },
    )


def fold_rows(
    protocol: str,
    composite: Composite,
    fold: Fold,
    scores: Float32[np.ndarray, "test 3"],
    seed: int,
) -> list[Prediction]:
    """Return the predictions for the test clips of a fold: the class with the highest score.

    Args:
        protocol: "cde" or "hde".
        composite: All clips.
        fold: A fold of the protocol.
        scores: Class probabilities of the test clips, in the order of `fold.test`.
        seed: Seed of the run.
    """
    return [
        Prediction(
            protocol=protocol,
            fold=fold.number,
            dataset=composite.dataset[clip],
            subject=composite.subject[clip],
            clip=composite.clip[clip],
            label=int(composite.labels[clip]),
            predicted=int(own.argmax()),
            score_negative=float(own[0]),
            score_positive=float(own[1]),
            score_surprise=float(own[2]),
            seed=seed,
        )
        for clip, own in zip(fold.test, scores, strict=True)
    ]


_OF_EVERY_RUN = ("predictions.csv", "metrics.json", "table.md", "report.html", model_card.FILE)
_OF_NETWORKS = ("curves.json", "epoch_scores.npz")


def is_finished(workdir: Path, network: bool) -> bool:
    """Return whether the folder of a run contains the results of all its folds.

    The results may lack folds that were added to the run.

    Args:
        workdir: Folder of the run.
        network: Whether the method is a network.

    Raises:
        UserError: predictions.csv or config.json is damaged.
    """
    names = (*_OF_EVERY_RUN, *(_OF_NETWORKS if network else ()))
    if not all((workdir / name).is_file() for name in names):
        return False
    tested = {row.fold for row in predictions.read(workdir / "predictions.csv")}
    return tested == set(read(workdir).folds.run)


def write_results(
    workdir: Path,
    rows: Sequence[Prediction],
    curves: Mapping[int, Curve],
    epoch_scores: EpochScores | None,
    digests: Digests | None,
) -> None:
    """Write the results of the run that `workdir`/config.json describes.

    The files are predictions.csv, metrics.json, curves.json, epoch_scores.npz, digests.json,
    table.md, report.* and model_card.md.

    Args:
        workdir: Folder of the run.
        rows: The tested clips, sorted by fold.
        curves: Fold number → learning curve; empty for a method without epochs.
        epoch_scores: Scores of the same rows after each epoch; None for a method without epochs.
        digests: Digests of the clips and folds; None if an earlier version trained a part.
    """
    # If this function is interrupted, the files that belonged to fewer folds must not be taken for
    # the results of all.
    for name in (*_OF_EVERY_RUN[1:], *_OF_NETWORKS):
        (workdir / name).unlink(missing_ok=True)
    predictions.write(workdir / "predictions.csv", rows)
    record = read(workdir)
    about = {"protocol": record.protocol, "model": record.model, "seed": record.seed}
    scores = metrics.evaluate(rows)
    files.write_json_atomically(workdir / "metrics.json", {**about, **scores})
    if curves:
        write_curves(workdir, curves)
    if epoch_scores is not None:
        files.write_arrays_atomically(
            workdir / "epoch_scores.npz", epochs=epoch_scores.epochs, scores=epoch_scores.scores
        )
    if digests is not None:
        digests.write(workdir)
    run = load_run(workdir)
    table = table_markdown(run.protocol, run.metrics, run.title, run.paper_row, run.notes)
    files.write_text_atomically(workdir / "table.md", table)
    report.write([workdir], workdir / "report.html")
    model_card.write(workdir, [record], rows)


def write_curves(workdir: Path, curves: Mapping[int, Curve]) -> None:
    """Write the learning curve of each fold to curves.json.

    Args:
        workdir: Folder of the run.
        curves: Fold number → learning curve.
    """
    found = {str(fold): dataclasses.asdict(curve) for fold, curve in curves.items()}
    files.write_json_atomically(workdir / "curves.json", found)
