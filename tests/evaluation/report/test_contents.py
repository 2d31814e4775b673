import numpy as np
import pytest

from atnet_jax.data.composite import Exclusion
from atnet_jax.evaluation import inflation, metrics, statistics
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import Environment
from atnet_jax.evaluation.report.blocks import Chart, Code, Grid, Part, Table, Text, Tiles
from atnet_jax.evaluation.report.contents import document
from atnet_jax.evaluation.report.result_tables import table_markdown
from atnet_jax.evaluation.runs import load_run
from atnet_jax.names import CLASSES
from atnet_jax.published import TABLE_II, TABLE_III, TABLE_METHODS
from tests.evaluation.report.workdirs import clips, paper_clips, predict, write_run


@pytest.fixture
def contents(tmp_path):
    """Function that returns the report of runs, given as arguments of `write_run`."""

    def make(*runs):
        folders = []
        for method, options in runs:
            folders.append(
                write_run(tmp_path / f"run{len(list(tmp_path.iterdir()))}", method, **options)
            )
        return Contents([load_run(folder) for folder in folders])

    return make


class Contents:
    """A document, with its blocks by kind."""

    def __init__(self, runs):
        self.runs = runs
        self.document = document(runs)
        blocks = [*self.document.opening]
        blocks += [block for section in self.document.sections for block in section.blocks]
        self.blocks = [*self._all(blocks)]
        self.texts = [block.text for block in self.blocks if isinstance(block, Text)]
        self.notes = [b.text for b in self.blocks if isinstance(b, Text) and b.kind == "note"]
        self.charts = {block.title: block for block in self.blocks if isinstance(block, Chart)}
        self.headings = [section.heading for section in self.document.sections]
        tables = [block for block in self.blocks if isinstance(block, Table)]
        self.tables = {table.caption: table for table in tables}
        assert len(self.tables) == len(tables), "two tables have one caption"

    def _all(self, blocks):
        for block in blocks:
            yield block
            if isinstance(block, Grid | Part):
                yield from self._all(block.blocks)

    def lines(self, caption):
        return [[cell.line for cell in row.cells] for row in self.tables[caption].rows]


CDE = "Table II, CDE: published scores and ours"
HDE = "Table III, HDE: published scores and ours"
DASH = "–"


def test_table_ii_has_every_published_figure_in_its_cell(contents):
    said = contents(("fusion", {}), ("temporal", {}))
    table = said.tables[CDE]
    assert table.groups == [("Full", 3), ("CASME II", 3), ("SAMM", 3), ("SMIC", 3)]
    assert list(table.columns) == ["Method", "Source", *["Acc", "UF1", "UAR"] * 4]
    paper = {row[0]: row[2:] for row in said.lines(CDE) if row[1] == "paper"}
    assert list(paper) == list(TABLE_II)
    for name, groups in TABLE_II.items():
        assert paper[name] == [
            f"{groups[group][i]:.3f}"
            for group in ("full", "casme2", "samm", "smic")
            for i in range(3)
        ]
    assert paper["ATNet fusion"][:6] == ["0.693", "0.631", "0.613", "0.834", "0.798", "0.775"]


def test_table_iii_has_every_published_figure_in_its_cell(contents):
    said = contents(("fusion", {"protocol": "hde"}), ("temporal", {"protocol": "hde"}))
    assert said.tables[HDE].groups == [("CASME II", 2), ("SAMM", 2), ("SMIC", 2)]
    paper = {row[0]: row[2:] for row in said.lines(HDE) if row[1] == "paper"}
    assert list(paper) == list(TABLE_III)
    for name, groups in TABLE_III.items():
        expected = [f"{x:.3f}" for group in ("casme2", "samm", "smic") for x in groups[group]]
        assert paper[name] == expected
    assert paper["HOOF N=8 TIM 64"] == ["0.328", "0.344", "0.284", "0.292", "0.280", "0.304"]


def test_our_figures_stand_under_the_published_ones(contents):
    said = contents(("fusion", {}), ("temporal", {}))
    lines = said.lines(CDE)
    for run, name in zip(said.runs, ("ATNet fusion", "ATNet temporal"), strict=True):
        at = next(i for i, row in enumerate(lines) if row[:2] == [name, "paper"])
        assert lines[at + 1] == [name, "ours"] + [
            f"{run.metrics[group][metric]:.3f}"
            for group in ("full", "casme2", "samm", "smic")
            for metric in ("accuracy", "uf1", "uar")
        ]
    for row in lines:
        if row[0] not in ("ATNet fusion", "ATNet temporal", "Chance") and row[1] != "paper":
            assert row[1:] == ["ours (not run)", *[DASH] * 12]
    assert len(lines) == 2 * 12 + 1


def test_variants_of_one_method_stand_beside_its_own_row_alone(contents):
    said = contents(("fusion", {}), ("fusion", {"settings": {"shuffle_labels": True}}))
    assert [row[0] for row in said.lines(CDE)][:3] == ["ATNet fusion"] * 3
    assert not any("not run" in row[1] for row in said.lines(CDE))


def test_seeds_are_a_mean_and_a_standard_deviation(contents):
    said = contents(*(("fusion", {"seed": seed, "protocol": "hde"}) for seed in (0, 1, 2)))
    values = [run.metrics["samm"]["uar"] for run in said.runs]
    ours = next(row for row in said.lines(HDE) if row[1].startswith("ours"))
    assert ours[:2] == ["ATNet fusion", "ours (3 seeds)"]
    assert ours[5] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert "(±)" in " ".join(said.texts)


def test_a_single_method_stands_beside_its_own_row_only(contents):
    said = contents(("fusion", {}))
    assert [row[:2] for row in said.lines(CDE)] == [
        ["ATNet fusion", "paper"],
        ["ATNet fusion", "ours"],
        ["Chance", "always negative"],
    ]
    said = contents(("ststnet", {"tested": clips(databases=("casme2", "lab"))}))
    assert said.tables[CDE].groups == [("Full", 3), ("CASME II", 3), ("lab", 3)]
    assert said.lines(CDE)[0][:2] == ["STSTNet", "ours"]
    assert any("The paper does not report this method." in text for text in said.texts)


def test_methods_and_databases_the_paper_does_not_have_come_last(contents):
    tested = clips(databases=("casme2", "lab"))
    said = contents(("ststnet", {"tested": tested}), ("spatial", {"tested": tested}))
    assert said.tables[CDE].groups[-1] == ("lab", 3)
    lines = said.lines(CDE)
    assert lines[-2][:2] == ["STSTNet", "ours"]
    ours = next(row for row in lines if row[:2] == ["ATNet spatial", "ours"])
    assert ours[8:14] == [DASH] * 6
    assert ours[14] == f"{said.runs[1].metrics['lab']['accuracy']:.3f}"
    paper = next(row for row in lines if row[:2] == ["ATNet spatial", "paper"])
    assert paper[14:] == [DASH] * 3


def test_chance_is_always_the_most_frequent_class(contents):
    said = contents(("fusion", {"tested": paper_clips()}))
    chance = said.lines(CDE)[-1]
    # F1 is 2*250 / (442 + 250) for one class of three.
    assert chance[2:5] == [f"{250 / 442:.3f}", f"{2 * 250 / 692 / 3:.3f}", f"{1 / 3:.3f}"]
    assert chance[8] == f"{92 / 133:.3f}"
    tiles = next(block.tiles for block in said.blocks if isinstance(block, Tiles))
    assert [tile[0] for tile in tiles] == ["UF1", "UAR", "Accuracy"]
    assert tiles[0][1:] == (f"{said.runs[0].metrics['full']['uf1']:.3f}", chance[3])


def test_intervals_are_those_of_the_statistics(contents):
    said = contents(("fusion", {}), ("fusion", {"seed": 1}), ("temporal", {}))
    lines = {tuple(row[:2]): row[2:] for row in said.lines("95 % intervals, CDE")}
    rows = [row for run in said.runs[:2] for row in run.predictions]
    expected = statistics.summarise(rows)["smic"]
    low, high = expected.uf1.interval
    found = lines["ATNet fusion", "SMIC"]
    assert found[1] == f"{expected.uf1.mean:.3f} [{low:.2f}, {high:.2f}]"
    assert found[3:] == ["2", "3", "12"]
    assert lines["ATNet temporal", "Full"][3:] == ["1", "9", "36"]
    chart = said.charts["CDE: UF1, SMIC"]
    assert f"ATNet fusion {found[1]}, published 0.553" in chart.description


def test_one_subject_a_database_has_no_interval(contents):
    said = contents(("fusion", {"tested": clips(subjects=1)}))
    assert said.lines("95 % intervals, CDE")[0][2].endswith("[–]")


def test_paired_tests_are_those_of_the_statistics(contents):
    said = contents(("fusion", {"right": 0.7}), ("temporal", {"right": 0.4}), ("ststnet", {}))
    (first, *_) = said.lines("Paired tests, CDE")
    tests = statistics.compare(said.runs[1].predictions, said.runs[0].predictions)
    assert tests.uf1.difference < 0
    assert tests.uf1.p != tests.uar.p
    assert first == [
        "ATNet temporal",
        "ATNet fusion",
        f"−{-tests.uf1.difference:.3f}",
        f"{tests.uf1.p:.4f}",
        f"−{-tests.uar.difference:.3f}",
        f"{tests.uar.p:.4f}",
        str(tests.mcnemar.only_first),
        str(tests.mcnemar.only_second),
        f"{tests.mcnemar.p:.4f}",
        "9",
        str(tests.differing_subjects),
        "36",
        "0",
        "equal",
    ]
    assert any("0.05/3 = 0.017" in text for text in said.texts)


def test_other_digests_and_other_clips_are_said(contents):
    said = contents(
        ("fusion", {}),
        ("temporal", {"data": {"sha256": "f" * 64}}),
        ("spatial", {"tested": clips(each=5)}),
    )
    (pair,) = said.lines("Paired tests, CDE")
    assert pair[:2] == ["ATNet temporal", "ATNet fusion"]
    assert pair[-1] == "differ"
    assert any(text.startswith("Data digests differ between methods.") for text in said.texts)
    assert "Not compared, CDE (2)" in [b.heading for b in said.blocks if isinstance(b, Part)]
    assert any(
        note.startswith("The CDE methods were tested on different sets") for note in said.notes
    )
    ours = {row[0]: row[1] for row in said.lines(CDE) if row[1].startswith("ours")}
    assert ours["ATNet spatial"] == "ours (data A)"
    assert ours["ATNet fusion"] == "ours (data B)"
    read = {row[0]: row[2:5] for row in said.lines("Data of each method")}
    assert read["ATNet temporal"] == ["36", "B", "f" * 12]
    assert read["ATNet spatial"] == ["45", "A", "0123456789ab"]


def test_partial_runs_are_said_and_not_paired_with_whole_ones(contents):
    some = [row for row in clips() if row[0] == "casme2"]
    partial = {"tested": some, "settings": {"folds": "0:3"}, "data": {"clips": 36}}
    said = contents(("fusion", partial), ("temporal", {}))
    label = "ATNet fusion (only folds 0:3)"
    note = "The run covers only 3 of 4 folds (0:3) and 12 of 36 clips, so these are not"
    assert f"{label}: {note}" in " ".join(said.notes)
    assert "Paired tests, CDE" not in said.tables
    assert any(f"second {label}: Clip samm/s0/c0 is in the first" in text for text in said.texts)
    assert ["ATNet fusion", "ours (only folds 0:3; data B)"] in [r[:2] for r in said.lines(CDE)]
    assert [row[2] for row in said.lines("Data of each method")] == ["36", "12 of 36"]


def test_a_control_is_said_and_shares_the_list_of_its_clips(contents):
    shuffled = [(*row[:3], (row[3] + 1) % 3) for row in clips()]
    control = {"tested": shuffled, "settings": {"shuffle_labels": True}, "notes": ("Control run.",)}
    said = contents(("fusion", control), ("fusion", {}))
    assert "ATNet fusion (control with shuffled labels): Control run." in said.notes
    assert ["ATNet fusion", "ours (control with shuffled labels)"] in [
        row[:2] for row in said.lines(CDE)
    ]
    assert "Paired tests, CDE" not in said.tables
    assert not any("tested on different sets of clips" in note for note in said.notes)


def test_chance_is_on_the_true_labels_where_a_control_is_beside_them(contents):
    labels = sorted(row[3] for row in paper_clips())
    shuffled = [(*row[:3], label) for row, label in zip(paper_clips(), labels, strict=True)]
    control = {"tested": shuffled, "settings": {"shuffle_labels": True}}
    for runs in ([("fusion", {}), ("fusion", control)], [("spatial", control), ("fusion", {})]):
        runs = [(name, {"tested": paper_clips(), **options}) for name, options in runs]
        (*_, before, chance) = contents(*runs).lines(CDE)
        assert chance[:2] == ["Chance", "always negative"]
        assert chance[8] == f"{92 / 133:.3f}"
        assert before[0] != "Chance"
    alone = contents(("spatial", control)).lines(CDE)[-1]
    assert alone[2] == f"{250 / 442:.3f}"
    assert alone[8] != f"{92 / 133:.3f}"


def test_a_note_of_all_methods_is_said_once(contents):
    said = contents(*((name, {"notes": ("Smaller frames.",)}) for name in ("fusion", "temporal")))
    assert said.notes.count("Smaller frames.") == 1
    said = contents(("fusion", {"notes": ("Smaller frames.",)}), ("temporal", {}))
    assert "ATNet fusion: Smaller frames." in said.notes


def test_other_clips_than_the_papers_are_said(contents):
    said = contents(("fusion", {}))
    assert "36 clips of 9 subjects, not the paper's 442 clips of 68 subjects" in said.notes[0]
    said = contents(("fusion", {"tested": paper_clips()}))
    assert said.notes == []
    assert any("equal the paper's in every database and class" in text for text in said.texts)
    relabelled = paper_clips()
    relabelled[0] = (*relabelled[0][:3], 1)
    said = contents(("fusion", {"tested": relabelled}))
    assert "not the paper's" in said.notes[0]


INFLATED = "Results, and scores with epochs chosen on the test clips, CDE"


def test_inflated_figures_are_labelled_as_no_result(contents):
    said = contents(("fusion", {"epochs": 6}), ("hoof_n4_tim10", {}))
    table = said.tables[INFLATED]
    assert list(table.columns[2:5]) == ["result", "(a) NOT a result", "(b) NOT a result"]
    figures = inflation.inflated_figures(said.runs[0].predictions, said.runs[0].epoch_scores)
    kinds = (figures.honest, figures.picked_once, figures.picked_by_fold)
    assert said.lines(INFLATED)[2] == ["ATNet fusion", "SAMM"] + [
        f"{kind['samm'][metric]:.3f}" for metric in ("uf1", "uar") for kind in kinds
    ]
    assert len(said.lines(INFLATED)) == 4
    assert any("NOT results" in note for note in said.notes)
    assert "Scores of single epochs were not saved for HOOF N=4 TIM 10." in said.texts
    (chart,) = [chart for title, chart in said.charts.items() if "dashed" in title]
    assert chart.drawing.count("not a result") == 2
    assert f"not results: (a) {kinds[1]['full']['uf1']:.3f}" in chart.description
    # The paper's table contains only results.
    assert f"{kinds[2]['full']['uf1']:.3f}" not in str(said.lines(CDE))


def test_no_epoch_scores_no_inflation_and_one_method_no_tests(contents):
    said = contents(("hoof_n4_tim10", {}))
    assert said.headings == [
        "Table II: Composite database evaluation (CDE)",
        "Confidence intervals",
        "Confusion matrices",
        "Subjects",
        "Misclassified clips",
        "Data and exclusions",
        "Commands and environment",
    ]
    said = contents(("fusion", {"epochs": 2}), ("fusion", {"epochs": 2, "protocol": "hde"}))
    assert said.headings[:4] == [
        "Table II: Composite database evaluation (CDE)",
        "Table III: Holdout-database evaluation (HDE)",
        "Confidence intervals",
        "Inflation by choosing epochs on test clips: not results",
    ]


def test_confusion_matrices_are_summed_over_seeds(contents):
    said = contents(*(("fusion", {"seed": seed}) for seed in (0, 1)))
    total = np.sum([run.metrics["samm"]["confusion"] for run in said.runs], axis=0)
    table = said.tables["SAMM, 12 clips, sum of 2 seeds"]
    for name, row, counts in zip(CLASSES, table.rows, total.tolist(), strict=True):
        shares = [f"{count} ({count / sum(counts):.0%})" for count in counts]
        assert [cell.line for cell in row.cells] == [name, *shares]
        assert row.cells[1].share == pytest.approx(counts[0] / sum(counts))
    assert [row.cells[i + 1].marked for i, row in enumerate(table.rows)] == [True] * 3
    assert {"All databases, 36 clips, sum of 2 seeds", "CASME II, 12 clips, sum of 2 seeds"} <= set(
        said.tables
    )


def test_a_class_without_clips_has_no_share(contents):
    two = [row for row in clips() if row[3] != 2]
    said = contents(("fusion", {"tested": two}))
    row = said.lines("All databases, 24 clips")[2]
    assert row == ["surprise", *["0 (–)"] * 3]


def test_subjects_are_shares_of_their_clips(contents):
    said = contents(("fusion", {}), ("fusion", {"seed": 1}), ("temporal", {}))
    table = said.tables["SAMM, 3 subjects"]
    assert list(table.columns) == ["Subject", "Clips", "ATNet temporal", "ATNet fusion"]
    rows = [
        row
        for run in said.runs[:2]
        for row in run.predictions
        if (row.dataset, row.subject) == ("samm", "s1")
    ]
    share = np.mean([row.label == row.predicted for row in rows])
    assert said.lines("SAMM, 3 subjects")[1][0:2] == ["s1", "4"]
    assert said.lines("SAMM, 3 subjects")[1][3] == f"{share:.3f}"
    assert table.rows[1].cells[3].share == pytest.approx(share)
    said = contents(("fusion", {}), ("temporal", {"tested": clips(subjects=4, each=5)}))
    assert said.lines("SAMM, 4 subjects")[0][1] == "4–5"
    assert said.lines("SAMM, 4 subjects")[3][3] == DASH


def test_clips_read_wrong_are_those_of_a_single_run(contents):
    rows = [
        Prediction("cde", 0, "casme2", "01", "a", 0, 0, 0.8, 0.1, 0.1, 0),
        Prediction("cde", 1, "casme2", "02", "b", 1, 2, 0.125, 0.25, 0.625, 0),
    ]
    said = contents(("fusion", {"rows": rows}))
    expected = ["b", "CASME II", "02", "positive", "surprise", "0.125", "0.250", "0.625"]
    assert said.lines("Misclassified clips") == [expected]
    said = contents(("fusion", {"right": 1.0}))
    assert "None: every clip is predicted correctly." in said.texts
    said = contents(("fusion", {}), ("fusion", {"seed": 1}))
    assert "Misclassified clips" not in said.headings


def test_clips_and_exclusions_are_listed(contents):
    excluded = (
        Exclusion("casme2", "sub02/b", "no apex"),
        Exclusion("casme2", "sub01/a", "no apex"),
        Exclusion("samm", "006_1_1", "emotion 'Other'"),
    )
    said = contents(("fusion", {"excluded": excluded}))
    lines = said.lines("Clips, subjects and classes")
    assert lines[0] == ["Paper", "Full", "442", "68", "250", "109", "83"]
    assert ["Data A", "SMIC", "12", "3", "4", "4", "4"] in lines
    assert said.lines("Excluded rows of the annotations") == [
        ["CASME II", "no apex", "2", "sub01/a, sub02/b"],
        ["SAMM", "emotion 'Other'", "1", "006_1_1"],
    ]
    said = contents(("fusion", {"excluded": excluded}), ("temporal", {}))
    assert "ATNet temporal: No row of the annotations was excluded." in said.texts


def test_how_it_was_run(contents):
    nested = {"options": {"fusion": "score"}, "init_from": "ab" * 32}
    said = contents(("fusion", nested))
    assert [b.text for b in said.blocks if isinstance(b, Code)] == [
        "python -m atnet_jax.main --config=configs/cde.py:fusion"
    ]
    versions = said.lines("ATNet fusion: versions and device")
    assert versions == [["jax", "0.10.1"], ["numpy", "2.3.0"], ["device", "1 × cpu"]]
    settings = said.lines("ATNet fusion: configuration")
    assert ["options.fusion", "score"] in settings
    assert ["recipe.augment.rotation", "5.0"] in settings
    assert ["seeds", "[0]"] in settings
    read = said.lines("Data of each method")
    assert read == [["ATNet fusion", "0", "36", "A", "0123456789ab", "abababababab"]]


def test_other_devices_are_said(contents):
    other = {"environment": Environment("1 × gpu", {"jax": "0.10.1"}, None)}
    said = contents(("fusion", {}), ("fusion", {"seed": 1, **other}))
    assert any("computed on different devices" in text for text in said.texts)
    assert ["device", "1 × gpu"] in said.lines("ATNet fusion: versions and device, seed 1")
    said = contents(("fusion", {}), ("fusion", {"seed": 1}))
    assert not any("computed on different devices" in text for text in said.texts)


def test_both_protocols_and_all_methods_in_one_report(contents):
    said = contents(
        *((name, {"protocol": p}) for p in ("hde", "cde") for name in TABLE_METHODS),
    )
    assert said.document.title == "Comparison of 12 methods"
    assert [row[1] for row in said.lines(CDE)] == ["paper", "ours"] * 12 + ["always negative"]
    assert [row[1] for row in said.lines(HDE)] == ["paper", "ours"] * 12 + ["always negative"]
    assert len(said.lines("Paired tests, CDE")) == 66
    assert len(said.lines("Paired tests, HDE")) == 66 * 3
    assert "CDE LBP-TOP {3,3,3,4} TIM 10: SMIC, 12 clips" in said.tables
    assert "HDE: SAMM, 3 subjects" in said.tables


# table.md


def squeezed(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_table_markdown_has_the_papers_row_above_the_runs():
    scores = metrics.evaluate(predict(paper_clips()))
    text = table_markdown("cde", scores, "a_title", "ATNet fusion", ["a|note"])
    lines = squeezed(text)
    assert lines[0] == "# a\\_title"
    assert "**Note: a\\|note**" in lines
    assert lines[6] == (
        "| Method | Source | Full Acc | UF1 | UAR | CASME II Acc | UF1 | UAR "
        "| SAMM Acc | UF1 | UAR | SMIC Acc | UF1 | UAR |"
    )
    assert lines[8].startswith("| ATNet fusion | paper | 0.693 | 0.631 | 0.613 | 0.834 |")
    assert (
        lines[9]
        == "| ATNet fusion | this run | "
        + " | ".join(
            f"{scores[group][metric]:.3f}"
            for group in ("full", "casme2", "samm", "smic")
            for metric in ("accuracy", "uf1", "uar")
        )
        + " |"
    )
    assert len({len(line) for line in text.splitlines()[6:10]}) == 1  # the source lines up
    assert "| paper | 442 | 145 | 133 | 164 |" in lines
    assert "| this run | 442 | 145 | 133 | 164 |" in lines
    assert "equal the paper's in every database and class" in text


def test_table_markdown_of_hde_and_of_a_method_the_paper_does_not_have():
    scores = metrics.evaluate(predict(clips(databases=("samm", "lab")), protocol="hde"))
    lines = squeezed(table_markdown("hde", scores, "t", "ATNet temporal"))
    assert "| ATNet temporal | paper | 0.631 | 0.643 | 0.450 | 0.458 | 0.503 | 0.524 | – | – |" in (
        lines
    )
    text = table_markdown("hde", scores, "ststnet", None)
    assert "| Method | Source | SAMM UF1 | UAR | lab UF1 | UAR |" in squeezed(text)
    assert "paper |" not in text.split("Clips")[0]
    assert "The paper does not report this method." in text
