"""Order of a fold's training clips: shuffled, class-balanced, derived from (seed, fold)."""

import numpy as np
from jaxtyping import Int


def one_pass(
    labels: Int[np.ndarray, " train"], balance: bool, seed: int, fold: int, number: int
) -> Int[np.ndarray, " sample"]:
    """Return shuffled positions of the training clips for one pass over them.

    Args:
        labels: Labels of the training clips.
        balance: Add clips of smaller classes, drawn with replacement, until all classes have as
            many samples as the largest.
        seed: Seed of the run.
        fold: Number of the fold.
        number: Number of the pass, from 0.
    """
    rng = np.random.default_rng([seed, fold, number])
    samples = np.arange(len(labels))
    if balance:
        classes, counts = np.unique(labels, return_counts=True)
        drawn = [
            rng.choice(np.flatnonzero(labels == c), counts.max() - count)
            for c, count in zip(classes, counts, strict=True)
        ]
        samples = np.concatenate([samples, *drawn])
    return rng.permutation(samples)


def epoch_batches(
    labels: Int[np.ndarray, " train"],
    *,
    epoch: int,
    batch_size: int,
    steps: int,
    balance: bool,
    seed: int,
    fold: int,
) -> list[Int[np.ndarray, " sample"]]:
    """Return the batches of one epoch, as positions of training clips.

    Args:
        labels: Labels of the training clips.
        epoch: Number of the epoch, from 0; any order of calls gives the same batches.
        batch_size: Number of clips in a batch.
        steps: Number of batches in an epoch. Full batches are cut from an endless sequence of
            passes. 0 makes the epoch one pass, whose last batch holds the remaining samples.
        balance: Resample minority classes; see `one_pass`.
        seed: Seed of the run.
        fold: Number of the fold.
    """
    if steps == 0:
        samples = one_pass(labels, balance, seed, fold, epoch)
        return np.split(samples, range(batch_size, len(samples), batch_size))
    needed = steps * batch_size
    length = len(one_pass(labels, balance, seed, fold, 0))
    first, offset = divmod(epoch * needed, length)
    passes = -(-(offset + needed) // length)
    row = [one_pass(labels, balance, seed, fold, first + k) for k in range(passes)]
    return np.split(np.concatenate(row)[offset : offset + needed], steps)
