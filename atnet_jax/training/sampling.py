"""Which clips a fold sees, in what order: shuffled, class-balanced, derived from (seed, fold)."""

import numpy as np
from jaxtyping import Int


def one_pass(
    labels: Int[np.ndarray, " train"], balance: bool, seed: int, fold: int, number: int
) -> Int[np.ndarray, " sample"]:
    """Positions into the training clips for one pass over them, shuffled.

    With `balance`, every class appears as often as the largest: each of its clips once, the rest
    drawn from them with replacement.
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
    """The batches of one epoch, as positions into the training clips.

    Args:
      labels: of the training clips.
      epoch: counted from 0; epochs can be asked for in any order.
      batch_size: clips in a batch.
      steps: batches in an epoch, cut from an endless row of passes, so that all are full. 0: the
        epoch is pass number `epoch`, and its last batch is what remains.
      balance: resample minority classes.
      seed: of the run.
      fold: number of the fold.
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
