"""The leaderboard: all methods of a protocol in one table, with what is to be known of each."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from atnet_jax.evaluation.report import charts
from atnet_jax.evaluation.report.blocks import (
    ABSENT,
    Block,
    Cell,
    Document,
    Part,
    Section,
    Table,
    Text,
    numbered,
    row,
)
from atnet_jax.evaluation.report.overview import (
    PROTOCOLS,
    data_note,
    group_title,
    is_composite,
    listed,
    rounded,
    with_interval,
)
from atnet_jax.evaluation.report.standings import Missing, Scores, Standing, groups, overlapping
from atnet_jax.evaluation.statistics import Figure

CSV_BEGINS = "protocol,place,method,title,"
"""The first signs of a leaderboard's CSV file."""

_NOT = "NOT a result"


def document(standings: Mapping[str, Sequence[Standing]], missing: Sequence[Missing]) -> Document:
    """Everything that the leaderboard says; there is at least one method."""
    sections = []
    for protocol, board in standings.items():
        about = PROTOCOLS[protocol]
        sections.append(Section(f"board-{protocol}", about.name, _board(protocol, board)))
    known = Section("known", "What is to be known of each method", _known(standings))
    sections += [known, *_not_run(missing)]
    methods = {standing.name for board in standings.values() for standing in board}
    return Document(
        kicker=" and ".join(protocol.upper() for protocol in standings),
        title=f"Leaderboard of {numbered(len(methods), 'method')}",
        opening=_opening(standings, missing),
        sections=sections,
    )


def _opening(
    standings: Mapping[str, Sequence[Standing]], missing: Sequence[Missing]
) -> list[Block]:
    blocks: list[Block] = [
        Text(
            "Every method on the same clips and folds, each with its published training as far as"
            " that is known. Nothing was chosen by a look at a test clip: the network after the"
            " last epoch is tested, unless a method's notes say otherwise. Sorted by UF1 over all"
            " clips pooled."
        )
    ]
    if missing:
        names = dict.fromkeys(f"{one.protocol.upper()} {one.title}" for one in missing)
        blocks.append(Text(f"Not run, or not all of it: {listed(names)}. See Not run.", "note"))
    for protocol, board in standings.items():
        if len({standing.clips for standing in board}) > 1:
            blocks.append(
                Text(
                    f"The {protocol.upper()} methods were not all tested on the same clips and"
                    f" labels (see the numbers of clips). Compare figures on equal clips only.",
                    "note",
                )
            )
    tested = [standing for board in standings.values() for standing in board]
    results = {standing.clips: standing.results for standing in tested}
    notes = [data_note(one) for one in results.values() if not is_composite(one)]
    return [*blocks, *(Text(note, "note") for note in dict.fromkeys(notes))]


def _board(protocol: str, board: Sequence[Standing]) -> list[Block]:
    lines = [
        charts.Standing(
            f"{place}. {standing.title}",
            standing.uf1.mean,
            standing.uf1.interval,
            _uf1(standing.published.scores),
            _uf1(standing.inflated),
        )
        for place, standing in enumerate(board, start=1)
    ]
    seen = "● ours, with its interval over subjects; shaded where it overlaps the next one's"
    if any(line.published is not None for line in lines):
        seen += " · ◇ published"
    if any(line.inflated is not None for line in lines):
        seen += f" · × best epoch chosen on the test clips, {_NOT}"
    name = protocol.upper()
    chart = charts.board_chart(f"UF1 over all clips, {name}", lines)
    return [
        Text(PROTOCOLS[protocol].meaning),
        Part(f"At a glance, {name}", [chart, Text(f"{seen}.", "quiet")], page_only=True),
        _table(protocol, board),
        *(Text(text, "quiet") for text in _legend(protocol, board)),
        Part(
            f"By database, {name}: intervals and published figures",
            [_by_database(protocol, board)],
            folded=True,
        ),
    ]


def _uf1(scores: Mapping[str, Scores]) -> float | None:
    return scores["full"].uf1 if "full" in scores else None


def _table(protocol: str, board: Sequence[Standing]) -> Table:
    databases = groups(board)
    published = any(_uf1(standing.published.scores) is not None for standing in board)
    rows = []
    for place, (standing, others) in enumerate(
        zip(board, overlapping(board), strict=True), start=1
    ):
        full = standing.summary["full"]
        cells: list[object] = [
            Cell(f"{place}. {standing.title}", f"{standing.name}, {numbered(full.seeds, 'seed')}"),
            with_interval(full.uf1),
            _over_seeds(full.uf1),
            ABSENT if full.uf1.interval is None else _ranges(others) or "none",
            with_interval(full.uar),
            *(_uf1_and_uar(_means(standing, database)) for database in databases),
        ]
        if published:
            cells.append(_uf1_and_uar(standing.published.scores.get("full")))
        cells += [
            _uf1_and_uar(standing.inflated.get("full")),
            _size(standing),
            ABSENT if standing.seconds is None else _seconds(standing.seconds),
            Cell("no", _counted(standing.differences)) if standing.differences else "yes",
        ]
        rows.append(row(*cells))
    claims = [*(["Published"] if published else []), _NOT]
    last = 5 + len(databases) + len(claims) + 2
    return Table(
        caption=f"Leaderboard, {protocol.upper()}",
        columns=[
            *("Method", "UF1", "Seeds", "Overlaps", "UAR"),
            *(*map(group_title, databases), *claims),
            *("Size", "s a fold", "Recipe"),
        ],
        rows=rows,
        groups=[
            ("All databases", 4),
            ("By database: UF1, UAR", len(databases)),
            ("Claims", len(claims)),
            ("The method", 3),
        ],
        words=frozenset({3, last}),
        kind="board",
    )


def _legend(protocol: str, board: Sequence[Standing]) -> list[str]:
    """What the columns of the table hold."""
    texts = [
        "[ ] is the 95 % interval over subjects, drawn anew within each database 2,000 times: how"
        " far the figure might be from this one with other people. ± is the standard deviation over"
        " seeds. Overlaps: the places whose interval of UF1 has a part in common with this one, so"
        " that the order among them may be chance. Paired tests see more than two intervals do:"
        " give two methods' folders to `atnet report`.",
        f"Claims are not to be read as ranks. {_NOT}: what choosing every fold's best epoch on its"
        " own test clips would have claimed, UF1 and UAR; published figures often come about that"
        " way."
        + (
            " Published figures are of the paper's Table III, by database (below)."
            if protocol == "hde"
            else " Published: see the notes of each method."
        ),
        "Recipe: whether the published training was followed; what differs is in the notes. Size:"
        " parameters of a network, or features of a clip for a support vector machine. s a fold:"
        " seconds of training one fold, compiling included, its share where folds train together;"
        " of support vector machines it is not recorded.",
    ]
    devices = sorted({device for standing in board for device in standing.devices})
    if devices:
        texts[-1] += f" Computed on {listed(devices)}."
    clips = sorted({standing.summary["full"].clips for standing in board})
    subjects = sorted({standing.summary["full"].subjects for standing in board})
    texts[-1] += f" {listed(clips)} clips of {listed(subjects)} subjects."
    return texts


def _by_database(protocol: str, board: Sequence[Standing]) -> Table:
    rows = []
    for place, standing in enumerate(board, start=1):
        for database in ("full", *groups(board)):
            if database not in standing.summary:
                continue
            summary = standing.summary[database]
            cells: list[object] = [f"{place}. {standing.title}", group_title(database)]
            for _, figure, published, inflated in _figures(standing, database):
                cells += [with_interval(figure), _over_seeds(figure)]
                cells += [ABSENT if x is None else rounded(x) for x in (published, inflated)]
            rows.append(row(*cells, summary.subjects, summary.clips))
    names = ["ours", "seeds", "published", _NOT]
    return Table(
        caption=f"By database, {protocol.upper()}",
        columns=["Method", "Database", *names, *names, "Subjects", "Clips"],
        rows=rows,
        headers=2,
        groups=[("UF1", 4), ("UAR", 4), ("Tested", 2)],
    )


def _known(standings: Mapping[str, Sequence[Standing]]) -> list[Block]:
    """Of each method: where it differs from its publication, and what its figures are."""
    blocks: list[Block] = []
    by_title: dict[str, list[Standing]] = {}
    for board in standings.values():
        for standing in board:
            by_title.setdefault(standing.title, []).append(standing)
    for title, alike in by_title.items():
        differences = list(dict.fromkeys(text for one in alike for text in one.differences))
        notes = list(dict.fromkeys(one.published.note for one in alike if one.published.note))
        texts = [*(f"Published figures: {note}" for note in notes), *differences]
        followed = _counted(differences) if differences else "published recipe followed"
        texts = texts or ["Nothing that is known differs."]
        heading = f"{title}: {followed}"
        blocks.append(Part(heading, [Text(text) for text in texts], folded=True))
    return blocks


def _not_run(missing: Sequence[Missing]) -> list[Section]:
    if not missing:
        return []
    rows = [row(Cell(one.title, one.name), one.protocol.upper(), one.reason) for one in missing]
    table = Table(
        caption="Methods that could not be run, or not with all seeds",
        columns=["Method", "Protocol", "Why"],
        rows=rows,
        words=frozenset({1, 2}),
    )
    return [Section("not-run", "Not run", [table])]


def _figures(
    standing: Standing, database: str
) -> Iterator[tuple[str, Figure, float | None, float | None]]:
    """A row each for UF1 and UAR: name, our score, the published one, the inflated one."""
    summary = standing.summary[database]
    claims = (standing.published.scores.get(database), standing.inflated.get(database))
    for i, name in enumerate(Scores._fields):
        published, inflated = (None if scores is None else scores[i] for scores in claims)
        yield name, getattr(summary, name), published, inflated


def _over_seeds(figure: Figure) -> Cell:
    return Cell(ABSENT if figure.sd is None else f"± {figure.sd:.3f}")


def _means(standing: Standing, group: str) -> Scores | None:
    summary = standing.summary.get(group)
    return None if summary is None else Scores(summary.uf1.mean, summary.uar.mean)


def _uf1_and_uar(scores: Scores | None) -> Cell:
    return Cell(ABSENT) if scores is None else Cell(rounded(scores.uf1), rounded(scores.uar))


def _ranges(places: Sequence[int]) -> str:
    """Ascending numbers as "1–3, 5"."""
    ranges: list[list[int]] = []
    for place in places:
        if ranges and place == ranges[-1][1] + 1:
            ranges[-1][1] = place
        else:
            ranges.append([place, place])
    return ", ".join(f"{a}–{b}" if b > a else str(a) for a, b in ranges)


def _size(standing: Standing) -> Cell:
    for name, count in standing.size.items():
        return Cell(f"{count:,}", name)
    return Cell(ABSENT)


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _counted(differences: Sequence[str]) -> str:
    return numbered(len(differences), "difference")


def as_csv(standings: Mapping[str, Sequence[Standing]], missing: Sequence[Missing]) -> str:
    """All figures, one line a method and protocol; what could not be run has no place."""
    databases = ["full", *groups([one for board in standings.values() for one in board])]
    columns = [*CSV_BEGINS.rstrip(",").split(","), "seeds", "subjects", "clips"]
    for database in databases:
        for metric in ("uf1", "uar"):
            name = f"{database}_{metric}"
            columns += [name, f"{name}_low", f"{name}_high", f"{name}_sd",
                        f"{name}_published", f"{name}_not_a_result"]  # fmt: skip
    columns += ["parameters", "features", "seconds_a_fold", "devices"]
    columns += ["recipe_followed", "differences", "published_note", "not_run"]
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    table.writeheader()
    for board in standings.values():
        for place, standing in enumerate(board, start=1):
            table.writerow(_csv_row(place, standing))
    for one in missing:
        table.writerow({"protocol": one.protocol, "method": one.name, "title": one.title,
                        "not_run": one.reason})  # fmt: skip
    return file.getvalue()


def _csv_row(place: int, standing: Standing) -> dict[str, object]:
    full = standing.summary["full"]
    cells: dict[str, object] = {
        "protocol": standing.protocol,
        "place": place,
        "method": standing.name,
        "title": standing.title,
        "seeds": full.seeds,
        "subjects": full.subjects,
        "clips": full.clips,
        **standing.size,
        "seconds_a_fold": _decimal(standing.seconds),
        "devices": "; ".join(standing.devices),
        "recipe_followed": "no" if standing.differences else "yes",
        "differences": " ".join(standing.differences),
        "published_note": standing.published.note,
    }
    for database in standing.summary:
        for metric, figure, published, inflated in _figures(standing, database):
            low, high = figure.interval or (None, None)
            name = f"{database}_{metric}"
            cells |= {
                name: _decimal(figure.mean),
                f"{name}_low": _decimal(low),
                f"{name}_high": _decimal(high),
                f"{name}_sd": _decimal(figure.sd),
                f"{name}_published": _decimal(published),
                f"{name}_not_a_result": _decimal(inflated),
            }
    return cells


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
