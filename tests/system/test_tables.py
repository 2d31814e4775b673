import math

import pytest

from atnet_jax.errors import UserError
from atnet_jax.system.tables import decimal, read_table

KNOWN = ("dataset", "subject", "label")


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table(path, KNOWN)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("dataset,subject,label\nd,s,1\n", "utf-8"),
        ("dataset,subject,label\r\nd,s,1\r\n", "utf-8-sig"),
        ("dataset;subject;label\nd;s;1\n", "utf-8"),
        ("sep=;\ndataset;subject;label\nd;s;1\n", "utf-8"),
        ("dataset\tsubject\tlabel\nd\ts\t1\n", "utf-16"),
        (" Dataset ,SUBJECT, label\n d ,s ,1\n", "utf-8"),
        (",dataset,subject,label\n0,d,s,1\n", "utf-8"),
        ("Unnamed: 0,dataset,subject,label\n1,d,s,1\n", "utf-8"),
        ("dataset,subject,label,,\nd,s,1,,\n,,,,\n", "utf-8"),
        ("\n,,\ndataset,subject,label\n\nd,s,1,\n", "utf-8"),
    ],
)
def test_forms_that_programs_write(text, encoding, tmp_path):
    found = table(tmp_path, text, encoding)
    assert found.columns == KNOWN
    assert [row.cells for row in found.rows] == [{"dataset": "d", "subject": "s", "label": "1"}]


def test_lines_are_those_of_the_file(tmp_path):
    text = 'sep=,\ndataset,subject,label\n\nd,"a\nb",1\nd,c,2\n'
    assert [row.line for row in table(tmp_path, text).rows] == [5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty. Expected a header row"),
        (b"dataset,Dataset\n", "The column 'dataset' occurs twice"),
        (b"dataset,,label\nd,7,1\n", "Column 2 has no name, but the value '7' in line 2"),
        (b"dataset,label\nd,1,x\n", "line 2: The row has more cells than columns"),
        (b"dataset\n\xe4\n", "is not a CSV file in UTF-8"),
        (b'dataset\n"d', "is not a CSV file in UTF-8"),
        (b"PK\x03\x04", r"is a spreadsheet \(.xlsx\), not a CSV file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "only a pointer of Git LFS"),
    ],
)
def test_what_is_wrong_is_said(text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text)


def test_decimal_commas():
    assert [decimal(text) for text in ("29,97", "29.97", "-1,5", "200")] == [
        29.97,
        29.97,
        -1.5,
        200,
    ]
    assert math.isnan(decimal("1,000")) and math.isnan(decimal("x"))
