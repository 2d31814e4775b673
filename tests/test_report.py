import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from atnet_jax import metrics, published, report
from atnet_jax.predictions import Prediction
from atnet_jax.report import Exclusion, RunResults

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
STYLE = "'; background:url(//x)"
HOSTILE = [SCRIPT, IMAGE, STYLE, "</title><b>", "&amp;"]

VOID = {"meta", "br", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Collects what a page holds, and checks that its tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.tags = Counter()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID or tag == "polyline":
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag == "polyline":
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data


def composite(protocol="cde", wrong_every=4):
    """As many clips and subjects as the paper has; every fourth clip is read wrong."""
    rows = []
    for fold, name in enumerate(published.DATABASES):
        counts = published.COMPOSITE[name]
        labels = np.repeat([0, 1, 2], counts[2:])
        for i, label in enumerate(labels.tolist()):
            predicted = (label + 1) % 3 if i % wrong_every == 0 else label
            scores = [0.8 if c == predicted else 0.1 for c in range(3)]
            subject = f"{i % counts.subjects:02d}"
            clip = f"clip{i}"
            rows.append(
                Prediction(protocol, fold, name, subject, clip, label, predicted, *scores, 0)
            )
    return rows


def small(dataset="casme2", subject="01", clip="a"):
    return [
        Prediction("cde", 0, dataset, subject, clip, 0, 0, 0.8, 0.1, 0.1, 5),
        Prediction("cde", 0, dataset, subject, clip + "2", 1, 2, 0.125, 0.25, 0.625, 5),
    ]


def curve(name="casme2/01", epochs=3, loss=1.0):
    epoch = list(range(1, epochs + 1))
    return {
        "name": name,
        "epoch": epoch,
        "loss": [loss / i for i in epoch],
        "accuracy": [1 - 0.5 / i for i in epoch],
    }


def run_results(rows, **changes):
    values = {
        "protocol": "cde",
        "model": "atnet_fusion",
        "paper_row": "ATNet fusion",
        "predictions": rows,
        "metrics": metrics.evaluate(rows),
        "curves": {0: curve()},
        "config": {"seed": 0},
    }
    return RunResults(**{**values, **changes})


def squeezed(line):
    """A line of a Markdown table without the blanks that make its columns line up."""
    return " ".join(line.split())


# table.md


def test_cde_table_has_the_papers_row_above_the_runs():
    scores = metrics.evaluate(composite())
    text = report.table_markdown("cde", scores, "atnet_fusion", "ATNet fusion")
    lines = text.splitlines()
    assert lines[0] == "# atnet\\_fusion"
    assert squeezed(lines[4]) == (
        "| Method | Full Acc | UF1 | UAR | CASME II Acc | UF1 | UAR "
        "| SAMM Acc | UF1 | UAR | SMIC Acc | UF1 | UAR |"
    )
    assert squeezed(lines[6]) == (
        "| paper: ATNet fusion | 0.693 | 0.631 | 0.613 | 0.834 | 0.798 | 0.775 "
        "| 0.701 | 0.496 | 0.482 | 0.561 | 0.553 | 0.543 |"
    )
    ours = [cell.strip() for cell in lines[7].strip("|").split("|")]
    assert ours == ["this run"] + [
        f"{scores[key][metric]:.3f}"
        for key in ("full", "casme2", "samm", "smic")
        for metric in ("accuracy", "uf1", "uar")
    ]
    assert "as many as the paper's" in text
    assert "published figures are for the real databases" in text.lower()
    assert len({len(line) for line in lines[4:8]}) == 1  # the source lines up


def test_hde_table_has_no_published_accuracy_and_no_full():
    text = report.table_markdown("hde", metrics.evaluate(composite("hde")), "t", "ATNet temporal")
    lines = text.splitlines()
    assert "Full" not in lines[4]
    assert squeezed(lines[6]) == (
        "| paper: ATNet temporal | – | 0.631 | 0.643 | – | 0.450 | 0.458 | – | 0.503 | 0.524 |"
    )
    assert lines[7].count("0.") == 9
    assert "Table III" in text


def test_table_says_when_the_clips_are_not_the_papers():
    text = report.table_markdown("cde", metrics.evaluate(small("lab")), "t", "ATNet fusion")
    assert "not the paper's 442 clips of 68 subjects: this run scored 2 clips of 1 subject" in text
    lines = [squeezed(line) for line in text.splitlines()]
    assert lines[4].endswith("| SMIC Acc | UF1 | UAR | lab Acc | UF1 | UAR |")
    assert lines[6].endswith("| 0.561 | 0.553 | 0.543 | – | – | – |")
    assert (
        lines[7] == "| this run | 0.500 | 0.333 | 0.500 " + "| – " * 9 + "| 0.500 | 0.333 | 0.500 |"
    )
    assert "| Clips | Full | CASME II | SAMM | SMIC | lab |" in lines
    assert "| paper | 442 | 145 | 133 | 164 | – |" in lines
    assert "| this run | 2 | – | – | – | 2 |" in lines


def test_as_many_clips_with_other_labels_are_not_the_papers():
    rows = composite()
    assert rows[0].label == 0
    scores = [0.1, 0.8, 0.1]
    rows[0] = Prediction("cde", 0, "casme2", rows[0].subject, rows[0].clip, 1, 1, *scores, 0)
    text = report.table_markdown("cde", metrics.evaluate(rows), "t", "ATNet fusion")
    assert "These are not the paper's 442 clips" in text


def test_a_method_the_paper_does_not_have():
    text = report.table_markdown("cde", metrics.evaluate(small()), "ststnet", None, ["control"])
    assert "paper:" not in text
    assert "SAMM" not in text
    assert "The paper gives no figures for this method." in text
    assert "**Note: control**" in text


def test_names_are_escaped_in_markdown():
    name = "a|b\n<i>*_`[x](y)"
    text = report.table_markdown("cde", metrics.evaluate(small(name)), name, None)
    assert "a\\|b \\<i\\>\\*\\_\\`\\[x\\](y) Acc |" in text
    assert text.startswith("# a\\|b \\<i\\>")
    assert "<i>" not in text


@pytest.mark.parametrize("build", ["table", "page"])
def test_unknown_protocol_or_row(build):
    def make(protocol, paper_row):
        rows = small()
        if build == "page":
            return report.build(run_results(rows, protocol=protocol, paper_row=paper_row))
        return report.table_markdown(protocol, metrics.evaluate(rows), "t", paper_row)

    with pytest.raises(ValueError, match="unknown protocol 'loso'"):
        make("loso", None)
    with pytest.raises(ValueError, match="no row 'ATNet' in the paper's Table II; it has LBP-TOP"):
        make("cde", "ATNet")


# The page


def test_page_shows_the_scores_beside_the_papers():
    rows = composite()
    page = Page(report.build(run_results(rows)))
    results = page.tables[0]
    assert results[2][:4] == ["Paper: ATNet fusion", "0.693", "0.631", "0.613"]
    full = metrics.evaluate(rows)["full"]
    assert results[3][:4] == [
        "This run",
        *(f"{full[key]:.3f}" for key in ("accuracy", "uf1", "uar")),
    ]
    assert "442 clips · 68 subjects · 3 folds · seed 0" in page.text
    assert "250 negative, 109 positive, 83 surprise" in page.text
    assert "cannot be compared" not in page.text
    # Always answering "negative": F1 is 2*250 / (442 + 250) for one class of three.
    assert f"chance {2 * 250 / 692 / 3:.3f}" in page.text
    assert "chance 0.333" in page.text
    assert f"chance {250 / 442:.3f}" in page.text


def test_page_shows_confusion_matrices_with_shares_of_the_row():
    rows = composite()
    page = Page(report.build(run_results(rows)))
    matrices = [table for table in page.tables if table[0][0] == "true"]
    assert len(matrices) == 4
    confusion = metrics.evaluate(rows)["full"]["confusion"]
    for line, counts in zip(matrices[0][2:], confusion, strict=True):
        total = sum(counts)
        assert line[1:] == [f"{count}{count / total:.0%}" for count in counts]


def test_a_class_without_clips_has_no_share():
    page = Page(report.build(run_results(small())))
    matrix = next(table for table in page.tables if table[0][0] == "true")
    assert matrix[4] == ["surprise", "0–", "0–", "0–"]


def test_page_shows_subjects_and_clips_read_wrong():
    page = Page(report.build(run_results(small())))
    assert ["01", "2", "1", "0.500"] in [row for table in page.tables for row in table]
    wrong = ["a2", "CASME II", "01", "positive", "surprise", "0.125", "0.250", "0.625"]
    assert [table[1:] for table in page.tables if table[0][0] == "Clip"] == [[wrong]]
    right = [row for row in small() if row.label == row.predicted]
    assert "None: every clip was read right." in report.build(run_results(right))


def test_page_shows_how_it_was_run():
    page = Page(
        report.build(
            run_results(
                small(),
                config={"optimizer": {"momentum": 0.9, "name": "sgd"}, "start": None},
                versions={"jax": "0.6.2"},
                device="a device",
                exclusions=[
                    Exclusion("casme2", "sub02/b", "no apex"),
                    Exclusion("casme2", "sub01/a", "no apex"),
                    Exclusion("samm", "006_1_1", "emotion 'Other'"),
                ],
                command="python -m atnet_jax.main",
                notes=["Labels were shuffled: control run."],
            )
        )
    )
    rows = [row for table in page.tables for row in table]
    assert ["optimizer.momentum", "0.9"] in rows
    assert ["optimizer.name", "sgd"] in rows
    assert ["start", "null"] in rows
    assert ["jax", "0.6.2"] in rows
    assert ["device", "a device"] in rows
    assert ["CASME II", "no apex", "2", "sub01/a, sub02/b"] in rows
    assert ["SAMM", "emotion 'Other'", "1", "006_1_1"] in rows
    assert "python -m atnet_jax.main" in page.text
    assert "Labels were shuffled: control run." in page.text
    assert "cannot be compared" in page.text


def polylines(page, kind):
    found = re.findall(rf'<polyline class="{kind}"[^>]*points="([^"]*)"', page)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in found]


def test_curves_draw_every_fold_and_their_mean():
    curves = {0: curve("a", 4, loss=1.0), 1: curve("b", 4, loss=3.0)}
    page = report.build(run_results(small(), curves=curves))
    folds, means = polylines(page, "fold"), polylines(page, "mean")
    assert len(folds) == 4
    assert len(means) == 2  # loss, accuracy
    for first, second, mean in zip(folds[0], folds[1], means[0], strict=True):
        assert mean[0] == first[0] == second[0]
        assert mean[1] == pytest.approx((first[1] + second[1]) / 2, abs=0.11)
    assert means[0][0][1] < means[0][-1][1]  # the loss falls, and y grows downwards
    assert means[1][0][1] > means[1][-1][1]
    xs, ys = zip(*(point for line in folds for point in line), strict=True)
    assert min(xs) >= 0 and max(xs) <= 460 and min(ys) >= 0 and max(ys) <= 280
    assert "The mean of the folds goes from 2.000 in epoch 1 to 0.500 in epoch 4." in page
    assert '<title id="training-loss-title">Training loss</title>' in page


@pytest.mark.parametrize("epochs", [1, 2, 50, 800])
@pytest.mark.parametrize("loss", [0.0, 1e-6, 0.7, 12345.0])
def test_curves_of_any_length_and_height_stay_inside_the_chart(epochs, loss):
    page = report.build(run_results(small(), curves={0: curve("a", epochs, loss)}))
    for kind in ("fold", "mean"):
        for line in polylines(page, kind):
            assert 1 <= len(line) <= 202
            assert all(46 <= x <= 448 and 12 <= y <= 236 for x, y in line)
    assert "nan" not in page


def test_a_loss_that_is_not_finite_is_left_out_and_no_curves_give_no_section():
    broken = {**curve("a", 3), "loss": [1.0, float("nan"), float("inf")]}
    page = report.build(run_results(small(), curves={0: broken, 1: curve("b", 3)}))
    assert [len(line) for line in polylines(page, "fold")[:2]] == [1, 3]
    page = report.build(run_results(small(), curves={}))
    assert "Learning curves" not in page
    assert "<svg" not in page


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_not_obeyed(name):
    def hostile_page(value):
        return report.build(
            run_results(
                small(value, value, value),
                model=value,
                curves={0: curve(value)},
                config={value: value, "nested": {value: [value]}},
                notes=[value],
                versions={value: value},
                device=value,
                exclusions=[Exclusion(value, value, value)],
                command=value,
            )
        )

    page, harmless = Page(hostile_page(name)), Page(hostile_page("harmless"))
    assert page.tags == harmless.tags
    assert [key for key, _ in page.attributes] == [key for key, _ in harmless.attributes]
    assert page.text.count(name) >= 12
    assert page.ids == harmless.ids


def test_page_needs_nothing_from_outside_and_is_marked_up_for_all_readers():
    text = report.build(run_results(composite()))
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|\bon\w+=|javascript:", text)
    assert not {"src", "srcset", "action"} & {key for key, _ in page.attributes}
    assert len(page.ids) == len(set(page.ids))
    targets = [value for key, value in page.attributes if key == "href"]
    assert targets
    assert all(target.startswith("#") and target[1:] in page.ids for target in targets)
    for key, value in page.attributes:
        if key == "aria-labelledby":
            assert set(value.split()) <= set(page.ids)
    assert ("lang", "en") in page.attributes
    assert page.tags["th"] == sum(1 for key, _ in page.attributes if key == "scope")
    assert page.tags["h1"] == 1
    # Wide tables scroll in their own container.
    assert page.tags["table"] == sum(1 for item in page.attributes if item == ("class", "scroll"))
    assert "prefers-color-scheme: dark" in text


def test_the_same_run_gives_the_same_page():
    assert report.build(run_results(composite())) == report.build(run_results(composite()))
