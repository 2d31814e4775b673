import re

import pytest

from atnet_jax.evaluation.report import latex, markdown
from atnet_jax.evaluation.report.blocks import Cell, Code, Document, Part, Row, Section, Table, Text
from atnet_jax.evaluation.report.contents import document
from atnet_jax.evaluation.runs import load_run
from tests.evaluation.report.test_page import hostile_folders
from tests.evaluation.report.workdirs import write_run

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b",
    "\\",
    "a & b % c $d$ #e _f_ ^g ~h {i}",
    "](http://x)",
    "`code`",
    "\\end{document}",
    "[1] *b*",
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain")
    names = ["fusion", "temporal", "lbp_top_p4_tim10"]
    return document([load_run(write_run(root / name, name, epochs=2)) for name in names])


def tables_in(text):
    """The tables of a Markdown text as lists of cells, split where Markdown splits them."""
    tables, before = [], ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        before = line
    return tables


def shown(text):
    """Return the text that Markdown shows for an escaped text."""
    return re.sub(r"\\([\\`*_\[\]<>|&#~$])", r"\1", text)


def outline(text):
    """A Markdown text without its words: its lines' first signs, and its tables' shapes."""
    return [len(table) for table in tables_in(text)], re.findall(r"^#+|^```", text, re.M)


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_hostile_names_as_they_are(tmp_path, name):
    texts = [
        markdown.render(
            document([load_run(f) for f in hostile_folders(tmp_path / key, word)], word)
        )
        for key, word in (("1", name), ("2", "harmless"))
    ]
    assert outline(texts[0]) == outline(texts[1])
    for hostile, harmless in zip(tables_in(texts[0]), tables_in(texts[1]), strict=True):
        for row, expected in zip(hostile, harmless, strict=True):
            assert len(row) == len(expected)
            if expected[0] == "harmless":
                assert shown(row[0]) == name
    assert shown(texts[0].splitlines()[2]) == f"# {name}"
    # Nothing is left that Markdown or HTML would obey, outside of code.
    without_code = re.sub(r"^(```+)$.*?^\1$", "", texts[0].split("\n", 1)[1], flags=re.M | re.S)
    assert not re.search(r"(?<!\\)[<>`$&]", without_code)


def test_markdown_paragraphs_cannot_begin_lists():
    for text in ("- a", "+ a", "1. a", "12) a", "=== a", "> a", "# a"):
        out = markdown.render(Document("k", "t", [Text(text)], [])).splitlines()[6]
        assert re.match(r"[0-9]*\\", out)
        assert re.sub(r"\\(.)", r"\1", out) == text
    assert "-0.5" in markdown.escape("-0.5")


def test_code_cannot_end_its_fence():
    out = markdown.render(Document("k", "t", [Code("a\n````\nb")], []))
    assert "\n`````\na\n````\nb\n`````\n" in out


def test_both_formats_have_the_tables_and_not_the_drawings(plain):
    out = markdown.render(plain)
    assert out.startswith("<!-- Written by atnet_jax.report. -->\n")
    captions = re.findall(r"^\*\*(.*)\*\*$", out, re.M)
    for caption in ("Table II, CDE: published scores and ours", "95 % intervals, CDE"):
        assert caption in captions
    assert "configuration" not in out
    assert "●" not in out and "svg" not in out and "Learning curves" not in out
    tex = latex.render(plain)
    assert tex.startswith("% Written by atnet_jax.report.\n")
    tables = [caption for caption in captions if not caption.startswith("Note:")]
    assert len(tables) == tex.count(r"\toprule") == len(tables_in(out))
    assert tex.rstrip().endswith(r"\end{document}")
    assert "●" not in tex


def test_published_figures_are_in_their_markdown_cells(plain):
    table = tables_in(markdown.render(plain))[0]
    assert table[0][:6] == ["Method", "Source", "Full Acc", "UF1", "UAR", "CASME II Acc"]
    (paper,) = [row for row in table if row[:2] == ["Micro-Attention", "paper"]]
    assert paper[2:5] == ["0.613", "0.508", "0.493"]
    assert ["Micro-Attention", "ours (not run)", *["–"] * 12] in table
    assert len({len(row) for row in table}) == 1


def rows_of(tex):
    """The rows of LaTeX tables: how many columns each has, spans counted."""
    found = []
    for kinds, body in re.findall(
        r"\\begin\{(?:tabular|longtable)\}\{((?:[lr]|p\{[^}]*\})+)\}(.*?)\\end\{(?:tabular|longtable)",
        tex,
        re.S,
    ):
        columns = len(re.sub(r"p\{[^}]*\}", "l", kinds))
        for line in body.splitlines():
            if line.endswith("\\\\") and not line.startswith("\\caption"):
                spans = [int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
                found.append((columns, len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans)))
    return found


def balanced(tex):
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", tex):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    return depth == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_latex_prints_hostile_names_as_they_are(tmp_path, name):
    texts = [
        latex.render(document([load_run(f) for f in hostile_folders(tmp_path / key, word)], word))
        for key, word in (("1", name), ("2", "harmless"))
    ]
    assert balanced(texts[0])
    assert rows_of(texts[0]) == rows_of(texts[1])
    assert all(columns == cells for columns, cells in rows_of(texts[0]))
    for command in (r"\begin{", r"\end{", r"\section*{", "%", "$", "#"):
        unescaped = rf"(?<!\\){re.escape(command)}"
        assert len(re.findall(unescaped, texts[0])) == len(re.findall(unescaped, texts[1]))
    assert texts[0].count(latex.escape(name)) >= 30


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b%c&d#e$f", r"a\_b\%c\&d\#e\$f"),
        ("{}\\", r"\{\}\textbackslash{}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ("--- ,, -", r"-{}-{}- ,{}, -"),
        ("0.5 ± 0.1", r"0.5 \ensuremath{\pm} 0.1"),
        ("−0.5", r"\ensuremath{-}0.5"),
        ("a\n\nb\x00", "a b?"),
        ("\"'`", r"\textquotedbl{}\textquotesingle{}\textasciigrave{}"),
    ],
)
def test_latex_escapes(text, escaped):
    assert latex.escape(text) == escaped


def test_a_latex_row_cannot_become_the_option_of_the_line_before():
    rows = [Row([Cell(sign + "x")]) for sign in ("[", "*")]
    tex = latex.render(Document("k", "t", [], [Section("s", "h", [Table("c", ["a"], rows)])]))
    assert "{}[x \\\\" in tex
    assert "{}*x \\\\" in tex


def test_long_tables_may_break_over_pages():
    def table(rows):
        return Table("c", ["a"], [Row([Cell("x")])] * rows)

    def render(rows):
        return latex.render(Document("k", "t", [], [Section("s", "h", [table(rows)])]))

    assert r"\begin{tabular}" in render(40) and "longtable}{" not in render(40)
    assert r"\begin{longtable}" in render(41) and "tabular}{" not in render(41)


def test_rows_with_one_name_name_it_once():
    rows = [Row([Cell("one"), Cell("a")]), Row([Cell("one"), Cell("b")])]
    document = Document(
        "k", "t", [], [Section("s", "h", [Table("c", ["x", "y"], rows, headers=2)])]
    )
    assert latex.render(document).count("one") == 1
    assert "\n & b \\\\" in latex.render(document)
    assert markdown.render(document).count("one") == 2


def test_parts_are_headings_and_those_of_the_page_alone_are_not_there():
    parts = [Part("shown", [Text("a")], folded=True), Part("hidden", [Text("b")], page_only=True)]
    document = Document("k", "t", [], [Section("s", "h", parts)])
    assert "### shown" in markdown.render(document) and "hidden" not in markdown.render(document)
    assert r"\subsection*{shown}" in latex.render(document)
    assert "hidden" not in latex.render(document)
