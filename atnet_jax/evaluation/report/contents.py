"""The sections of a report and its opening paragraphs."""

from collections import defaultdict
from collections.abc import Iterable

from atnet_jax.evaluation.report import details, evidence, origin
from atnet_jax.evaluation.report import result_tables as results
from atnet_jax.evaluation.report.blocks import Block, Document, Section, Text, Tiles
from atnet_jax.evaluation.report.overview import (
    PROTOCOLS,
    Overview,
    chance_scores,
    data_note,
    is_composite,
    listed,
    most_frequent,
    rounded,
    with_sd,
)
from atnet_jax.evaluation.runs import Run
from atnet_jax.names import CLASSES
from atnet_jax.words import numbered


def document(runs: Iterable[Run], title: str | None = None) -> Document:
    """Return the content of the report.

    Args:
        runs: The runs, in any order.
        title: Heading; None for the method's name or the number of methods.

    Raises:
        UserError: A run is given twice, or the seeds or files of a run do not match.
    """
    overview = Overview(runs)
    sections = [
        *(
            Section(
                f"results-{study.protocol}",
                "{0.table}: {0.name}".format(PROTOCOLS[study.protocol]),
                results.tables(overview, study),
            )
            for study in overview.studies
        ),
        Section("certainty", "Confidence intervals", evidence.certainty(overview)),
        Section("tests", "Paired tests between methods", evidence.tests(overview)),
        Section(
            "inflation",
            "Inflation by choosing epochs on test clips: not results",
            evidence.inflation(overview),
        ),
        Section("confusion", "Confusion matrices", details.confusion(overview)),
        Section("curves", "Learning curves", details.curves(overview), page_only=True),
        Section("subjects", "Subjects", details.subjects(overview)),
        Section("misread", "Misclassified clips", details.misread(overview), page_only=True),
        Section("data", "Data and exclusions", origin.data(overview)),
        Section("setup", "Commands and environment", origin.setup(overview)),
    ]
    kicker = " and ".join(PROTOCOLS[study.protocol].name for study in overview.studies)
    if title is None:
        labels = {method.label for method in overview.methods}
        title = labels.pop() if len(labels) == 1 else f"Comparison of {len(labels)} methods"
    return Document(kicker, title, opening(overview), [part for part in sections if part.blocks])


def opening(overview: Overview) -> list[Block]:
    """Return the protocol, the warnings and, for a single method, its main scores."""
    blocks: list[Block] = [Text(note, "note") for note in _warnings(overview)]
    if overview.is_single:
        method = overview.methods[0]
        blocks[:0] = [Text(PROTOCOLS[method.protocol].meaning)]
        scores = method.runs[0].metrics
        full, answer = method.summary["full"], most_frequent(scores)
        chance = chance_scores(scores["full"]["counts"], answer)
        tiles = [
            (name, with_sd(getattr(full, key)).line, rounded(chance[key]))
            for key, name in (("uf1", "UF1"), ("uar", "UAR"), ("accuracy", "Accuracy"))
        ]
        counts = listed(f"{scores['full']['counts'][name]} {name}" for name in CLASSES)
        folds = len({row.fold for row in method.runs[0].predictions})
        seeds = f"{'seed' if full.seeds == 1 else 'seeds'} {listed(method.seeds)}"
        blocks += [
            Tiles(tiles),
            Text(
                f"{numbered(full.clips, 'clip')} · {numbered(full.subjects, 'subject')} ·"
                f" {numbered(folds, 'fold')} · {seeds} · {counts}."
            ),
            Text(
                f"Scores over all clips pooled. The chance level is the score of always predicting"
                f" “{CLASSES[answer]}”, the most frequent class.",
                "quiet",
            ),
        ]
        return blocks
    for study in reversed(overview.studies):
        seeds = sorted({len(method.runs) for method in study.methods})
        each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        noun = "seed" if seeds == [1] else "seeds"
        text = (
            f"{PROTOCOLS[study.protocol].name}: {numbered(len(study.methods), 'method')}, {each}"
            f" {noun} each. {PROTOCOLS[study.protocol].meaning}"
        )
        blocks.insert(0, Text(text))
    return blocks


def _warnings(overview: Overview) -> list[str]:
    """Return the sentences that a reader must know before the scores."""
    by_note: defaultdict[str, list[str]] = defaultdict(list)
    for method in overview.methods:
        for note in dict.fromkeys(note for run in method.runs for note in run.notes):
            by_note[note].append(overview.name(method))
    warnings = []
    for note, names in by_note.items():
        about = f"{len(names)} methods" if len(names) > 3 else listed(names)
        warnings.append(note if len(names) == len(overview.methods) else f"{about}: {note}")
    for study in overview.studies:
        letters = list(dict.fromkeys(overview.data(m) for m in study.methods))
        if len(letters) > 1:
            warnings.append(
                f"The {study.protocol.upper()} methods were tested on different sets of clips and"
                f" labels: {listed(letters)} (see “Data and exclusions”). Compare scores within one"
                f" set only."
            )
    lists = overview.lists_of_clips()
    for letter, method in lists.items():
        scores = method.runs[0].metrics
        if not is_composite(scores):
            which = f"Data {letter}: " if len(lists) > 1 else ""
            warnings.append(f"{which}{data_note(scores)}")
    return warnings
