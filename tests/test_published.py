import csv

import pytest

from atnet_jax import published

ROWS = [
    "LBP-TOP {3,3,3,4} TIM 10",
    "LBP-TOP {3,3,3,8} TIM 10",
    "LBP-TOP {3,3,3,4} TIM 64",
    "LBP-TOP {3,3,3,8} TIM 64",
    "HOOF N=4 TIM 10",
    "HOOF N=8 TIM 10",
    "HOOF N=4 TIM 64",
    "HOOF N=8 TIM 64",
    "Micro-Attention",
    "ATNet spatial",
    "ATNet temporal",
    "ATNet fusion",
]


def test_both_tables_have_the_papers_rows_in_its_order():
    assert list(published.TABLE_II) == ROWS
    assert list(published.TABLE_III) == ROWS
    for row in ROWS:
        assert list(published.TABLE_II[row]) == ["full", "casme2", "samm", "smic"]
        assert list(published.TABLE_III[row]) == ["casme2", "samm", "smic"]


def test_cells_are_where_the_paper_has_them():
    assert published.TABLE_II["ATNet fusion"]["full"] == (0.693, 0.631, 0.613)
    assert published.TABLE_II["ATNet fusion"]["casme2"].accuracy == 0.834
    assert published.TABLE_II["ATNet temporal"]["samm"] == (0.632, 0.487, 0.490)
    assert published.TABLE_II["ATNet spatial"]["smic"].uar == 0.455
    assert published.TABLE_II["Micro-Attention"]["samm"].uf1 == 0.403
    assert published.TABLE_II["HOOF N=8 TIM 64"]["casme2"] == (0.559, 0.372, 0.375)
    assert published.TABLE_II["LBP-TOP {3,3,3,4} TIM 10"]["smic"] == (0.274, 0.255, 0.257)
    assert published.TABLE_III["ATNet temporal"]["casme2"] == (0.631, 0.643)
    assert published.TABLE_III["ATNet fusion"]["smic"].uar == 0.489
    assert published.TABLE_III["Micro-Attention"]["samm"].uf1 == 0.383
    assert published.TABLE_III["LBP-TOP {3,3,3,8} TIM 10"]["samm"] == (0.335, 0.347)


# The sum of each column, added up from the paper's text apart from the module.
TABLE_II_SUMS = {
    "full": (5.867, 4.824, 4.81),
    "casme2": (6.53, 5.176, 5.145),
    "samm": (6.709, 4.313, 4.278),
    "smic": (4.598, 4.366, 4.399),
}
TABLE_III_SUMS = {
    "casme2": (4.34, 4.445),
    "samm": (4.066, 4.18),
    "smic": (3.991, 4.406),
}


@pytest.mark.parametrize(
    ("table", "sums"),
    [(published.TABLE_II, TABLE_II_SUMS), (published.TABLE_III, TABLE_III_SUMS)],
)
def test_columns_add_up_as_in_the_paper(table, sums):
    for column, expected in sums.items():
        cells = [row[column] for row in table.values()]
        assert [sum(values) for values in zip(*cells, strict=True)] == pytest.approx(expected)


def test_the_composite_is_the_sum_of_its_databases():
    assert list(published.DATABASES) == ["casme2", "samm", "smic"]
    assert published.COMPOSITE["full"] == (442, 68, 250, 109, 83)
    assert [published.COMPOSITE[name].clips for name in published.DATABASES] == [145, 133, 164]
    parts = [published.COMPOSITE[name] for name in published.DATABASES]
    assert tuple(map(sum, zip(*parts, strict=True))) == published.COMPOSITE["full"]
    for counts in published.COMPOSITE.values():
        assert counts.negative + counts.positive + counts.surprise == counts.clips


def test_accuracies_are_whole_numbers_of_clips():
    """Two accuracies the paper prints are no share of 442 or 133 clips; every other one is."""
    odd = []
    for name, row in published.TABLE_II.items():
        for column, scores in row.items():
            clips = published.COMPOSITE[column].clips
            if f"{round(scores.accuracy * clips) / clips:.3f}" != f"{scores.accuracy:.3f}":
                odd.append((name, column))
    assert odd == [("ATNet fusion", "full"), ("ATNet fusion", "samm")]


def test_the_composite_counts_are_those_of_the_real_clips(real_data):
    with (real_data / "composite442.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in published.COMPOSITE:
        clips = [row for row in rows if name in ("full", row["dataset"])]
        subjects = {(row["dataset"], row["subject"]) for row in clips}
        labels = [sum(row["label"] == str(label) for row in clips) for label in range(3)]
        assert published.COMPOSITE[name] == (len(clips), len(subjects), *labels)
