"""Words in messages: counts with a noun, and names that people spell in several ways."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping


def numbered(count: int, noun: str) -> str:
    """Return a number and its noun, with a plural s unless the number is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plain(name: str) -> str:
    """Return a name without what people spell in several ways: case, blanks and leading zeros.

    `S01`, `s1` and ` s01 ` have one plain name, and so have `006` and `6`.
    """
    return re.sub(r"(?<!\d)0+(?=\d)", "", "".join(name.split()).casefold())


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that have one plain name, sorted."""
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[plain(name)].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def meant(names: Iterable[str], known: Iterable[str]) -> Mapping[str, str]:
    """Map each name to the known name that it means.

    A name means the identical known name or, without one, the only known name with the same plain
    name.

    Args:
        names: Names that a user wrote.
        known: The names that exist.

    Returns:
        Name → known name, without names that mean none or that mean the same as another name.
    """
    known = set(known)
    by_plain: defaultdict[str, set[str]] = defaultdict(set)
    for name in known:
        by_plain[plain(name)].add(name)
    written: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        others = {name} if name in known else by_plain[plain(name)]
        if len(others) == 1:
            written[next(iter(others))].add(name)
    return {
        name: other
        for other, group in written.items()
        for name in group
        if len(group) == 1 or name == other
    }
