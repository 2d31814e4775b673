"""Sections on the origin of the scores: data, exclusions, settings, versions, commands."""

from collections import defaultdict
from collections.abc import Iterable

from atnet_jax import published
from atnet_jax.evaluation.record import Exclusion, flatten
from atnet_jax.evaluation.report.blocks import Block, Code, Part, Table, Text, row
from atnet_jax.evaluation.report.overview import DIGESTS, Overview, group_title, listed
from atnet_jax.evaluation.report.study import groups_of
from atnet_jax.evaluation.runs import Run
from atnet_jax.names import CLASSES


def data(overview: Overview) -> list[Block]:
    """Return the numbers of clips, the digests of the data and the excluded annotation rows."""
    lists = overview.lists_of_clips()
    rows = [
        row("Paper", group_title(group), *counts) for group, counts in published.COMPOSITE.items()
    ]
    for letter, method in lists.items():
        name = f"Data {letter}"
        if method.is_control:
            name += ", labels shuffled"
        for group in ["full", *groups_of("hde", [method])]:
            scores = method.runs[0].metrics[group]
            counts = (scores["clips"], scores["subjects"], *(scores["counts"][c] for c in CLASSES))
            rows.append(row(name, group_title(group), *counts))
    counted = Table(
        caption="Clips, subjects and classes",
        columns=["Data", "Database", "Clips", "Subjects", *CLASSES],
        rows=rows,
        headers=2,
    )
    rows = []
    for method in overview.methods:
        run = method.runs[0]
        digests = list(dict.fromkeys(run.record.data.sha256 for run in method.runs))
        there, weights = run.record.data.clips, run.record.init_from
        more = f" and {len(digests) - 1} more" if len(digests) > 1 else ""
        tested = len(run.predictions)
        clips = tested if there == tested else f"{tested} of {there}"
        rows.append(
            row(
                *(overview.name(method), listed(method.seeds), clips, overview.data(method)),
                *(digests[0][:12] + more, weights[:12] if weights else "none"),
            )
        )
    read = Table(
        caption="Data of each method",
        columns=["Method", "Seeds", "Clips tested", "Data", "Data digest", "Initial weights"],
        rows=rows,
        words=frozenset({1, 3, 4, 5}),
    )
    text = f"{DIGESTS} The table shows the first 12 digits of the SHA-256 digests."
    return [counted, read, Text(text, "quiet"), *_exclusions(overview)]


def _exclusions(overview: Overview) -> list[Block]:
    by_rows: defaultdict[tuple[Exclusion, ...], list[str]] = defaultdict(list)
    for method in overview.methods:
        for run in method.runs:
            rows = tuple(sorted(run.record.excluded))
            name = overview.name(method)
            if name not in by_rows[rows]:
                by_rows[rows].append(name)
    blocks: list[Block] = []
    for number, (rows, names) in enumerate(by_rows.items(), start=1):
        of = "" if len(by_rows) == 1 else f"{listed(names)}: "
        if not rows:
            blocks.append(Text(f"{of}No row of the annotations was excluded."))
        else:
            reasons: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
            for excluded in rows:
                reasons[group_title(excluded.dataset), excluded.reason].append(excluded.clip)
            table = Table(
                caption="Excluded rows of the annotations"
                + (f", list {number}" if len(by_rows) > 1 else ""),
                columns=["Database", "Reason", "Rows", "Clips"],
                rows=[
                    row(dataset, reason, len(clips), listed(sorted(clips)))
                    for (dataset, reason), clips in sorted(reasons.items())
                ],
                words=frozenset({1, 3}),
            )
            parts: list[Block] = [Text(of.removesuffix(": "))] if of else []
            heading = f"Excluded rows ({len(rows)})" + (f", list {number}" if of else "")
            blocks.append(Part(heading, [*parts, table], folded=True))
    return blocks


def setup(overview: Overview) -> list[Block]:
    """Return the commands, versions, device and settings of each method."""
    blocks: list[Block] = []
    used = {_environment(run) for method in overview.methods for run in method.runs}
    if len(used) > 1:
        blocks.append(
            Text("The runs were computed on different devices or with different versions.")
        )
    for method in overview.methods:
        name = overview.name(method)
        inside: list[Block] = []
        codes = [Code("\n".join(dict.fromkeys(run.record.command for run in method.runs)))]
        inside.append(Part("Command" if len(method.runs) == 1 else "Commands", codes))
        environments: defaultdict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
        for run in method.runs:
            environments[_environment(run)].append(run.seed)
        for about, seeds in environments.items():
            of = "" if len(environments) == 1 else f", seed {listed(seeds)}"
            table = _pairs_of_words(f"{name}: versions and device{of}", "Package", "Version", about)
            inside.append(Part(f"Versions and device{of}", [table], folded=True))
        settings = [(key, value) for key, value in flatten(method.runs[0].record.config)
                    if len(method.runs) == 1 or key != "seeds"]  # fmt: skip
        table = _pairs_of_words(f"{name}: configuration", "Setting", "Value", settings)
        inside.append(Part("Configuration", [table], folded=True, page_only=True))
        blocks += inside if overview.is_single else [Part(name, inside, folded=True)]
    return blocks


def _environment(run: Run) -> tuple[tuple[str, str], ...]:
    """Return the versions and the device of a run."""
    environment = run.record.environment
    return (*environment.versions.items(), ("device", environment.device))


def _pairs_of_words(
    caption: str, first: str, second: str, pairs: Iterable[tuple[str, str]]
) -> Table:
    return Table(caption, [first, second], [row(*pair) for pair in pairs], words=frozenset({1}))
