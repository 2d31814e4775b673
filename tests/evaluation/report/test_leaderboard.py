import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from atnet_jax.errors import UserError
from atnet_jax.evaluation import inflation, report, statistics
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.report import leaderboard, page, standings
from atnet_jax.evaluation.report.blocks import Chart, Part, Table, Text
from atnet_jax.evaluation.runs import load_run
from atnet_jax.models import ststnet, temporal
from atnet_jax.published import TABLE_II, TABLE_III, Published
from tests.evaluation.report.page_reader import check
from tests.evaluation.report.workdirs import (
    change_json,
    clips,
    paper_clips,
    predict,
    write_json,
    write_run,
)

DASH = "–"


@pytest.fixture
def board(tmp_path):
    """Function that writes runs to a leaderboard's folders and returns the report."""

    def add(name, *, protocol="cde", seeds=(0,), seconds=None, **options):
        for seed in seeds:
            folder = tmp_path / protocol / name / f"seed_{seed}"
            write_run(folder, name, protocol=protocol, seed=seed, **options)
            (folder / "report.html").write_text("")
            if seconds is not None:
                curves = json.loads((folder / "curves.json").read_text())
                for fold, curve in curves.items():
                    curve["seconds"] = [seconds * (int(fold) + 1) / len(curve["epoch"])] * len(
                        curve["epoch"]
                    )
                write_json(folder / "curves.json", curves)
        return tmp_path / protocol / name

    add.folder = tmp_path
    add.said = lambda: Said(tmp_path)
    return add


class Said:
    """A leaderboard, with its blocks by kind."""

    def __init__(self, workdir: Path):
        self.boards, self.missing = standings.read(workdir)
        self.document = leaderboard.document(self.boards, self.missing)
        blocks = [*self.document.opening]
        blocks += [block for section in self.document.sections for block in section.blocks]
        self.blocks = [*self._all(blocks)]
        self.notes = [b.text for b in self.blocks if isinstance(b, Text) and b.kind == "note"]
        self.parts = {block.heading: block for block in self.blocks if isinstance(block, Part)}
        self.tables = {block.caption: block for block in self.blocks if isinstance(block, Table)}
        self.csv = list(csv.DictReader(io.StringIO(leaderboard.as_csv(self.boards, self.missing))))

    def _all(self, blocks):
        for block in blocks:
            yield block
            if isinstance(block, Part):
                yield from self._all(block.blocks)

    def column(self, name, protocol="cde"):
        table = self.tables[f"Leaderboard, {protocol.upper()}"]
        return [row.cells[list(table.columns).index(name)] for row in table.rows]


def test_the_best_comes_first_with_its_figures(board):
    for name, right in (("temporal", 0.5), ("ststnet", 0.9), ("hoof_n4_tim10", 0.3)):
        board(name, right=right, seeds=(0, 1) if name != "hoof_n4_tim10" else (0,))
    said = board.said()
    assert [cell.text for cell in said.column("Method")] == [
        "1. STSTNet",
        "2. ATNet temporal",
        "3. HOOF N=4 TIM 10",
    ]
    assert [cell.small for cell in said.column("Method")] == [
        "ststnet, 2 seeds", "temporal, 2 seeds", "hoof_n4_tim10, 1 seed",
    ]  # fmt: skip
    rows = [row for s in (0, 1) for row in predict(clips(), seed=s, right=0.9)]
    expected = statistics.summarise(rows)
    full = expected["full"]
    low, high = full.uf1.interval
    assert said.column("UF1")[0] == (
        f"{full.uf1.mean:.3f}",
        f"[{low:.2f}, {high:.2f}]",
        None,
        False,
    )
    low, high = full.uar.interval
    assert said.column("UAR")[0].line == f"{full.uar.mean:.3f} [{low:.2f}, {high:.2f}]"
    assert said.column("Seeds")[0].text == f"± {full.uf1.sd:.3f}"
    assert said.column("Seeds")[2].text == DASH
    samm = expected["samm"]
    assert said.column("SAMM")[0].line == f"{samm.uf1.mean:.3f} {samm.uar.mean:.3f}"
    first = said.csv[0]
    assert [first["place"], first["method"], first["seeds"]] == ["1", "ststnet", "2"]
    assert float(first["full_uf1"]) == pytest.approx(full.uf1.mean, abs=1e-6)
    assert float(first["samm_uar_high"]) == pytest.approx(samm.uar.interval[1], abs=1e-6)
    assert float(first["smic_uf1_sd"]) == pytest.approx(expected["smic"].uf1.sd, abs=1e-6)
    assert said.csv[2]["full_uf1_sd"] == ""


def test_hde_is_sorted_by_all_clips_and_has_intervals(board):
    board("temporal", protocol="hde", right=0.9, tested=paper_clips())
    board("ststnet", protocol="hde", right=0.4, tested=paper_clips())
    said = board.said()
    assert said.column("UF1", "hde")[0].small.startswith("[0.")
    table = said.tables["Leaderboard, HDE"]
    # Table III has no figure of all databases together: they stand with each database.
    assert "Published" not in table.columns
    lines = [[cell.line for cell in row.cells] for row in said.tables["By database, HDE"].rows]
    assert [line[1] for line in lines[:4]] == ["Full", "CASME II", "SAMM", "SMIC"]
    paper = TABLE_III["ATNet temporal"]
    assert [line[4] for line in lines[:4]] == [
        DASH, *(f"{paper[name].uf1:.3f}" for name in ("casme2", "samm", "smic")),
    ]  # fmt: skip
    assert [line[8] for line in lines[1:4]] == [
        f"{paper[name].uar:.3f}" for name in ("casme2", "samm", "smic")
    ]
    assert lines[4][4] == DASH


def test_published_figures_are_the_methods_own_or_the_papers(board, monkeypatch):
    own = Published({"full": (0.7353, 0.7186), "samm": (0.6588, 0.6415)}, "A note.")
    monkeypatch.setattr(ststnet, "PUBLISHED", own)
    board("ststnet", right=0.9)
    board("temporal", right=0.5, seeds=(0,))
    board("ststnet", protocol="hde")
    said = board.said()
    paper = TABLE_II["ATNet temporal"]["full"]
    assert [cell.line for cell in said.column("Published")] == [
        "0.735 0.719", f"{paper.uf1:.3f} {paper.uar:.3f}",
    ]  # fmt: skip
    assert "Published scores: A note." in [
        text.text for heading, part in said.parts.items() if heading.startswith("STSTNet")
        for text in part.blocks
    ]  # fmt: skip
    assert said.csv[0]["samm_uar_published"] == "0.641500"
    assert said.csv[0]["casme2_uar_published"] == ""
    # The published figures are of the other protocol.
    assert said.csv[2]["protocol"] == "hde"
    assert said.csv[2]["full_uf1_published"] == ""


def test_a_control_has_no_published_figure(board):
    board("temporal", settings={"shuffle_labels": True})
    assert board.said().csv[0]["full_uf1_published"] == ""


def test_inflated_figures_are_those_of_the_best_epoch_of_each_fold(board):
    folder = board("ststnet", seeds=(0, 1), epochs=5)
    board("hoof_n4_tim10", right=0.1)
    said = board.said()
    found = []
    for seed in (0, 1):
        run = load_run(folder / f"seed_{seed}")
        figures = inflation.inflated_figures(run.predictions, run.epoch_scores)
        found.append(figures.picked_by_fold["full"])
    uf1, uar = (np.mean([scores[name] for scores in found]) for name in ("uf1", "uar"))
    assert [cell.line for cell in said.column("NOT a result")] == [f"{uf1:.3f} {uar:.3f}", DASH]
    assert float(said.csv[0]["full_uf1_not_a_result"]) == pytest.approx(uf1, abs=1e-6)


def test_seconds_of_a_fold_are_the_mean_of_their_sums(board):
    board("ststnet", seeds=(0, 1), epochs=4, seconds=3.0, right=0.9)
    board("temporal", right=0.1)
    said = board.said()
    # Nine folds of 3, 6, …, 27 seconds.
    assert [cell.text for cell in said.column("s per fold")] == ["15", DASH]
    assert said.csv[0]["seconds_a_fold"] == "15.000000"


def test_sizes_are_parameters_or_features(board):
    board("ststnet", right=0.9, size={"parameters": 1683})
    board("hoof_n4_tim10", right=0.5, size={"features": 36})
    board("temporal", right=0.1)
    said = board.said()
    assert [c.line for c in said.column("Size")] == ["1,683 parameters", "36 features", DASH]
    recorded = [(row["parameters"], row["features"]) for row in said.csv]
    assert recorded == [("1683", ""), ("", "36"), ("", "")]


def test_differences_from_the_published_training_are_listed(board, monkeypatch):
    monkeypatch.setattr(temporal, "DEVIATIONS", ("A guess.",), raising=False)
    monkeypatch.setattr(ststnet, "DEVIATIONS", ())
    changed = "Training differs from the publication: num_epochs 3 (published: 800)."
    board("ststnet", right=0.9)
    board("temporal", right=0.5, seeds=(0, 1), notes=(changed,))
    said = board.said()
    assert [cell.line for cell in said.column("Recipe")] == ["yes", "no 2 differences"]
    texts = [text.text for text in said.parts["ATNet temporal: 2 differences"].blocks]
    assert texts == ["A guess.", changed]
    assert "STSTNet: published recipe followed" in said.parts
    assert [(row["recipe_followed"], row["differences"]) for row in said.csv] == [
        ("yes", ""),
        ("no", f"A guess. {changed}"),
    ]


def test_overlapping_intervals_are_seen(board):
    for name, right in (("ststnet", 1.0), ("temporal", 0.62), ("spatial", 0.6), ("fusion", 0.05)):
        board(name, right=right, tested=paper_clips())
    said = board.said()
    assert [cell.text for cell in said.column("Overlaps")] == ["none", "3", "2", "none"]
    [chart] = [block for block in said.blocks if isinstance(block, Chart)]
    assert chart.drawing.count('class="overlap"') == 1
    assert chart.drawing.count('class="whisker"') == 4
    assert "1. STSTNet 1.000 [1.00, 1.00]" in chart.description


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ((0.5, 0.7), (0.65, 0.8), True),  # Neither figure is in the other's interval.
        ((0.65, 0.8), (0.5, 0.7), True),
        ((0.5, 0.7), (0.7, 0.8), True),
        ((0.5, 0.7), (0.71, 0.8), False),
        ((0.5, 0.9), (0.6, 0.7), True),
        (None, (0.5, 0.7), False),
    ],
)
def test_intervals_overlap_where_they_have_a_point_in_common(board, first, second, overlap):
    board("ststnet")
    [one] = standings.read(board.folder)[0]["cde"]
    both = [with_interval(one, interval) for interval in (first, second)]
    assert standings.overlapping(both) == ([[2], [1]] if overlap else [[], []])


def with_interval(one, interval):
    mean = 0.6 if interval is None else sum(interval) / 2
    full = dataclasses.replace(one.summary["full"], uf1=statistics.Figure(mean, None, interval))
    return dataclasses.replace(one, summary={**one.summary, "full": full})


def test_the_order_is_by_uf1_whatever_uar_says(board):
    """Few of the small classes right, or half of the large one."""
    labels = [0] * 8 + [1] * 2 + [2] * 2
    careful = [0] * 8 + [1, 0, 2, 0]
    eager = [0] * 4 + [1, 1, 2, 2] + labels[8:]
    for name, answers in (("temporal", careful), ("ststnet", eager)):
        rows = [
            Prediction(
                "cde", k % 2, "samm", f"s{k % 2}", f"c{k:02d}", label, said, 1.0, 0.0, 0.0, 0
            )
            for k, (label, said) in enumerate(zip(labels, answers, strict=True))
        ]
        board(name, rows=rows)
    first, second = standings.read(board.folder)[0]["cde"]
    assert (first.name, second.name) == ("temporal", "ststnet")
    assert first.uf1.mean > second.uf1.mean
    assert first.summary["full"].uar.mean < second.summary["full"].uar.mean


def test_without_intervals_nothing_overlaps(board):
    alone = [(database, "s0", f"c{k}", k % 3) for database in ("a", "b") for k in range(6)]
    for name in ("ststnet", "temporal"):
        board(name, tested=alone)
    said = board.said()
    assert [cell.text for cell in said.column("Overlaps")] == [DASH, DASH]
    assert [cell.small for cell in said.column("UF1")] == ["[–]", "[–]"]


@pytest.mark.parametrize(
    ("places", "text"), [([], ""), ([4], "4"), ([1, 2, 3, 5, 7, 8], "1–3, 5, 7–8")]
)
def test_places_are_listed_as_ranges(places, text):
    assert leaderboard._ranges(places) == text


def test_skipped_runs_are_listed_with_their_reason(board):
    board("ststnet")
    folder = board.folder / "hde" / "lbp_top_p4_tim10"
    folder.mkdir(parents=True)
    (folder / "failed.txt").write_text("There are no frames <here>.\n")
    unfinished = board("temporal", seeds=(0, 1)) / "seed_1"
    (unfinished / "report.html").unlink()
    damaged = board("fusion")
    change_json(damaged / "seed_0" / "metrics.json", full={})
    said = board.said()
    lines = [
        [cell.line for cell in row.cells]
        for row in said.tables["Methods that failed or lack seeds"].rows
    ]
    assert [line[:2] for line in lines] == [
        ["ATNet fusion fusion", "CDE"],
        ["ATNet temporal temporal", "CDE"],
        ["LBP-TOP {3,3,3,4} TIM 10 lbp_top_p4_tim10", "HDE"],
    ]
    assert "do not match predictions.csv" in lines[0][2]
    assert lines[1][2].startswith("seed_1: unfinished")
    assert lines[2][2] == "There are no frames <here>."
    assert said.column("Method")[0].text.endswith(("STSTNet", "temporal"))
    assert len(said.column("Method")) == 2
    assert any("CDE ATNet temporal" in note for note in said.notes)
    assert said.csv[-1]["not_run"] == "There are no frames <here>."
    assert said.csv[-1]["place"] == ""


def test_seeds_with_other_settings_are_methods_of_their_own(board):
    board("ststnet", seeds=(0,), right=0.9)
    board("ststnet", seeds=(1,), settings={"recipe.num_epochs": 7})
    titles = [cell.text for cell in board.said().column("Method")]
    assert titles == ["1. STSTNet (num_epochs=800)", "2. STSTNet (num_epochs=7)"]


def test_methods_on_other_clips_are_warned_of(board):
    board("ststnet")
    board("temporal", tested=clips(each=3))
    said = board.said()
    assert any("tested on different sets of clips" in note for note in said.notes)
    assert any("not the paper's 442 clips" in note for note in said.notes)


def test_the_page_is_whole_in_every_format(board):
    for name in ("ststnet", "fusion", "hoof_n4_tim10"):
        board(name, seeds=(0, 1) if name != "hoof_n4_tim10" else (0,),
              epochs=0 if name == "hoof_n4_tim10" else 3)  # fmt: skip
        board(name, protocol="hde")
    (board.folder / "cde" / "temporal").mkdir()
    (board.folder / "cde" / "temporal" / "failed.txt").write_text("<b>No & input</b>")
    path = report.write_leaderboard(board.folder)
    assert path == board.folder / "report.html"
    seen = check(path.read_text())
    assert {"Leaderboard, CDE", "Leaderboard, HDE"} <= seen.tables.keys()
    assert "<b>No & input</b>" in seen.text
    assert "Leaderboard of 3 methods" in seen.text
    markdown = (board.folder / "report.md").read_text()
    assert "| 1\\. " in markdown or "| 1. " in markdown
    assert "● our score" not in markdown
    assert "Leaderboard, HDE" in (board.folder / "report.tex").read_text()
    rows = list(csv.DictReader((board.folder / "leaderboard.csv").open(newline="")))
    assert len(rows) == 7
    # A second time replaces the first, and nothing else.
    report.write_leaderboard(board.folder)
    (board.folder / "leaderboard.csv").write_text("my,own,table\n")
    with pytest.raises(UserError, match=r"leaderboard\.csv exists and is not a report"):
        report.write_leaderboard(board.folder)


def test_a_folder_without_runs_gets_no_page(tmp_path):
    assert report.write_leaderboard(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_names_are_escaped_in_the_chart(board):
    board("<i>mine")
    said = board.said()
    check(page.render(said.document))
    assert said.column("Method")[0].text == "1. <i>mine"
