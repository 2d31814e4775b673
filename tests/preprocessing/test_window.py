import pytest

from atnet_jax.preprocessing.window import FLOWS, flow_pairs


@pytest.mark.parametrize(
    ("onset", "apex", "offset", "rows"),
    [
        (46, 59, 86, range(19, 59)),  # CASME II sub01/EP02_01f
        (1, 100, 300, range(64)),
        (68, 100, 132, range(64)),  # exactly the window
        (69, 100, 131, range(1, 63)),
        (100, 101, 300, range(31, 64)),  # apex right after the onset
        (1, 100, 100, range(32)),  # apex at the offset
        (100, 100, 101, range(32, 33)),
        (100, 100, 100, range(0)),
    ],
)
def test_rows(onset: int, apex: int, offset: int, rows: range):
    assert [row for row, _, _ in flow_pairs(onset, apex, offset)] == list(rows)


@pytest.mark.parametrize(
    ("onset", "apex", "offset"), [(46, 59, 86), (5, 8, 9), (1, 100, 300), (0, 0, 7)]
)
def test_rule_row_by_row(onset: int, apex: int, offset: int):
    pairs = {row: (a, b) for row, a, b in flow_pairs(onset, apex, offset)}
    for row in range(FLOWS):
        a, b = apex - 32 + row, apex - 32 + row + 1
        inside = onset <= a <= offset and onset <= b <= offset
        assert pairs.get(row) == ((a, b) if inside else None)
