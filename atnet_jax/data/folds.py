"""The two protocols as folds: which clips train, which test."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from atnet_jax.data.composite import Composite
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
    leaves one database out. "final" leaves nobody out: its one fold has no test.

    Args:
      protocol: "cde", "hde" or "final".
      composite: the clips.
      validation_share: share of each database's training subjects that a fold holds back, at least
        one, to choose its epoch by; 0: none, as "final" has to have it.
      seed: of the draw of these subjects.

    Raises:
      UserError: nothing would be left to train on.
    """
    if protocol == "final":
        nothing = np.zeros(0, np.intp)
        return [Fold(0, "all subjects", np.arange(len(composite.labels)), nothing, nothing)]
    subjects = [f"{d}/{s}" for d, s in zip(composite.dataset, composite.subject, strict=True)]
    groups, unit = (
        (subjects, "subjects") if protocol == "cde" else (list(composite.dataset), "databases")
    )
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(
            f"{protocol} needs at least two {unit}; the data hold {len(names)}: {', '.join(names)}."
        )
    member, subject = np.array(groups), np.array(subjects)
    folds = []
    for number, name in enumerate(names):
        test = member == name
        held = np.zeros(len(member), bool)
        for database in sorted({composite.dataset[clip] for clip in np.flatnonzero(~test)}):
            own = ~test & (np.array(composite.dataset) == database)
            chosen = hold_back(
                np.unique(subject[own]).tolist(),
                validation_share,
                [seed, number, zlib.crc32(database.encode())],
            )
            held |= own & np.isin(subject, chosen)
        folds.append(Fold(number, name, *map(np.flatnonzero, (~test & ~held, ~test & held, test))))
    return folds


def hold_back(subjects: Sequence[str], share: float, seed: Sequence[int]) -> list[str]:
    """Which of one database's subjects are held back: `share` of them, at least one; of one, none.

    Args:
      subjects: their names, in an order that does not depend on the clips'.
      share: 0 (none) to 0.5.
      seed: of the draw.
    """
    if share == 0 or len(subjects) < 2:
        return []
    drawn: list[int] = np.random.default_rng(seed).permutation(len(subjects)).tolist()
    return [subjects[k] for k in drawn[: max(1, round(share * len(subjects)))]]


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


def selection(numbers: Sequence[int]) -> str:
    """Fold numbers, ascending, as `select_folds` reads them: "0:3,7"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1]:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    return ",".join(f"{a}:{b}" if b > a + 1 else str(a) for a, b in ranges)


@dataclasses.dataclass(frozen=True)
class Unit:
    """One fold of one seed: what is trained by itself.

    Attributes:
      seed: all its randomness follows from this and the fold's number.
      fold: which clips train, validate and test.
      labels: of all clips.
    """

    seed: int
    fold: Fold
    labels: Int[np.ndarray, " clip"]

    @property
    def key(self) -> tuple[int, int]:
        """Seed and fold number."""
        return self.seed, self.fold.number
