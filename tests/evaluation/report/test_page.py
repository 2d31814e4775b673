import re

import jinja2
import pytest

from atnet_jax.data.composite import Exclusion
from atnet_jax.evaluation.predictions import Prediction
from atnet_jax.evaluation.record import Environment
from atnet_jax.evaluation.report import page, templates
from atnet_jax.evaluation.report.blocks import Cell, Document, Row, Section, Table
from atnet_jax.evaluation.report.contents import document
from atnet_jax.evaluation.runs import load_run
from tests.evaluation.report.page_reader import Page, check
from tests.evaluation.report.workdirs import (
    change_json,
    clips,
    curve,
    paper_clips,
    write_json,
    write_run,
)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; background:url(//x)",
    "</title></style><b>",
    "&amp;",
    "</svg></table>",
    "<!--",
]


def rendered(folders, title=None):
    return page.render(document([load_run(folder) for folder in folders], title))


def hostile_folders(root, name):
    """Two methods with one seed and one with two, with the name in every place for names."""
    tested = [(name, f"{name}{s}", f"{name}{c}", (s + c) % 3) for s in range(3) for c in range(4)]
    options = {
        "tested": tested,
        "epochs": 3,
        "settings": {name: name, "nested": {name: [name]}},
        "notes": (name,),
        "excluded": (Exclusion(name, name, name),),
        "command": name,
        "environment": Environment(name, {name: name}, None),
        "data": {"clips": 12, "sha256": name},
        "init_from": name,
    }
    folders = [
        write_run(root / "a", name, **options),
        write_run(root / "b", name, **{**options, "seed": 1}),
        write_run(root / "c", "x" + name, **options),
    ]
    for folder in folders:
        write_json(folder / "curves.json", {"0": curve(name)})
    return folders


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_not_obeyed(tmp_path, name):
    found = check(rendered(hostile_folders(tmp_path / "1", name), name))
    harmless = check(rendered(hostile_folders(tmp_path / "2", "harmless"), "harmless"))
    assert found.tags == harmless.tags
    assert [key for key, _ in found.attributes] == [key for key, _ in harmless.attributes]
    assert found.ids == harmless.ids
    # Whole almost everywhere: digests and names in charts are cut.
    assert found.text.count(name) >= 95


def test_control_signs_and_lone_surrogates_cannot_break_the_page(tmp_path):
    names = ["a\x00b", "a\x1bb", "a\ud800b", "a\u202eb"]
    folder = write_run(tmp_path / "run")
    change_json(folder / "config.json", notes=names)
    text = rendered([folder])
    assert text.encode()
    assert text.count("a\ufffdb") == len(names)
    assert not re.search("[\x00\x1b\u202e]", text)


def test_templates_escape_and_know_no_misspelt_names():
    found = templates.load().from_string("{{ name }}|{{ name | join(', ') }}")
    assert found.render(name="<&\x1b") == "&lt;&amp;\ufffd|&lt;, &amp;, \ufffd"
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        found.render(nome="x")


def test_pages_of_one_and_of_many_runs_are_for_all_readers(tmp_path):
    fusion = write_run(tmp_path / "a", epochs=3, tested=paper_clips(), notes=("note",))
    many = [fusion, write_run(tmp_path / "b", seed=1, epochs=3, tested=paper_clips())]
    excluded = (Exclusion("samm", "a", "b"),)
    many.append(write_run(tmp_path / "c", "lbp_top_p4_tim10", tested=paper_clips()))
    many.append(write_run(tmp_path / "d", "ststnet", excluded=excluded))
    many.append(write_run(tmp_path / "e", protocol="hde", epochs=3))
    assert check(rendered([fusion])).tags["svg"] == 4 + 1 + 2
    assert check(rendered(many)).tags["svg"] == 4 + 3 + 1 + 3 + 2 * 2


def test_columns_of_a_table_line_up_over_its_spans(tmp_path):
    folders = [write_run(tmp_path / name, name, epochs=3) for name in ("fusion", "temporal")]
    source = rendered(folders)
    for table in re.findall(r"<table.*?</table>", source, re.S):
        widths = []
        hanging: list[int] = []  # rows that cells from above still reach down
        for row in re.findall(r"<tr.*?</tr>", table, re.S):
            width = len(hanging)
            hanging = [left - 1 for left in hanging if left > 1]
            for cell in re.findall(r"<t[dh][^>]*>", row):
                columns = re.search(r'colspan="(\d+)"', cell)
                rows = re.search(r'rowspan="(\d+)"', cell)
                columns = int(columns[1]) if columns else 1
                width += columns
                hanging += [int(rows[1]) - 1] * columns if rows and rows[1] != "1" else []
            widths.append(width)
        assert len(set(widths)) == 1, table[:200]


def test_row_headers_span_their_rows(tmp_path):
    found = Page(rendered([write_run(tmp_path / name, name) for name in ("fusion", "temporal")]))
    rows = found.tables["Table II, CDE: published scores and ours"]
    at = next(i for i, row in enumerate(rows) if row[0] == "ATNet fusion")
    assert rows[at][:3] == ["ATNet fusion", "paper", "0.693"]
    assert rows[at + 1][0] == "ours"
    assert len(rows[at + 1]) == len(rows[at]) - 1


def test_colour_never_stands_alone():
    table = Table("t", ["a", "b"], [Row([Cell("x"), Cell("0.250", share=0.25, marked=True)])])
    source = page.render(Document("k", "t", [], [Section("s", "h", [table])]))
    assert '<td class="right number" style="--share:0.250">0.250</td>' in source


def test_a_table_needs_a_cell_for_every_column():
    with pytest.raises(ValueError, match="t: 1 cells in 2 columns"):
        Table("t", ["a", "b"], [Row([Cell("x")])])


def test_the_same_runs_in_any_order_give_the_same_page(tmp_path):
    folders = [
        write_run(tmp_path / "a", epochs=3),
        write_run(tmp_path / "b", "temporal"),
        write_run(tmp_path / "c", seed=1, epochs=3),
    ]
    assert rendered(folders) == rendered(reversed(folders))


def test_names_are_as_wide_as_they_are(tmp_path):
    long = "n" * 500
    row = Prediction("cde", 0, "casme2", long, long, 0, 1, 0.25, 0.5, 0.25, 0)
    folder = write_run(tmp_path / "run", rows=[row])
    change_json(folder / "config.json", notes=[long], command=long)
    found = check(rendered([folder]))
    assert found.text.count(long) == 5
    style = found.source.split("</style>")[0]
    # Long words break, and what cannot break scrolls in its own box.
    assert re.search(r"^main \{[^}]*overflow-wrap: break-word", style, re.M)
    assert re.search(r"\.scroll \{\s*overflow-x: auto", style)
    assert re.search(r"pre \{[^}]*overflow-x: auto", style)
    assert len(clips()) == 36
