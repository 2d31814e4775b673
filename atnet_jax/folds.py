"""The two protocols as folds: which clips train, which test."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from atnet_jax.data import Composite
from atnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Fold:
    """One training and its test, as indices into the composite.

    Attributes:
      number: position among all folds of the protocol; with the seed, the source of randomness.
      name: what is left out: "casme2/sub01" (CDE) or "casme2" (HDE).
      train: indices of the training clips, ascending.
      validation: indices of clips of training subjects that are held back to choose the epoch;
        mostly none.
      test: indices of the test clips, ascending.
    """

    number: int
    name: str
    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]


def make_folds(
    protocol: str, composite: Composite, validation_share: float = 0.0, seed: int = 0
) -> list[Fold]:
    """All folds of a protocol (paper, section IV-A), sorted by name.

    "cde" leaves one subject out; subjects of different databases are different people. "hde"
    leaves one database out.

    Args:
      protocol: "cde" or "hde".
      composite: the clips.
      validation_share: share of each database's training subjects that a fold holds back, at least
        one, to choose its epoch by; 0: none.
      seed: of the draw of these subjects.

    Raises:
      UserError: unknown protocol, a share not from 0 to 0.5, or nothing would be left to train on.
    """
    subjects = [f"{d}/{s}" for d, s in zip(composite.dataset, composite.subject, strict=True)]
    if protocol == "cde":
        groups = subjects
        unit = "subjects"
    elif protocol == "hde":
        groups = list(composite.dataset)
        unit = "databases"
    else:
        raise UserError(f"The protocol is 'cde' or 'hde', not {protocol!r}.")
    if not 0 <= validation_share <= 0.5:
        raise UserError(f"config.validation_share is {validation_share}, expected 0 to 0.5.")
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(
            f"{protocol} needs at least two {unit}; the data hold {len(names)}: {', '.join(names)}."
        )
    member, subject = np.array(groups), np.array(subjects)
    folds = []
    for number, name in enumerate(names):
        test = member == name
        held = np.isin(subject, _held_back(subject[~test], validation_share, [seed, number]))
        folds.append(Fold(number, name, *map(np.flatnonzero, (~test & ~held, ~test & held, test))))
    return folds


def _held_back(subjects: np.ndarray, share: float, seed: list[int]) -> list[str]:
    """The subjects that validate: `share` of each database's, at least one if there are two."""
    rng = np.random.default_rng(seed)
    held = []
    for database in sorted({subject.split("/")[0] for subject in subjects} if share else ()):
        own = np.unique([subject for subject in subjects if subject.startswith(f"{database}/")])
        if len(own) > 1:
            held += list(rng.permutation(own)[: max(1, round(share * len(own)))])
    return held


def select_folds(folds: Sequence[Fold], selection: str) -> list[Fold]:
    """The folds of a selection such as "" (all), "0:17" (0 to 16) or "3,5,8:10".

    Raises:
      UserError: the selection cannot be read, names a fold twice or one that is not there.
    """
    if not selection:
        return list(folds)
    numbers: list[int] = []
    for part in selection.split(","):
        start, colon, stop = part.partition(":")
        try:
            first = int(start) if start or not colon else 0
            last = (int(stop) if stop else len(folds)) if colon else first + 1
        except ValueError:
            raise UserError(f"folds={selection!r}: {part!r} is not like 3 or 0:17.") from None
        numbers += range(first, last)
    unknown = sorted(set(numbers) - set(range(len(folds))))
    if unknown or not numbers or len(set(numbers)) < len(numbers):
        raise UserError(
            f"folds={selection!r} must name at least one of the folds 0 to {len(folds) - 1}, each"
            f" once."
        )
    return [folds[number] for number in sorted(numbers)]
