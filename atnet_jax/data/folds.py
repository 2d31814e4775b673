"""Division of the composite into folds of training and test clips, for each protocol."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from atnet_jax.data.composite import Composite
from atnet_jax.errors import UserError
from atnet_jax.names import CLASSES
from atnet_jax.words import alike, numbered

_LISTED = 3  # Folds that a note names.


@dataclasses.dataclass(frozen=True)
class Fold:
    """Training, validation and test clips of one training run, as indices into the composite.

    Attributes:
        number: Position among all folds of the protocol. Together with the seed it determines all
            random numbers of the fold.
        name: Held-out subject or database: "casme2/sub01" (CDE) or "casme2" (HDE).
        train: Indices of the training clips, ascending.
        validation: Indices of the clips of training subjects that are held back to choose the
            epoch, ascending; empty by default.
        test: Indices of the test clips, ascending.
    """

    number: int
    name: str
    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]


def make_folds(
    protocol: str, composite: Composite, validation_share: float = 0.0, seed: int = 0
) -> list[Fold]:
    """Return all folds of a protocol (paper, section IV-A), sorted by name.

    "cde" holds out one subject per fold; subjects of different databases are different people.
    "hde" holds out one database per fold. "final" trains on all clips in one fold without a test.

    Args:
        protocol: "cde", "hde" or "final".
        composite: Clips to divide.
        validation_share: Share of each database's training subjects, 0 to 0.5, that a fold holds
            back to choose its epoch. Above 0, at least one subject is held back; 0 holds back none.
            "final" ignores it.
        seed: Seed of the choice of these subjects.

    Raises:
        UserError: The protocol does not exist, the share or the seed is out of range, or the
            composite has fewer than two subjects (CDE) or databases (HDE).
    """
    if protocol not in ("cde", "hde", "final"):
        raise UserError(f"The protocol is {protocol!r}, expected 'cde', 'hde' or 'final'.")
    if not 0 <= validation_share <= 0.5:
        raise UserError(f"validation_share is {validation_share!r}, expected 0 to 0.5.")
    if seed < 0:
        raise UserError(f"The seed is {seed!r}, expected 0 or more.")
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
            f"{protocol} needs at least two {unit}, but the data contain {len(names)}:"
            f" {', '.join(names)}."
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


def data_notes(composite: Composite, folds: Sequence[Fold]) -> list[str]:
    """Return sentences about the data that a reader must know before the scores.

    They name classes without clips, in all data or in the training clips of folds, and subjects
    that may be one person.

    Args:
        composite: The clips.
        folds: The folds of the protocol.
    """
    notes = []
    for label, name in enumerate(CLASSES):
        if label not in composite.labels:
            notes.append(
                f"The data have no clip of the class {name}. The scores say nothing about it."
            )
            continue
        without = [fold.name for fold in folds if label not in composite.labels[fold.train]]
        if without:
            more = f", … ({len(without)} in all)" if len(without) > _LISTED else ""
            notes.append(
                f"No training clip of the class {name} in {numbered(len(without), 'fold')}:"
                f" {', '.join(without[:_LISTED])}{more}. There the class cannot be learned, and"
                f" its clips are counted as wrong."
            )
    people = np.array(
        ["/".join(names) for names in zip(composite.dataset, composite.subject, strict=True)]
    )
    for group in alike(people.tolist()):
        of_group = np.isin(people, group)
        if any(of_group[fold.test].any() and of_group[fold.train].any() for fold in folds):
            notes.append(
                f"The subjects {', '.join(map(repr, group))} differ only in case, blanks or leading"
                f" zeros. If they are one person, training and test are not separate."
            )
    return notes


def hold_back(subjects: Sequence[str], share: float, seed: Sequence[int]) -> list[str]:
    """Return the subjects of one database that are held back; a single subject is never held back.

    Args:
        subjects: Names of the subjects, in an order that does not depend on the clips' order.
        share: Share of the subjects, 0 (none) to 0.5; above 0, at least one subject.
        seed: Seed of the choice.
    """
    if share == 0 or len(subjects) < 2:
        return []
    drawn: list[int] = np.random.default_rng(seed).permutation(len(subjects)).tolist()
    return [subjects[k] for k in drawn[: max(1, round(share * len(subjects)))]]


def select_folds(folds: Sequence[Fold], selection: str) -> list[Fold]:
    """Return the selected folds, by ascending number.

    Args:
        folds: All folds of the protocol.
        selection: Such as "" (all), "0:17" (0 to 16) or "3,5,8:10".

    Raises:
        UserError: The selection is malformed, repeats a fold or names an unknown fold.
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
            raise UserError(
                f"folds={selection!r}: {part!r} is not a number such as 3 or a range such as 0:17."
            ) from None
        # One more number than there are folds shows the error, without listing all of a range.
        numbers += range(first, min(last, max(first, len(folds)) + 1))
    unknown = set(numbers) - set(range(len(folds)))
    if unknown or not numbers or len(set(numbers)) < len(numbers):
        raise UserError(
            f"folds={selection!r} must select at least one of the folds 0 to {len(folds) - 1}, and"
            f" no fold twice."
        )
    return [folds[number] for number in sorted(numbers)]


def selection(numbers: Sequence[int]) -> str:
    """Return ascending fold numbers in the format of `select_folds`, such as "0:3,7"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1]:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    return ",".join(f"{a}:{b}" if b > a + 1 else str(a) for a, b in ranges)


@dataclasses.dataclass(frozen=True)
class Unit:
    """One fold of one seed, the unit of training.

    Attributes:
        seed: Determines all random numbers of the unit, together with the number of the fold.
        fold: Training, validation and test clips.
        labels: Classes of all clips of the composite.
    """

    seed: int
    fold: Fold
    labels: Int[np.ndarray, " clip"]

    @property
    def key(self) -> tuple[int, int]:
        """Seed and fold number."""
        return self.seed, self.fold.number
