"""The leaderboard: all methods of a protocol in one table, with notes on each method."""

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
from atnet_jax.words import numbered

CSV_BEGINS = "protocol,place,method,title,"
"""Beginning of a leaderboard's CSV file."""

_NOT = "NOT a result"


def document(standings: Mapping[str, Sequence[Standing]], missing: Sequence[Missing]) -> Document:
    """Return the content of the leaderboard.

    Args:
        standings: Protocol → its methods, best first; at least one method.
        missing: Methods and seeds without scores.
    """
    sections = []
    for protocol, board in standings.items():
        about = PROTOCOLS[protocol]
        sections.append(Section(f"board-{protocol}", about.name, _board(protocol, board)))
    known = Section("known", "Notes on each method", _known(standings))
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
            "All methods were tested on the same clips and folds, each with its published training"
            " where it is known. No choice depends on test clips: the network after the last epoch"
            " is tested, unless the notes on a method state otherwise. Methods are sorted by UF1"
            " over all clips pooled."
        )
    ]
    if missing:
        names = dict.fromkeys(f"{one.protocol.upper()} {one.title}" for one in missing)
        text = (
            f"These methods failed or are incomplete: {listed(names)}. See “Failed or incomplete"
            f" methods”."
        )
        blocks.append(Text(text, "note"))
    for protocol, board in standings.items():
        if len({standing.clips for standing in board}) > 1:
            blocks.append(
                Text(
                    f"The {protocol.upper()} methods were tested on different sets of clips and"
                    f" labels (see the numbers of clips). Compare scores on equal sets only.",
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
    seen = (
        "● our score with its 95 % interval over subjects; the overlap with the next interval is"
        " shaded"
    )
    if any(line.published is not None for line in lines):
        seen += " · ◇ published score"
    if any(line.inflated is not None for line in lines):
        seen += f" · × score with the epoch chosen on the test clips, {_NOT}"
    name = protocol.upper()
    chart = charts.board_chart(f"UF1 over all clips, {name}", lines)
    return [
        Text(PROTOCOLS[protocol].meaning),
        Part(f"Overview, {name}", [chart, Text(f"{seen}.", "quiet")], page_only=True),
        _table(protocol, board),
        *(Text(text, "quiet") for text in _legend(protocol, board)),
        Part(
            f"By database, {name}: intervals and published scores",
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
            *("Size", "s per fold", "Recipe"),
        ],
        rows=rows,
        groups=[
            ("All databases", 4),
            ("By database: UF1, UAR", len(databases)),
            ("Claims", len(claims)),
            ("Details", 3),
        ],
        words=frozenset({3, last}),
        kind="board",
    )


def _legend(protocol: str, board: Sequence[Standing]) -> list[str]:
    """Return paragraphs that explain the columns of the table."""
    texts = [
        "[ ] is the 95 % confidence interval from a bootstrap over subjects within each database"
        " (2,000 resamples). It shows how much the score may vary with other subjects. ± is the"
        " standard deviation over seeds. Overlaps: places of the methods whose UF1 interval"
        " overlaps this one, so that their order may be due to chance. Paired tests detect smaller"
        " differences than a comparison of intervals: pass the run folders of two methods to `atnet"
        " report`.",
        f"Do not rank methods by the columns under “Claims”. {_NOT}: UF1 and UAR with the best"
        " epoch of each fold chosen on its test clips. Published scores are often obtained this"
        " way."
        + (
            " Published scores by database, from the paper's Table III, are in the table below."
            if protocol == "hde"
            else " Published: see the notes on each method."
        ),
        "Recipe: whether the published training was followed; the notes list the differences. Size:"
        " number of parameters of a network, or of features per clip for a support vector machine"
        " (SVM). s per fold: seconds of training per fold, including compilation; folds that train"
        " together share the time. It is not recorded for SVMs.",
    ]
    devices = sorted({device for standing in board for device in standing.devices})
    if devices:
        texts[-1] += f" Devices: {listed(devices)}."
    clips = sorted({standing.summary["full"].clips for standing in board})
    subjects = sorted({standing.summary["full"].subjects for standing in board})
    texts[-1] += f" Tested: {listed(clips)} clips of {listed(subjects)} subjects."
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
    """Return each method's differences from its publication and notes on its published scores."""
    blocks: list[Block] = []
    by_title: dict[str, list[Standing]] = {}
    for board in standings.values():
        for standing in board:
            by_title.setdefault(standing.title, []).append(standing)
    for title, alike in by_title.items():
        differences = list(dict.fromkeys(text for one in alike for text in one.differences))
        notes = list(dict.fromkeys(one.published.note for one in alike if one.published.note))
        texts = [*(f"Published scores: {note}" for note in notes), *differences]
        followed = _counted(differences) if differences else "published recipe followed"
        texts = texts or ["No differences from the publication are known."]
        heading = f"{title}: {followed}"
        blocks.append(Part(heading, [Text(text) for text in texts], folded=True))
    return blocks


def _not_run(missing: Sequence[Missing]) -> list[Section]:
    if not missing:
        return []
    rows = [row(Cell(one.title, one.name), one.protocol.upper(), one.reason) for one in missing]
    table = Table(
        caption="Methods that failed or lack seeds",
        columns=["Method", "Protocol", "Reason"],
        rows=rows,
        words=frozenset({1, 2}),
    )
    return [Section("not-run", "Failed or incomplete methods", [table])]


def _figures(
    standing: Standing, database: str
) -> Iterator[tuple[str, Figure, float | None, float | None]]:
    """Yield, for UF1 and UAR, the name, our score, the published score and the inflated score."""
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
    """Format ascending numbers as "1–3, 5"."""
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
    """Return all scores as CSV text with one line per method and protocol.

    Args:
        standings: Protocol → its methods, best first.
        missing: Methods and seeds without scores; their lines have no place.
    """
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
