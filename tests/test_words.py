import pytest

from atnet_jax.words import alike, meant, numbered, plain


def test_numbers_have_their_noun():
    assert [numbered(count, "clip") for count in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("006", "6"), ("S01", "s1"), (" anna ", "Anna"), ("x/0_07", "x/0_7"), ("00", "0")],
)
def test_plain_names_are_equal(one, other):
    assert plain(one) == plain(other)


@pytest.mark.parametrize(("one", "other"), [("10", "1"), ("100", "1"), ("s1", "1"), ("1_2", "12")])
def test_other_names_stay_different(one, other):
    assert plain(one) != plain(other)


def test_names_mean_the_identical_or_the_only_similar_one():
    known = ["6", "28", "s1", "s01", "sub02"]
    assert meant(["006", "28", "s1", "S1", "Sub2", "x"], known) == {
        **{"006": "6", "28": "28", "s1": "s1", "Sub2": "sub02"}
    }
    assert meant(["6", "006"], known) == {"6": "6"}
    assert meant(["06", "006"], known) == {}


def test_alike_names():
    assert alike(["s01", "S1", "s1", "s2", "anna", "s2"]) == [["S1", "s01", "s1"]]
