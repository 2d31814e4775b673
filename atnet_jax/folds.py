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
      test: indices of the test clips, ascending.
    """

    number: int
    name: str
    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]


def make_folds(protocol: str, composite: Composite) -> list[Fold]:
    """All folds of a protocol (paper, section IV-A), sorted by name.

    "cde" leaves one subject out; subjects of different databases are different people. "hde"
    leaves one database out.

    Raises:
      UserError: unknown protocol, or nothing would be left to train on.
    """
    if protocol == "cde":
        groups = [f"{d}/{s}" for d, s in zip(composite.dataset, composite.subject, strict=True)]
        unit = "subjects"
    elif protocol == "hde":
        groups = list(composite.dataset)
        unit = "databases"
    else:
        raise UserError(f"The protocol is 'cde' or 'hde', not {protocol!r}.")
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(
            f"{protocol} needs at least two {unit}; the data hold {len(names)}: {', '.join(names)}."
        )
    member = np.array(groups)
    return [
        Fold(number, name, np.flatnonzero(member != name), np.flatnonzero(member == name))
        for number, name in enumerate(names)
    ]


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
