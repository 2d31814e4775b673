"""LaTeX tables of a report: a complete document whose tables can be copied one by one."""

import re
from collections.abc import Sequence

from atnet_jax.evaluation.report.blocks import (
    MARK,
    Code,
    Document,
    Heading,
    Table,
    Text,
    fit,
    paragraphs,
)

# Longer tables become a longtable, which can break across pages.
_LONGEST = 40

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}",
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "Δ": r"\ensuremath{\Delta}",
    "≤": r"\ensuremath{\le}",
    "…": r"\ldots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "’": r"\textquoteright{}",
    "·": r"\textperiodcentered{}",
    "\N{REPLACEMENT CHARACTER}": "?",
}

_PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx,longtable}
\setlength{\parindent}{0pt}\setlength{\parskip}{4pt}\sloppy
"""


def render(document: Document) -> str:
    """Return the document as LaTeX, without its charts."""
    parts = [
        f"% {MARK}.",
        "% Tables copied from this file require \\usepackage[T1]{fontenc} and"
        " \\usepackage{booktabs,graphicx,longtable}.",
        "% Run LaTeX three times, so that long tables get their column widths. Names in non-Latin"
        " scripts require XeLaTeX or LuaLaTeX.",
        f"{_PREAMBLE}\\begin{{document}}",
        *map(_block, paragraphs(document)),
        "\\end{document}\n",
    ]
    return "\n".join(parts)


def escape(text: str) -> str:
    """Escape a text so that LaTeX prints it unchanged, on one line."""
    line = "".join(_SIGNS.get(sign, sign) for sign in " ".join(fit(text).split()))
    # LaTeX joins two of these into one character.
    return re.sub(r"([-,])(?=\1)", r"\1{}", line)


def _block(block: Heading | Text | Code | Table) -> str:
    match block:
        case Heading(text, level):
            return f"\\{'sub' if level > 2 else ''}section*{{{escape(text)}}}"
        case Text(text, kind):
            return f"\\textbf{{Note: {escape(text)}}}\n" if kind == "note" else f"{escape(text)}\n"
        case Code(text):
            return f"\\begin{{quote}}\\ttfamily\\small {escape(text)}\\end{{quote}}"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    left = frozenset(range(table.headers)) | table.words
    widest = [
        max(len(row.cells[i].line) for row in table.rows) if table.rows else 0
        for i in range(len(table.columns))
    ]
    # Columns of long texts wrap.
    kinds = "".join(
        ("p{0.3\\linewidth}" if widest[i] > 60 else "l") if i in left else "r"
        for i in range(len(table.columns))
    )
    head = [_line(table.columns)]
    if table.groups:
        tops, rules, position = [""] * table.ungrouped, [], table.ungrouped
        for title, span in table.groups:
            tops.append(f"\\multicolumn{{{span}}}{{c}}{{{escape(title)}}}")
            rules.append(f"\\cmidrule(lr){{{position + 1}-{position + span}}}")
            position += span
        head = [f"{' & '.join(tops)} \\\\", "".join(rules), *head]
    rows = []
    for number, row in enumerate(table.rows):
        cells = [cell.line for cell in row.cells]
        if table.headers == 2 and number and row.cells[0] == table.rows[number - 1].cells[0]:
            cells[0] = ""
        rows.append(_line(cells))
    if len(table.rows) > _LONGEST:
        return "\n".join(
            [
                "{\\footnotesize\\setlength{\\tabcolsep}{3pt}",
                f"\\begin{{longtable}}{{{kinds}}}",
                f"\\caption{{{escape(table.caption)}}}\\\\",
                *("\\toprule", *head, "\\midrule", "\\endhead", "\\bottomrule", "\\endfoot"),
                *(*rows, "\\end{longtable}}"),
            ]
        )
    return "\n".join(
        [
            "\\begin{minipage}{\\linewidth}\\centering",
            f"\\textbf{{{escape(table.caption)}}}\\par\\smallskip",
            # Tables wider than the page are scaled down.
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{{kinds}}}",
            *("\\toprule", *head, "\\midrule", *rows, "\\bottomrule"),
            "\\end{tabular}}",
            "\\end{minipage}\\par\\bigskip",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    line = " & ".join(map(escape, cells))
    # The command before this line would parse these characters as its options.
    return f"{'{}' if line[:1] in ('[', '*') else ''}{line} \\\\"
