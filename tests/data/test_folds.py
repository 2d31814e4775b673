import dataclasses

import numpy as np
import pytest

from atnet_jax.data.composite import Composite
from atnet_jax.data.folds import data_notes, make_folds, select_folds, selection
from atnet_jax.errors import UserError


@pytest.fixture
def composite() -> Composite:
    # "01" is a different person in each database.
    dataset = ["casme2"] * 5 + ["smic"] * 3
    subject = ["01", "01", "01", "02", "02", "01", "01", "03"]
    clips = [f"clip{k}" for k in range(8)]
    return Composite({}, np.array([0, 1, 2, 0, 0, 1, 2, 0], np.int32), dataset, subject, clips)


def test_cde_leaves_one_subject_out(composite):
    folds = make_folds("cde", composite)
    assert [f.name for f in folds] == ["casme2/01", "casme2/02", "smic/01", "smic/03"]
    assert [f.number for f in folds] == [0, 1, 2, 3]
    assert [f.test.tolist() for f in folds] == [[0, 1, 2], [3, 4], [5, 6], [7]]


def test_hde_leaves_one_database_out(composite):
    folds = make_folds("hde", composite)
    assert [f.name for f in folds] == ["casme2", "smic"]
    assert folds[0].train.tolist() == [5, 6, 7]


@pytest.mark.parametrize("protocol", ["cde", "hde"])
def test_every_clip_is_tested_once_and_no_subject_is_on_both_sides(composite, protocol):
    folds = make_folds(protocol, composite)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(8))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(8))
        sides = [
            {(composite.dataset[k], composite.subject[k]) for k in side}
            for side in (fold.train, fold.test)
        ]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize("protocol", ["cde", "hde"])
def test_subjects_held_back_come_from_the_training_side(protocol):
    dataset = [name for name in ("casme2", "samm") for _ in range(20)]
    subject = [f"{k // 2:02d}" for _ in range(2) for k in range(20)]
    composite = Composite({}, np.zeros(40, np.int32), dataset, subject, ["x"] * 40)
    plain, nested = make_folds(protocol, composite), make_folds(protocol, composite, 0.3, seed=1)
    for before, fold in zip(plain, nested, strict=True):
        assert not len(before.validation)
        assert np.array_equal(before.test, fold.test)
        assert sorted([*fold.train, *fold.validation]) == before.train.tolist()
        owners = [
            {(dataset[k], subject[k]) for k in side} for side in (fold.train, fold.validation)
        ]
        assert not owners[0] & owners[1]
        held = [[s for d, s in owners[1] if d == name] for name in ("casme2", "samm")]
        own = fold.name.split("/")[0]
        whole = 0 if protocol == "hde" else 3
        assert [len(names) for names in held] == [
            whole if name == own else 3 for name in ("casme2", "samm")
        ]
    again = make_folds(protocol, composite, 0.3, seed=1)
    other = make_folds(protocol, composite, 0.3, seed=2)
    assert all(
        np.array_equal(a.validation, b.validation) for a, b in zip(nested, again, strict=True)
    )
    assert any(
        not np.array_equal(a.validation, b.validation) for a, b in zip(nested, other, strict=True)
    )


def test_the_real_composite_has_68_folds_of_the_paper(real_data):
    rows = [line.split(",") for line in (real_data / "composite442.csv").read_text().split()[1:]]
    columns = list(zip(*rows, strict=True))
    composite = Composite({}, np.array(columns[3], np.int32), *map(list, columns[:3]))
    assert len(make_folds("cde", composite)) == 68
    assert [len(f.test) for f in make_folds("hde", composite)] == [145, 133, 164]


def test_refusals():
    alone = Composite({}, np.zeros(2, np.int32), ["samm"] * 2, ["006"] * 2, ["a", "b"])
    with pytest.raises(UserError, match="at least two subjects, but the data contain 1: samm/006"):
        make_folds("cde", alone)
    with pytest.raises(UserError, match="at least two databases"):
        make_folds("hde", alone)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [("", [0, 1, 2, 3]), ("2", [2]), ("1:3", [1, 2]), (":2", [0, 1]), ("3,0:1", [0, 3])],
)
def test_selection(composite, selection, expected):
    chosen = select_folds(make_folds("cde", composite), selection)
    assert [fold.number for fold in chosen] == expected


@pytest.mark.parametrize("text", ["0", "0:3", "0,2", "1,3", "0:2,3"])
def test_a_selection_is_written_as_it_is_read(composite, text):
    folds = select_folds(make_folds("cde", composite), text)
    assert selection([fold.number for fold in folds]) == text


@pytest.mark.parametrize(
    "selection",
    ["4", "0:9", "0:999999999", "999999998:999999999", "1,1", "0:2,1", "x", "2:2", "-1", ","],
)
def test_unusable_selection(composite, selection):
    with pytest.raises(UserError, match="folds="):
        select_folds(make_folds("cde", composite), selection)


def test_classes_without_clips_and_people_of_two_names_are_noted(composite):
    def notes(labels, subject=None, protocol="cde"):
        seen = dataclasses.replace(
            composite, labels=np.array(labels, np.int32), subject=subject or composite.subject
        )
        return data_notes(seen, make_folds(protocol, seen))

    assert notes([0, 1, 2, 0, 0, 1, 2, 0]) == []
    assert notes([0, 1, 1, 0, 0, 1, 1, 0]) == [
        "The data have no clip of the class surprise. The scores say nothing about it."
    ]
    assert notes([0, 1, 2, 0, 0, 1, 0, 0]) == [
        "No training clip of the class surprise in 1 fold: casme2/01. There the class cannot be"
        " learned, and its clips are counted as wrong."
    ]
    people = ["01", "01", "1", "02", "02", "01", "01", "03"]
    assert notes([0, 1, 2, 0, 0, 1, 2, 0], people, "hde") == []  # Both are in one database.
    (note,) = notes([0, 1, 2, 0, 0, 1, 2, 0], people)
    assert note.startswith("The subjects 'casme2/01', 'casme2/1' differ only in case")
