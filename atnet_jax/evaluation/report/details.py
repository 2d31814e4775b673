"""Sections on details of the scores: confusion matrices, learning curves, subjects, clips."""

from collections import defaultdict

import numpy as np

from atnet_jax.evaluation.report import charts
from atnet_jax.evaluation.report.blocks import (
    ABSENT,
    Block,
    Cell,
    Grid,
    Part,
    Table,
    Text,
    row,
)
from atnet_jax.evaluation.report.overview import (
    Overview,
    Study,
    group_in_words,
    group_title,
    rounded,
)
from atnet_jax.evaluation.report.study import Method, groups_of
from atnet_jax.names import CLASSES
from atnet_jax.words import numbered


def confusion(overview: Overview) -> list[Block]:
    """Return the confusion matrices of each method: all clips, then each database."""
    blocks: list[Block] = [
        Text(
            "Rows are true classes, columns predicted classes. Each cell shows the number of clips"
            " and its percentage of the row. The outlined cells on the diagonal are correct"
            " predictions.",
            "quiet",
        )
    ]
    for method in overview.methods:
        tables = []
        for group in ["full", *groups_of("hde", [method])]:
            matrix = np.sum([run.metrics[group]["confusion"] for run in method.runs], axis=0)
            tables.append(_confusion_table(overview, method, group, matrix))
        grid = Grid(tables, "matrices")
        blocks.append(
            grid if overview.is_single else Part(overview.name(method), [grid], folded=True)
        )
    return blocks


def _confusion_table(overview: Overview, method: Method, group: str, matrix: np.ndarray) -> Table:
    rows = []
    for true, (name, counts) in enumerate(zip(CLASSES, matrix.tolist(), strict=True)):
        total = sum(counts)
        cells = [
            Cell(
                str(count),
                f"({count / total:.0%})" if total else f"({ABSENT})",
                share=count / total if total else 0.0,
                marked=column == true,
            )
            for column, count in enumerate(counts)
        ]
        rows.append(row(name, *cells))
    of = "" if overview.is_single else f"{overview.name(method)}: "
    clips = numbered(method.summary[group].clips, "clip")
    seeds = f", sum of {len(method.runs)} seeds" if len(method.runs) > 1 else ""
    title = group_in_words(group)
    return Table(
        caption=f"{of}{title[:1].upper()}{title[1:]}, {clips}{seeds}",
        columns=["true", *CLASSES],
        rows=rows,
        groups=[("predicted", len(CLASSES))],
        kind="confusion",
    )


def curves(overview: Overview) -> list[Block]:
    """Return the training loss and accuracy by epoch; nothing for methods without epochs."""
    blocks: list[Block] = []
    for method in overview.methods:
        found = [
            (run.seed, fold, curve) for run in method.runs for fold, curve in run.curves.items()
        ]
        if not found:
            continue
        name = "" if overview.is_single else f"{overview.name(method)}: "
        only = [curve for _, _, curve in found]
        drawn = [
            charts.line_chart(f"{name}Training loss", only, [c.loss for c in only], None),
            charts.line_chart(f"{name}Training accuracy", only, [c.accuracy for c in only], 1.0),
        ]
        rows = [
            row(
                *(fold, curve.name, seed, len(curve.epoch), curve.kept_epoch),
                *(rounded(curve.loss[-1]), rounded(curve.accuracy[-1])),
            )
            for seed, fold, curve in found
        ]
        last = Table(
            caption=f"{name}Last epoch of each fold",
            columns=[
                *("Fold", "Held out", "Seed", "Epochs", "Epoch tested"),
                *("Last loss", "Last accuracy"),
            ],
            rows=rows,
            words=frozenset({1}),
        )
        inside: list[Block] = [
            Grid([chart for chart in drawn if chart is not None], "wide"),
            Part("Last epoch of each fold", [last], folded=True),
        ]
        if overview.is_single:
            blocks += inside
        else:
            blocks.append(Part(overview.name(method), inside, folded=True))
    if not blocks:
        return []
    text = "Thin lines show the training clips of each fold; the bold line is their mean."
    return [Text(text, "quiet"), *blocks]


def subjects(overview: Overview) -> list[Block]:
    """Return the accuracy of each method on each subject."""
    several = any(len(method.runs) > 1 for method in overview.methods)
    averaged = ", averaged over the seeds" if several else ""
    blocks: list[Block] = [
        Text(
            f"Accuracy is the fraction of correct predictions for a subject's clips{averaged}.",
            "quiet",
        )
    ]
    for study in overview.studies:
        tables = [
            _subjects_table(overview, study, dataset) for dataset in groups_of("hde", study.methods)
        ]
        blocks += [Grid(tables)] if len(study.methods) == 1 else tables
    return blocks


def _subjects_table(overview: Overview, study: Study, dataset: str) -> Table:
    # Subject → index of the method → whether each clip is predicted correctly, in all seeds.
    right: defaultdict[str, defaultdict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for i, method in enumerate(study.methods):
        for tested in method.predictions:
            if tested.dataset == dataset:
                right[tested.subject][i].append(tested.label == tested.predicted)
    rows = []
    for subject, answers in sorted(right.items()):
        clips = sorted({len(answers[i]) // len(study.methods[i].runs) for i in answers})
        count = str(clips[0]) if len(clips) == 1 else f"{clips[0]}–{clips[-1]}"
        cells = []
        for i in range(len(study.methods)):
            share = float(np.mean(answers[i])) if i in answers else None
            cells.append(ABSENT if share is None else Cell(rounded(share), share=share))
        rows.append(row(subject, count, *cells))
    of = "" if len(overview.studies) == 1 else f"{study.protocol.upper()}: "
    labels = ["Accuracy"] if len(study.methods) == 1 else [m.label for m in study.methods]
    return Table(
        caption=f"{of}{group_title(dataset)}, {numbered(len(rows), 'subject')}",
        columns=["Subject", "Clips", *labels],
        rows=rows,
        kind="subjects",
    )


def misread(overview: Overview) -> list[Block]:
    """Return the misclassified clips of a single run; nothing for several runs."""
    if not overview.is_single or len(overview.methods[0].runs) > 1:
        return []
    tested = overview.methods[0].predictions
    wrong = [clip for clip in tested if clip.label != clip.predicted]
    if not wrong:
        return [Text("None: every clip is predicted correctly.")]
    wrong.sort(key=lambda clip: (clip.dataset, clip.subject, clip.clip))
    rows = [
        row(
            *(clip.clip, group_title(clip.dataset), clip.subject),
            *(CLASSES[clip.label], CLASSES[clip.predicted], *map(rounded, clip.scores)),
        )
        for clip in wrong
    ]
    names = ["Clip", "Database", "Subject", "True", "Predicted"]
    table = Table(
        caption="Misclassified clips",
        columns=[*names, *(f"p({name})" for name in CLASSES)],
        rows=rows,
        words=frozenset(range(1, 5)),
    )
    heading = f"{len(wrong)} of {numbered(len(tested), 'clip')}"
    return [Part(heading, [table], folded=True)]
